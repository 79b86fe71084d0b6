//! Rows of groups: claims and leases. Each is one conditional write, without a reading before it;
//! what a refused one means is told by the row that it found.

use aws_sdk_dynamodb::types::AttributeValue;
use skyhaul_model::group::{Bitmap, Counts, GroupId, GroupStatus, Lease};
use skyhaul_model::{HolderId, Result, TransferId};

use super::committed::Committed;
use super::expression::Expression;
use super::item::{Item, SORT, Stamp, bytes, number, text};
use super::pack::Applied;
use super::table::{Query, Table, Written};
use super::{key, pack, progress};
use crate::{GroupRow, rules};

pub(super) const STATUS: &str = "status";
pub(super) const HOLDER: &str = "holder";
pub(super) const FENCE: &str = "fence";
pub(super) const COUNTER: &str = "counter";
pub(super) const CHUNKS: &str = "chunks";
pub(super) const BYTES: &str = "bytes";
pub(super) const SEGMENT: &str = "segment";
pub(super) const DONE: &str = "done";
pub(super) const COUNTS: &str = "counts";
pub(super) const RECORDS: &str = "records";

/// Rows that a claim reads at once: few where the cursor is near, more while it finds none.
const FIRST_PAGE: usize = 8;
const LARGEST_PAGE: usize = 512;

pub(super) fn status(status: GroupStatus) -> &'static str {
    match status {
        GroupStatus::Pending => "pending",
        GroupStatus::Leased => "leased",
        GroupStatus::Done => "done",
    }
}

pub(super) fn bitmap(bitmap: Bitmap) -> AttributeValue {
    bytes(bitmap.0.to_be_bytes())
}

/// A row with what the trait does not show.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) row: GroupRow,
    pub(super) records: Vec<Applied>,
}

impl Stored {
    pub(super) fn read(item: &Item) -> Result<Self> {
        let damaged = || item.damaged();
        let id = key::group_id(item.text(SORT)?).ok_or_else(damaged)?;
        let status = match item.text(STATUS)? {
            "pending" => GroupStatus::Pending,
            "leased" => GroupStatus::Leased,
            "done" => GroupStatus::Done,
            _ => return Err(damaged()),
        };
        let records = match item.find_bytes(RECORDS)? {
            Some(packed) => pack::from_records(packed).ok_or_else(damaged)?,
            None => Vec::new(),
        };
        let counts = match item.find_bytes(COUNTS)? {
            Some(packed) => pack::from_counts(packed).ok_or_else(damaged)?,
            None => Counts::default(),
        };
        let done = item.find_bytes(DONE)?.and_then(|done| done.try_into().ok());
        let (fence, counter) = (item.number(FENCE)?, item.number(COUNTER)?);
        let holder = item.find_text(HOLDER)?;
        Ok(Self {
            row: GroupRow {
                id,
                sequence: key::sequence(id),
                chunks: item.number(CHUNKS)?,
                bytes: item.number(BYTES)?,
                segment: item.text(SEGMENT)?.to_owned(),
                status,
                lease: holder.map(|holder| Lease {
                    holder: HolderId(holder.to_owned()),
                    fence,
                    counter,
                }),
                done: Bitmap(u64::from_be_bytes(done.ok_or_else(damaged)?)),
                counts,
                receipts: records
                    .iter()
                    .filter_map(|record| record.receipts.as_ref().map(pack::Pointer::text))
                    .collect(),
            },
            records,
        })
    }

    /// Whether somebody leased it before, so that it is published.
    fn was_leased(&self) -> bool {
        self.row.lease.is_some()
    }
}

/// That the group is leased with this lease, whatever its counter.
pub(super) fn held(lease: &Lease) -> Expression {
    Expression::default()
        .is(STATUS, text(status(GroupStatus::Leased)))
        .is(HOLDER, text(&lease.holder.0))
        .is(FENCE, number(lease.fence))
}

