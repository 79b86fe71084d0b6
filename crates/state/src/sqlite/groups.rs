//! Rows of groups.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use skyhaul_model::group::{Bitmap, Counts, GroupId, GroupStatus, Lease, RangeId};
use skyhaul_model::{HolderId, TransferId};

use super::column::{Json, json, signed, unsigned};
use super::failure::Outcome;
use super::totals::Totals;
use super::uploads;
use crate::{GroupRow, NewGroup, Record, rules};

/// One record that was applied: what tells its repetition from an overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Applied {
    done: Bitmap,
    receipts: Option<String>,
}

/// A row with what the trait does not show.
struct Stored {
    row: GroupRow,
    records: Vec<Applied>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let holder: Option<String> = row.get("holder")?;
    let (fence, counter) = (unsigned(row, "fence")?, unsigned(row, "counter")?);
    let done: i64 = row.get("done")?;
    let records: Vec<Applied> = json(row, "records")?;
    Ok(Stored {
        row: GroupRow {
            id: GroupId {
                range: RangeId(row.get("range")?),
                ordinal: row.get("ordinal")?,
            },
            sequence: unsigned(row, "sequence")?,
            chunks: row.get("chunks")?,
            bytes: unsigned(row, "bytes")?,
            segment: row.get("segment")?,
            status: json(row, "status")?,
            lease: holder.map(|holder| Lease {
                holder: HolderId(holder),
                fence,
                counter,
            }),
            done: Bitmap(done.cast_unsigned()),
            counts: json(row, "counts")?,
            receipts: records
                .iter()
                .filter_map(|record| record.receipts.clone())
                .collect(),
        },
        records,
    })
}

impl Stored {
    fn load(tx: &Transaction<'_>, id: &TransferId, group: GroupId) -> Outcome<Self> {
        tx.prepare_cached(
            "SELECT * FROM groups WHERE transfer = ?1 AND range = ?2 AND ordinal = ?3",
        )?
        .query_row(params![id.as_str(), group.range.0, group.ordinal], read)
        .optional()?
        .ok_or_else(|| rules::no_group(id, group).into())
    }

    fn save(&self, tx: &Transaction<'_>, id: &TransferId) -> Outcome<()> {
        let lease = self.row.lease.as_ref();
        tx.prepare_cached(
            "UPDATE groups SET status = ?3, holder = ?4, fence = ?5, counter = ?6, done = ?7, \
             counts = ?8, records = ?9 WHERE transfer = ?1 AND sequence = ?2",
        )?
        .execute(params![
            id.as_str(),
            signed(self.row.sequence)?,
            Json(self.row.status),
            lease.map(|lease| &lease.holder.0),
            signed(lease.map_or(0, |lease| lease.fence))?,
            signed(lease.map_or(0, |lease| lease.counter))?,
            self.row.done.0.cast_signed(),
            Json(self.row.counts),
            Json(&self.records),
        ])?;
        Ok(())
    }

    /// Leases it anew.
    fn grant(&mut self, holder: HolderId) {
        let fence = self.row.lease.as_ref().map_or(0, |lease| lease.fence);
        self.row.status = GroupStatus::Leased;
        self.row.lease = Some(rules::next_lease(fence, holder));
    }

    /// Whether no later lease was given than this one.
    fn is_latest(&self, lease: &Lease) -> bool {
        rules::is_same(self.row.lease.as_ref(), lease)
    }

    /// Whether this lease counts.
    fn is_held(&self, lease: &Lease) -> bool {
        self.row.status == GroupStatus::Leased && self.is_latest(lease)
    }

    fn raise_counter(&mut self) {
        if let Some(lease) = &mut self.row.lease {
            lease.counter += 1;
        }
    }
}

fn lost<T>(id: &TransferId, group: GroupId) -> Outcome<T> {
    Err(rules::group_taken(id, group).into())
}

/// Shards of a transfer's groups.
pub(super) const SHARDS: u32 = 2;
/// The sequences of groups that are claimed first begin here, beyond all others.
const FIRST: i64 = 1 << 62;

/// Appends a group; `totals` are saved by the caller.
pub(super) fn insert(
    tx: &Transaction<'_>,
    id: &TransferId,
    totals: &mut Totals,
    range: RangeId,
    ordinal: u32,
    new: &NewGroup,
) -> Outcome<()> {
    rules::new_groups(id, range, ordinal, std::slice::from_ref(new))?;
    let base = if range.is_first() { FIRST } else { 0 };
    tx.prepare_cached(
        "INSERT INTO groups VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL, 0, 0, 0, ?9, '[]')",
    )?
    .execute(params![
        id.as_str(),
        base | signed(totals.next_sequence)?,
        range.0,
        ordinal,
        new.chunks,
        signed(new.bytes)?,
        new.segment,
        Json(GroupStatus::Pending),
        Json(Counts::default()),
    ])?;
    totals.next_sequence += 1;
    Ok(())
}

pub(super) fn load(tx: &Transaction<'_>, id: &TransferId, group: GroupId) -> Outcome<GroupRow> {
    Ok(Stored::load(tx, id, group)?.row)
}

/// Bounds of a query for the sequences of a shard that are greater than `after`: above the one, below
/// the other.
fn bounds(shard: u32, after: Option<u64>) -> (i64, i64) {
    let (before, end) = if shard == 0 {
        (-1, FIRST)
    } else {
        (FIRST - 1, i64::MAX)
    };
    let after = after.map_or(-1, |after| i64::try_from(after).unwrap_or(i64::MAX));
    (after.max(before), end)
}

