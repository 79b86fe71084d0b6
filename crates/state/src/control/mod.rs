//! What outlives a transfer, or is none of a gateway's business: what was submitted, dataplanes with the
//! launches of their members, what machines say of themselves and are assigned to, wrapped secrets, regions,
//! what the reaper saw. A table of its own, of which machines read and write nothing but their own row.

mod dataplane;
mod dirty;
mod enrolment;
mod memory;
mod rule;
mod schedule;
mod submission;

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use skyhaul_model::machine::{DataplaneId, MachineId};
use skyhaul_model::{Error, ErrorKind, Result, TransferId};

pub use dataplane::{
    DataplaneChange, DataplaneRow, DataplaneStatus, Heard, MemberChange, MemberPlan, MemberRole,
    MemberRow, MemberStatus, MemberStep, NewDataplane,
};
pub use dirty::{Carried, Content, DirtyChange, DirtyKey, Intent, KeyLease, RuleKey, Written};
pub use enrolment::{Enrolment, EnrolmentChange, LONGEST_ASSIGNMENT, MOST_ASSIGNMENTS};
pub use memory::MemoryControl;
pub use rule::Rule;
pub use schedule::{Overlap, Schedule, ScheduleChange};
pub use submission::{
    Base, Failure, LONGEST_ORDER, Sign, Stage, Submission, SubmissionChange, SubmissionStep, Wish,
};

/// Machines of which no dataplane knows, and since when they were seen.
pub type Sightings = BTreeMap<MachineId, Timestamp>;

/// The control plane's state. Reads see every write that was answered before they began. A call that is
/// made again, because its reply was lost, changes nothing more.
#[async_trait]
pub trait ControlState: Debug + Send + Sync {
    /// Makes a dataplane, or finds the one that was made with the same words; one of the same id and other
    /// words is refused (`Invalid`).
    async fn create(&self, new: &NewDataplane) -> Result<DataplaneRow>;

    /// Makes a change of a dataplane by the rules of [`DataplaneRow::apply`]; the row after it. `NotFound`
    /// if there is none.
    async fn change(&self, id: &DataplaneId, change: &DataplaneChange) -> Result<DataplaneRow>;

    /// A dataplane.
    async fn dataplane(&self, id: &DataplaneId) -> Result<Option<DataplaneRow>>;

    /// All dataplanes that are not forgotten, newest first.
    async fn dataplanes(&self) -> Result<Vec<DataplaneRow>>;

    /// Forgets a dataplane that has ended; one that has not is refused (`Invalid`), one that is not there
    /// is no error.
    async fn forget(&self, id: &DataplaneId) -> Result<()>;

    /// Puts a machine's row in the place of what it said before it started anew: assignments that were
    /// sealed to its old key go with that. A row with the same key stays as it is.
    async fn enrol(&self, row: &Enrolment) -> Result<()>;

    /// What a machine said of itself, and what it is assigned to.
    async fn enrolment(&self, machine: &str) -> Result<Option<Enrolment>>;

    /// Makes a change of a machine's row by the rules of [`Enrolment::apply`]; the row after it. `NotFound` if
    /// there is none.
    async fn change_enrolment(&self, machine: &str, change: &EnrolmentChange) -> Result<Enrolment>;

    /// Removes a machine's row, if there is one.
    async fn strike(&self, machine: &str) -> Result<()>;

    /// Keeps a submission, or finds the one of the same transfer and order; one of another order is refused
    /// (`Invalid`).
    async fn submit(&self, new: &Submission) -> Result<Submission>;

    /// What was submitted for a transfer.
    async fn submission(&self, transfer: &TransferId) -> Result<Option<Submission>>;

    /// Makes a change of a submission by the rules of [`Submission::apply`]; the row after it. `NotFound` if
    /// there is none.
    async fn change_submission(
        &self,
        transfer: &TransferId,
        change: &SubmissionChange,
    ) -> Result<Submission>;

    /// All transfers of which an attempt goes on ([`Stage::Live`]), in the order of their identifiers.
    async fn live(&self) -> Result<Vec<TransferId>>;

    /// What was deployed in each region, by its name: JSON that the workflow reads.
    async fn regions(&self) -> Result<BTreeMap<String, String>>;

    /// Says what is deployed in a region; with `None` that nothing is.
    async fn set_region(&self, name: &str, settings: Option<&str>) -> Result<()>;

    /// Whether the deployment is being taken out of its account: nothing more begins.
    async fn is_closing(&self) -> Result<bool>;

    /// Says that it is, or is not.
    async fn set_closing(&self, closing: bool) -> Result<()>;

    /// Keeps a schedule in the place of the one of its name, with what that has run; the one there is now.
    async fn set_schedule(&self, new: &Schedule) -> Result<Schedule>;

    /// A schedule.
    async fn schedule(&self, name: &str) -> Result<Option<Schedule>>;

