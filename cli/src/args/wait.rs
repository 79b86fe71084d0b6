//! `skyhaul wait`.

use clap::Args;
use skyhaul_model::TransferId;

use super::StackArgs;

/// Follow a transfer of a deployment until it has ended
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Ends when the attempt that goes on has ended, with the exit code that `cp` or\n`sync` would have had. Interrupted it ends, and the transfer goes on.")]
pub(crate) struct WaitArgs {
    /// Which
    #[arg(value_name = "ID")]
    pub(crate) id: TransferId,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}
