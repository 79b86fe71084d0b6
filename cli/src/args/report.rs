//! `skyhaul report`.

use std::path::PathBuf;

use clap::Args;
use skyhaul_model::outcome::Action;

use super::StackArgs;

/// Tell what became of every object of a transfer
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Of a transfer that goes on it tells what is recorded so far. What was skipped is
in it only where the transfer was asked to keep that (see `--report` of `cp`).")]
pub(crate) struct ReportArgs {
    /// Which: an id of `skyhaul status`, or (of this machine) as much of its beginning as no other has
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Only what was copied, skipped or deleted, or failed
    #[arg(long, value_name = "ACTION", value_parser = action)]
    pub(crate) only: Option<Action>,
    /// Write it to this file, as `--report` does: a JSON line an object
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}

fn action(text: &str) -> Result<Action, String> {
    match text {
        "copied" => Ok(Action::Copied),
        "skipped" => Ok(Action::Skipped),
        "deleted" => Ok(Action::Deleted),
        "failed" => Ok(Action::Failed),
        _ => Err("one of copied, skipped, deleted, failed".to_owned()),
    }
}
