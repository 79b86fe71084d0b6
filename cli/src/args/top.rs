//! `skyhaul top`.

use clap::Args;

use super::StackArgs;

/// Show a transfer, its gateways and how fast they are, again and again
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
On a terminal the table is drawn in place until the transfer ends; elsewhere, or
with --once or --json, it is shown once.")]
pub(crate) struct TopArgs {
    /// Which: an id of `skyhaul status`; on this machine as much of its beginning as no other has is enough
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Show it once
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}
