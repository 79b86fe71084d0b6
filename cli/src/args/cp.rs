//! `skyhaul cp`.

use clap::Args;

use super::{IfExistsArgs, TransferArgs};

/// Copy objects or files.
///
/// An object goes to a name, or into DST if that ends in a slash; with -r everything under SRC
/// goes under DST. The same command again goes on with a copy that was interrupted.
#[derive(Debug, Clone, Args)]
pub(crate) struct CpArgs {
    /// Copy everything under SRC
    #[arg(short, long)]
    pub(crate) recursive: bool,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
    #[command(flatten)]
    pub(crate) existing: IfExistsArgs,
    // Scripts say it to every command that moves data.
    #[arg(short, long, hide = true)]
    pub(crate) yes: bool,
}
