//! The control plane's state in a table of its own, of the same shape as that of the transfers.
//!
//! | row | partition key | sort key |
//! |---|---|---|
//! | dataplane | `dataplanes` | its id |
//! | enrolment | the machine's name at its provider | `enrolment` |
//! | submission | `submission#` and the transfer | `submission` |
//! | that an attempt at it goes on | `live` | the transfer |
//! | schedule | `schedules` | its name |
//! | rule of triggers | `rules` | its name |
//! | key of a rule | `dirty#`, rule, `#`, key | `dirty` |
//! | what a region has | `regions` | its name |
//! | that the deployment is being removed | `deployment` | `closing` |
//! | a transfer's wrapped secrets | `secrets` | the transfer |
//! | what the reaper saw | `reaper` | `sightings` |
//!
//! A submission has a partition of its own, so that a policy can say who may submit and nothing else; whether
//! an attempt at it goes on is written in the same transaction where one query finds all. All
//! dataplanes are in one partition: there are some tens, one query reads them strongly consistent, and
//! each is written some times in its life.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_types::SdkConfig;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skyhaul_model::machine::DataplaneId;
use skyhaul_model::{Error, Result, TransferId};

use super::expression::Expression;
use super::item::{BODY, EXPIRES, Item, SORT, bytes, expires};
use super::key::Key;
use super::table::{Query, Table, Write};
use super::versioned::Step;
use super::{create, open, pack};
use crate::control::{
    ControlState, DataplaneChange, DataplaneRow, DirtyChange, DirtyKey, Enrolment, EnrolmentChange,
    NewDataplane, Rule, RuleKey, Schedule, ScheduleChange, Sightings, Stage, Submission,
    SubmissionChange, may_forget, no_dataplane, no_enrolment, no_schedule, no_submission,
    other_order, other_words,
};

const DATAPLANES: &str = "dataplanes";
const LIVE: &str = "live";
const SECRETS: &str = "secrets";
const SCHEDULES: &str = "schedules";
const RULES: &str = "rules";
const REGIONS: &str = "regions";

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

fn submission(transfer: &TransferId) -> Key {
    Key {
        partition: format!("submission#{transfer}"),
        sort: "submission".to_owned(),
    }
}

fn live(transfer: &TransferId) -> Key {
    Key {
        partition: LIVE.to_owned(),
        sort: transfer.to_string(),
    }
}

/// What is written with a submission, that was as `before`.
fn marked(before: Option<&Submission>, row: &Submission) -> Vec<Write> {
    let was = before.map(|before| before.stage);
    if was == Some(row.stage) {
        return Vec::new();
    }
    // Whoever else writes it writes the submission, too, and one of the two is refused.
    let (key, any) = (live(&row.transfer), Expression::default);
    vec![match row.stage {
        Stage::Live => Write::Put(Item::new(&key).with(EXPIRES, expires()), any()),
        Stage::Over => Write::Delete(key, any()),
    }]
}

fn schedule(name: &str) -> Key {
    Key {
        partition: SCHEDULES.to_owned(),
        sort: name.to_owned(),
    }
}

fn rule(name: &str) -> Key {
    Key {
        partition: RULES.to_owned(),
        sort: name.to_owned(),
    }
}

/// A partition for each, for any number may be worked on at once.
fn dirty(of: &RuleKey) -> Key {
    Key {
        partition: format!("dirty#{}#{}", of.rule, of.key),
        sort: "dirty".to_owned(),
    }
}

fn region(name: &str) -> Key {
    Key {
        partition: REGIONS.to_owned(),
        sort: name.to_owned(),
    }
}

fn closing() -> Key {
    Key {
        partition: "deployment".to_owned(),
        sort: "closing".to_owned(),
    }
}

fn secrets(transfer: &TransferId) -> Key {
    Key {
        partition: SECRETS.to_owned(),
        sort: transfer.to_string(),
    }
}

/// What is kept wrapped.
fn wrapped(found: &Item) -> Result<Bytes> {
    let bytes = found.find_bytes(BODY)?.ok_or_else(|| found.damaged())?;
    Ok(Bytes::copy_from_slice(bytes))
}

/// Nothing is written with a row.
fn alone<T>(_: &T, _: &T) -> Vec<Write> {
    Vec::new()
}