pub(super) fn list(
    tx: &Transaction<'_>,
    id: &TransferId,
    shard: u32,
    status: Option<GroupStatus>,
    after: Option<u64>,
    limit: usize,
) -> Outcome<Vec<GroupRow>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (after, end) = bounds(shard, after);
    let row = |row: &Row<'_>| Ok(read(row)?.row);
    let rows = if let Some(status) = status {
        tx.prepare_cached(
            "SELECT * FROM groups WHERE transfer = ?1 AND status = ?2 AND sequence > ?3 \
             AND sequence < ?4 ORDER BY sequence LIMIT ?5",
        )?
        .query_map(params![id.as_str(), Json(status), after, end, limit], row)?
        .collect::<rusqlite::Result<_>>()?
    } else {
        tx.prepare_cached(
            "SELECT * FROM groups WHERE transfer = ?1 AND sequence > ?2 AND sequence < ?3 \
             ORDER BY sequence LIMIT ?4",
        )?
        .query_map(params![id.as_str(), after, end, limit], row)?
        .collect::<rusqlite::Result<_>>()?
    };
    Ok(rows)
}

pub(super) fn claim(
    tx: &Transaction<'_>,
    id: &TransferId,
    shard: u32,
    holder: HolderId,
    after: Option<u64>,
) -> Outcome<Option<GroupRow>> {
    let (after, end) = bounds(shard, after);
    let found = tx
        .prepare_cached(
            "SELECT * FROM groups WHERE transfer = ?1 AND status = ?2 AND sequence > ?3 \
             AND sequence < ?4 ORDER BY sequence LIMIT 1",
        )?
        .query_row(
            params![id.as_str(), Json(GroupStatus::Pending), after, end],
            read,
        )
        .optional()?;
    let Some(mut stored) = found else {
        return Ok(None);
    };
    stored.grant(holder);
    stored.save(tx, id)?;
    Ok(Some(stored.row))
}

pub(super) fn take_over(
    tx: &Transaction<'_>,
    id: &TransferId,
    group: GroupId,
    seen: &Lease,
    holder: HolderId,
) -> Outcome<GroupRow> {
    let mut stored = Stored::load(tx, id, group)?;
    if stored.row.status != GroupStatus::Leased {
        return lost(id, group);
    }
    let repetition = rules::next_lease(seen.fence, holder.clone());
    if stored.row.lease.as_ref() == Some(seen) {
        stored.grant(holder);
        stored.save(tx, id)?;
    } else if stored.row.lease != Some(repetition) {
        return lost(id, group);
    }
    Ok(stored.row)
}

pub(super) fn renew(
    tx: &Transaction<'_>,
    id: &TransferId,
    group: GroupId,
    lease: &Lease,
) -> Outcome<Lease> {
    let mut stored = Stored::load(tx, id, group)?;
    if !stored.is_held(lease) {
        return lost(id, group);
    }
    stored.raise_counter();
    stored.save(tx, id)?;
    stored.row.lease.map_or_else(|| lost(id, group), Ok)
}

pub(super) fn record(
    tx: &Transaction<'_>,
    id: &TransferId,
    group: GroupId,
    lease: &Lease,
    record: Record,
) -> Outcome<GroupRow> {
    let mut stored = Stored::load(tx, id, group)?;
    if !stored.is_latest(lease) {
        return lost(id, group);
    }
    let applied = Applied {
        done: record.done,
        receipts: record.receipts,
    };
    if stored.records.contains(&applied) {
        return Ok(stored.row);
    }
    if !stored.is_held(lease) {
        return lost(id, group);
    }
    let (chunks, was) = (stored.row.chunks, stored.row.done);
    rules::record(id, group, chunks, was, applied.done)?;
    let ended_here = match &record.supersede {
        Some((key, result)) => uploads::supersede(tx, id, key, result.as_ref())?,
        None => true,
    };
    // After the upload's result, which is counted there.
    let mut totals = Totals::load(tx, id)?;
    if ended_here {
        for new in &record.follow_up {
            let ordinal = totals.next_retry;
            insert(tx, id, &mut totals, GroupId::RETRY_RANGE, ordinal, new)?;
            totals.next_retry += 1;
        }
    }
    let row = &mut stored.row;
    row.done = row.done.union(applied.done);
    row.counts += record.counts;
    row.receipts.extend(applied.receipts.clone());
    if row.done == Bitmap::full(row.chunks) {
        row.status = GroupStatus::Done;
        totals.groups_done += 1;
    }
    totals.chunks_done += u64::from(applied.done.count());
    totals.done += record.counts;
    totals.save(tx, id)?;
    stored.records.push(applied);
    stored.raise_counter();
    stored.save(tx, id)?;
    Ok(stored.row)
}

pub(super) fn release(
    tx: &Transaction<'_>,
    id: &TransferId,
    group: GroupId,
    lease: &Lease,
) -> Outcome<()> {
    let mut stored = Stored::load(tx, id, group)?;
    if !stored.is_latest(lease) {
        return lost(id, group);
    }
    // Otherwise it was given back before, or is done.
    if stored.row.status == GroupStatus::Leased {
        stored.row.status = GroupStatus::Pending;
        stored.save(tx, id)?;
    }
    Ok(())
}
