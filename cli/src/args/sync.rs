//! `skyhaul sync`.

use clap::Args;

use super::{CompareArgs, DeleteArgs, HowArgs, WhatArgs, YesArgs};

/// Make the destination like the source
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Copies what DST lacks, what differs in size and what is newer at SRC. Deletes
only with --delete, after asking, after everything was copied and both listings
ended without error, and not where the source is empty or partly unreadable
(--force overrules).

Examples:
  skyhaul sync /data s3://bucket/data/ --delete --max-delete 5% --dry-run
  skyhaul sync s3://one/ s3://two/ --src-profile a --dst-profile b -c")]
pub(crate) struct SyncArgs {
    #[command(flatten)]
    pub(crate) what: WhatArgs,
    #[command(flatten)]
    pub(crate) compare: CompareArgs,
    #[command(flatten)]
    pub(crate) delete: DeleteArgs,
    #[command(flatten)]
    pub(crate) consent: YesArgs,
    #[command(flatten)]
    pub(crate) how: HowArgs,
}
