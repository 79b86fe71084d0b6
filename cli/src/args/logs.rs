//! `skyhaul logs`.

use clap::Args;

/// Show the logs of a transfer and its gateways, in the order of their times
#[derive(Debug, Clone, Args)]
pub(crate) struct LogsArgs {
    /// Which: an id of `skyhaul status`, or as much of its beginning as no other has
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Only this gateway's: src-1, dst-1, relay-1 and so on, or `command`
    #[arg(long, value_name = "NAME")]
    pub(crate) gateway: Option<String>,
    /// Wait for more, until the transfer ends or is interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
}
