//! What outlives a transfer: dataplanes with the launches of their members, and what the reaper saw. A
//! table of its own, of which gateways read nothing but their dataplane's row.

mod dataplane;
mod memory;

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;
use skyhaul_model::machine::{DataplaneId, MachineId};
use skyhaul_model::{Error, ErrorKind, Result};

pub use dataplane::{
    DataplaneChange, DataplaneRow, DataplaneStatus, MemberChange, MemberPlan, MemberRole,
    MemberRow, MemberStatus, MemberStep, NewDataplane,
};
pub use memory::MemoryControl;

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

    /// What the reaper saw.
    async fn sightings(&self) -> Result<Sightings>;

    /// Puts what the reaper saw in the place of what it saw before. One reaper runs at a time.
    async fn set_sightings(&self, seen: &Sightings) -> Result<()>;
}

pub(crate) fn no_dataplane(id: &DataplaneId) -> Error {
    Error::control(ErrorKind::NotFound, "no such dataplane")
        .object(id.as_str())
        .hint("`skyhaul dataplane list` lists them")
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
