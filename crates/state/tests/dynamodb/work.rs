//! What holders do, for tests that need some of it done.

use skyhaul_model::group::{Bitmap, Counts, Lease, RangeId};
use skyhaul_model::{HolderId, Result, TransferId};
use skyhaul_state::{
    GroupRow, ListCounts, ListSegmentKind, NewGroup, Publication, RangeRow, Record, TransferState,
    suite,
};
use ulid::Ulid;

pub(crate) fn holder(name: &str) -> HolderId {
    HolderId(name.to_owned())
}

/// A new transfer whose only range `lister` lists.
pub(crate) async fn listed_by(state: &dyn TransferState, lister: &str) -> (TransferId, Lease) {
    let id = TransferId::generate();
    state.submit(&id, &suite::plain_spec()).await.unwrap();
    let lister = holder(lister);
    let row = state.lease_range(&id, RangeId(0), &lister, None).await;
    (id, row.unwrap().lease.unwrap())
}

/// Takes the first range from who holds it.
pub(crate) async fn take(
    state: &dyn TransferState,
    id: &TransferId,
    name: &str,
    seen: &Lease,
) -> Lease {
    let name = holder(name);
    let row = state.lease_range(id, RangeId(0), &name, Some(seen)).await;
    row.unwrap().lease.unwrap()
}

/// Groups with pointers as segments have them.
pub(crate) fn new_groups(count: u32, chunks: u32) -> Vec<NewGroup> {
    let group = |_| NewGroup {
        chunks,
        bytes: u64::from(chunks) << 24,
        segment: format!("manifest/{}.zst", Ulid::generate()),
    };
    (0..count).map(group).collect()
}

/// What a listing found up to a key, or to its end.
pub(crate) fn found(cursor: Option<&str>, groups: Vec<NewGroup>) -> Publication {
    Publication {
        done: cursor.is_none(),
        // The end of the listing is told by `done`.
        cursor: Some(cursor.unwrap_or("\u{10ffff}").to_owned()),
        groups,
        first: Vec::new(),
        segments: vec![(
            ListSegmentKind::Outcomes,
            format!("outcomes/{}.zst", Ulid::generate()),
        )],
        counts: ListCounts {
            source_objects: 1 << 20,
            copy_objects: 1 << 20,
            copy_bytes: 1 << 40,
            chunks: 512,
            pages: 1000,
            ..ListCounts::default()
        },
    }
}

pub(crate) async fn publish(
    state: &dyn TransferState,
    id: &TransferId,
    range: u32,
    lease: &Lease,
    publication: Publication,
) -> Result<RangeRow> {
    state.publish(id, RangeId(range), lease, publication).await
}

/// A record of chunks, each a bundle of `objects`.
pub(crate) fn record(done: Bitmap, objects: u64) -> Record {
    let objects = objects * u64::from(done.count());
    Record {
        done,
        counts: Counts {
            objects,
            bytes: objects << 16,
            transport_verified: objects,
            ..Counts::default()
        },
        receipts: Some(format!("receipts/{}.zst", Ulid::generate())),
        follow_up: Vec::new(),
        supersede: None,
    }
}

/// Claims the first pending group of any shard.
pub(crate) async fn claim(
    state: &dyn TransferState,
    id: &TransferId,
    name: &str,
) -> Option<(GroupRow, Lease)> {
    for shard in 0..state.shards() {
        let claimed = state.claim(id, shard, &holder(name), None).await.unwrap();
        if let Some(row) = claimed {
            let lease = row.lease.clone().unwrap();
            return Some((row, lease));
        }
    }
    None
}

/// All groups of all shards.
pub(crate) async fn groups(state: &dyn TransferState, id: &TransferId) -> Vec<GroupRow> {
    let mut rows = Vec::new();
    for shard in 0..state.shards() {
        rows.extend(
            state
                .groups(id, shard, None, None, usize::MAX)
                .await
                .unwrap(),
        );
    }
    rows
}