    /// All schedules, by their names.
    async fn schedules(&self) -> Result<Vec<Schedule>>;

    /// Makes a change of a schedule by the rules of [`Schedule::apply`]; the row after it. `NotFound` if there is
    /// none.
    async fn change_schedule(&self, name: &str, change: &ScheduleChange) -> Result<Schedule>;

    /// Removes a schedule, if there is one.
    async fn drop_schedule(&self, name: &str) -> Result<()>;

    /// Keeps a rule of triggers in the place of the one of its name. Refused as [`Rule::check`] says.
    async fn set_rule(&self, rule: &Rule) -> Result<()>;

    /// All rules of triggers, by their names.
    async fn rules(&self) -> Result<Vec<Rule>>;

    /// Removes a rule, if there is one. What was known of its keys stays until it is forgotten by itself.
    async fn drop_rule(&self, name: &str) -> Result<()>;

    /// What is known of a key of a rule; a key that nothing has happened to if nothing is.
    async fn dirty(&self, of: &RuleKey) -> Result<DirtyKey>;

    /// Makes a change of a key by the rules of [`DirtyKey::apply`]; the row after it.
    async fn change_dirty(&self, of: &RuleKey, change: &DirtyChange) -> Result<DirtyKey>;

    /// A transfer's secrets, wrapped by a key that is not in the state.
    async fn secrets(&self, transfer: &TransferId) -> Result<Option<Bytes>>;

    /// Keeps a transfer's secrets unless it has some already; those that it has now.
    async fn keep_secrets(&self, transfer: &TransferId, wrapped: &Bytes) -> Result<Bytes>;

    /// The transfers of which there are secrets, in the order of their identifiers.
    async fn secret_holders(&self) -> Result<Vec<TransferId>>;

    /// Removes a transfer's secrets, if there are any.
    async fn drop_secrets(&self, transfer: &TransferId) -> Result<()>;

    /// What the reaper saw.
    async fn sightings(&self) -> Result<Sightings>;

    /// Puts what the reaper saw in the place of what it saw before. One reaper runs at a time.
    async fn set_sightings(&self, seen: &Sightings) -> Result<()>;
}

/// Refuses (`Invalid`) what would begin in a deployment that is being taken out of its account.
pub async fn check_open(control: &dyn ControlState) -> Result<()> {
    if control.is_closing().await? {
        return Err(
            Error::invalid("the deployment is being removed, and nothing more begins")
                .hint("`skyhaul deploy` puts it there again"),
        );
    }
    Ok(())
}

/// The error of a dataplane that is not there.
#[must_use]
pub fn no_dataplane(id: &DataplaneId) -> Error {
    Error::control(ErrorKind::NotFound, "no such dataplane")
        .object(id.as_str())
        .hint("`skyhaul dataplane list` lists them")
}

pub(crate) fn no_enrolment(machine: &str) -> Error {
    Error::control(ErrorKind::NotFound, "no such machine has told of itself").object(machine)
}

/// The error of a transfer that was not submitted.
#[must_use]
pub fn no_submission(transfer: &TransferId) -> Error {
    Error::control(ErrorKind::NotFound, "no such transfer was submitted")
        .object(transfer.as_str())
        .hint("`skyhaul status --stack` lists them")
}

/// Refuses (`Invalid`) what is no plain name of `what`.
pub(crate) fn check_name(name: &str, what: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.is_empty() && name.len() <= 40 && name.bytes().all(plain) {
        return Ok(());
    }
    let message = format!("`{}` is no name of {what}", name.escape_debug());
    Err(Error::invalid(message).hint("up to 40 letters, digits, hyphens, underscores and points"))
}

/// The error of a rule that is not there.
#[must_use]
pub fn no_rule(name: &str) -> Error {
    Error::control(ErrorKind::NotFound, "there is no such rule")
        .object(name)
        .hint("`skyhaul trigger list` lists them")
}

/// The error of a schedule that is not there.
#[must_use]
pub fn no_schedule(name: &str) -> Error {
    Error::control(ErrorKind::NotFound, "there is no such schedule")
        .object(name)
        .hint("`skyhaul schedule list` lists them")
}

pub(crate) fn other_order(transfer: &TransferId) -> Error {
    Error::invalid("this id belongs to a transfer that something else was asked of")
        .object(transfer.as_str())
}

pub(crate) fn other_words(id: &DataplaneId) -> Error {
    Error::invalid("this id belongs to another dataplane").object(id.as_str())
}

/// Refuses to forget what is not over.
pub(crate) fn may_forget(row: &DataplaneRow) -> Result<()> {
    if row.status == DataplaneStatus::Ended {
        return Ok(());
    }
    let message = "the dataplane has not ended";
    Err(Error::invalid(message).object(row.id.as_str()))
}
