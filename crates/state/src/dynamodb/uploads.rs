//! Rows of multipart uploads.

use futures::{StreamExt as _, TryStreamExt as _};
use skyhaul_model::group::GroupId;
use skyhaul_model::{Result, TransferId};

use super::expression::Expression;
use super::item::{BODY, Item, SORT, Stamp, bytes, text};
use super::table::{Query, Table, Write};
use super::versioned::{self, Step};
use super::{key, pack, progress, transfers};
use crate::{NewUpload, UploadKey, UploadResult, UploadRow, UploadStatus, rules};

/// Also in the body; here so that a query can ask for it.
const STATUS: &str = "status";

fn status(status: UploadStatus) -> &'static str {
    match status {
        UploadStatus::Intent => "intent",
        UploadStatus::Open => "open",
        UploadStatus::Done => "done",
        UploadStatus::Superseded => "superseded",
        UploadStatus::Aborted => "aborted",
    }
}

fn item(id: &TransferId, row: &UploadRow) -> Result<Item> {
    Ok(Item::new(&key::upload(id, &row.key))
        .with(STATUS, text(status(row.status)))
        .with(BODY, bytes(pack::json(row)?)))
}

fn read(found: Option<&Item>, of: &UploadKey) -> Result<UploadRow> {
    found.ok_or_else(|| rules::no_upload(of))?.body()
}

pub(super) async fn find(
    table: &Table,
    id: &TransferId,
    of: &UploadKey,
) -> Result<Option<UploadRow>> {
    let found = table.get(&key::upload(id, of)).await?;
    found.as_ref().map(Item::body).transpose()
}

pub(super) async fn intend(table: &Table, id: &TransferId, new: NewUpload) -> Result<UploadRow> {
    transfers::check(table, id).await?;
    let decide = |found: Option<&Item>| {
        let Some(found) = found else {
            let row = rules::new_upload(new.clone());
            return Ok(Step::Write(item(id, &row)?, Vec::new(), row));
        };
        let mut row: UploadRow = found.body()?;
        if rules::intend(&mut row, &new) {
            return Ok(Step::Write(item(id, &row)?, Vec::new(), row));
        }
        Ok(Step::Keep(row))
    };
    table.modify(&key::upload(id, &new.key), decide).await
}

pub(super) async fn open(
    table: &Table,
    id: &TransferId,
    of: &UploadKey,
    token: &str,
) -> Result<UploadRow> {
    let decide = |found: Option<&Item>| {
        let mut row = read(found, of)?;
        if rules::open(&mut row, token) {
            return Ok(Step::Write(item(id, &row)?, Vec::new(), row));
        }
        Ok(Step::Keep(row))
    };
    table.modify(&key::upload(id, of), decide).await
}

pub(super) async fn slice(
    table: &Table,
    id: &TransferId,
    of: &UploadKey,
    group: GroupId,
    parts: u32,
) -> Result<UploadRow> {
    let decide = |found: Option<&Item>| {
        let mut row = read(found, of)?;
        if rules::slice(&mut row, group, parts) {
            return Ok(Step::Write(item(id, &row)?, Vec::new(), row));
        }
        Ok(Step::Keep(row))
    };
    table.modify(&key::upload(id, of), decide).await
}

pub(super) async fn advance(
    table: &Table,
    id: &TransferId,
    of: &UploadKey,
    from: &[UploadStatus],
    to: UploadStatus,
    result: Option<&UploadResult>,
) -> Result<bool> {
    rules::result(of, to, result)?;
    let decide = |found: Option<&Item>| {
        let row = read(found, of)?;
        if !rules::advance(of, row.status, from, to)? {
            return Ok(Step::Keep(row.status == to));
        }
        let (row, with) = end(id, row, to, result);
        Ok(Step::Write(item(id, &row)?, with, true))
    };
    table.modify(&key::upload(id, of), decide).await
}

/// The writes that give an upload up; none if it ended before.
pub(super) async fn supersede(
    table: &Table,
    id: &TransferId,
    of: &UploadKey,
    result: Option<&UploadResult>,
) -> Result<Option<Vec<Write>>> {
    let found = table.get(&key::upload(id, of)).await?;
    let row = read(found.as_ref(), of)?;
    if !row.status.is_under_way() {
        return Ok(None);
    }
    let (row, with) = end(id, row, UploadStatus::Superseded, result);
    let mut writes = vec![versioned::replace(
        found.as_ref(),
        item(id, &row)?,
        Stamp::new(),
    )?];
    writes.extend(with);
    Ok(Some(writes))
}

/// Sets status and result, which is counted by what is written with it.
fn end(
    id: &TransferId,
    mut row: UploadRow,
    to: UploadStatus,
    result: Option<&UploadResult>,
) -> (UploadRow, Vec<Write>) {
    let counted = rules::end(&mut row, to, result);
    let with = counted.and_then(|result| progress::counting(id, &row.key, result.counts));
    (row, with.into_iter().collect())
}

/// Uploads of all shards in the order of their keys.
pub(super) async fn list(
    table: &Table,
    id: &TransferId,
    statuses: &[UploadStatus],
    after: Option<&UploadKey>,
    limit: usize,
) -> Result<Vec<UploadRow>> {
    if statuses.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    let wanted: Vec<_> = statuses.iter().map(|of| text(status(*of))).collect();
    let shards = (0..key::SHARDS).map(|shard| {
        let query = Query {
            filter: Expression::default().one_of(STATUS, wanted.clone()),
            ..Query::of(key::uploads(id, shard)).after(after.map(key::upload_sort))
        };
        async move {
            let (mut rows, mut from) = (Vec::new(), None);
            while rows.len() < limit {
                let (page, next) = table.page(&query, from.as_ref()).await?;
                rows.extend(page);
                from = next;
                if from.is_none() {
                    break;
                }
            }
            Ok::<_, skyhaul_model::Error>(rows)
        }
    });
    let shards = futures::stream::iter(shards).buffer_unordered(key::SHARDS as usize);
    let mut items: Vec<Item> = shards.try_concat().await?;
    items.sort_by(|one, other| one.text(SORT).ok().cmp(&other.text(SORT).ok()));
    items.truncate(limit);
    items.iter().map(Item::body).collect()
}
