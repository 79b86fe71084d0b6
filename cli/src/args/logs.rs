//! `skyhaul logs`.

use clap::Args;

use super::StackArgs;

/// Show the logs of a transfer and its gateways, in the order of their times
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Of a deployment: the workflow of the last attempt, and its gateways, whose lines
are there some seconds after they were said.")]
pub(crate) struct LogsArgs {
    /// Which: an id of `skyhaul status`, or (of this machine) as much of its beginning as no other has
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Only this one's: src-1, dst-1, relay-1 and so on, `command`, or of a deployment `workflow`
    #[arg(long, value_name = "NAME")]
    pub(crate) gateway: Option<String>,
    /// Wait for more, until the transfer ends or is interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}
