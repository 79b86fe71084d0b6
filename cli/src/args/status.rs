//! `skyhaul status`.

use clap::Args;

use super::StackArgs;

/// Show transfers and how far they are
#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArgs {
    /// Which: an id, or as much of its beginning as no other has; without it all, newest first
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}
