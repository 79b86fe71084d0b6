//! Rows of listing ranges, and the segments that their listing wrote.

use serde::{Deserialize, Serialize};
use skyhaul_model::group::{Lease, RangeId};
use skyhaul_model::{Error, ErrorKind, HolderId, Result, TransferId};

use super::contention::Contention;
use super::expression::Expression;
use super::item::{BODY, Item, SORT, Stamp, VERSION, bytes, number, text};
use super::staging::{self, POINTER, Staged};
use super::table::{Query, Table, Write};
use super::versioned::{self, Step};
use super::{committed, key, pack};
use crate::rules::{self, RangeLease};
use crate::{ListCounts, ListSegmentKind, Publication, RangeRow};

const HOLDER: &str = "holder";
const FENCE: &str = "fence";
const COUNTER: &str = "counter";

/// What is read and written as a whole only.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Body {
    after: Option<String>,
    upto: Option<String>,
    cursor: Option<String>,
    counts: ListCounts,
    done: bool,
    /// Range and fence that it was split from.
    parent: Option<(u32, u64)>,
    /// Digest of the last publication.
    published: Option<String>,
    /// Number of the next list segment.
    next_segment: u32,
}

/// A row with what the trait does not show.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) row: RangeRow,
    /// Fence of the last lease, also while free.
    fence: u64,
    parent: Option<(u32, u64)>,
    published: Option<String>,
    next_segment: u32,
}

impl Stored {
    fn new(id: RangeId, after: Option<String>, upto: Option<String>) -> Self {
        Self {
            row: rules::new_range(id, after, upto),
            fence: 0,
            parent: None,
            published: None,
            next_segment: 0,
        }
    }

    fn read(item: &Item) -> Result<Self> {
        let body: Body = item.body()?;
        let id = u32::from_str_radix(item.text(SORT)?, 16).map_err(|_| item.damaged())?;
        let (fence, counter) = (item.number(FENCE)?, item.number(COUNTER)?);
        let holder = item.find_text(HOLDER)?;
        Ok(Self {
            row: RangeRow {
                id: RangeId(id),
                after: body.after,
                upto: body.upto,
                cursor: body.cursor,
                next_group: item.number(committed::NEXT)?,
                next_first: item.number(committed::NEXT_FIRST)?,
                counts: body.counts,
                done: body.done,
                lease: holder.map(|holder| Lease {
                    holder: HolderId(holder.to_owned()),
                    fence,
                    counter,
                }),
            },
            fence,
            parent: body.parent,
            published: body.published,
            next_segment: body.next_segment,
        })
    }

    fn item(&self, id: &TransferId) -> Result<Item> {
        let row = &self.row;
        let body = Body {
            after: row.after.clone(),
            upto: row.upto.clone(),
            cursor: row.cursor.clone(),
            counts: row.counts,
            done: row.done,
            parent: self.parent,
            published: self.published.clone(),
            next_segment: self.next_segment,
        };
        let counter = row.lease.as_ref().map_or(0, |lease| lease.counter);
        let item = Item::new(&key::range(id, row.id))
            .with(committed::NEXT, number(row.next_group))
            .with(committed::NEXT_FIRST, number(row.next_first))
            .with(FENCE, number(self.fence))
            .with(COUNTER, number(counter))
            .with(BODY, bytes(pack::json(&body)?));
        Ok(match &row.lease {
            Some(lease) => item.with(HOLDER, text(&lease.holder.0)),
            None => item,
        })
    }

    /// Leases it anew.
    fn grant(&mut self, holder: HolderId) {
        self.row.lease = Some(rules::next_lease(self.fence, holder));
        self.fence += 1;
    }

    fn is_held(&self, lease: &Lease) -> bool {
        rules::is_same(self.row.lease.as_ref(), lease)
    }
}

/// The write of the first range, of all keys, unless it is there.
pub(super) fn first(id: &TransferId) -> Result<Write> {
    let item = Stored::new(RangeId(0), None, None).item(id)?;
    versioned::replace(None, item, Stamp::new())
}

/// All ranges by id.
pub(super) async fn all(table: &Table, id: &TransferId) -> Result<Vec<Stored>> {
    let rows = table.all(&Query::of(key::ranges(id))).await?;
    rows.iter().map(Stored::read).collect()
}

pub(super) async fn lease(
    table: &Table,
    id: &TransferId,
    range: RangeId,
    holder: &HolderId,
    seen: Option<&Lease>,
) -> Result<RangeRow> {
    let decide = |found: Option<&Item>| {
        let found = found.ok_or_else(|| rules::no_range(id, range))?;
        let mut stored = Stored::read(found)?;
        match rules::lease_range(id, &stored.row, stored.fence, holder, seen)? {
            RangeLease::Repeated => Ok(Step::Keep(stored.row)),
            RangeLease::Granted => {
                stored.grant(holder.clone());
                Ok(Step::Write(stored.item(id)?, Vec::new(), stored.row))
            }
        }
    };
    table.modify(&key::range(id, range), decide).await
}

