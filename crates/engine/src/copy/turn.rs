//! Whether a chunk is begun here or given to another holder: whichever comes first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Whether it was begun, once that is settled.
    begun: OnceLock<bool>,
    given: CancellationToken,
    /// How many of this process are not settled.
    open: Arc<AtomicUsize>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.settle(false);
    }
}

impl Turn {
    /// One more of those that `open` counts.
    pub(crate) fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self {
            begun: OnceLock::new(),
            given: CancellationToken::new(),
            open: Arc::clone(open),
        }
    }

    /// Settles it, unless it is settled; which way it is.
    fn settle(&self, begun: bool) -> bool {
        *self.begun.get_or_init(|| {
            self.open.fetch_sub(1, Ordering::Relaxed);
            begun
        })
    }

    /// Waits for what it takes to begin a chunk, or an object of it. `None` if it was given away
    /// before.
    pub(crate) async fn wait<T>(&self, permit: impl Future<Output = T>) -> Option<T> {
        if self.begun.get() == Some(&true) {
            return Some(permit.await);
        }
        tokio::select! {
            biased;
            () = self.given.cancelled() => None,
            permit = permit => self.begin().then_some(permit),
        }
    }

    /// Begins it, unless it was given away.
    pub(crate) fn begin(&self) -> bool {
        self.settle(true)
    }

    /// Whether it can still be given away.
    pub(crate) fn is_open(&self) -> bool {
        self.begun.get().is_none()
    }

    /// Gives it away, unless it was begun.
    pub(crate) fn give(&self) -> bool {
        let given = !self.settle(false);
        if given {
            self.given.cancel();
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_chunk_is_begun_or_given_and_never_both() {
        let open = Arc::default();
        let turn = Turn::new(&open);
        assert!(turn.is_open());
        assert_eq!(turn.wait(ready(1)).now_or_never(), Some(Some(1)));
        assert!(!turn.is_open() && !turn.give() && turn.begin());
        assert_eq!(turn.wait(ready(2)).now_or_never(), Some(Some(2)));

        let turn = Turn::new(&open);
        let mut waiting = Box::pin(turn.wait(pending::<()>()));
        assert_eq!((&mut waiting).now_or_never(), None);
        assert!(turn.give() && turn.give() && !turn.begin());
        assert_eq!(waiting.now_or_never(), Some(None));
        assert_eq!(turn.wait(ready(3)).now_or_never(), Some(None));
    }

    #[test]
    fn those_that_are_not_settled_are_counted() {
        let open = Arc::default();
        let [begun, given, dropped, left] = [(); 4].map(|()| Turn::new(&open));
        assert!(begun.begin() && given.give());
        drop((begun, given, dropped));
        assert_eq!(open.load(Ordering::Relaxed), 1);
        drop(left);
        assert_eq!(open.load(Ordering::Relaxed), 0);
    }
}
