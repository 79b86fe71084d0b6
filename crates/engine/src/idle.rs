//! Which holders of a transfer's groups have nothing to do: this one, and how many others. Those who
//! still have chunks that they have not begun give some to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Idle {
    /// Whether all is listed, and the last look found no group that nobody has.
    dry: AtomicBool,
    /// Chunks of claimed groups that are not begun.
    open: Arc<AtomicUsize>,
    others: watch::Sender<u32>,
}

impl Idle {
    pub(crate) fn set_dry(&self, dry: bool) {
        self.dry.store(dry, Ordering::Relaxed);
    }

    /// Counts what is not begun.
    pub(crate) fn open(&self) -> &Arc<AtomicUsize> {
        &self.open
    }

    /// Whether there is nothing to begin: all of what was found is under way.
    pub(crate) fn is_dry(&self) -> bool {
        self.dry.load(Ordering::Relaxed) && self.open.load(Ordering::Relaxed) == 0
    }

    /// So many others have nothing to do now. To be said each time that it is looked at: what was
    /// given on one look's word is not given again.
    pub fn tell_others(&self, count: u32) {
        self.others.send_if_modified(|others| {
            let changed = *others != count;
            *others = count;
            changed
        });
    }

    /// Waits until others have nothing to do: how many they are. Told to one.
    pub(crate) async fn others(&self) -> u32 {
        let mut others = self.others.subscribe();
        loop {
            // The sender is in `self`: waiting does not fail.
            let _ = others.wait_for(|count| *count > 0).await;
            let mut taken = 0;
            self.others.send_if_modified(|count| {
                taken = std::mem::take(count);
                taken > 0
            });
            if taken > 0 {
                return taken;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn each_look_is_told_to_one() {
        let idle = Idle::default();
        let (mut first, mut second) = (Box::pin(idle.others()), Box::pin(idle.others()));
        assert_eq!((&mut first).now_or_never(), None);
        assert_eq!((&mut second).now_or_never(), None);
        idle.tell_others(2);
        assert_eq!((&mut second).now_or_never(), Some(2));
        assert_eq!((&mut first).now_or_never(), None);
        idle.tell_others(2);
        assert_eq!(first.now_or_never(), Some(2));
        idle.tell_others(2);
        idle.tell_others(0);
        assert_eq!(idle.others().now_or_never(), None);
    }
}
