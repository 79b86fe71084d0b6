//! The proxy's log: every request, what was done to it, and the bytes that passed.

use super::op::{Op, Request};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A request in the log; its numbers move while it is under way.
#[derive(Debug)]
pub(super) struct Record {
    request: Request,
    fault: Option<&'static str>,
    status: AtomicU16,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

impl Record {
    pub(super) fn set_status(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

/// A request as it stood when the log was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What was asked for.
    pub request: Request,
    /// The fault it met, by [`super::Fault::name`].
    pub fault: Option<&'static str>,
    /// The status answered; 0 while there is none, or when the connection was cut instead.
    pub status: u16,
    /// Bytes of the request's body that the client has sent (with aws-chunked framing, if any).
    pub sent: u64,
    /// Bytes of the answer's body that went to the client.
    pub received: u64,
}

/// The log as it stood when it was read, in order of arrival.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// All requests.
    pub entries: Vec<Entry>,
}

impl Log {
    /// The requests of one operation.
    pub fn of(&self, op: Op) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.request.op == op)
    }

    /// How many requests of one operation there were.
    #[must_use]
    pub fn count(&self, op: Op) -> usize {
        self.of(op).count()
    }

    /// Bytes sent by the client in requests of one operation.
    #[must_use]
    pub fn sent(&self, op: Op) -> u64 {
        self.of(op).map(|entry| entry.sent).sum()
    }

    /// Bytes received by the client in answers to one operation.
    #[must_use]
    pub fn received(&self, op: Op) -> u64 {
        self.of(op).map(|entry| entry.received).sum()
    }

    /// How many requests met this fault.
    #[must_use]
    pub fn faults(&self, name: &str) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.fault == Some(name))
            .count()
    }
}

/// The log being written.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    records: Mutex<Vec<Arc<Record>>>,
}

impl Recorder {
    pub(super) fn record(&self, request: Request, fault: Option<&'static str>) -> Arc<Record> {
        let record = Arc::new(Record {
            request,
            fault,
            status: AtomicU16::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        });
        self.lock().push(Arc::clone(&record));
        record
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn read(&self) -> Log {
        let entry = |record: &Arc<Record>| Entry {
            request: record.request.clone(),
            fault: record.fault,
            status: record.status.load(Ordering::Relaxed),
            sent: record.sent.load(Ordering::Relaxed),
            received: record.received.load(Ordering::Relaxed),
        };
        Log {
            entries: self.lock().iter().map(entry).collect(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Record>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
