//! How a gateway is told to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// What a gateway may be told, by the system, by whoever started it, or over its control API.
#[derive(Debug, Clone, Default)]
pub struct Orders {
    /// Ends it: what is under way is given back, not finished.
    pub stop: CancellationToken,
    /// Has it begin nothing new, finish what it has begun, and end.
    pub drain: CancellationToken,
    terminated: Arc<AtomicBool>,
}

impl Orders {
    /// What SIGTERM says: to drain, and to stop if it is said again. A drain that somebody else asked for
    /// goes on.
    pub fn terminate(&self) {
        if self.terminated.swap(true, Ordering::Relaxed) {
            self.stop.cancel();
        }
        self.drain.cancel();
    }

    /// Ends when a drain has taken `most`.
    pub(crate) async fn overdue(&self, most: Duration) {
        self.drain.cancelled().await;
        tokio::time::sleep(most).await;
    }
}
