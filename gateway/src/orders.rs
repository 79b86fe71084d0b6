//! How a gateway is told to end.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// What a gateway may be told, by the system, by whoever started it, or over its control API.
#[derive(Debug, Clone, Default)]
pub struct Orders {
    /// Ends it: what is under way is given back, not finished.
    pub stop: CancellationToken,
    /// Has it begin nothing new, finish what it has begun, and end.
    pub drain: CancellationToken,
}

impl Orders {
    /// What SIGTERM says: to drain, and to stop if it is said again.
    pub fn terminate(&self) {
        if self.drain.is_cancelled() {
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