/// A lease that follows one with `fence`.
fn granted(condition: Expression, holder: &HolderId, fence: u64, stamp: Stamp) -> Expression {
    condition
        .set(STATUS, text(status(GroupStatus::Leased)))
        .set(HOLDER, text(&holder.0))
        .set(FENCE, number(fence + 1))
        .set(COUNTER, number(0_u64))
        .stamped(stamp)
}

pub(super) async fn load(table: &Table, id: &TransferId, group: GroupId) -> Result<Stored> {
    let place = key::group(id, group);
    let none = || rules::no_group(id, group);
    let stored = Stored::read(&table.get(&place).await?.ok_or_else(none)?)?;
    if stored.was_leased() {
        return Ok(stored);
    }
    let mut committed = Committed::default();
    committed.learn(table, id, group.range).await?;
    if committed.has(group) != Some(true) {
        return Err(none());
    }
    // Again: what was read may have been staged by somebody else than who published it.
    Stored::read(&table.get(&place).await?.ok_or_else(none)?)
}

pub(super) async fn list(
    table: &Table,
    id: &TransferId,
    shard: u32,
    with: Option<GroupStatus>,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<GroupRow>> {
    let after = match (with, after) {
        (Some(GroupStatus::Pending | GroupStatus::Leased), None) => {
            progress::mark(table, id, shard).await?
        }
        (_, after) => after,
    };
    let mut query = Query::of(key::groups(id, shard)).after(after.map(key::group_sort));
    if let Some(with) = with {
        query.filter = Expression::default().is(STATUS, text(status(with)));
    }
    let (mut rows, mut from, mut committed) = (Vec::new(), None, Committed::default());
    while rows.len() < limit {
        query.limit = Some((limit - rows.len()).clamp(FIRST_PAGE, LARGEST_PAGE));
        let (page, next) = table.page(&query, from.as_ref()).await?;
        let page: Vec<_> = page.iter().map(Stored::read).collect::<Result<_>>()?;
        let unknown = page
            .iter()
            .filter(|stored| !stored.was_leased() && committed.has(stored.row.id).is_none());
        let mut unknown: Vec<_> = unknown.map(|stored| stored.row.id.range).collect();
        unknown.dedup();
        if !unknown.is_empty() {
            for range in unknown {
                committed.learn(table, id, range).await?;
            }
            // Again: what was read before its range may have been staged only.
            continue;
        }
        let published = page
            .into_iter()
            .filter(|stored| stored.was_leased() || committed.has(stored.row.id) == Some(true));
        rows.extend(published.map(|stored| stored.row));
        match next {
            Some(_) => from = next,
            None => break,
        }
    }
    rows.truncate(limit);
    Ok(rows)
}

/// Groups in a row that nobody ever leased, after which none is looked for: holders take them in their order, and race
/// for few of them.
const UNTOUCHED: usize = 256;

pub(super) async fn leased(table: &Table, id: &TransferId, shard: u32) -> Result<Vec<GroupRow>> {
    let after = progress::mark(table, id, shard).await?;
    let open = [GroupStatus::Pending, GroupStatus::Leased];
    let query = Query {
        filter: Expression::default().one_of(STATUS, open.map(|open| text(status(open))).into()),
        limit: Some(UNTOUCHED),
        ..Query::of(key::groups(id, shard)).after(after.map(key::group_sort))
    };
    let (mut rows, mut from, mut untouched) = (Vec::new(), None, 0);
    loop {
        let (page, next) = table.page(&query, from.as_ref()).await?;
        for item in &page {
            let stored = Stored::read(item)?;
            untouched = if stored.was_leased() {
                0
            } else {
                untouched + 1
            };
            if stored.row.status == GroupStatus::Leased {
                rows.push(stored.row);
            }
        }
        if next.is_none() || untouched >= UNTOUCHED {
            return Ok(rows);
        }
        from = next;
    }
}

pub(super) async fn claim(
    table: &Table,
    id: &TransferId,
    shard: u32,
    holder: &HolderId,
    after: Option<u64>,
) -> Result<Option<GroupRow>> {
    let pending = || Expression::default().is(STATUS, text(status(GroupStatus::Pending)));
    // What is done is not read again and again.
    let after = match after {
        None => progress::mark(table, id, shard).await?,
        after => after,
    };
    let mut query = Query {
        filter: pending(),
        limit: Some(FIRST_PAGE),
        ..Query::of(key::groups(id, shard)).after(after.map(key::group_sort))
    };
    let (mut from, mut committed, stamp) = (None, Committed::default(), Stamp::new());
    loop {
        let (page, next) = table.page(&query, from.as_ref()).await?;
        for item in &page {
            let stored = Stored::read(item)?;
            let group = stored.row.id;
            if !stored.was_leased() {
                if committed.has(group).is_none() {
                    committed.learn(table, id, group.range).await?;
                }
                if committed.has(group) != Some(true) {
                    continue;
                }
            }
            // That of the row and not of the lease: a group that nobody leased has fence 0.
            let fence = item.number(FENCE)?;
            let change = granted(pending().is(FENCE, number(fence)), holder, fence, stamp);
            match table.update(&key::group(id, group), &change).await? {
                Written::Done(row) => return Ok(Some(Stored::read(&row)?.row)),
                Written::Refused(Some(row)) if row.is_by(stamp) => {
                    return Ok(Some(Stored::read(&row)?.row));
                }
                // A rival was faster.
                Written::Refused(_) => {}
            }
        }
        if next.is_none() {
            return Ok(None);
        }
        from = next;
        query.limit = query.limit.map(|limit| (limit * 4).min(LARGEST_PAGE));
    }
}

pub(super) async fn take_over(
    table: &Table,
    id: &TransferId,
    group: GroupId,
    seen: &Lease,
    holder: &HolderId,
) -> Result<GroupRow> {
    let stamp = Stamp::new();
    let condition = held(seen).is(COUNTER, number(seen.counter));
    let change = granted(condition, holder, seen.fence, stamp);
    let found = match table.update(&key::group(id, group), &change).await? {
        Written::Done(row) => return Ok(Stored::read(&row)?.row),
        Written::Refused(found) => judged(table, id, group, found).await?,
    };
    let repetition = rules::next_lease(seen.fence, holder.clone());
    if found.row.status == GroupStatus::Leased && found.row.lease == Some(repetition) {
        return Ok(found.row);
    }
    Err(rules::group_taken(id, group))
}

pub(super) async fn renew(
    table: &Table,
    id: &TransferId,
    group: GroupId,
    lease: &Lease,
) -> Result<Lease> {
    let stamp = Stamp::new();
    // A request that is sent again must not raise the counter twice.
    let change = held(lease).not_by(stamp).raise(COUNTER).stamped(stamp);
    let row = match table.update(&key::group(id, group), &change).await? {
        Written::Done(row) => Stored::read(&row)?.row,
        Written::Refused(Some(row)) if row.is_by(stamp) => Stored::read(&row)?.row,
        Written::Refused(found) => {
            judged(table, id, group, found).await?;
            return Err(rules::group_taken(id, group));
        }
    };
    row.lease.ok_or_else(|| rules::group_taken(id, group))
}

pub(super) async fn release(
    table: &Table,
    id: &TransferId,
    group: GroupId,
    lease: &Lease,
) -> Result<()> {
    let pending = text(status(GroupStatus::Pending));
    let change = held(lease).set(STATUS, pending).stamped(Stamp::new());
    let found = match table.update(&key::group(id, group), &change).await? {
        Written::Done(_) => return Ok(()),
        Written::Refused(found) => judged(table, id, group, found).await?,
    };
    // Otherwise it was given back before, or is done.
    if found.row.status != GroupStatus::Leased && rules::is_same(found.row.lease.as_ref(), lease) {
        return Ok(());
    }
    Err(rules::group_taken(id, group))
}

/// The row that refused a write; `NotFound` if there is none, or it is not published.
async fn judged(
    table: &Table,
    id: &TransferId,
    group: GroupId,
    found: Option<Item>,
) -> Result<Stored> {
    let found = found.ok_or_else(|| rules::no_group(id, group))?;
    let stored = Stored::read(&found)?;
    if stored.was_leased() {
        Ok(stored)
    } else {
        load(table, id, group).await
    }
}
