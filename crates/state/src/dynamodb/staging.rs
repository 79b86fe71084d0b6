//! How rows of any number appear at once without a transaction: they are *staged* behind the
//! counter of the row that owns them (a range, or the retries), where no reader looks, and
//! published by raising the counter in one conditional write.
//!
//! A staged row carries the owner's version that it was staged under. One of an older version may
//! be replaced: what was staged under it can never be published, for the owner's row moved on. One
//! of the same or a later version may not. So whoever lost the owner's lease can neither publish
//! nor overwrite anything, however late its requests arrive.

use futures::{StreamExt as _, TryStreamExt as _};
use skyhaul_model::group::{Bitmap, GroupId, GroupStatus, RangeId};
use skyhaul_model::{Error, Result, TransferId};

use super::expression::Expression;
use super::item::{EXPIRES, Item, expires, number, text};
use super::table::{Table, Written};
use super::{CONCURRENT, groups, key};
use crate::{ListSegmentKind, NewGroup};

/// The owner's version.
const EPOCH: &str = "epoch";
/// Where a list segment is.
pub(super) const POINTER: &str = "pointer";

/// What became of staging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Staged {
    /// All rows are there.
    Ready,
    /// Something else is staged under this version: the owner needs another one.
    Taken,
    /// The owner's version moved on.
    Behind,
}

/// A group that nobody claimed yet.
pub(super) fn group(id: &TransferId, of: GroupId, new: &NewGroup) -> Item {
    Item::new(&key::group(id, of))
        .with(groups::STATUS, text(groups::status(GroupStatus::Pending)))
        .with(groups::FENCE, number(0_u64))
        .with(groups::COUNTER, number(0_u64))
        .with(groups::CHUNKS, number(new.chunks))
        .with(groups::BYTES, number(new.bytes))
        .with(groups::SEGMENT, text(&new.segment))
        .with(groups::DONE, groups::bitmap(Bitmap::default()))
}

/// Groups of a range from an ordinal on.
pub(super) fn groups(id: &TransferId, range: RangeId, first: u32, new: &[NewGroup]) -> Vec<Item> {
    (first..)
        .zip(new)
        .map(|(ordinal, new)| group(id, GroupId { range, ordinal }, new))
        .collect()
}

/// List segments of a range from a number on.
pub(super) fn list_segments(
    id: &TransferId,
    range: RangeId,
    first: u32,
    new: &[(ListSegmentKind, String)],
) -> Vec<Item> {
    (first..)
        .zip(new)
        .map(|(number, (kind, pointer))| {
            Item::new(&key::list_segment(id, *kind, range, number)).with(POINTER, text(pointer))
        })
        .collect()
}

/// Stages rows under a version of their owner. May be repeated.
pub(super) async fn stage(table: &Table, rows: Vec<Item>, version: u64) -> Result<Staged> {
    let when = Expression::default().absent_or_below(EPOCH, number(version));
    let puts = futures::stream::iter(rows).map(|row| {
        let when = &when;
        async move {
            let row = row.with(EPOCH, number(version));
            let written = table
                .put(row.clone().with(EXPIRES, expires()), when)
                .await?;
            Ok::<_, Error>(match written {
                Written::Done(_) => Staged::Ready,
                Written::Refused(Some(found)) => judge(&row, found, version)?,
                // Removed since: the transfer is being purged.
                Written::Refused(None) => Staged::Behind,
            })
        }
    });
    let outcomes: Vec<Staged> = puts.buffer_unordered(CONCURRENT).try_collect().await?;
    let is = |wanted| outcomes.contains(&wanted);
    Ok(if is(Staged::Behind) {
        Staged::Behind
    } else if is(Staged::Taken) {
        Staged::Taken
    } else {
        Staged::Ready
    })
}

/// What a row means that is in the place of ours.
fn judge(ours: &Item, mut found: Item, version: u64) -> Result<Staged> {
    let epoch: u64 = found.number(EPOCH)?;
    found.0.remove(EXPIRES);
    Ok(if epoch > version {
        Staged::Behind
    } else if found == *ours {
        Staged::Ready
    } else {
        Staged::Taken
    })
}
