//! Whether a chunk is begun here or given to another holder: whichever comes first.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Whether it was begun, once that is settled.
    begun: OnceLock<bool>,
    given: CancellationToken,
}

impl Turn {
    /// Waits for what it takes to begin a chunk, or an object of it. `None` if it was given away
    /// before.
    pub(crate) async fn wait<T>(&self, permit: impl Future<Output = T>) -> Option<T> {
        if self.begun.get() == Some(&true) {
            return Some(permit.await);
        }
        tokio::select! {
            biased;
            () = self.given.cancelled() => None,
            permit = permit => self.begun.get_or_init(|| true).then_some(permit),
        }
    }

    /// Whether it can still be given away.
    pub(crate) fn is_open(&self) -> bool {
        self.begun.get().is_none()
    }

    /// Gives it away, unless it was begun.
    pub(crate) fn give(&self) -> bool {
        let given = !*self.begun.get_or_init(|| false);
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
        let turn = Turn::default();
        assert!(turn.is_open());
        assert_eq!(turn.wait(ready(1)).now_or_never(), Some(Some(1)));
        assert!(!turn.is_open() && !turn.give());
        assert_eq!(turn.wait(ready(2)).now_or_never(), Some(Some(2)));

        let turn = Turn::default();
        let mut waiting = Box::pin(turn.wait(pending::<()>()));
        assert_eq!((&mut waiting).now_or_never(), None);
        assert!(turn.give() && turn.give());
        assert_eq!(waiting.now_or_never(), Some(None));
        assert_eq!(turn.wait(ready(3)).now_or_never(), Some(None));
    }
}
