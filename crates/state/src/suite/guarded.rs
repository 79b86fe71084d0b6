//! The control plane's state in memory with something around each of its calls: faults, pauses.

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use skyhaul_model::machine::DataplaneId;
use skyhaul_model::{Result, TransferId};

use crate::control::{
    ControlState, DataplaneChange, DataplaneRow, DirtyChange, DirtyKey, Enrolment, EnrolmentChange,
    MemoryControl, NewDataplane, Rule, RuleKey, Schedule, ScheduleChange, Sightings, Submission,
    SubmissionChange,
};

/// What happens around each call.
pub trait Guard: Debug + Send + Sync {
    /// Makes the call, or not, and gives its reply, or another.
    fn around<T: Send>(
        &self,
        call: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Guarded<G> {
    /// The state itself.
    pub rows: MemoryControl,
    /// What happens around its calls.
    pub guard: G,
}

#[async_trait]
impl<G: Guard> ControlState for Guarded<G> {
    async fn create(&self, new: &NewDataplane) -> Result<DataplaneRow> {
        self.guard.around(self.rows.create(new)).await
    }

    async fn change(&self, id: &DataplaneId, change: &DataplaneChange) -> Result<DataplaneRow> {
        self.guard.around(self.rows.change(id, change)).await
    }

    async fn dataplane(&self, id: &DataplaneId) -> Result<Option<DataplaneRow>> {
        self.guard.around(self.rows.dataplane(id)).await
    }

    async fn dataplanes(&self) -> Result<Vec<DataplaneRow>> {
        self.guard.around(self.rows.dataplanes()).await
    }

    async fn forget(&self, id: &DataplaneId) -> Result<()> {
        self.guard.around(self.rows.forget(id)).await
    }

    async fn enrol(&self, row: &Enrolment) -> Result<()> {
        self.guard.around(self.rows.enrol(row)).await
    }

    async fn enrolment(&self, machine: &str) -> Result<Option<Enrolment>> {
        self.guard.around(self.rows.enrolment(machine)).await
    }

    async fn change_enrolment(&self, machine: &str, change: &EnrolmentChange) -> Result<Enrolment> {
        self.guard
            .around(self.rows.change_enrolment(machine, change))
            .await
    }

    async fn strike(&self, machine: &str) -> Result<()> {
        self.guard.around(self.rows.strike(machine)).await
    }

    async fn submit(&self, new: &Submission) -> Result<Submission> {
        self.guard.around(self.rows.submit(new)).await
    }

    async fn submission(&self, transfer: &TransferId) -> Result<Option<Submission>> {
        self.guard.around(self.rows.submission(transfer)).await
    }

    async fn change_submission(
        &self,
        transfer: &TransferId,
        change: &SubmissionChange,
    ) -> Result<Submission> {
        self.guard
            .around(self.rows.change_submission(transfer, change))
            .await
    }

    async fn live(&self) -> Result<Vec<TransferId>> {
        self.guard.around(self.rows.live()).await
    }

    async fn regions(&self) -> Result<BTreeMap<String, String>> {
        self.guard.around(self.rows.regions()).await
    }

    async fn set_region(&self, name: &str, settings: Option<&str>) -> Result<()> {
        self.guard
            .around(self.rows.set_region(name, settings))
            .await
    }

    async fn is_closing(&self) -> Result<bool> {
        self.guard.around(self.rows.is_closing()).await
    }

    async fn set_closing(&self, closing: bool) -> Result<()> {
        self.guard.around(self.rows.set_closing(closing)).await
    }

    async fn set_schedule(&self, new: &Schedule) -> Result<Schedule> {
        self.guard.around(self.rows.set_schedule(new)).await
    }

    async fn schedule(&self, name: &str) -> Result<Option<Schedule>> {
        self.guard.around(self.rows.schedule(name)).await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        self.guard.around(self.rows.schedules()).await
    }

    async fn change_schedule(&self, name: &str, change: &ScheduleChange) -> Result<Schedule> {
        let call = self.rows.change_schedule(name, change);
        self.guard.around(call).await
    }

    async fn drop_schedule(&self, name: &str) -> Result<()> {
        self.guard.around(self.rows.drop_schedule(name)).await
    }

    async fn set_rule(&self, rule: &Rule) -> Result<()> {
        self.guard.around(self.rows.set_rule(rule)).await
    }

    async fn rules(&self) -> Result<Vec<Rule>> {
        self.guard.around(self.rows.rules()).await
    }

    async fn drop_rule(&self, name: &str) -> Result<()> {
        self.guard.around(self.rows.drop_rule(name)).await
    }

    async fn dirty(&self, of: &RuleKey) -> Result<DirtyKey> {
        self.guard.around(self.rows.dirty(of)).await
    }

    async fn change_dirty(&self, of: &RuleKey, change: &DirtyChange) -> Result<DirtyKey> {
        self.guard.around(self.rows.change_dirty(of, change)).await
    }

    async fn secrets(&self, transfer: &TransferId) -> Result<Option<Bytes>> {
        self.guard.around(self.rows.secrets(transfer)).await
    }

    async fn keep_secrets(&self, transfer: &TransferId, wrapped: &Bytes) -> Result<Bytes> {
        self.guard
            .around(self.rows.keep_secrets(transfer, wrapped))
            .await
    }

    async fn secret_holders(&self) -> Result<Vec<TransferId>> {
        self.guard.around(self.rows.secret_holders()).await
    }

    async fn drop_secrets(&self, transfer: &TransferId) -> Result<()> {
        self.guard.around(self.rows.drop_secrets(transfer)).await
    }

    async fn sightings(&self) -> Result<Sightings> {
        self.guard.around(self.rows.sightings()).await
    }

    async fn set_sightings(&self, seen: &Sightings) -> Result<()> {
        self.guard.around(self.rows.set_sightings(seen)).await
    }
}
