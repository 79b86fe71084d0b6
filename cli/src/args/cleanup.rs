//! `skyhaul cleanup`.

use std::time::Duration;

use clap::Args;
use skyhaul_model::TransferId;

use crate::config::{Name, Value};
use crate::values;

/// Remove what unfinished transfers left behind
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Aborts unfinished uploads and removes temporary files of transfers that ended,
or were interrupted longer than --keep-partial ago. Only what these transfers
made is touched.")]
pub(crate) struct CleanupArgs {
    /// This transfer at once: it is cancelled and cannot be resumed
    #[arg(value_name = "ID", conflicts_with = "all")]
    pub(crate) id: Option<TransferId>,
    /// All transfers that nobody works on, however recent
    #[arg(long)]
    pub(crate) all: bool,
    /// How long an interrupted transfer is kept [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) keep_partial: Option<Duration>,
}

impl CleanupArgs {
    /// What these flags override.
    pub(crate) fn overrides(&self) -> Vec<(Name, Value)> {
        self.keep_partial
            .map(|time| (Name::KeepPartial, Value::Time(time)))
            .into_iter()
            .collect()
    }
}
