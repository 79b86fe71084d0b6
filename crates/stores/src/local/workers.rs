//! Few threads for many short calls of the file system: a thread for each would be woken for each,
//! which costs more than most of the calls do.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skyhaul_model::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

/// Threads that are started as soon as there is work: while one waits for the disk, the other
/// goes on.
const AT_LEAST: usize = 2;

/// One more is started when the first call in the queue has waited for so long: the disk is slow
/// (a network file system, a spinning disk), not the processor.
const PATIENCE: Duration = Duration::from_millis(20);

type Call = Box<dyn FnOnce() + Send>;

/// The queue of calls and how many threads are at it.
#[derive(Default)]
pub(super) struct Workers {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<(Instant, Call)>,
    running: usize,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let queue = self.lock();
        formatter
            .debug_struct("Workers")
            .field("waiting", &queue.calls.len())
            .field("running", &queue.running)
            .finish()
    }
}

impl Workers {
    /// Does `work` on one of the threads. It is done even if nobody waits for the end.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, mut result) = oneshot::channel();
        let call = move || {
            // Whoever asked may have gone.
            let _ = done.send(work());
        };
        if self.push(Box::new(call)) {
            self.start();
        }
        let ended = loop {
            match tokio::time::timeout(PATIENCE, &mut result).await {
                Ok(ended) => break ended,
                Err(_) if self.is_late() => self.start(),
                Err(_) => {}
            }
        };
        ended.unwrap_or_else(|error| {
            let message = "file system work ended without a result";
            Err(Error::control(ErrorKind::Internal, message).cause(error))
        })
    }

    fn start(self: &Arc<Self>) {
        let workers = Arc::clone(self);
        tokio::task::spawn_blocking(move || workers.drain());
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a thread is to be started.
    fn push(&self, call: Call) -> bool {
        let mut queue = self.lock();
        queue.calls.push_back((Instant::now(), call));
        let more = queue.running < AT_LEAST;
        queue.running += usize::from(more);
        more
    }

    /// Whether another thread is to be started, for those that run do not get to the first call.
    fn is_late(&self) -> bool {
        let mut queue = self.lock();
        let first = queue.calls.front();
        let late = first.is_some_and(|(since, _)| since.elapsed() > PATIENCE);
        queue.running += usize::from(late);
        late
    }

    /// Works until there is nothing left.
    fn drain(&self) {
        loop {
            let call = {
                let mut queue = self.lock();
                let Some((_, call)) = queue.calls.pop_front() else {
                    queue.running -= 1;
                    return;
                };
                call
            };
            // A panic has told of itself, and drops the sender: an error for who waits.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(call));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[tokio::test]
    async fn every_call_is_done_once() {
        let workers = Arc::new(Workers::default());
        let calls = (0..10_000u32).map(|n| {
            let workers = Arc::clone(&workers);
            tokio::spawn(async move { workers.run(move || Ok(n)).await })
        });
        let mut sum = 0u64;
        for call in calls.collect::<Vec<_>>() {
            sum += u64::from(call.await.unwrap().unwrap());
        }
        assert_eq!(sum, 9_999 * 10_000 / 2);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_rest_goes_on() {
        let workers = Arc::new(Workers::default());
        for _ in 0..2 * AT_LEAST {
            let lost = workers.run(|| -> Result<()> { panic!("on purpose") }).await;
            assert_eq!(lost.unwrap_err().kind, ErrorKind::Internal);
        }
        assert_eq!(workers.run(|| Ok(7)).await.unwrap(), 7);
    }

    /// As many calls as meet here can only end if each has a thread.
    #[tokio::test]
    async fn calls_that_wait_for_the_disk_get_more_threads() {
        let workers = Arc::new(Workers::default());
        let meeting = 4 * AT_LEAST;
        let barrier = Arc::new(Barrier::new(meeting));
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..meeting {
            let (workers, barrier) = (Arc::clone(&workers), Arc::clone(&barrier));
            waiting.spawn(async move { workers.run(move || Ok(barrier.wait())).await });
        }
        while let Some(met) = waiting.join_next().await {
            met.unwrap().unwrap();
        }
    }
}
