//! Rows of gateways.

use skyhaul_model::{Result, TransferId};

use super::expression::Expression;
use super::item::{BODY, EXPIRES, Item, bytes, expires};
use super::table::{Query, Table};
use super::{key, pack, transfers};
use crate::GatewayRow;

/// Puts a gateway's row in the place of the one that has its name. Only the gateway writes it, and
/// what an older announcement says is set right by the next.
pub(super) async fn announce(table: &Table, id: &TransferId, row: &GatewayRow) -> Result<()> {
    transfers::check(table, id).await?;
    let item = Item::new(&key::gateway(id, &row.name))
        .with(BODY, bytes(pack::json(row)?))
        .with(EXPIRES, expires());
    table.put(item, &Expression::default()).await?;
    Ok(())
}

/// All gateways by name.
pub(super) async fn all(table: &Table, id: &TransferId) -> Result<Vec<GatewayRow>> {
    let rows = table.all(&Query::of(key::gateways(id))).await?;
    rows.iter().map(Item::body).collect()
}