fn item<T: Serialize>(key: &Key, row: &T) -> Result<Item> {
    Ok(Item::new(key).with(BODY, bytes(pack::json(row)?)))
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

    async fn find<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>> {
        let found = self.table.get(key).await?;
        found.as_ref().map(Item::body).transpose()
    }

    /// Makes a change of a row by its rules; the row after it, written with what `with` says of it before and
    /// after. What it leaves as it is is not written.
    async fn alter<T>(
        &self,
        key: &Key,
        missing: impl Fn() -> Error + Send + Sync,
        apply: impl Fn(&mut T) -> Result<()> + Send + Sync,
        with: impl Fn(&T, &T) -> Vec<Write> + Send + Sync,
    ) -> Result<T>
    where
        T: Clone + PartialEq + Serialize + DeserializeOwned + Send,
    {
        let decide = |found: Option<&Item>| {
            let before: T = found.ok_or_else(&missing)?.body()?;
            let mut row = before.clone();
            apply(&mut row)?;
            if row == before {
                return Ok(Step::Keep(row));
            }
            Ok(Step::Write(item(key, &row)?, with(&before, &row), row))
        };
        self.table.modify(key, decide).await
    }

    /// Keeps a row unless there is one already, which must be of the same words; the one that there is now.
    async fn keep<T>(
        &self,
        key: &Key,
        new: &T,
        is_of: impl Fn(&T) -> bool + Send + Sync,
        other: impl Fn() -> Error + Send + Sync,
        with: Vec<Write>,
    ) -> Result<T>
    where
        T: Clone + Serialize + DeserializeOwned + Send + Sync,
    {
        let decide = |found: Option<&Item>| match found {
            None => Ok(Step::Write(item(key, new)?, with.clone(), new.clone())),
            Some(found) => {
                let known: T = found.body()?;
                if is_of(&known) {
                    Ok(Step::Keep(known))
                } else {
                    Err(other())
                }
            }
        };
        self.table.modify(key, decide).await
    }

    /// Puts a row in the place of whatever was there.
    async fn set<T: Serialize>(&self, key: &Key, row: &T, expires: bool) -> Result<()> {
        let mut item = item(key, row)?;
        if expires {
            item = item.with(EXPIRES, self::expires());
        }
        self.table.put(item, &Expression::default()).await?;
        Ok(())
    }
}

#[async_trait]
impl ControlState for DynamoDbControl {
    async fn create(&self, new: &NewDataplane) -> Result<DataplaneRow> {
        let row = DataplaneRow::new(new.clone())?;
        let is_of = |known: &DataplaneRow| known.is_of(new);
        let other = || other_words(&new.id);
        self.keep(&key(&new.id), &row, is_of, other, Vec::new())
            .await
    }

    async fn change(&self, id: &DataplaneId, change: &DataplaneChange) -> Result<DataplaneRow> {
        let apply = |row: &mut DataplaneRow| row.apply(change);
        self.alter(&key(id), || no_dataplane(id), apply, alone)
            .await
    }

    async fn dataplane(&self, id: &DataplaneId) -> Result<Option<DataplaneRow>> {
        self.find(&key(id)).await
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
        let key = enrolment(&row.machine);
        let decide = |found: Option<&Item>| {
            let known = found.map(Item::body::<Enrolment>).transpose()?;
            if known.is_some_and(|known| known.public_key == row.public_key) {
                return Ok(Step::Keep(()));
            }
            Ok(Step::Write(item(&key, row)?, Vec::new(), ()))
        };
        self.table.modify(&key, decide).await
    }

    async fn enrolment(&self, machine: &str) -> Result<Option<Enrolment>> {
        self.find(&enrolment(machine)).await
    }

    async fn change_enrolment(&self, machine: &str, change: &EnrolmentChange) -> Result<Enrolment> {
        let apply = |row: &mut Enrolment| row.apply(change);
        let missing = || no_enrolment(machine);
        self.alter(&enrolment(machine), missing, apply, alone).await
    }

    async fn strike(&self, machine: &str) -> Result<()> {
        self.table.remove(&enrolment(machine)).await
    }

    async fn submit(&self, new: &Submission) -> Result<Submission> {
        let is_of = |known: &Submission| known.is_of(new);
        let other = || other_order(&new.transfer);
        let with = marked(None, new);
        self.keep(&submission(&new.transfer), new, is_of, other, with)
            .await
    }

    async fn submission(&self, transfer: &TransferId) -> Result<Option<Submission>> {
        self.find(&submission(transfer)).await
    }

