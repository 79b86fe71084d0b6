//! How fast a run is now, and how long it will take: one rule for bar, lines and JSON.

use skyhaul_workflow::summary::ProgressEvent;

/// Seconds after which an old speed counts for little.
const MEMORY: f64 = 5.0;

/// A smoothed speed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rate {
    last: Option<ProgressEvent>,
    bytes: f64,
    objects: f64,
}

/// What can be said at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Speed {
    /// Bytes a second.
    pub(crate) bytes: f64,
    /// Objects a second.
    pub(crate) objects: f64,
    /// Seconds to go, once the totals are final.
    pub(crate) eta: Option<f64>,
}

impl Rate {
    /// Takes the next numbers in.
    pub(crate) fn update(&mut self, now: &ProgressEvent) -> Speed {
        // What earlier runs did is no speed of this one.
        let start = ProgressEvent {
            bytes_done: now.bytes_resumed,
            objects_done: if now.bytes_resumed > 0 {
                now.objects_done
            } else {
                0
            },
            ..ProgressEvent::default()
        };
        let last = self.last.unwrap_or(start);
        let time = now.elapsed_s - last.elapsed_s;
        if time > 0.0 {
            let bytes = now.bytes_done.saturating_sub(last.bytes_done) as f64 / time;
            let objects = now.objects_done.saturating_sub(last.objects_done) as f64 / time;
            // Divided by the weight of all time so far: the first numbers are plain averages.
            let gain = |seconds: f64| 1.0 - (-seconds / MEMORY).exp();
            let weight = gain(time) / gain(now.elapsed_s);
            self.bytes += (bytes - self.bytes) * weight;
            self.objects += (objects - self.objects) * weight;
            self.last = Some(*now);
        }
        let eta = now.listing_done.then(|| self.eta(now)).flatten();
        Speed {
            bytes: self.bytes,
            objects: self.objects,
            eta,
        }
    }

    /// The longer of what bytes and objects still need: either may be the limit.
    fn eta(&self, now: &ProgressEvent) -> Option<f64> {
        let bytes = now.bytes_remaining? as f64;
        let ended = now.objects_done + now.failed;
        let objects = now.objects_total.saturating_sub(ended) as f64;
        let need = |left: f64, speed: f64| match left {
            left if left <= 0.0 => Some(0.0),
            left if speed > 0.0 => Some(left / speed),
            _ => None,
        };
        let bytes = need(bytes, self.bytes)?;
        // Objects do not end evenly: without an end yet, bytes alone decide.
        Some(bytes.max(need(objects, self.objects).unwrap_or(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(elapsed_s: f64, bytes_done: u64) -> ProgressEvent {
        ProgressEvent {
            listing_done: true,
            bytes_total: 1000,
            bytes_done,
            bytes_resumed: 100,
            bytes_remaining: Some(1000 - bytes_done),
            elapsed_s,
            ..ProgressEvent::default()
        }
    }

    #[test]
    fn bytes_of_earlier_runs_are_no_speed() {
        let mut rate = Rate::default();
        assert_eq!(rate.update(&at(0.0, 100)), Speed::default());
        let speed = rate.update(&at(2.0, 300));
        assert!((speed.bytes - 100.0).abs() < 1e-9, "{speed:?}");
        assert!((speed.eta.unwrap() - 7.0).abs() < 1e-9, "{speed:?}");
    }

    #[test]
    fn an_early_look_at_nothing_weighs_little() {
        let mut rate = Rate::default();
        rate.update(&at(0.001, 100));
        let speed = rate.update(&at(1.0, 1000));
        assert!(speed.bytes > 890.0 && speed.bytes < 910.0, "{speed:?}");
    }

    #[test]
    fn no_end_is_promised_before_the_totals_are_final() {
        let mut rate = Rate::default();
        let open = ProgressEvent {
            listing_done: false,
            ..at(1.0, 300)
        };
        assert_eq!(rate.update(&open).eta, None);
        assert_eq!(rate.update(&at(2.0, 1000)).eta, Some(0.0));
    }
}
