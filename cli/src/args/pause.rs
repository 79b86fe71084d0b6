//! `skyhaul pause`.

use clap::Args;
use skyhaul_model::TransferId;

use super::StackArgs;

/// Let a transfer of a deployment end, so that `resume` goes on with it
#[derive(Debug, Clone, Args)]
pub(crate) struct PauseArgs {
    /// Which
    #[arg(value_name = "ID")]
    pub(crate) id: TransferId,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}
