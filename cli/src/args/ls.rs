//! `skyhaul ls`.

use clap::Args;

use super::{CheckersArgs, OneSideArgs};

/// List objects or files: time (UTC), size, key
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools)] // flags that have nothing to do with each other
pub(crate) struct LsArgs {
    /// List everything under PLACE, not only down to the next slash
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// In the order in which names arrive, which is faster than in key order
    #[arg(long)]
    pub(crate) unordered: bool,
    /// Sizes in KiB, MiB, GiB
    #[arg(short = 'H', long)]
    pub(crate) human_readable: bool,
    /// End with the number of objects and their size
    #[arg(short, long)]
    pub(crate) summarize: bool,
    #[command(flatten)]
    pub(crate) side: OneSideArgs,
    #[command(flatten)]
    pub(crate) checkers: CheckersArgs,
}
