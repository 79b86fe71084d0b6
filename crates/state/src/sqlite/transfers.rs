//! Rows of transfers.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{Error, TransferId};

use super::column::{Json, json, signed, unsigned};
use super::failure::Outcome;
use super::ranges;
use super::totals::Totals;
use crate::{Progress, Submitted, TransferChange, TransferRow, rules};

fn read(row: &Row<'_>) -> rusqlite::Result<TransferRow> {
    let id: String = row.get("id")?;
    Ok(TransferRow {
        id: id.try_into().map_err(|error: Error| {
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
        })?,
        spec: json(row, "spec")?,
        fingerprint: row.get("fingerprint")?,
        status: json(row, "status")?,
        phase: json(row, "phase")?,
        attempt: row.get("attempt")?,
        created: json(row, "created")?,
        updated: json(row, "updated")?,
        error: row.get("error")?,
        revision: unsigned(row, "revision")?,
    })
}

fn find(tx: &Transaction<'_>, id: &TransferId) -> Outcome<Option<TransferRow>> {
    let mut query = tx.prepare_cached("SELECT * FROM transfers WHERE id = ?1")?;
    Ok(query.query_row([id.as_str()], read).optional()?)
}

pub(super) fn load(tx: &Transaction<'_>, id: &TransferId) -> Outcome<TransferRow> {
    find(tx, id)?.ok_or_else(|| rules::no_transfer(id).into())
}

pub(super) fn all(tx: &Transaction<'_>) -> Outcome<Vec<TransferRow>> {
    // Identifiers sort by the time of their making.
    let mut query = tx.prepare_cached("SELECT * FROM transfers ORDER BY id DESC")?;
    let rows = query.query_map([], read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn submit(
    tx: &Transaction<'_>,
    id: TransferId,
    spec: TransferSpec,
) -> Outcome<Submitted> {
    let fingerprint = spec.fingerprint();
    if let Some(row) = find(tx, &id)? {
        return if row.fingerprint == fingerprint {
            Ok(Submitted::Existing(row))
        } else {
            Err(rules::other_spec(&id).into())
        };
    }
    let row = rules::new_transfer(id, spec);
    tx.prepare_cached("INSERT INTO transfers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?
        .execute(params![
            row.id.as_str(),
            Json(&row.spec),
            row.fingerprint,
            Json(row.status),
            Json(row.phase),
            row.attempt,
            Json(row.created),
            Json(row.updated),
            row.error,
            signed(row.revision)?,
        ])?;
    Totals::insert(tx, &row.id)?;
    ranges::insert_first(tx, &row.id)?;
    Ok(Submitted::Created(row))
}

pub(super) fn change(
    tx: &Transaction<'_>,
    id: &TransferId,
    revision: u64,
    change: TransferChange,
) -> Outcome<TransferRow> {
    let mut row = load(tx, id)?;
    if row.revision != revision {
        return Err(rules::changed_meanwhile(id).into());
    }
    rules::change(&mut row, change);
    tx.prepare_cached(
        "UPDATE transfers SET status = ?2, phase = ?3, attempt = ?4, updated = ?5, error = ?6, \
         revision = ?7 WHERE id = ?1",
    )?
    .execute(params![
        id.as_str(),
        Json(row.status),
        Json(row.phase),
        row.attempt,
        Json(row.updated),
        row.error,
        signed(row.revision)?,
    ])?;
    Ok(row)
}

/// Everything else goes with the row.
pub(super) fn purge(tx: &Transaction<'_>, id: &TransferId) -> Outcome<()> {
    tx.execute("DELETE FROM transfers WHERE id = ?1", [id.as_str()])?;
    Ok(())
}

pub(super) fn progress(tx: &Transaction<'_>, id: &TransferId) -> Outcome<Progress> {
    let totals = Totals::load(tx, id)?;
    let mut progress = Progress {
        listing_done: true,
        done: totals.done,
        groups: totals.next_sequence,
        groups_done: totals.groups_done,
        chunks_done: totals.chunks_done,
        ..Progress::default()
    };
    for range in ranges::all(tx, id)? {
        progress.listed += range.counts;
        progress.listing_done &= range.done;
    }
    Ok(progress)
}
