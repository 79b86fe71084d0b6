//! Reading what is many page by page.

use futures::stream::{self, Stream, TryStreamExt as _};
use skyhaul_model::group::GroupStatus;
use skyhaul_model::{Error, Result, TransferId};

use crate::{GroupRow, TransferState};

/// Rows read at a time.
pub(crate) const PAGE: usize = 256;

/// The groups of a transfer, of all shards, each shard's in its order; with `status` only those. A page
/// is in memory at a time.
pub fn groups<'a>(
    state: &'a dyn TransferState,
    id: &'a TransferId,
    status: Option<GroupStatus>,
) -> impl Stream<Item = Result<GroupRow>> + Send + 'a {
    let pages = stream::try_unfold((0, None), move |(shard, after)| async move {
        if shard == state.shards() {
            return Ok::<_, Error>(None);
        }
        let page = state.groups(id, shard, status, after, PAGE).await?;
        let next = match page.last() {
            Some(last) if page.len() == PAGE => (shard, Some(last.sequence)),
            // There is no more in this shard.
            _ => (shard + 1, None),
        };
        Ok(Some((stream::iter(page.into_iter().map(Ok)), next)))
    });
    pages.try_flatten()
}
