//! What the steps of a control plane work with: the state, the staging bucket, the regions in which machines
//! can be had, and how long a step may take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skyhaul_engine::meter::Meter;
use skyhaul_engine::staging::Staging;
use skyhaul_engine::{Engine, Limits};
use skyhaul_gateway::config::TableConfig;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Result, Scheme, Side, TransferId};
use skyhaul_state::control::{ControlState, DataplaneRow, MemberRow};
use skyhaul_state::{SegmentStore, Segments, TransferRow, TransferState};
use skyhaul_stores::open::{Opens, Use};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::compare::Place;
use crate::drive::{self, Places};
use crate::machines::{Regions, Vault};
use crate::staging;
use crate::steps::{Attempt, Waiting};

/// How often a slice asks whether its attempt goes on.
const LOOK: Duration = Duration::from_secs(15);

/// What a machine of a member is started with.
pub type BootOf = dyn Fn(&DataplaneRow, &MemberRow) -> String + Send + Sync;

/// See the module documentation.
pub struct Account {
    /// The region of the deployment itself, where what is in no region of AWS counts to be.
    pub region: String,
    /// Transfers.
    pub state: Arc<dyn TransferState>,
    /// The table of them, as gateways reach it.
    pub table: TableConfig,
    /// What outlives a transfer.
    pub control: Arc<dyn ControlState>,
    /// Whose credentials stores are opened with.
    pub opens: Arc<dyn Opens>,
    /// Where segments are: each transfer's below its identifier.
    pub staging: Endpoint,
    /// Where machines can be had.
    pub regions: Regions,
    /// The zones of each region.
    pub zones: BTreeMap<String, Vec<String>>,
    /// The port that gateways listen on, if it is the same in all regions.
    pub port: Option<u16>,
    /// What machines are started with.
    pub boot: Box<BootOf>,
    /// What wraps secrets.
    pub vault: Arc<dyn Vault>,
    /// Executions that wait.
    pub waiting: Arc<dyn Waiting>,
    /// Whether this is the machine that has the source of a transfer, if that is none of the deployment's.
    pub is_guest: bool,
    /// Bounds of what a step does by itself.
    pub limits: Limits,
}

/// An engine that drains when the time of its step is up.
pub(crate) struct Slice {
    pub engine: Arc<Engine>,
    _time: DropGuard,
}

impl Account {
    /// Where a transfer's segments are.
    #[must_use]
    pub fn segments_of(&self, transfer: &TransferId) -> Endpoint {
        staging::of(&self.staging, transfer)
    }

    async fn segments(&self, transfer: &TransferId) -> Result<Arc<dyn SegmentStore>> {
        staging::open(&*self.opens, &self.segments_of(transfer)).await
    }

    /// Removes what was kept of a transfer, or of what is beside one.
    pub(crate) async fn forget(&self, transfer: &TransferId) -> Result<()> {
        let at = self.segments_of(transfer);
        match at.location.scheme {
            Scheme::Local => Segments::open(&at.location.path)?.remove()?,
            Scheme::S3 => {
                let bucket = self.opens.open(&at, Side::Control, Use::default()).await?;
                Staging::new(bucket, at.location.path.clone())
                    .clear()
                    .await?;
            }
        }
        self.state.purge(transfer).await
    }

    /// An engine of a transfer for a step that ends by `until`, and at once when the attempt that it is of
    /// does not go on any more.
    pub(crate) async fn engine(
        &self,
        row: &TransferRow,
        attempt: Option<&Attempt>,
        until: Instant,
    ) -> Result<Slice> {
        let (meter, mut failures) = Meter::new();
        // They are in the report.
        tokio::spawn(async move { while failures.recv().await.is_some() {} });
        let places = Places {
            opens: &*self.opens,
            state: &self.state,
            segments: self.segments(&row.id).await?,
        };
        let (limits, cancel) = (self.limits.clone(), CancellationToken::new());
        let engine = drive::engine_at(places, row, limits, meter, cancel.clone()).await?;
        let (drain, over) = (engine.drain.clone(), CancellationToken::new());
        let (ended, stop) = (over.clone(), cancel);
        let (control, attempt) = (Arc::clone(&self.control), attempt.cloned());
        tokio::spawn(async move {
            let stopped = async {
                loop {
                    tokio::time::sleep(LOOK).await;
                    // What cannot be asked now is asked again.
                    if let Some(attempt) = &attempt
                        && let Ok(false) = attempt.goes_on(&*control).await
                    {
                        return;
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => drain.cancel(),
                () = stopped => stop.cancel(),
                () = ended.cancelled() => {}
            }
        });
        Ok(Slice {
            engine: Arc::new(engine),
            _time: over.drop_guard(),
        })
    }

    /// As what both sides of a transfer are listed once more to verify it.
    pub(crate) fn check_id(transfer: &TransferId) -> TransferId {
        transfer.beside("verification")
    }

    /// Where both sides of a transfer are listed once more to verify it.
    pub(crate) async fn check_of(&self, transfer: &TransferId) -> Result<Place> {
        let id = Self::check_id(transfer);
        Ok(Place {
            segments: self.segments(&id).await?,
            state: Arc::clone(&self.state),
            id,
            dir: None,
        })
    }
}
