//! How many requests may be under way: halved when the service asks to slow down, raised again
//! one by one while it does not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// One cut answers all the refusals of one burst.
const CUT_INTERVAL: Duration = Duration::from_millis(500);

/// A limit on concurrent requests that gives way to throttling.
#[derive(Debug)]
pub(super) struct Pace {
    permits: Semaphore,
    reduced: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    most: usize,
    limit: usize,
    /// Permits to be forgotten as soon as they are returned.
    debt: usize,
    successes: usize,
    last_cut: Option<Instant>,
}

/// The right to have one request under way.
pub(super) struct Turn<'a> {
    pace: &'a Pace,
    permit: Option<SemaphorePermit<'a>>,
}

impl Pace {
    /// At most `most` requests at once.
    pub(super) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let state = State {
            most,
            limit: most,
            debt: 0,
            successes: 0,
            last_cut: None,
        };
        Self {
            permits: Semaphore::new(most),
            reduced: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // The semaphore is never closed, so that an error cannot happen.
        Turn {
            pace: self,
            permit: self.permits.acquire().await.ok(),
        }
    }

    /// The service asked to slow down.
    pub(super) fn throttled(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last_cut.is_some_and(|at| at.elapsed() < CUT_INTERVAL) {
            return;
        }
        state.last_cut = Some(Instant::now());
        state.successes = 0;
        let cut = state.limit / 2;
        state.limit -= cut;
        state.debt += cut - self.permits.forget_permits(cut);
        self.reduced.store(true, Ordering::Relaxed);
    }

    /// A request succeeded.
    pub(super) fn succeeded(&self) {
        if !self.reduced.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.successes += 1;
        if state.successes < state.limit {
            return;
        }
        state.successes = 0;
        if state.limit < state.most {
            state.limit += 1;
            if state.debt > 0 {
                state.debt -= 1;
            } else {
                self.permits.add_permits(1);
            }
        }
        if state.limit == state.most {
            self.reduced.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.pace.reduced.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self
            .pace
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if state.debt > 0
            && let Some(permit) = self.permit.take()
        {
            state.debt -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn halves_and_recovers() {
        let pace = Pace::new(8);
        let held: Vec<_> = [pace.turn().await, pace.turn().await, pace.turn().await].into();
        pace.throttled();
        pace.throttled();
        assert_eq!(pace.permits.available_permits(), 1, "of 4, 3 are held");
        drop(held);
        assert_eq!(pace.permits.available_permits(), 4);
        for _ in 0..4 + 5 + 6 + 7 {
            pace.succeeded();
        }
        assert_eq!(pace.permits.available_permits(), 8);
        assert!(!pace.reduced.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn what_is_held_is_cut_on_return_and_one_always_remains() {
        let pace = Pace::new(2);
        let held = [pace.turn().await, pace.turn().await];
        pace.throttled();
        drop(held);
        assert_eq!(pace.permits.available_permits(), 1);
        pace.state.lock().unwrap().last_cut = None;
        pace.throttled();
        assert_eq!(pace.permits.available_permits(), 1);
    }
}
