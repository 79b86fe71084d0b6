//! What a run tells while it goes on and when it ends.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use skyhaul_model::outcome::Outcome;
use skyhaul_model::{Error, TransferId};
use skyhaul_state::{Progress, TransferStatus};

/// Numbers of a run that goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ProgressEvent {
    /// Whether listing has ended, so that the totals are final.
    pub listing_done: bool,
    /// Objects to copy, found so far.
    pub objects_total: u64,
    /// Their bytes.
    pub bytes_total: u64,
    /// Objects copied.
    pub objects_done: u64,
    /// Bytes written to the destination (parts count as they are written), this run and earlier.
    pub bytes_done: u64,
    /// Of these, bytes written by earlier runs of the same transfer.
    pub bytes_resumed: u64,
    /// Bytes still to be written; `None` until listing has found something.
    pub bytes_remaining: Option<u64>,
    /// Objects skipped.
    pub skipped: u64,
    /// Objects failed.
    pub failed: u64,
    /// Objects deleted at the destination.
    pub deleted: u64,
    /// Seconds since this run began.
    pub elapsed_s: f64,
}

impl ProgressEvent {
    /// What the state counts, and bytes that were written.
    pub(crate) fn of(progress: &Progress, written: u64) -> Self {
        let (listed, done) = (&progress.listed, &progress.done);
        let total = listed.copy_bytes;
        let known = progress.listing_done || listed.copy_objects > 0;
        // Objects that were begun anew are written more than once.
        let bytes_done = if progress.listing_done {
            written.min(total)
        } else {
            written
        };
        Self {
            listing_done: progress.listing_done,
            objects_total: listed.copy_objects,
            bytes_total: total,
            objects_done: done.objects,
            bytes_done,
            bytes_remaining: known.then(|| total.saturating_sub(bytes_done)),
            skipped: listed.skipped + done.skipped,
            failed: listed.failed + done.failed,
            ..Self::default()
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The transfer; `None` for a dry run.
    pub transfer: Option<TransferId>,
    /// Whether an earlier run's transfer was gone on with, by the listing made then.
    #[serde(skip)]
    pub resumed: bool,
    /// How it ended.
    pub status: TransferStatus,
    /// The final numbers.
    #[serde(flatten)]
    pub progress: ProgressEvent,
    /// Times an object was begun anew.
    pub retries: u64,
    /// Objects proved against a checksum that the source keeps.
    pub source_verified: u64,
    /// Objects proved by the destination's own checksum.
    pub transport_verified: u64,
    /// How long this run took.
    #[serde(serialize_with = "seconds", rename = "seconds")]
    pub elapsed: Duration,
    /// The first failed objects (at most 20), for people; the report has all.
    pub failures: Vec<Outcome>,
    /// Whether verification found a difference.
    pub verification_failed: bool,
    /// What gateways sent, if there were some.
    pub sent: Option<crate::fleet::Sent>,
    /// Things the user should know (a probe that failed, tags that could not be read).
    pub notes: Vec<String>,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// What happens during a run, in order.
#[derive(Debug)]
pub enum Event {
    /// The transfer has its id; always first.
    Started {
        /// The transfer.
        transfer: TransferId,
        /// Whether an unfinished transfer goes on.
        resumed: bool,
        /// Its log file.
        log: PathBuf,
    },
    /// A control plane carries it out; always first.
    Submitted {
        /// The transfer.
        transfer: TransferId,
        /// Which attempt at it, from 1.
        attempt: u32,
        /// The deployment.
        stack: String,
    },
    /// Something the user should know now.
    Note(String),
    /// The numbers, at the progress interval.
    Progress(ProgressEvent),
    /// An object failed for good (also in the report).
    Failed(Outcome),
}

/// Receives events, in order, from one task; must not block for long.
pub type Events = Box<dyn FnMut(Event) + Send>;

/// What a deleting sync asks before it deletes: number of objects to delete and number of objects
/// at the destination; answers whether to go on.
pub type ConfirmDelete = Box<dyn Fn(u64, u64) -> bool + Send + Sync>;

/// The exit code of the command for an error: 2 usage, 3 source, 4 destination, 5 verification,
/// 130 interrupted, 1 everything else.
#[must_use]
pub fn exit_code(error: &Error) -> u8 {
    use skyhaul_model::{ErrorKind, Side};
    match (error.kind, error.side) {
        (ErrorKind::Interrupted, _) => 130,
        (ErrorKind::Invalid | ErrorKind::Unsupported, Side::Control) => 2,
        (_, Side::Source) => 3,
        (_, Side::Destination) => 4,
        _ => 1,
    }
}
