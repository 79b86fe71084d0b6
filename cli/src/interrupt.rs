//! Ctrl-C: the first asks the transfer to stop cleanly, the second ends the process.

use tokio_util::sync::CancellationToken;

use crate::exit;
use crate::output::Screen;

/// Listens for the rest of the process's life; must be called inside the runtime.
pub(crate) fn watch(cancel: CancellationToken, screen: Screen) {
    tokio::spawn(async move {
        signal().await;
        // First, because the screen may be waiting for an answer that this gives.
        cancel.cancel();
        screen.warn("stopping cleanly; press Ctrl-C again to stop at once");
        signal().await;
        std::process::exit(i32::from(exit::INTERRUPTED));
    });
}

/// Ctrl-C, or the signal by which the system ends processes.
async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler the system's own applies; there is nothing to wait for.
        std::future::pending::<()>().await;
    }
}
