//! Faults that are put into the code to see that the simulation finds them. Only compiled with
//! `--cfg mutant`, which nothing but that test is.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

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

static SEALED: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);
static VIOLATIONS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Remembers what was sealed under a key and nonce, which `place` names: two things are a violation.
pub fn sealed(place: String, bytes: &[u8]) {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let now = hasher.finish();
    let mut sealed = SEALED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = sealed.get_or_insert_default().insert(place.clone(), now);
    if before.is_some_and(|before| before != now) {
        let mut violations = VIOLATIONS.lock().unwrap_or_else(PoisonError::into_inner);
        violations.push(format!("a nonce seals two things: {place}"));
    }
}

/// What was done that must never be, since this was last asked.
#[must_use]
pub fn violations() -> Vec<String> {
    *SEALED.lock().unwrap_or_else(PoisonError::into_inner) = None;
    std::mem::take(&mut *VIOLATIONS.lock().unwrap_or_else(PoisonError::into_inner))
}
