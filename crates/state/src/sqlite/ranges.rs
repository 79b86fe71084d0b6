//! Rows of listing ranges, and the segments that their listing wrote.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use skyhaul_model::group::{Lease, RangeId};
use skyhaul_model::{HolderId, TransferId};

use super::column::{Json, json, signed, unsigned};
use super::failure::Outcome;
use super::groups;
use super::totals::Totals;
use crate::rules::{self, RangeLease};
use crate::{ListSegmentKind, Publication, RangeRow};

/// A row with what the trait does not show.
struct Stored {
    row: RangeRow,
    /// Fence of the last lease, also while free.
    fence: u64,
    /// Range and fence that it was split from.
    parent: Option<(u32, u64)>,
    /// Digest of the last publication.
    published: Option<String>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let fence = unsigned(row, "fence")?;
    let counter = unsigned(row, "counter")?;
    let holder: Option<String> = row.get("holder")?;
    let parent: Option<u32> = row.get("parent")?;
    let parent = match parent {
        Some(parent) => Some((parent, unsigned(row, "parent_fence")?)),
        None => None,
    };
    Ok(Stored {
        row: RangeRow {
            id: RangeId(row.get("id")?),
            after: row.get("after")?,
            upto: row.get("upto")?,
            cursor: row.get("cursor")?,
            next_group: row.get("next_group")?,
            next_first: row.get("next_first")?,
            counts: json(row, "counts")?,
            done: row.get("done")?,
            lease: holder.map(|holder| Lease {
                holder: HolderId(holder),
                fence,
                counter,
            }),
        },
        fence,
        parent,
        published: row.get("published")?,
    })
}

impl Stored {
    fn new(id: RangeId, after: Option<String>, upto: Option<String>) -> Self {
        Self {
            row: rules::new_range(id, after, upto),
            fence: 0,
            parent: None,
            published: None,
        }
    }

    fn load(tx: &Transaction<'_>, id: &TransferId, range: RangeId) -> Outcome<Self> {
        tx.prepare_cached("SELECT * FROM ranges WHERE transfer = ?1 AND id = ?2")?
            .query_row(params![id.as_str(), range.0], read)
            .optional()?
            .ok_or_else(|| rules::no_range(id, range).into())
    }

    fn save(&self, tx: &Transaction<'_>, id: &TransferId) -> Outcome<()> {
        let row = &self.row;
        let lease = row.lease.as_ref();
        tx.prepare_cached(
            "INSERT OR REPLACE INTO ranges VALUES \
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            id.as_str(),
            row.id.0,
            row.after,
            row.upto,
            row.cursor,
            row.next_group,
            Json(row.counts),
            row.done,
            lease.map(|lease| &lease.holder.0),
            signed(self.fence)?,
            signed(lease.map_or(0, |lease| lease.counter))?,
            self.parent.map(|(parent, _)| parent),
            self.parent.map(|(_, fence)| signed(fence)).transpose()?,
            self.published,
            row.next_first,
        ])?;
        Ok(())
    }

    /// Leases it anew.
    fn grant(&mut self, holder: HolderId) {
        self.row.lease = Some(rules::next_lease(self.fence, holder));
        self.fence += 1;
    }
}

pub(super) fn insert_first(tx: &Transaction<'_>, id: &TransferId) -> Outcome<()> {
    Stored::new(RangeId(0), None, None).save(tx, id)
}

