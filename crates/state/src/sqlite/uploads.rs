//! Rows of multipart uploads.

use rusqlite::{OptionalExtension as _, Row, Transaction, params, params_from_iter};
use skyhaul_model::TransferId;
use skyhaul_model::group::GroupId;

use super::column::{Json, json};
use super::failure::Outcome;
use super::totals::Totals;
use super::transfers;
use crate::{NewUpload, UploadKey, UploadResult, UploadRow, UploadStatus, rules};

fn read(row: &Row<'_>) -> rusqlite::Result<UploadRow> {
    let result: Option<Json<UploadResult>> = row.get("result")?;
    Ok(UploadRow {
        key: UploadKey {
            destination: row.get("destination")?,
            key: row.get("key")?,
            attempt: row.get("attempt")?,
        },
        status: json(row, "status")?,
        intended: json(row, "intended")?,
        strangers: json(row, "strangers")?,
        token: row.get("token")?,
        parts_total: row.get("parts_total")?,
        slices: json(row, "slices")?,
        task: row.get("task")?,
        result: result.map(|result| result.0),
    })
}

pub(super) fn find(
    tx: &Transaction<'_>,
    id: &TransferId,
    key: &UploadKey,
) -> Outcome<Option<UploadRow>> {
    let mut query = tx.prepare_cached(
        "SELECT * FROM uploads \
         WHERE transfer = ?1 AND destination = ?2 AND key = ?3 AND attempt = ?4",
    )?;
    let found = query.query_row(
        params![id.as_str(), key.destination, key.key, key.attempt],
        read,
    );
    Ok(found.optional()?)
}

fn load(tx: &Transaction<'_>, id: &TransferId, key: &UploadKey) -> Outcome<UploadRow> {
    find(tx, id, key)?.ok_or_else(|| rules::no_upload(key).into())
}

fn save(tx: &Transaction<'_>, id: &TransferId, row: &UploadRow) -> Outcome<()> {
    tx.prepare_cached(
        "UPDATE uploads SET status = ?5, intended = ?6, strangers = ?7, token = ?8, slices = ?9, \
         result = ?10 \
         WHERE transfer = ?1 AND destination = ?2 AND key = ?3 AND attempt = ?4",
    )?
    .execute(params![
        id.as_str(),
        row.key.destination,
        row.key.key,
        row.key.attempt,
        Json(row.status),
        Json(row.intended),
        Json(&row.strangers),
        row.token,
        Json(&row.slices),
        row.result.as_ref().map(Json),
    ])?;
    Ok(())
}

pub(super) fn intend(tx: &Transaction<'_>, id: &TransferId, new: NewUpload) -> Outcome<UploadRow> {
    if let Some(mut row) = find(tx, id, &new.key)? {
        if rules::intend(&mut row, &new) {
            save(tx, id, &row)?;
        }
        return Ok(row);
    }
    transfers::load(tx, id)?;
    let row = rules::new_upload(new);
    tx.prepare_cached(
        "INSERT INTO uploads VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, ?8, '[]', ?9, NULL)",
    )?
    .execute(params![
        id.as_str(),
        row.key.destination,
        row.key.key,
        row.key.attempt,
        Json(row.status),
        Json(row.intended),
        Json(&row.strangers),
        row.parts_total,
        row.task,
    ])?;
    Ok(row)
}

pub(super) fn open(
    tx: &Transaction<'_>,
    id: &TransferId,
    key: &UploadKey,
    token: &str,
) -> Outcome<UploadRow> {
    let mut row = load(tx, id, key)?;
    if rules::open(&mut row, token) {
        save(tx, id, &row)?;
    }
    Ok(row)
}

pub(super) fn slice(
    tx: &Transaction<'_>,
    id: &TransferId,
    key: &UploadKey,
    group: GroupId,
    parts: u32,
) -> Outcome<UploadRow> {
    let mut row = load(tx, id, key)?;
    if rules::slice(&mut row, group, parts) {
        save(tx, id, &row)?;
    }
    Ok(row)
}

pub(super) fn advance(
    tx: &Transaction<'_>,
    id: &TransferId,
    key: &UploadKey,
    from: &[UploadStatus],
    to: UploadStatus,
    result: Option<&UploadResult>,
) -> Outcome<bool> {
    rules::result(key, to, result)?;
    let mut row = load(tx, id, key)?;
    if !rules::advance(key, row.status, from, to)? {
        return Ok(row.status == to);
    }
    end(tx, id, &mut row, to, result)?;
    Ok(true)
}

/// Gives an upload up unless it ended; returns whether this call did.
pub(super) fn supersede(
    tx: &Transaction<'_>,
    id: &TransferId,
    key: &UploadKey,
    result: Option<&UploadResult>,
) -> Outcome<bool> {
    let mut row = load(tx, id, key)?;
    if !row.status.is_under_way() {
        return Ok(false);
    }
    end(tx, id, &mut row, UploadStatus::Superseded, result)?;
    Ok(true)
}

/// Sets status and result, which is counted here and nowhere else.
fn end(
    tx: &Transaction<'_>,
    id: &TransferId,
    row: &mut UploadRow,
    to: UploadStatus,
    result: Option<&UploadResult>,
) -> Outcome<()> {
    if let Some(result) = rules::end(row, to, result) {
        let mut totals = Totals::load(tx, id)?;
        totals.done += result.counts;
        totals.save(tx, id)?;
    }
    save(tx, id, row)
}

pub(super) fn list(
    tx: &Transaction<'_>,
    id: &TransferId,
    statuses: &[UploadStatus],
    after: Option<&UploadKey>,
    limit: usize,
) -> Outcome<Vec<UploadRow>> {
    use rusqlite::types::Value;

    let marks = vec!["?"; statuses.len()].join(", ");
    let (bound, mut values) = match after {
        Some(key) => (
            "(destination, key, attempt) > (?, ?, ?)",
            vec![
                Value::from(key.destination),
                Value::from(key.key.clone()),
                Value::from(key.attempt),
            ],
        ),
        None => ("true", Vec::new()),
    };
    values.insert(0, Value::from(id.as_str().to_owned()));
    for status in statuses {
        let name = serde_json::to_value(status)?;
        values.push(Value::from(name.as_str().unwrap_or_default().to_owned()));
    }
    values.push(Value::from(i64::try_from(limit).unwrap_or(i64::MAX)));
    let mut query = tx.prepare_cached(&format!(
        "SELECT * FROM uploads WHERE transfer = ? AND {bound} AND status IN ({marks}) \
         ORDER BY destination, key, attempt LIMIT ?"
    ))?;
    let rows = query.query_map(params_from_iter(values), read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