    async fn change_submission(
        &self,
        transfer: &TransferId,
        change: &SubmissionChange,
    ) -> Result<Submission> {
        let apply = |row: &mut Submission| row.apply(change);
        let missing = || no_submission(transfer);
        let with = |before: &_, row: &_| marked(Some(before), row);
        self.alter(&submission(transfer), missing, apply, with)
            .await
    }

    async fn live(&self) -> Result<Vec<TransferId>> {
        let rows = self.table.all(&Query::of(LIVE.to_owned())).await?;
        rows.iter().map(|row| row.text(SORT)?.parse()).collect()
    }

    async fn regions(&self) -> Result<BTreeMap<String, String>> {
        let rows = self.table.all(&Query::of(REGIONS.to_owned())).await?;
        let named = |row: &Item| Ok((row.text(SORT)?.to_owned(), row.body()?));
        rows.iter().map(named).collect()
    }

    async fn set_region(&self, name: &str, settings: Option<&str>) -> Result<()> {
        match settings {
            Some(settings) => self.set(&region(name), &settings, false).await,
            None => self.table.remove(&region(name)).await,
        }
    }

    async fn is_closing(&self) -> Result<bool> {
        Ok(self.table.get(&closing()).await?.is_some())
    }

    async fn set_closing(&self, is: bool) -> Result<()> {
        if is {
            self.set(&closing(), &is, false).await
        } else {
            self.table.remove(&closing()).await
        }
    }

    async fn set_schedule(&self, new: &Schedule) -> Result<Schedule> {
        let key = schedule(&new.name);
        let decide = |found: Option<&Item>| {
            let known = found.map(Item::body::<Schedule>).transpose()?;
            let row = new.clone().again(known.as_ref());
            Ok(Step::Write(item(&key, &row)?, Vec::new(), row))
        };
        self.table.modify(&key, decide).await
    }

    async fn schedule(&self, name: &str) -> Result<Option<Schedule>> {
        self.find(&schedule(name)).await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        let rows = self.table.all(&Query::of(SCHEDULES.to_owned())).await?;
        rows.iter().map(Item::body).collect()
    }

    async fn change_schedule(&self, name: &str, change: &ScheduleChange) -> Result<Schedule> {
        let apply = |row: &mut Schedule| row.apply(change);
        let missing = || no_schedule(name);
        self.alter(&schedule(name), missing, apply, alone).await
    }

    async fn drop_schedule(&self, name: &str) -> Result<()> {
        self.table.remove(&schedule(name)).await
    }

    async fn set_rule(&self, new: &Rule) -> Result<()> {
        new.check()?;
        self.set(&rule(&new.name), new, false).await
    }

    async fn rules(&self) -> Result<Vec<Rule>> {
        let rows = self.table.all(&Query::of(RULES.to_owned())).await?;
        rows.iter().map(Item::body).collect()
    }

    async fn drop_rule(&self, name: &str) -> Result<()> {
        self.table.remove(&rule(name)).await
    }

    async fn dirty(&self, of: &RuleKey) -> Result<DirtyKey> {
        let found = self.find(&dirty(of)).await?;
        Ok(found.unwrap_or_else(|| DirtyKey::new(of.clone())))
    }

    async fn change_dirty(&self, of: &RuleKey, change: &DirtyChange) -> Result<DirtyKey> {
        let key = dirty(of);
        let decide = |found: Option<&Item>| {
            let known = found.map(Item::body::<DirtyKey>).transpose()?;
            let before = known.unwrap_or_else(|| DirtyKey::new(of.clone()));
            let mut row = before.clone();
            row.apply(change)?;
            if row == before {
                return Ok(Step::Keep(row));
            }
            Ok(Step::Write(item(&key, &row)?, Vec::new(), row))
        };
        self.table.modify(&key, decide).await
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

    async fn secret_holders(&self) -> Result<Vec<TransferId>> {
        let query = Query {
            keys_only: true,
            ..Query::of(SECRETS.to_owned())
        };
        let rows = self.table.all(&query).await?;
        rows.iter().map(|row| row.text(SORT)?.parse()).collect()
    }

    async fn drop_secrets(&self, transfer: &TransferId) -> Result<()> {
        self.table.remove(&secrets(transfer)).await
    }

    async fn sightings(&self) -> Result<Sightings> {
        Ok(self.find(&sightings()).await?.unwrap_or_default())
    }

    async fn set_sightings(&self, seen: &Sightings) -> Result<()> {
        self.set(&sightings(), seen, true).await
    }
}
