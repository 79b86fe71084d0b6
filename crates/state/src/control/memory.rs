//! The control plane's state in memory: for tests, and what others are compared with.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use skyhaul_model::machine::DataplaneId;
use skyhaul_model::{Result, TransferId};

use super::{
    ControlState, DataplaneChange, DataplaneRow, DirtyChange, DirtyKey, Enrolment, EnrolmentChange,
    NewDataplane, Rule, RuleKey, Schedule, ScheduleChange, Sightings, Stage, Submission,
    SubmissionChange, may_forget, no_dataplane, no_enrolment, no_schedule, no_submission,
    other_order, other_words,
};

/// See the module documentation.
#[derive(Debug, Default)]
pub struct MemoryControl(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    dataplanes: BTreeMap<DataplaneId, DataplaneRow>,
    enrolments: BTreeMap<String, Enrolment>,
    submissions: BTreeMap<TransferId, Submission>,
    regions: BTreeMap<String, String>,
    closing: bool,
    schedules: BTreeMap<String, Schedule>,
    rules: BTreeMap<String, Rule>,
    dirty: BTreeMap<RuleKey, DirtyKey>,
    secrets: BTreeMap<TransferId, Bytes>,
    sightings: Sightings,
}

impl MemoryControl {
    #[allow(clippy::unwrap_used)] // nobody panics while holding it
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap()
    }
}

#[async_trait]
impl ControlState for MemoryControl {
    async fn create(&self, new: &NewDataplane) -> Result<DataplaneRow> {
        let row = DataplaneRow::new(new.clone())?;
        let mut held = self.held();
        match held.dataplanes.get(&new.id) {
            Some(known) if known.is_of(new) => Ok(known.clone()),
            Some(_) => Err(other_words(&new.id)),
            None => {
                held.dataplanes.insert(new.id.clone(), row.clone());
                Ok(row)
            }
        }
    }

    async fn change(&self, id: &DataplaneId, change: &DataplaneChange) -> Result<DataplaneRow> {
        let mut held = self.held();
        let row = held.dataplanes.get_mut(id);
        let row = row.ok_or_else(|| no_dataplane(id))?;
        row.apply(change)?;
        Ok(row.clone())
    }

    async fn dataplane(&self, id: &DataplaneId) -> Result<Option<DataplaneRow>> {
        Ok(self.held().dataplanes.get(id).cloned())
    }

    async fn dataplanes(&self) -> Result<Vec<DataplaneRow>> {
        Ok(self.held().dataplanes.values().rev().cloned().collect())
    }

    async fn forget(&self, id: &DataplaneId) -> Result<()> {
        let mut held = self.held();
        if let Some(row) = held.dataplanes.get(id) {
            may_forget(row)?;
            held.dataplanes.remove(id);
        }
        Ok(())
    }

    async fn enrol(&self, row: &Enrolment) -> Result<()> {
        let mut held = self.held();
        let known = held.enrolments.get(&row.machine);
        if known.is_none_or(|known| known.public_key != row.public_key) {
            held.enrolments.insert(row.machine.clone(), row.clone());
        }
        Ok(())
    }

    async fn enrolment(&self, machine: &str) -> Result<Option<Enrolment>> {
        Ok(self.held().enrolments.get(machine).cloned())
    }

    async fn change_enrolment(&self, machine: &str, change: &EnrolmentChange) -> Result<Enrolment> {
        let mut held = self.held();
        let row = held.enrolments.get_mut(machine);
        let row = row.ok_or_else(|| no_enrolment(machine))?;
        row.apply(change)?;
        Ok(row.clone())
    }

    async fn strike(&self, machine: &str) -> Result<()> {
        self.held().enrolments.remove(machine);
        Ok(())
    }

    async fn submit(&self, new: &Submission) -> Result<Submission> {
        let mut held = self.held();
        let kept = held.submissions.entry(new.transfer.clone());
        let kept = kept.or_insert_with(|| new.clone());
        if kept.is_of(new) {
            Ok(kept.clone())
        } else {
            Err(other_order(&new.transfer))
        }
    }

    async fn submission(&self, transfer: &TransferId) -> Result<Option<Submission>> {
        Ok(self.held().submissions.get(transfer).cloned())
    }

