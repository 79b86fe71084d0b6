//! How often the state is asked whether something has changed: often where asking is free, and where each call is paid
//! for less and less often, up to a bound, while nothing changes.

use std::time::Duration;

use skyhaul_state::TransferState;

/// Between two looks at a state whose calls are paid for: at least, and at most.
const SOON: Duration = Duration::from_secs(1);
pub(crate) const SELDOM: Duration = Duration::from_secs(5);

/// Between two times that a gateway tells a state whose calls are paid for that it lives: `docs/adr/0001-state-layout.md`.
const TELLS: Duration = Duration::from_secs(20);

/// Pauses between looks.
#[derive(Debug)]
pub(crate) struct Pace {
    least: Duration,
    most: Duration,
    now: Duration,
}

impl Pace {
    /// Those of a state; where asking is free, always `usual`.
    pub(crate) fn of(state: &dyn TransferState, usual: Duration) -> Self {
        let (least, most) = if state.is_metered() {
            (SOON, SELDOM)
        } else {
            (usual, usual)
        };
        Self {
            least,
            most,
            now: least,
        }
    }

    /// Something has happened: more may follow soon.
    pub(crate) fn quicken(&mut self) {
        self.now = self.least;
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.now;
        self.now = (self.now * 2).min(self.most);
        pause
    }
}

/// How long a gateway that has nothing new to tell tells nothing.
pub(crate) fn silence(state: &dyn TransferState) -> Duration {
    if state.is_metered() {
        TELLS
    } else {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_seldom_while_nothing_happens_where_they_are_paid_for() {
        let mut pace = Pace {
            least: SOON,
            most: SELDOM,
            now: SOON,
        };
        let mut pauses = Vec::new();
        for _ in 0..6 {
            pauses.push(pace.next().as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 5, 5, 5]);
        pace.quicken();
        assert_eq!(pace.next(), SOON);
    }
}
