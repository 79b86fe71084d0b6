//! Which streams of a sender were there before: a captured one does nothing a second time.
//!
//! A sender numbers its streams from 0 and they arrive in about that order, since it has not many
//! under way. So the receiver keeps the highest number and a window below it, as `IPsec` does
//! (RFC 4303, section 3.4.3); what is below the window is refused, and sent again under a new
//! number by a sender that meant it.

/// Numbers below the highest that are told apart.
pub const WINDOW: u64 = 1 << 16;

/// Streams of one sender.
#[derive(Debug)]
pub struct Seen {
    /// One more than the highest number seen.
    next: u64,
    /// A bit for each number of the window, at its remainder.
    bits: Vec<u64>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            next: 0,
            bits: vec![0; (WINDOW / 64) as usize],
        }
    }
}

impl Seen {
    /// Notes a stream that was shown to be the sender's; false if it may have been there before.
    pub fn is_new(&mut self, number: u64) -> bool {
        if number == u64::MAX || number + WINDOW < self.next {
            return false;
        }
        if number >= self.next {
            let gap = number - self.next;
            if gap >= WINDOW {
                self.bits.fill(0);
            } else {
                for passed in self.next..number {
                    let (word, bit) = Self::place(passed);
                    self.bits[word] &= !bit;
                }
            }
            self.next = number + 1;
        } else {
            let (word, bit) = Self::place(number);
            if self.bits[word] & bit != 0 {
                return false;
            }
        }
        let (word, bit) = Self::place(number);
        self.bits[word] |= bit;
        true
    }

    fn place(number: u64) -> (usize, u64) {
        let at = number % WINDOW;
        ((at / 64) as usize, 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_window_moves_on() {
        let mut seen = Seen::default();
        assert!(seen.is_new(5) && seen.is_new(3) && !seen.is_new(5) && !seen.is_new(3));
        assert!(seen.is_new(4 + WINDOW));
        // 5 is now the lowest that is told apart.
        assert!(!seen.is_new(5) && !seen.is_new(4) && !seen.is_new(0));
        assert!(seen.is_new(6) && !seen.is_new(6));
        assert!(seen.is_new(1 << 40) && !seen.is_new(5 + WINDOW) && !seen.is_new(1 << 40));
        assert!(!seen.is_new(u64::MAX));
    }

    proptest! {
        #[test]
        fn nothing_is_new_twice_and_what_is_near_is_new_once(
            steps in prop::collection::vec((0..3_u8, 0..2 * WINDOW), 1..400)
        ) {
            let (mut seen, mut known, mut top) = (Seen::default(), HashSet::new(), 0_u64);
            for (way, distance) in steps {
                let number = match way {
                    0 => top + distance,
                    1 => top.saturating_sub(distance),
                    _ => top.saturating_sub(distance % 64),
                };
                let is_new = seen.is_new(number);
                let near = number + WINDOW > top;
                prop_assert!(!(is_new && known.contains(&number)));
                prop_assert!(!near || is_new != known.contains(&number));
                if is_new {
                    known.insert(number);
                    top = top.max(number);
                }
            }
        }
    }
}
