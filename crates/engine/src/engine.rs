//! What every task of a run shares: the transfer, its stores, its state, its limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skyhaul_model::capabilities::MtimeSupport;
use skyhaul_model::{Algorithm, Error, ErrorKind, HolderId, Result, TransferId, TransferSpec};
use skyhaul_state::{SegmentStore, TransferState};
use skyhaul_stores::Store;
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::copy::uploads::Uploads;
use crate::idle::Idle;
use crate::meter::Meter;
use crate::trace::Trace;

/// How a slice of work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepEnd {
    /// There is no more to do.
    Done,
    /// The slice's deadline came first: call again.
    More,
}

/// Bounds on a run. Sizes in bytes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Objects and parts moved at the same time.
    pub transfers: usize,
    /// Listings and stats at the same time.
    pub checkers: usize,
    /// Object data held in memory at most.
    pub max_memory: u64,
    /// Bytes a second at most.
    pub bwlimit: Option<u64>,
    /// Times an object is begun at most.
    pub attempts: u32,
    /// List pages after which a listing slice ends.
    pub slice_pages: Option<u32>,
    /// Chunks after which a copying slice ends.
    pub slice_chunks: Option<u32>,
    /// How long a lease lasts without a sign of life, where other processes work on the transfer
    /// too. `None`: this one is alone.
    pub term: Option<Duration>,
    /// Whether bytes are read to compare objects whose stored checksums have no common algorithm
    /// (otherwise equal sizes count as equal).
    pub read_to_compare: bool,
    /// Whether the outcomes of skipped objects are kept for a report.
    pub keep_skipped: bool,
}

/// Whether the service copies by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceCopy {
    /// Bytes pass this machine.
    Off,
    /// `CopyObject` and `UploadPartCopy`; streaming once they are refused.
    On,
}

/// See the module documentation.
pub struct Engine {
    /// The transfer.
    pub id: TransferId,
    /// What it does.
    pub spec: TransferSpec,
    /// Its state.
    pub state: Arc<dyn TransferState>,
    /// Its segments.
    pub segments: Arc<dyn SegmentStore>,
    /// What is read.
    pub source: Arc<dyn Store>,
    /// What is written.
    pub destination: Arc<dyn Store>,
    /// Bounds.
    pub limits: Limits,
    /// Slots, memory and rate within these bounds.
    pub budget: Budget,
    /// Live numbers.
    pub meter: Arc<Meter>,
    /// Recent chunks, for whoever looks: none, unless whoever made the engine says otherwise.
    pub trace: Arc<Trace>,
    /// Who has nothing to do; where this run is alone, nobody says so.
    pub idle: Idle,
    /// Who holds this run's leases.
    pub holder: HolderId,
    /// Stops the run cleanly.
    pub cancel: CancellationToken,
    /// Ends the slice without losing what is under way: no chunk and no page is begun any more.
    pub drain: CancellationToken,
    /// Whether the service copies by itself; off once it refused to.
    service_copy: AtomicBool,
    pub(crate) uploads: Uploads,
}

/// The parts an engine is made of.
pub struct EngineParts {
    /// The transfer.
    pub id: TransferId,
    /// What it does.
    pub spec: TransferSpec,
    /// Its state.
    pub state: Arc<dyn TransferState>,
    /// Its segments.
    pub segments: Arc<dyn SegmentStore>,
    /// What is read.
    pub source: Arc<dyn Store>,
    /// What is written.
    pub destination: Arc<dyn Store>,
    /// Bounds.
    pub limits: Limits,
    /// Live numbers.
    pub meter: Arc<Meter>,
    /// Stops the run cleanly.
    pub cancel: CancellationToken,
    /// Whether the service copies by itself.
    pub service_copy: ServiceCopy,
}

impl Engine {
    /// An engine with a holder of its own.
    #[must_use]
    pub fn new(parts: EngineParts) -> Self {
        Self {
            budget: Budget::new(
                parts.limits.transfers,
                parts.limits.max_memory,
                parts.limits.bwlimit,
            ),
            id: parts.id,
            spec: parts.spec,
            state: parts.state,
            segments: parts.segments,
            source: parts.source,
            destination: parts.destination,
            limits: parts.limits,
            meter: parts.meter,
            trace: Trace::new(0),
            idle: Idle::default(),
            holder: HolderId::generate(),
            cancel: parts.cancel,
            drain: CancellationToken::new(),
            service_copy: AtomicBool::new(parts.service_copy == ServiceCopy::On),
            uploads: Uploads::default(),
        }
    }

    /// The error of a run that was asked to stop.
    #[must_use]
    pub fn interrupted() -> Error {
        Error::control(ErrorKind::Interrupted, "interrupted")
    }

    /// Whether the service copies by itself.
    pub(crate) fn copies_in_service(&self) -> bool {
        self.service_copy.load(Ordering::Relaxed)
    }

    /// Streams from now on: the service refused a copy for a reason that holds for all objects.
    pub(crate) fn stop_service_copy(&self, why: &Error) {
        if self.service_copy.swap(false, Ordering::Relaxed) {
            tracing::warn!("streaming from now on, since the service does not copy: {why}");
        }
    }

    /// Whether it finds no group to claim, and has room for one.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let ends = self.drain.is_cancelled() || self.cancel.is_cancelled();
        self.idle.is_dry() && self.budget.has_room() && !ends
    }

    /// Fails if the run was asked to stop.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            Err(Self::interrupted())
        } else {
            Ok(())
        }
    }

    /// The checksum that travels with an object whose source keeps one of algorithm `kept`: see
    /// ADR 0003.
    #[must_use]
    pub fn algorithm(&self, kept: Option<Algorithm>) -> Option<Algorithm> {
        use skyhaul_model::spec::ChecksumPolicy;
        let native = &self.destination.capabilities().checksums;
        match self.spec.checksum {
            ChecksumPolicy::Off => None,
            ChecksumPolicy::Always(algorithm) => Some(algorithm),
            ChecksumPolicy::Auto => kept
                .filter(|kept| kept.combines() && (native.is_empty() || native.contains(kept)))
                .or_else(|| native.first().copied())
                .or(Some(Algorithm::Crc64Nvme)),
        }
    }

    /// Whether the source's tags are read.
    #[must_use]
    pub fn wants_tags(&self) -> bool {
        self.spec.attributes.wants_source_tags()
            && self.source.capabilities().tags
            && self.destination.capabilities().tags
    }

    /// Whether the source's own modification times are lost at the destination unless they travel
    /// as metadata.
    #[must_use]
    pub fn carries_mtime_as_metadata(&self) -> bool {
        self.source.capabilities().mtime == MtimeSupport::Native
            && self.destination.capabilities().mtime != MtimeSupport::Native
    }
}
