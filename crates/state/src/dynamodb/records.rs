//! Recording finished chunks. A plain record is one conditional write; what follows from one that
//! also ends an upload or adds groups is in one transaction with it.

use skyhaul_model::group::{Bitmap, GroupId, GroupStatus, Lease};
use skyhaul_model::{Result, TransferId};

use super::contention::Contention;
use super::groups::{self, Stored};
use super::item::{Item, Stamp, VERSION, bytes, number, text};
use super::pack::{self, Applied, Pointer};
use super::staging::{self, Staged};
use super::table::{Table, Write};
use super::{committed, key, uploads, versioned};
use crate::{GroupRow, NewGroup, Record, rules};

const BUSY: &str = "others keep changing this group's row in the state";

pub(super) async fn record(
    table: &Table,
    id: &TransferId,
    group: GroupId,
    lease: &Lease,
    record: Record,
) -> Result<GroupRow> {
    let applied = Applied {
        done: record.done,
        receipts: record.receipts.clone().map(Pointer::new),
    };
    let mut rounds = Contention::default();
    loop {
        let stored = groups::load(table, id, group).await?;
        if !rules::is_same(stored.row.lease.as_ref(), lease) {
            return Err(rules::group_taken(id, group));
        }
        // Also one's own write whose reply was lost.
        if stored.records.contains(&applied) {
            return Ok(stored.row);
        }
        if stored.row.status != GroupStatus::Leased {
            return Err(rules::group_taken(id, group));
        }
        let row = &stored.row;
        rules::record(id, group, row.chunks, row.done, applied.done)?;
        let Some(writes) = consequences(table, id, &record).await? else {
            rounds.lost(BUSY).await?;
            continue;
        };
        let (change, next) = applying(&stored, lease, &record, &applied)?;
        let mut all = vec![Write::Update(key::group(id, group), change)];
        all.extend(writes);
        if table.write(all).await? {
            return Ok(next);
        }
        rounds.lost(BUSY).await?;
    }
}

/// The change of the group's row, and the row that it makes. The condition names what was done
/// before, so that of two records that were decided on the same row one is decided again.
fn applying(
    stored: &Stored,
    lease: &Lease,
    record: &Record,
    applied: &Applied,
) -> Result<(super::expression::Expression, GroupRow)> {
    let mut next = stored.row.clone();
    next.done = next.done.union(applied.done);
    next.counts += record.counts;
    next.receipts.extend(record.receipts.clone());
    if next.done == Bitmap::full(next.chunks) {
        next.status = GroupStatus::Done;
    }
    if let Some(lease) = &mut next.lease {
        lease.counter += 1;
    }
    let records = [stored.records.as_slice(), std::slice::from_ref(applied)].concat();
    let change = groups::held(lease)
        .is(groups::DONE, groups::bitmap(stored.row.done))
        .set(groups::STATUS, text(groups::status(next.status)))
        .set(groups::DONE, groups::bitmap(next.done))
        .set(groups::COUNTS, bytes(pack::counts(next.counts)?))
        .set(groups::RECORDS, bytes(pack::records(&records)?))
        .raise(groups::COUNTER)
        .stamped(Stamp::new());
    Ok((change, next))
}

/// What else is written with a record: the upload that ends by it, and the groups that follow
/// unless the upload had ended before. `None` if others were in the way.
async fn consequences(
    table: &Table,
    id: &TransferId,
    record: &Record,
) -> Result<Option<Vec<Write>>> {
    let mut writes = Vec::new();
    if let Some((upload, result)) = &record.supersede {
        match uploads::supersede(table, id, upload, result.as_ref()).await? {
            Some(ending) => writes = ending,
            // An end is final: whoever came first added what follows.
            None => return Ok(Some(Vec::new())),
        }
    }
    if !record.follow_up.is_empty() {
        let Some(publishing) = follow_up(table, id, &record.follow_up).await? else {
            return Ok(None);
        };
        writes.push(publishing);
    }
    Ok(Some(writes))
}

/// Stages groups behind the retries; gives the write that publishes them.
async fn follow_up(table: &Table, id: &TransferId, new: &[NewGroup]) -> Result<Option<Write>> {
    let place = key::retries(id);
    let found = table.get(&place).await?;
    let owner = found.clone().unwrap_or_else(|| Item::new(&place));
    let next: u32 = owner.number(committed::NEXT)?;
    rules::new_groups(id, GroupId::RETRY_RANGE, next, new)?;
    let rows = staging::groups(id, GroupId::RETRY_RANGE, next, new);
    let raised = |by: u32| {
        let item = Item::new(&place).with(committed::NEXT, number(next + by));
        versioned::replace(found.as_ref(), item, Stamp::new())
    };
    match staging::stage(table, rows, owner.number(VERSION)?).await? {
        Staged::Ready => raised(new.len() as u32).map(Some),
        Staged::Taken => {
            table.write(vec![raised(0)?]).await?;
            Ok(None)
        }
        Staged::Behind => Ok(None),
    }
}
