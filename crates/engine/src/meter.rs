//! Live numbers of one run, for progress displays. What counts is in the state; these move between
//! two records.

use std::sync::atomic::{AtomicU64, Ordering};

use skyhaul_model::outcome::Outcome;
use tokio::sync::mpsc;

/// See the module documentation. Bytes count as the destination confirms them.
#[derive(Debug)]
pub struct Meter {
    bytes: AtomicU64,
    objects: AtomicU64,
    deleted: AtomicU64,
    retries: AtomicU64,
    failed: mpsc::UnboundedSender<Outcome>,
}

impl Meter {
    /// A meter, and where failed objects are told.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Outcome>) {
        let (failed, receiver) = mpsc::unbounded_channel();
        let zero = AtomicU64::default;
        (
            Self {
                bytes: zero(),
                objects: zero(),
                deleted: zero(),
                retries: zero(),
                failed,
            },
            receiver,
        )
    }

    /// Bytes written.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// An object committed.
    pub fn add_object(&self) {
        self.objects.fetch_add(1, Ordering::Relaxed);
    }

    /// Objects deleted.
    pub fn add_deleted(&self, objects: u64) {
        self.deleted.fetch_add(objects, Ordering::Relaxed);
    }

    /// An object begun anew.
    pub fn add_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// An object failed for good.
    pub fn failed(&self, outcome: Outcome) {
        // Nobody listening is no error.
        let _ = self.failed.send(outcome);
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Objects committed so far.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    /// Objects deleted so far.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.deleted.load(Ordering::Relaxed)
    }

    /// Objects begun anew so far.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}
