//! A place where the proxy holds requests until the test lets them go: how a test does something
//! "during the copy" without guessing when that is.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A gate, closed at first. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    waiting: Arc<watch::Sender<u32>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self {
            open: Arc::new(watch::Sender::new(false)),
            waiting: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// How many requests have come to the gate so far.
    #[must_use]
    pub fn arrivals(&self) -> u32 {
        *self.waiting.borrow()
    }

    /// Waits until a request stands at the gate; panics after `deadline`.
    pub fn wait_for_arrival(&self, deadline: Duration) {
        crate::eventually("a request at the gate", deadline, || {
            (self.arrivals() > 0).then_some(())
        });
    }

    /// The proxy's side: reports the arrival, waits for the opening.
    pub(super) async fn pass(&self) {
        self.waiting.send_modify(|count| *count += 1);
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}
