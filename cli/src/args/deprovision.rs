//! `skyhaul deprovision`.

use clap::Args;

use super::StackArgs;

/// End machines of a deployment that are kept for the next transfer
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Machines end within minutes. With --all transfers that go on are paused before, and
`skyhaul resume` goes on with them.")]
pub(crate) struct DeprovisionArgs {
    /// Also machines that transfers use, which are paused
    #[arg(long)]
    pub(crate) all: bool,
    /// Only what this user asked for
    #[arg(long, value_name = "WHO")]
    pub(crate) owner: Option<String>,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}
