//! How many bytes are moved at once, within the memory that was set: more while processors are idle,
//! fewer while none is. Over a long way many must be under way to fill it, and processors wait;
//! where processors are the limit, what is under way beyond their caches only makes them slower.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

/// How often the processors are looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// More idle than this share of their time: more bytes can use them.
const IDLE: f64 = 0.15;

/// More idle than this: they are far from being the limit.
const VERY_IDLE: f64 = 0.5;

/// Less idle than this: there are too many.
const BUSY: f64 = 0.05;

/// Using less than this part (one in so many) of the busy time, it is not us who are too many.
const OWN: u64 = 3;

/// Time of the processors that this process may use, since they were started. In ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    idle: u64,
    all: u64,
    /// Used by this process.
    own: u64,
}

impl Times {
    /// `None` where the system does not tell.
    fn read() -> Option<Self> {
        let mine = rustix::thread::sched_getaffinity(None).ok()?;
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        // The unit is a hundredth of a second in all that the kernel shows (`man 5 proc_stat`).
        let own = own.tv_sec.cast_unsigned() * 100 + own.tv_nsec.cast_unsigned() / 10_000_000;
        Self::parse(&text, |cpu| mine.is_set(cpu), own)
    }

    /// Sums the lines `cpuN user nice system idle iowait irq softirq steal …` of some processors.
    fn parse(text: &str, is_mine: impl Fn(usize) -> bool, own: u64) -> Option<Self> {
        let mut sum = Self {
            idle: 0,
            all: 0,
            own,
        };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let number = words.next().and_then(|name| name.strip_prefix("cpu"));
            let Some(number) = number.and_then(|number| number.parse().ok()) else {
                continue;
            };
            if !is_mine(number) {
                continue;
            }
            // What follows is time of guests, which is counted as that of a user already.
            for (at, word) in words.take(8).enumerate() {
                let ticks: u64 = word.parse().ok()?;
                sum.all += ticks;
                if at == 3 || at == 4 {
                    sum.idle += ticks;
                }
            }
        }
        (sum.all > 0).then_some(sum)
    }

    /// The share of the time since `before` that was idle; all of it where others kept the
    /// processors busy: what they leave is shared anew with whoever wants it.
    fn room_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        let idle = self.idle.saturating_sub(before.idle);
        let own = self.own.saturating_sub(before.own);
        if own * OWN < all.saturating_sub(idle) {
            return 1.0;
        }
        idle as f64 / all as f64
    }
}

/// What to do with the number of permits that are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    More(u32),
    Fewer(u32),
    Stay,
}

/// Permits of which some are kept back: memory, in units.
#[derive(Debug)]
pub(crate) struct Window {
    permits: Arc<Semaphore>,
    /// How many are not kept back, nor about to be.
    open: AtomicU32,
    most: u32,
    fewest: u32,
    /// What is asked for at once: whoever waits leaves less than this free.
    each: u32,
}

