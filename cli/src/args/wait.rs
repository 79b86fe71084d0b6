//! `skyhaul wait`.

use clap::Args;
use skyhaul_model::TransferId;

use super::StackArgs;

/// Follow a transfer of a deployment until it has ended
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Ends when the attempt that goes on has ended, with the exit code that `cp` or
`sync` would have had; with --prefix as soon as that part has arrived, with 1 if
an object of it failed. Interrupted it ends, and the transfer goes on.")]
pub(crate) struct WaitArgs {
    /// Which transfer
    #[arg(value_name = "ID")]
    pub(crate) id: TransferId,
    /// Only until all objects are there whose keys begin so, below the transfer's own folder
    #[arg(long, value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}
