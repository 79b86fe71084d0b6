//! The control plane's state in a table of its own, of the same shape as that of the transfers.
//!
//! | row | partition key | sort key |
//! |---|---|---|
//! | dataplane | `dataplanes` | its id |
//! | enrolment | the machine's name at its provider | `enrolment` |
//! | a transfer's wrapped secrets | `secrets` | the transfer |
//! | what the reaper saw | `reaper` | `sightings` |
//!
//! All dataplanes are in one partition: there are some tens, one query reads them strongly consistent, and
//! each is written some times in its life.

use async_trait::async_trait;
use aws_types::SdkConfig;
use bytes::Bytes;
use skyhaul_model::machine::DataplaneId;
use skyhaul_model::{Result, TransferId};

use super::item::{BODY, EXPIRES, Item, bytes, expires};
use super::key::Key;
use super::table::{Query, Table};
use super::versioned::Step;
use super::{Consumed, create, expression, open, pack};
use crate::control::{
    ControlState, DataplaneChange, DataplaneRow, Enrolment, EnrolmentChange, NewDataplane,
    Sightings, may_forget, no_dataplane, no_enrolment, other_words,
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

fn enrolment(machine: &str) -> Key {
    Key {
        partition: machine.to_owned(),
        sort: "enrolment".to_owned(),
    }
}

fn enrolment_item(row: &Enrolment) -> Result<Item> {
    Ok(Item::new(&enrolment(&row.machine)).with(BODY, bytes(pack::json(row)?)))
}

fn secrets(transfer: &TransferId) -> Key {
    Key {
        partition: "secrets".to_owned(),
        sort: transfer.to_string(),
    }
}

/// What is kept wrapped.
fn wrapped(found: &Item) -> Result<Bytes> {
    let bytes = found.find_bytes(BODY)?.ok_or_else(|| found.damaged())?;
    Ok(Bytes::copy_from_slice(bytes))
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

    async fn enrol(&self, row: &Enrolment) -> Result<()> {
        let decide = |found: Option<&Item>| {
            let known = found.map(Item::body::<Enrolment>).transpose()?;
            if known.is_some_and(|known| known.public_key == row.public_key) {
                return Ok(Step::Keep(()));
            }
            Ok(Step::Write(enrolment_item(row)?, Vec::new(), ()))
        };
        self.table.modify(&enrolment(&row.machine), decide).await
    }

    async fn enrolment(&self, machine: &str) -> Result<Option<Enrolment>> {
        let found = self.table.get(&enrolment(machine)).await?;
        found.as_ref().map(Item::body).transpose()
    }

    async fn change_enrolment(&self, machine: &str, change: &EnrolmentChange) -> Result<Enrolment> {
        let decide = |found: Option<&Item>| {
            let found = found.ok_or_else(|| no_enrolment(machine))?;
            let before: Enrolment = found.body()?;
            let mut row = before.clone();
            row.apply(change)?;
            if row == before {
                return Ok(Step::Keep(row));
            }
            Ok(Step::Write(enrolment_item(&row)?, Vec::new(), row))
        };
        self.table.modify(&enrolment(machine), decide).await
    }

    async fn strike(&self, machine: &str) -> Result<()> {
        self.table.remove(&enrolment(machine)).await
    }

    async fn secrets(&self, transfer: &TransferId) -> Result<Option<Bytes>> {
        let found = self.table.get(&secrets(transfer)).await?;
        found.as_ref().map(wrapped).transpose()
    }

    async fn keep_secrets(&self, transfer: &TransferId, new: &Bytes) -> Result<Bytes> {
        let key = secrets(transfer);
        let decide = |found: Option<&Item>| {
            if let Some(found) = found {
                return Ok(Step::Keep(wrapped(found)?));
            }
            let item = Item::new(&key).with(BODY, bytes(new.to_vec()));
            Ok(Step::Write(item, Vec::new(), new.clone()))
        };
        self.table.modify(&key, decide).await
    }

    async fn drop_secrets(&self, transfer: &TransferId) -> Result<()> {
        self.table.remove(&secrets(transfer)).await
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
