//! How far a transfer is, from what its rows count: no record raises a shared counter.
//!
//! What ended uploads counted is added up in the transactions that end them. What groups counted
//! is read from their rows, but for those that can change no more: whoever looks moves a mark over
//! them, and keeps what they counted beside it.

use futures::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use skyhaul_model::group::{Counts, GroupId, GroupStatus, RangeId};
use skyhaul_model::{ErrorKind, Result, TransferId};

use super::committed::{self, Committed};
use super::expression::Expression;
use super::groups::Stored;
use super::item::{BODY, EXPIRES, Item, SORT, Stamp, bytes, expires};
use super::table::{Query, Table, Write};
use super::{key, pack, ranges, transfers, versioned};
use crate::{Progress, UploadKey};

/// Groups that the mark passes at once, at least. It costs a write unit, the price of five read
/// units, and saves some 4 KB, one read unit, each time that somebody looks from then on.
const WORTH_MARKING: u64 = 8;

/// What groups counted.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Sum {
    groups_done: u64,
    chunks_done: u64,
    done: Counts,
}

impl Sum {
    fn add(&mut self, stored: &Stored) {
        self.groups_done += u64::from(stored.row.status == GroupStatus::Done);
        self.chunks_done += u64::from(stored.row.done.count());
        self.done += stored.row.counts;
    }
}

/// The groups of a shard up to the mark, all of which are done.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Marked {
    upto: Option<u64>,
    sum: Sum,
}

/// The sequence up to which all groups of a shard are done, and stay so. Where nobody has looked, or the mark cannot be
/// read, all are.
pub(super) async fn mark(table: &Table, id: &TransferId, shard: u32) -> Result<Option<u64>> {
    let Some(item) = table.get(&key::groups_sum(id, shard)).await? else {
        return Ok(None);
    };
    Ok(item.body::<Marked>()?.upto)
}

/// The write that counts a result, of a transaction with the one that sets it. It has no condition:
/// an addition commutes.
pub(super) fn counting(id: &TransferId, of: &UploadKey, counts: Counts) -> Option<Write> {
    let mut change = Expression::default().set(EXPIRES, expires());
    for (name, number) in pack::COUNTS.into_iter().zip(pack::numbers(counts)) {
        if number > 0 {
            change = change.add(name, number);
        }
    }
    let place = key::uploads_sum(id, key::upload_shard(of));
    (counts != Counts::default()).then_some(Write::Update(place, change))
}

pub(super) async fn load(table: &Table, id: &TransferId) -> Result<Progress> {
    transfers::check(table, id).await?;
    // Before the groups: what is published by then is all there.
    let retries = committed::next(table, id, GroupId::RETRY_RANGE).await?;
    let ranges = ranges::all(table, id).await?;
    let mut progress = Progress {
        listing_done: true,
        groups: u64::from(retries),
        ..Progress::default()
    };
    let mut open = GroupId::RETRY_RANGE;
    for range in &ranges {
        progress.listed += range.row.counts;
        progress.listing_done &= range.row.done;
        progress.groups += u64::from(range.row.next_group) + u64::from(range.row.next_first);
        if !range.row.done {
            open = open.min(range.row.id);
        }
    }
    let next = ranges.iter().flat_map(|range| {
        let row = &range.row;
        [(row.id, row.next_group), (row.id.first(), row.next_first)]
    });
    let committed = Committed::of(next.chain([(GroupId::RETRY_RANGE, retries)]));
    let shards = (0..key::GROUP_SHARDS).map(|shard| shard_sum(table, id, shard, &committed, open));
    let sums: Vec<Sum> = futures::stream::iter(shards)
        .buffer_unordered(key::GROUP_SHARDS as usize)
        .try_collect()
        .await?;
    for sum in sums {
        progress.groups_done += sum.groups_done;
        progress.chunks_done += sum.chunks_done;
        progress.done += sum.done;
    }
    // A group that was seen done may have added others meanwhile: they are not done yet.
    let added = committed::next(table, id, GroupId::RETRY_RANGE).await?;
    progress.groups += u64::from(added.saturating_sub(retries));
    Ok(progress)
}

/// What the groups and uploads of a shard counted. Groups may still be added to `open` and to
/// ranges beyond it: the mark passes none of those beyond.
async fn shard_sum(
    table: &Table,
    id: &TransferId,
    shard: u32,
    committed: &Committed,
    open: RangeId,
) -> Result<Sum> {
    let (mut marked, mut found, mut uploads) = (Marked::default(), None, Counts::default());
    for item in table.all(&Query::of(key::sums(id, shard))).await? {
        if item.text(SORT)? == key::groups_sum(id, shard).sort {
            marked = item.body()?;
            found = Some(item);
        } else {
            uploads = uploads_counts(&item)?;
        }
    }
    let query = Query::of(key::groups(id, shard)).after(marked.upto.map(key::group_sort));
    let (mut sum, mut final_so_far, before) = (marked.sum, true, marked.sum.groups_done);
    let mut from = None;
    loop {
        let (page, next) = table.page(&query, from.as_ref()).await?;
        for item in &page {
            let stored = Stored::read(item)?;
            if committed.has(stored.row.id) != Some(true) {
                continue;
            }
            sum.add(&stored);
            let is_done = stored.row.status == GroupStatus::Done;
            final_so_far &= is_done && stored.row.id.range.listed() <= open;
            if final_so_far {
                marked.upto = Some(stored.row.sequence);
                marked.sum = sum;
            }
        }
        if next.is_none() {
            break;
        }
        from = next;
    }
    if marked.sum.groups_done - before >= WORTH_MARKING {
        let item = Item::new(&key::groups_sum(id, shard)).with(BODY, bytes(pack::json(&marked)?));
        let mark = versioned::replace(found.as_ref(), item, Stamp::new())?;
        match table.write(vec![mark]).await {
            // Refused if another looked at the same time: its mark is as good.
            Ok(_) => {}
            // Who may only look marks nothing.
            Err(error) if error.kind == ErrorKind::AccessDenied => {}
            Err(error) => return Err(error),
        }
    }
    sum.done += uploads;
    Ok(sum)
}

fn uploads_counts(item: &Item) -> Result<Counts> {
    let numbers = pack::COUNTS.map(|name| item.number(name));
    let numbers: Vec<u64> = numbers.into_iter().collect::<Result<_>>()?;
    Ok(pack::from_numbers(numbers))
}
