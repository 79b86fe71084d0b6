//! `skyhaul cancel`.

use clap::Args;
use skyhaul_model::TransferId;

use super::StackArgs;

/// End a transfer of a deployment for good, and remove what it left half done
#[derive(Debug, Clone, Args)]
pub(crate) struct CancelArgs {
    /// Which
    #[arg(value_name = "ID")]
    pub(crate) id: TransferId,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}
