//! `skyhaul dataplane`.

use clap::{Args, Subcommand};
use skyhaul_model::machine::DataplaneId;

use super::StackArgs;

/// Show and end machines that are kept for the next transfer
#[derive(Debug, Clone, Args)]
pub(crate) struct DataplaneArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: DataplaneCommand,
}

/// See each.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DataplaneCommand {
    /// Show all dataplanes, newest first
    List {
        #[command(flatten)]
        place: StackArgs,
    },
    /// End a dataplane that no transfer uses; its machines end within minutes
    Delete {
        /// Which
        #[arg(value_name = "ID")]
        id: DataplaneId,
        #[command(flatten)]
        place: StackArgs,
    },
}