/// Stages groups and segments, then publishes them with the range's row in one write that is
/// refused unless the range is as it was read, lease and all.
pub(super) async fn publish(
    table: &Table,
    id: &TransferId,
    range: RangeId,
    lease: &Lease,
    publication: Publication,
) -> Result<RangeRow> {
    let failed = |error: serde_json::Error| {
        Error::control(ErrorKind::Internal, "a publication cannot be told apart").cause(error)
    };
    let digest = rules::digest(lease, &publication).map_err(failed)?;
    let mut rounds = Contention::default();
    loop {
        let found = table.get(&key::range(id, range)).await?;
        let found = found.ok_or_else(|| rules::no_range(id, range))?;
        let mut stored = Stored::read(&found)?;
        if stored.published.as_ref() == Some(&digest) && stored.fence == lease.fence {
            return Ok(stored.row);
        }
        if !stored.is_held(lease) {
            return Err(rules::range_taken(id, range));
        }
        rules::publish(id, &stored.row, &publication)?;

        let row = &stored.row;
        let mut rows = staging::groups(id, range, row.next_group, &publication.groups);
        let first = staging::groups(id, range.first(), row.next_first, &publication.first);
        rows.extend(first);
        let segments = &publication.segments;
        rows.extend(staging::list_segments(
            id,
            range,
            stored.next_segment,
            segments,
        ));
        match staging::stage(table, rows, found.number(VERSION)?).await? {
            Staged::Ready => advance(&mut stored, &publication, &digest),
            // The same row under its next version.
            Staged::Taken => {}
            Staged::Behind => {
                rounds.lost(BUSY).await?;
                continue;
            }
        }
        let write = versioned::replace(Some(&found), stored.item(id)?, Stamp::new())?;
        let published = stored.published.as_ref() == Some(&digest);
        if table.write(vec![write]).await? && published {
            return Ok(stored.row);
        }
        // One's own publication, if it was that, is known by its digest.
        rounds.lost(BUSY).await?;
    }
}

const BUSY: &str = "others keep changing this range's row in the state";

fn advance(stored: &mut Stored, publication: &Publication, digest: &str) {
    let row = &mut stored.row;
    row.next_group += publication.groups.len() as u32;
    row.next_first += publication.first.len() as u32;
    row.counts += publication.counts;
    row.cursor.clone_from(&publication.cursor);
    row.done = publication.done;
    match &mut row.lease {
        Some(held) if !publication.done => held.counter += 1,
        lease => *lease = None,
    }
    stored.next_segment += publication.segments.len() as u32;
    stored.published = Some(digest.to_owned());
}

pub(super) async fn split(
    table: &Table,
    id: &TransferId,
    range: RangeId,
    lease: &Lease,
    at: &str,
    lease_new: bool,
) -> Result<(RangeRow, RangeRow)> {
    let mut rounds = Contention::default();
    loop {
        let found = table.get(&key::range(id, range)).await?;
        let found = found.ok_or_else(|| rules::no_range(id, range))?;
        let mut stored = Stored::read(&found)?;
        let held = stored.is_held(lease);
        let inside = rules::cut(id, &stored.row, at);
        if !held || inside.is_err() {
            // What was cut off begins at the end of what is left, or beyond it.
            let cut = Some((range.0, lease.fence));
            let is_ours =
                |other: &Stored| other.parent == cut && other.row.after.as_deref() == Some(at);
            if let Some(child) = all(table, id).await?.into_iter().find(is_ours) {
                return Ok((stored.row, child.row));
            }
            if !held {
                return Err(rules::range_taken(id, range));
            }
            inside?;
        }
        let last = Query {
            descending: true,
            limit: Some(1),
            ..Query::of(key::ranges(id))
        };
        let (last, _) = table.page(&last, None).await?;
        let last = last.first().map_or(Ok(range), |last| {
            Stored::read(last).map(|stored| stored.row.id)
        })?;
        let at = Some(at.to_owned());
        let upto = stored.row.upto.take();
        let mut child = Stored::new(RangeId(last.0 + 1), at.clone(), upto);
        child.parent = Some((range.0, lease.fence));
        if lease_new {
            child.grant(lease.holder.clone());
        }
        stored.row.upto = at;
        let stamp = Stamp::new();
        let writes = vec![
            versioned::replace(Some(&found), stored.item(id)?, stamp)?,
            versioned::replace(None, child.item(id)?, stamp)?,
        ];
        if table.write(writes).await? {
            return Ok((stored.row, child.row));
        }
        // One's own cut, if it was that, is found above.
        rounds.lost(BUSY).await?;
    }
}

pub(super) async fn release(
    table: &Table,
    id: &TransferId,
    range: RangeId,
    lease: &Lease,
) -> Result<()> {
    let decide = |found: Option<&Item>| {
        let found = found.ok_or_else(|| rules::no_range(id, range))?;
        let mut stored = Stored::read(found)?;
        if stored.is_held(lease) {
            stored.row.lease = None;
            Ok(Step::Write(stored.item(id)?, Vec::new(), ()))
        } else if stored.row.lease.is_none() && stored.fence == lease.fence {
            // Given back already, or listed to its end.
            Ok(Step::Keep(()))
        } else {
            Err(rules::range_taken(id, range))
        }
    };
    table.modify(&key::range(id, range), decide).await
}

/// Published segments by range.
pub(super) async fn segments(
    table: &Table,
    id: &TransferId,
    kind: ListSegmentKind,
) -> Result<Vec<String>> {
    // Ranges first: what is published in them is there when the segments are read.
    let ranges = all(table, id).await?;
    let query = Query {
        sort: Expression::default().begins(SORT, text(key::kind_prefix(kind))),
        ..Query::of(key::list_segments(id))
    };
    let mut pointers = Vec::new();
    for item in table.all(&query).await? {
        let place = key::list_segment_place(item.text(SORT)?);
        let (range, number) = place.ok_or_else(|| item.damaged())?;
        let published = ranges
            .iter()
            .any(|of| of.row.id == range && number < of.next_segment);
        if published {
            pointers.push(item.text(POINTER)?.to_owned());
        }
    }
    Ok(pointers)
}
