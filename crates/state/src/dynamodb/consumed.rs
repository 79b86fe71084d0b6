//! What calls consumed, as the service bills it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Units that were consumed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Consumed {
    /// Write units: 1 for each started KB of a row, twice that in a transaction.
    pub writes: f64,
    /// Read units: 1 for each started 4 KB that are read at once.
    pub reads: f64,
}

impl fmt::Display for Consumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} write units, {} read units", self.writes, self.reads)
    }
}

/// Counts in halves: a unit's smallest part.
#[derive(Debug, Default)]
pub(super) struct Meter {
    writes: AtomicU64,
    reads: AtomicU64,
}

impl Meter {
    pub(super) fn add_writes(&self, units: f64) {
        self.writes.fetch_add(halves(units), Ordering::Relaxed);
    }

    pub(super) fn add_reads(&self, units: f64) {
        self.reads.fetch_add(halves(units), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Consumed {
        let units = |halves: &AtomicU64| halves.load(Ordering::Relaxed) as f64 / 2.0;
        Consumed {
            writes: units(&self.writes),
            reads: units(&self.reads),
        }
    }
}

#[allow(clippy::cast_sign_loss, reason = "the service gives no credit")]
fn halves(units: f64) -> u64 {
    (units * 2.0).ceil() as u64
}
