//! `skyhaul status`.

use clap::Args;
use skyhaul_model::TransferId;

/// Show transfers and how far they are
#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArgs {
    /// Which; without it all, newest first
    #[arg(value_name = "ID")]
    pub(crate) id: Option<TransferId>,
}