    async fn change_submission(
        &self,
        transfer: &TransferId,
        change: &SubmissionChange,
    ) -> Result<Submission> {
        let mut held = self.held();
        let row = held.submissions.get_mut(transfer);
        let row = row.ok_or_else(|| no_submission(transfer))?;
        row.apply(change)?;
        Ok(row.clone())
    }

    async fn live(&self) -> Result<Vec<TransferId>> {
        let held = self.held();
        let all = held.submissions.values();
        let live = all.filter(|row| row.stage == Stage::Live);
        Ok(live.map(|row| row.transfer.clone()).collect())
    }

    async fn regions(&self) -> Result<BTreeMap<String, String>> {
        Ok(self.held().regions.clone())
    }

    async fn set_region(&self, name: &str, settings: Option<&str>) -> Result<()> {
        let mut held = self.held();
        match settings {
            Some(settings) => held.regions.insert(name.to_owned(), settings.to_owned()),
            None => held.regions.remove(name),
        };
        Ok(())
    }

    async fn is_closing(&self) -> Result<bool> {
        Ok(self.held().closing)
    }

    async fn set_closing(&self, closing: bool) -> Result<()> {
        self.held().closing = closing;
        Ok(())
    }

    async fn set_schedule(&self, new: &Schedule) -> Result<Schedule> {
        let mut held = self.held();
        let row = new.clone().again(held.schedules.get(&new.name));
        held.schedules.insert(new.name.clone(), row.clone());
        Ok(row)
    }

    async fn schedule(&self, name: &str) -> Result<Option<Schedule>> {
        Ok(self.held().schedules.get(name).cloned())
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        Ok(self.held().schedules.values().cloned().collect())
    }

    async fn change_schedule(&self, name: &str, change: &ScheduleChange) -> Result<Schedule> {
        let mut held = self.held();
        let row = held.schedules.get_mut(name);
        let row = row.ok_or_else(|| no_schedule(name))?;
        row.apply(change)?;
        Ok(row.clone())
    }

    async fn drop_schedule(&self, name: &str) -> Result<()> {
        self.held().schedules.remove(name);
        Ok(())
    }

    async fn set_rule(&self, rule: &Rule) -> Result<()> {
        rule.check()?;
        self.held().rules.insert(rule.name.clone(), rule.clone());
        Ok(())
    }

    async fn rules(&self) -> Result<Vec<Rule>> {
        Ok(self.held().rules.values().cloned().collect())
    }

    async fn drop_rule(&self, name: &str) -> Result<()> {
        self.held().rules.remove(name);
        Ok(())
    }

    async fn dirty(&self, of: &RuleKey) -> Result<DirtyKey> {
        let found = self.held().dirty.get(of).cloned();
        Ok(found.unwrap_or_else(|| DirtyKey::new(of.clone())))
    }

    async fn change_dirty(&self, of: &RuleKey, change: &DirtyChange) -> Result<DirtyKey> {
        let mut held = self.held();
        let known = held.dirty.get(of).cloned();
        let mut row = known.unwrap_or_else(|| DirtyKey::new(of.clone()));
        row.apply(change)?;
        held.dirty.insert(of.clone(), row.clone());
        Ok(row)
    }

    async fn secrets(&self, transfer: &TransferId) -> Result<Option<Bytes>> {
        Ok(self.held().secrets.get(transfer).cloned())
    }

    async fn keep_secrets(&self, transfer: &TransferId, wrapped: &Bytes) -> Result<Bytes> {
        let mut held = self.held();
        let kept = held.secrets.entry(transfer.clone());
        Ok(kept.or_insert_with(|| wrapped.clone()).clone())
    }

    async fn secret_holders(&self) -> Result<Vec<TransferId>> {
        Ok(self.held().secrets.keys().cloned().collect())
    }

    async fn drop_secrets(&self, transfer: &TransferId) -> Result<()> {
        self.held().secrets.remove(transfer);
        Ok(())
    }

    async fn sightings(&self) -> Result<Sightings> {
        Ok(self.held().sightings.clone())
    }

    async fn set_sightings(&self, seen: &Sightings) -> Result<()> {
        self.held().sightings.clone_from(seen);
        Ok(())
    }
}
