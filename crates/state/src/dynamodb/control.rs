//! The control plane's state in a table of its own, of the same shape as that of the transfers.
//!
//! | row | partition key | sort key |
//! |---|---|---|
//! | dataplane | `dataplanes` | its id |
//! | what the reaper saw | `reaper` | `sightings` |
//!
//! All dataplanes are in one partition: there are some tens, one query reads them strongly consistent, and
//! each is written some times in its life.

use async_trait::async_trait;
use aws_types::SdkConfig;
use skyhaul_model::Result;
use skyhaul_model::machine::DataplaneId;

use super::item::{BODY, EXPIRES, Item, bytes, expires};
use super::key::Key;
use super::table::{Query, Table};
use super::versioned::Step;
use super::{Consumed, create, expression, open, pack};
use crate::control::{
    ControlState, DataplaneChange, DataplaneRow, NewDataplane, Sightings, may_forget, no_dataplane,
    other_words,
};

const DATAPLANES: &str = "dataplanes";

/// See the module documentation.
#[derive(Debug)]
pub struct DynamoDbControl {
    table: Table,
}

fn key(id: &DataplaneId) -> Key {
    Key {
        partition: DATAPLANES.to_owned(),
        sort: id.to_string(),
    }
}

fn sightings() -> Key {
    Key {
        partition: "reaper".to_owned(),
        sort: "sightings".to_owned(),
    }
}

fn item(row: &DataplaneRow) -> Result<Item> {
    Ok(Item::new(&key(&row.id)).with(BODY, bytes(pack::json(row)?)))
}

impl DynamoDbControl {
    /// State in a table that is there; nothing is sent yet. Region, credentials and endpoint are
    /// those of `config`, retries and timeouts are not.
    #[must_use]
    pub fn new(config: &SdkConfig, table: impl Into<String>) -> Self {
        Self {
            table: open(config, table.into()),
        }
    }

    /// Makes the table if there is none: for tests.
    pub async fn create_table(&self) -> Result<()> {
        create::create(&self.table).await
    }

    /// What the calls of this handle consumed.
    #[must_use]
    pub fn consumed(&self) -> Consumed {
        self.table.meter.read()
    }
}

#[async_trait]
impl ControlState for DynamoDbControl {
    async fn create(&self, new: &NewDataplane) -> Result<DataplaneRow> {
        let row = DataplaneRow::new(new.clone())?;
        let decide = |found: Option<&Item>| match found {
            None => Ok(Step::Write(item(&row)?, Vec::new(), row.clone())),
            Some(found) => {
                let known: DataplaneRow = found.body()?;
                if known.is_of(new) {
                    Ok(Step::Keep(known))
                } else {
                    Err(other_words(&new.id))
                }
            }
        };
        self.table.modify(&key(&new.id), decide).await
    }

    async fn change(&self, id: &DataplaneId, change: &DataplaneChange) -> Result<DataplaneRow> {
        let decide = |found: Option<&Item>| {
            let found = found.ok_or_else(|| no_dataplane(id))?;
            let before: DataplaneRow = found.body()?;
            let mut row = before.clone();
            row.apply(change)?;
            if row == before {
                return Ok(Step::Keep(row));
            }
            Ok(Step::Write(item(&row)?, Vec::new(), row))
        };
        self.table.modify(&key(id), decide).await
    }

    async fn dataplane(&self, id: &DataplaneId) -> Result<Option<DataplaneRow>> {
        let found = self.table.get(&key(id)).await?;
        found.as_ref().map(Item::body).transpose()
    }

    async fn dataplanes(&self) -> Result<Vec<DataplaneRow>> {
        let query = Query {
            descending: true,
            ..Query::of(DATAPLANES.to_owned())
        };
        let rows = self.table.all(&query).await?;
        rows.iter().map(Item::body).collect()
    }

    async fn forget(&self, id: &DataplaneId) -> Result<()> {
        let Some(row) = self.dataplane(id).await? else {
            return Ok(());
        };
        // What has ended stays so: nothing can happen to the row in between.
        may_forget(&row)?;
        self.table.remove(&key(id)).await
    }

    async fn sightings(&self) -> Result<Sightings> {
        match self.table.get(&sightings()).await? {
            Some(found) => found.body(),
            None => Ok(Sightings::new()),
        }
    }

    async fn set_sightings(&self, seen: &Sightings) -> Result<()> {
        let item = Item::new(&sightings())
            .with(BODY, bytes(pack::json(seen)?))
            .with(EXPIRES, expires());
        self.table
            .put(item, &expression::Expression::default())
            .await?;
        Ok(())
    }
}