impl Window {
    /// `most` permits, none kept back; at least `fewest` are left open. Of those who ask, most ask
    /// for `each`.
    pub(crate) fn new(most: u32, fewest: u32, each: u32) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(most as usize)),
            open: AtomicU32::new(most),
            most,
            fewest: fewest.min(most),
            each,
        }
    }

    /// Takes `units`, or all that are open where that is more.
    pub(crate) async fn acquire(&self, units: u32) -> OwnedSemaphorePermit {
        loop {
            let units = units.min(self.open.load(Ordering::Acquire));
            let permits = Arc::clone(&self.permits).acquire_many_owned(units);
            tokio::pin!(permits);
            loop {
                match tokio::time::timeout(INTERVAL, &mut permits).await {
                    Ok(Ok(permit)) => return permit,
                    // What was open was kept back in the same moment: there is less to wait for.
                    Err(_) if units > self.open.load(Ordering::Acquire) => break,
                    Err(_) => {}
                    // Never: the semaphore lives as long as self and is not closed.
                    Ok(Err(_)) => break,
                }
            }
        }
    }

    /// `wanted` says whether more would be used if they were open.
    fn decide(&self, room: f64, wanted: bool) -> Turn {
        let open = self.open.load(Ordering::Acquire);
        if room > IDLE && wanted && open < self.most {
            // In small steps where little is to be gained.
            let step = if room > VERY_IDLE { open } else { open / 8 };
            Turn::More(step.clamp(1, self.most - open))
        } else if room < BUSY && open > self.fewest {
            Turn::Fewer((open / 4).clamp(1, open - self.fewest))
        } else {
            Turn::Stay
        }
    }

    /// Keeps `units` back, if they come free in time.
    async fn keep(&self, units: u32) -> Option<OwnedSemaphorePermit> {
        self.open.fetch_sub(units, Ordering::AcqRel);
        let permits = Arc::clone(&self.permits).acquire_many_owned(units);
        if let Ok(Ok(permit)) = tokio::time::timeout(INTERVAL, permits).await {
            return Some(permit);
        }
        self.open.fetch_add(units, Ordering::AcqRel);
        None
    }

    /// Tunes itself from now on, beginning with the fewest, until the handle is dropped. `None`
    /// where nothing tells how busy the processors are: then all stay open.
    pub(crate) fn tune(self: &Arc<Self>) -> Option<AbortOnDropHandle<()>> {
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let before = Times::read()?;
        let units = self.most - self.fewest;
        let permits = Arc::clone(&self.permits);
        let kept = permits.try_acquire_many_owned(units).ok()?;
        self.open.store(self.fewest, Ordering::Release);
        let task = Arc::clone(self).run(kept, before);
        Some(AbortOnDropHandle::new(runtime.spawn(task)))
    }

    async fn run(self: Arc<Self>, mut kept: OwnedSemaphorePermit, mut before: Times) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(now) = Times::read() else { return };
            let room = now.room_since(before);
            before = now;
            let wanted = self.permits.available_permits() < self.each as usize;
            match self.decide(room, wanted) {
                Turn::More(units) => {
                    drop(kept.split(units as usize));
                    self.open.fetch_add(units, Ordering::AcqRel);
                }
                Turn::Fewer(units) => {
                    if let Some(more) = self.keep(units).await {
                        kept.merge(more);
                    }
                }
                Turn::Stay => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_processors_count() {
        let text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 40 5 6 7 8 9 9\ncpu1 9 9 9 9 9 9 9 9 0 0\n\
                    cpu12 1 0 0 1 0 0 0 0 0 0\nintr 5 5\n";
        let times = Times::parse(text, |cpu| cpu != 1, 5).unwrap();
        let (idle, all, own) = (46, 74, 5);
        assert_eq!(times, Times { idle, all, own });
        assert_eq!(Times::parse("cpu 1 2\n", |_| true, 0), None);
        assert_eq!(Times::parse("cpu0 1 x\n", |_| true, 0), None);
    }

    #[test]
    fn what_others_keep_busy_is_no_reason_to_hold_back() {
        let times = |idle, own| Times { idle, all: 20, own };
        let before = Times {
            idle: 0,
            all: 0,
            own: 0,
        };
        for (idle, own, room) in [(10, 5, 0.5), (0, 20, 0.0), (0, 7, 0.0), (0, 6, 1.0)] {
            let found = times(idle, own).room_since(before);
            assert!((found - room).abs() < 1e-9, "{idle} {own}: {found}");
        }
    }

    #[test]
    fn idle_processors_are_used_and_busy_ones_spared() {
        let window = |open| {
            let window = Window::new(100, 4, 4);
            window.open.store(open, Ordering::Release);
            window
        };
        assert_eq!(window(4).decide(0.6, true), Turn::More(4));
        assert_eq!(window(80).decide(0.6, true), Turn::More(20));
        assert_eq!(window(80).decide(0.4, true), Turn::More(10));
        assert_eq!(window(4).decide(0.4, true), Turn::More(1));
        assert_eq!(window(100).decide(0.6, true), Turn::Stay);
        assert_eq!(window(4).decide(0.5, false), Turn::Stay);
        assert_eq!(window(8).decide(0.1, true), Turn::Stay);
        assert_eq!(window(8).decide(0.0, true), Turn::Fewer(2));
        assert_eq!(window(5).decide(0.0, true), Turn::Fewer(1));
        assert_eq!(window(4).decide(0.0, true), Turn::Stay);
    }

    #[tokio::test]
    async fn whoever_asks_for_more_than_is_open_gets_all_of_it() {
        let window = Arc::new(Window::new(100, 4, 4));
        let tuner = window.tune();
        assert!(window.acquire(1_000).await.num_permits() >= 4);
        drop(tuner);
        let window = Window::new(100, 4, 4);
        let held = window.acquire(60).await;
        // Kept back while others hold what is wanted: given up in time, and nothing is lost.
        assert!(window.keep(50).await.is_none());
        assert_eq!(window.open.load(Ordering::Acquire), 100);
        let kept = window.keep(40).await.unwrap();
        drop(held);
        assert_eq!(window.acquire(1_000).await.num_permits(), 60);
        drop(kept);
        assert_eq!(window.permits.available_permits(), 100);
    }
}
