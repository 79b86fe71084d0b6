//! Rows of transfers, and the list of all.

use futures::{StreamExt as _, TryStreamExt as _};
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{Result, TransferId};

use super::item::{BODY, EXPIRES, Item, SORT, Stamp, bytes, expires};
use super::table::{Query, Table, Write, Written};
use super::versioned::{self, Step};
use super::{CONCURRENT, key, pack, ranges};
use crate::{Submitted, TransferChange, TransferRow, rules};

/// The row. The specification is in it: changes are few.
fn item(row: &TransferRow) -> Result<Item> {
    Ok(Item::new(&key::transfer(&row.id)).with(BODY, bytes(pack::json(row)?)))
}

async fn find(table: &Table, id: &TransferId) -> Result<Option<Item>> {
    table.get(&key::transfer(id)).await
}

/// `NotFound` if there is no such transfer.
pub(super) async fn check(table: &Table, id: &TransferId) -> Result<()> {
    match find(table, id).await? {
        Some(_) => Ok(()),
        None => Err(rules::no_transfer(id)),
    }
}

pub(super) async fn load(table: &Table, id: &TransferId) -> Result<TransferRow> {
    match find(table, id).await? {
        Some(found) => found.body(),
        None => Err(rules::no_transfer(id)),
    }
}

pub(super) async fn all(table: &Table) -> Result<Vec<TransferRow>> {
    // Identifiers sort by the time of their making.
    let query = Query {
        descending: true,
        ..Query::of(key::TRANSFERS.to_owned())
    };
    let ids = table.all(&query).await?;
    let rows = futures::stream::iter(ids).map(|listed| async move {
        let id: TransferId = listed.text(SORT)?.parse().map_err(|_| listed.damaged())?;
        match find(table, &id).await? {
            Some(found) => found.body().map(Some),
            // Being submitted or purged.
            None => Ok(None),
        }
    });
    let rows = rows.buffered(CONCURRENT);
    rows.try_filter_map(|row| async { Ok(row) })
        .try_collect()
        .await
}

/// Writes a transfer's rows, its own last: with that it is there. Whatever an earlier call left is
/// the same and stays.
pub(super) async fn submit(
    table: &Table,
    id: &TransferId,
    spec: &TransferSpec,
) -> Result<Submitted> {
    let row = rules::new_transfer(id.clone(), spec.clone());
    let existing = |found: &Item| {
        let known: TransferRow = found.body()?;
        if known.fingerprint == row.fingerprint {
            Ok(Submitted::Existing(known))
        } else {
            Err(rules::other_spec(id))
        }
    };
    if let Some(found) = find(table, id).await? {
        return existing(&found);
    }
    let stamp = Stamp::new();
    let own = versioned::replace(None, item(&row)?, stamp)?;
    let listed = Item::new(&key::listed(id)).with(EXPIRES, expires());
    table
        .put(listed, &super::expression::Expression::default())
        .await?;
    table.write(vec![ranges::first(id)?]).await?;
    let Write::Put(own, when) = own else {
        return Ok(Submitted::Created(row));
    };
    match table.put(own, &when).await? {
        Written::Refused(Some(found)) if !found.is_by(stamp) => existing(&found),
        Written::Refused(None) => Err(rules::no_transfer(id)),
        Written::Refused(Some(_)) | Written::Done(_) => Ok(Submitted::Created(row)),
    }
}

pub(super) async fn change(
    table: &Table,
    id: &TransferId,
    revision: u64,
    change: TransferChange,
) -> Result<TransferRow> {
    let decide = |found: Option<&Item>| {
        let found = found.ok_or_else(|| rules::no_transfer(id))?;
        let mut row: TransferRow = found.body()?;
        if row.revision != revision {
            return Err(rules::changed_meanwhile(id));
        }
        rules::change(&mut row, change.clone());
        Ok(Step::Write(item(&row)?, Vec::new(), row))
    };
    table.modify(&key::transfer(id), decide).await
}

/// Removes all rows: the transfer's own first, so that it is gone at once, and its place in the
/// list last, so that a call that was cut short can be made again by whoever sees it there.
pub(super) async fn purge(table: &Table, id: &TransferId) -> Result<()> {
    for partition in key::partitions(id) {
        table.clear(partition).await?;
    }
    table.remove(&key::listed(id)).await
}