pub(super) fn all(tx: &Transaction<'_>, id: &TransferId) -> Outcome<Vec<RangeRow>> {
    let mut query = tx.prepare_cached("SELECT * FROM ranges WHERE transfer = ?1 ORDER BY id")?;
    let rows = query.query_map([id.as_str()], |row| Ok(read(row)?.row))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn lease(
    tx: &Transaction<'_>,
    id: &TransferId,
    range: RangeId,
    holder: HolderId,
    seen: Option<&Lease>,
) -> Outcome<RangeRow> {
    let mut stored = Stored::load(tx, id, range)?;
    match rules::lease_range(id, &stored.row, stored.fence, &holder, seen)? {
        RangeLease::Repeated => return Ok(stored.row),
        RangeLease::Granted => {}
    }
    stored.grant(holder);
    stored.save(tx, id)?;
    Ok(stored.row)
}

pub(super) fn publish(
    tx: &Transaction<'_>,
    id: &TransferId,
    range: RangeId,
    lease: &Lease,
    publication: Publication,
) -> Outcome<RangeRow> {
    let mut stored = Stored::load(tx, id, range)?;
    let digest = rules::digest(lease, &publication)?;
    if stored.published.as_ref() == Some(&digest) && stored.fence == lease.fence {
        return Ok(stored.row);
    }
    if !rules::is_same(stored.row.lease.as_ref(), lease) {
        return Err(rules::range_taken(id, range).into());
    }
    rules::publish(id, &stored.row, &publication)?;
    let row = &mut stored.row;
    let mut totals = Totals::load(tx, id)?;
    for new in &publication.groups {
        groups::insert(tx, id, &mut totals, range, row.next_group, new)?;
        row.next_group += 1;
    }
    for new in &publication.first {
        groups::insert(tx, id, &mut totals, range.first(), row.next_first, new)?;
        row.next_first += 1;
    }
    totals.save(tx, id)?;
    for (kind, pointer) in &publication.segments {
        tx.prepare_cached(
            "INSERT INTO segments SELECT ?1, ?2, coalesce(max(number), 0) + 1, ?3 \
             FROM segments WHERE transfer = ?1 AND kind = ?2",
        )?
        .execute(params![id.as_str(), Json(kind), pointer])?;
    }
    row.counts += publication.counts;
    row.cursor = publication.cursor;
    row.done = publication.done;
    if row.done {
        row.lease = None;
    } else if let Some(held) = &mut row.lease {
        held.counter += 1;
    }
    stored.published = Some(digest);
    stored.save(tx, id)?;
    Ok(stored.row)
}

pub(super) fn split(
    tx: &Transaction<'_>,
    id: &TransferId,
    range: RangeId,
    lease: &Lease,
    at: String,
    lease_new: bool,
) -> Outcome<(RangeRow, RangeRow)> {
    let mut stored = Stored::load(tx, id, range)?;
    let repeated = tx
        .prepare_cached(
            "SELECT * FROM ranges \
             WHERE transfer = ?1 AND parent = ?2 AND parent_fence = ?3 AND after = ?4",
        )?
        .query_row(
            params![id.as_str(), range.0, signed(lease.fence)?, at],
            read,
        )
        .optional()?;
    if let Some(child) = repeated {
        return Ok((stored.row, child.row));
    }
    if !rules::is_same(stored.row.lease.as_ref(), lease) {
        return Err(rules::range_taken(id, range).into());
    }
    rules::cut(id, &stored.row, &at)?;
    let at = Some(at);
    let mut totals = Totals::load(tx, id)?;
    let mut child = Stored::new(
        RangeId(totals.next_range),
        at.clone(),
        stored.row.upto.take(),
    );
    child.parent = Some((range.0, lease.fence));
    if lease_new {
        child.grant(lease.holder.clone());
    }
    totals.next_range += 1;
    totals.save(tx, id)?;
    stored.row.upto = at;
    stored.save(tx, id)?;
    child.save(tx, id)?;
    Ok((stored.row, child.row))
}

pub(super) fn release(
    tx: &Transaction<'_>,
    id: &TransferId,
    range: RangeId,
    lease: &Lease,
) -> Outcome<()> {
    let mut stored = Stored::load(tx, id, range)?;
    if rules::is_same(stored.row.lease.as_ref(), lease) {
        stored.row.lease = None;
        stored.save(tx, id)
    } else if stored.row.lease.is_none() && stored.fence == lease.fence {
        // Given back already, or listed to its end.
        Ok(())
    } else {
        Err(rules::range_taken(id, range).into())
    }
}

pub(super) fn segments(
    tx: &Transaction<'_>,
    id: &TransferId,
    kind: ListSegmentKind,
) -> Outcome<Vec<String>> {
    let mut query = tx.prepare_cached(
        "SELECT pointer FROM segments WHERE transfer = ?1 AND kind = ?2 ORDER BY number",
    )?;
    let rows = query.query_map(params![id.as_str(), Json(kind)], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
