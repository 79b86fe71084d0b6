//! Bounds that all tasks share: operations at a time, bytes in memory, bytes a second.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::copy::part;
use crate::tuning::Window;

/// Memory is counted in units of this many bytes, since semaphores count to 2^32.
const UNIT: u64 = 4_096;

/// What one streaming part holds, in units. So much is always open for each processor that the
/// process may use.
const A_PART: u32 = (part::WINDOW / UNIT) as u32;

/// See the module documentation.
#[derive(Debug)]
pub struct Budget {
    slots: Arc<Semaphore>,
    memory: Arc<Window>,
    waiting: Arc<Waiting>,
    rate: Option<Rate>,
    /// Keeps memory back while processors are busy.
    _tuner: Option<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Rate {
    limiter: DefaultDirectRateLimiter,
    /// Most KiB that are taken at once.
    burst: u32,
}

/// The right to move one object or part: an operation and its bytes. Given back on drop.
#[derive(Debug)]
pub struct Permit {
    _slot: Slot,
    _memory: Memory,
}

/// The right to an operation. Given back on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// The right to hold bytes. Given back on drop.
#[derive(Debug)]
pub(crate) struct Memory {
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct Waiting {
    count: AtomicUsize,
    /// Told when nobody waits any more.
    nobody: Notify,
}

/// Somebody who waits for a permit, or is about to ask for one, until it is dropped.
#[derive(Debug)]
pub(crate) struct Demand(Arc<Waiting>);

impl Drop for Demand {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.nobody.notify_waiters();
        }
    }
}

impl Budget {
    /// `transfers` operations at most, `max_memory` bytes, `bwlimit` bytes a second.
    #[must_use]
    pub fn new(transfers: usize, max_memory: u64, bwlimit: Option<u64>) -> Self {
        let units = u32::try_from((max_memory / UNIT).max(1)).unwrap_or(u32::MAX >> 3);
        let rate = bwlimit.map(|bytes| {
            let kib = u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX);
            let quota = NonZeroU32::new(kib).unwrap_or(NonZeroU32::MIN);
            // A tenth of a second's worth may come at once.
            let burst = NonZeroU32::new(kib / 10).unwrap_or(NonZeroU32::MIN);
            let limiter = RateLimiter::direct(Quota::per_second(quota).allow_burst(burst));
            Rate {
                limiter,
                burst: burst.get(),
            }
        });
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let fewest = A_PART.saturating_mul(u32::try_from(processors).unwrap_or(u32::MAX));
        let memory = Arc::new(Window::new(units, fewest, A_PART));
        Self {
            slots: Arc::new(Semaphore::new(transfers.max(1))),
            _tuner: memory.tune(),
            memory,
            waiting: Arc::default(),
            rate,
        }
    }

    /// Waits for the right to move `bytes`. A part larger than the whole memory setting, or than
    /// what is open of it at the time, takes all of that.
    pub async fn acquire(&self, bytes: u64) -> Permit {
        let _demand = self.demand();
        // Memory first: a slot is never held while waiting for it.
        let memory = self.memory(bytes).await;
        Permit {
            _slot: self.slot().await,
            _memory: memory,
        }
    }

    /// Waits for the right to hold `bytes`, as [`Budget::acquire`] does.
    pub(crate) async fn memory(&self, bytes: u64) -> Memory {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Memory {
            _permit: self.memory.acquire(units).await,
        }
    }

    /// Waits for the right to an operation.
    pub(crate) async fn slot(&self) -> Slot {
        loop {
            // The semaphore lives as long as self and is never closed.
            if let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await {
                return Slot { _permit: slot };
            }
        }
    }

    /// Says that somebody will ask for a permit.
    pub(crate) fn demand(&self) -> Demand {
        self.waiting.count.fetch_add(1, Ordering::AcqRel);
        Demand(Arc::clone(&self.waiting))
    }

    /// Whether there is a slot that nobody waits for.
    pub(crate) fn has_room(&self) -> bool {
        self.is_served() && self.slots.available_permits() > 0
    }

    /// Whether nobody waits for a permit.
    fn is_served(&self) -> bool {
        self.waiting.count.load(Ordering::Acquire) == 0
    }

    /// Waits until all who want a permit have one: time to find more work.
    pub async fn all_served(&self) {
        loop {
            let told = self.waiting.nobody.notified();
            if self.is_served() {
                return;
            }
            told.await;
        }
    }

    /// Waits until `bytes` may pass under the rate limit.
    pub async fn pace(&self, bytes: usize) {
        let Some(rate) = &self.rate else { return };
        let mut kib = u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX);
        while let Some(now) = NonZeroU32::new(kib.min(rate.burst)) {
            if rate.limiter.until_n_ready(now).await.is_err() {
                return; // more than the burst: excluded by the minimum above
            }
            kib -= now.get();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Too little to be tuned: these windows are always open.
    #[tokio::test]
    async fn memory_bounds_what_is_in_flight() {
        let budget = Budget::new(8, 10 * UNIT, None);
        let first = budget.acquire(6 * UNIT).await;
        assert!(futures::FutureExt::now_or_never(budget.acquire(5 * UNIT)).is_none());
        drop(first);
        assert!(futures::FutureExt::now_or_never(budget.acquire(1_000 * UNIT)).is_some());
    }

    #[tokio::test]
    async fn more_work_is_found_when_nobody_waits() {
        let budget = Budget::new(1, 10 * UNIT, None);
        budget.all_served().await;
        let first = budget.acquire(1).await;
        budget.all_served().await;
        let mut second = Box::pin(budget.acquire(1));
        assert!(futures::poll!(&mut second).is_pending());
        let mut served = Box::pin(budget.all_served());
        assert!(futures::poll!(&mut served).is_pending());
        drop(first);
        let _second = second.await;
        served.await;
    }

    #[tokio::test]
    async fn slots_bound_what_is_in_flight() {
        let budget = Budget::new(1, 10 * UNIT, None);
        let first = budget.acquire(1).await;
        assert!(futures::FutureExt::now_or_never(budget.acquire(1)).is_none());
        drop(first);
        assert!(futures::FutureExt::now_or_never(budget.acquire(1)).is_some());
    }
}
