//! Faults that are put into the code to see that the simulation finds them. Only compiled with
//! `--cfg mutant`, which nothing but that test is.

use std::sync::atomic::{AtomicU8, Ordering};

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutant {
    /// None.
    None,
    /// A destination gateway acknowledges before the store has confirmed.
    AcknowledgeBeforeWrite,
    /// The state takes what a former holder of a lease records.
    IgnoreFence,
    /// A call that is made again has the stream, and so the nonces, of the first.
    ReuseNonce,
    /// A source gateway records an object without waiting for its acknowledgement.
    RecordUnacknowledged,
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

impl Mutant {
    /// From now on this fault is there, and no other.
    pub fn choose(self) {
        CHOSEN.store(self as u8, Ordering::SeqCst);
    }

    /// Whether it is the one.
    #[must_use]
    pub fn is_chosen(self) -> bool {
        CHOSEN.load(Ordering::SeqCst) == self as u8
    }
}
