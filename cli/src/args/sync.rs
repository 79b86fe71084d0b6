//! `skyhaul sync`.

use clap::Args;

use super::{CompareArgs, DeleteArgs, TransferArgs, YesArgs};

/// Make the destination like the source.
///
/// Copies what DST lacks, what differs in size and what is newer at SRC; deletes only with
/// --delete, after asking.
#[derive(Debug, Clone, Args)]
pub(crate) struct SyncArgs {
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
    #[command(flatten)]
    pub(crate) compare: CompareArgs,
    #[command(flatten)]
    pub(crate) delete: DeleteArgs,
    #[command(flatten)]
    pub(crate) consent: YesArgs,
}
