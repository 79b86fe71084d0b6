//! Rows of gateways.

use rusqlite::{Transaction, params};
use skyhaul_model::TransferId;

use super::column::{Json, json};
use super::failure::Outcome;
use super::transfers;
use crate::GatewayRow;

/// Puts a gateway's row in the place of the one that has its name.
pub(super) fn announce(tx: &Transaction<'_>, id: &TransferId, row: &GatewayRow) -> Outcome<()> {
    transfers::load(tx, id)?;
    tx.prepare_cached("INSERT OR REPLACE INTO gateways VALUES (?1, ?2, ?3)")?
        .execute(params![id.as_str(), row.name, Json(row)])?;
    Ok(())
}

/// All gateways by name.
pub(super) fn all(tx: &Transaction<'_>, id: &TransferId) -> Outcome<Vec<GatewayRow>> {
    let mut query =
        tx.prepare_cached("SELECT row FROM gateways WHERE transfer = ?1 ORDER BY name")?;
    let rows = query.query_map([id.as_str()], |row| json(row, "row"))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
