//! Where to cut a key range so that both halves probably hold keys, knowing only the keys seen so
//! far. No hints, no delimiter: characters are guessed from those that occur in the data set.
//!
//! A range whose last seen key is `low` and whose end is `high` (or unknown) is cut at the first
//! position where keys can still differ. Where the end is unknown, the position is bisected: keys
//! of one page share a long prefix, but how much of it *all* remaining keys share is unknown. A
//! probe beyond the prefix either finds keys (a cut) or proves that the prefix is shared (the end
//! moves down). So a prefix of n characters costs about log2(n) probes.

use std::collections::BTreeSet;

/// Characters that occur in keys; bounded, because only their order and spread matter.
#[derive(Debug, Clone, Default)]
pub struct Alphabet(BTreeSet<char>);

impl Alphabet {
    const MOST: usize = 1_024;

    /// Learns from a key.
    pub fn learn(&mut self, key: &str) {
        if self.0.len() < Self::MOST {
            self.0.extend(key.chars());
        }
    }

    /// The middle one of the characters in `low < c < high`.
    fn between(&self, low: Option<char>, high: Option<char>) -> Option<char> {
        use std::ops::Bound::{Excluded, Unbounded};
        if let (Some(low), Some(high)) = (low, high)
            && low >= high
        {
            return None;
        }
        let range = (
            low.map_or(Unbounded, Excluded),
            high.map_or(Unbounded, Excluded),
        );
        let count = self.0.range(range).count();
        self.0.range(range).nth(count / 2).copied()
    }
}

/// A proposed cut: keys greater than `at` go to the right half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The key to cut at; it need not exist.
    pub at: String,
    /// The character position that it changes: the right half's keys may differ from here on.
    pub depth: usize,
}

/// The position of the first character in which two keys differ.
#[must_use]
pub fn first_difference(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

/// Proposes a cut between `low` (exclusive) and `high`, at a position up to `depth`, the deepest
/// at which a cut can pay; `None` if there is no such place.
#[must_use]
pub fn cut(low: &str, high: Option<&str>, depth: usize, alphabet: &Alphabet) -> Option<Cut> {
    let low: Vec<char> = low.chars().collect();
    let make = |position: usize, last: char| Cut {
        at: low[..position].iter().chain([&last]).collect(),
        depth: position,
    };
    let mut first = 0;
    if let Some(high) = high {
        let high: Vec<char> = high.chars().collect();
        let common = low.iter().zip(&high).take_while(|(a, b)| a == b).count();
        let high_char = high.get(common).copied()?;
        if let Some(middle) = alphabet.between(low.get(common).copied(), Some(high_char)) {
            return Some(make(common, middle));
        }
        first = common + 1;
    }
    if low.is_empty() || first > depth || first >= low.len() {
        return None;
    }
    let depth = depth.min(low.len() - 1);
    let position = first + depth.saturating_sub(first) / 2;
    let current = low[position];
    if position == first
        && let Some(middle) = alphabet.between(Some(current), None)
    {
        return Some(make(position, middle));
    }
    Some(make(position, successor(current)?))
}

/// The next character after `c` in code point order, which is the order of UTF-8 bytes.
fn successor(c: char) -> Option<char> {
    ((c as u32 + 1)..=u32::from(char::MAX)).find_map(char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn alphabet(text: &str) -> Alphabet {
        let mut alphabet = Alphabet::default();
        alphabet.learn(text);
        alphabet
    }

    #[test]
    fn bisects_known_characters() {
        let digits = alphabet("0123456789");
        assert_eq!(cut("k0", Some("k9"), 1, &digits).unwrap().at, "k5");
        assert_eq!(cut("0012", None, 0, &digits).unwrap().at, "5");
    }

    #[test]
    fn an_unknown_end_is_tested_in_the_middle_of_the_shared_prefix() {
        let low = format!("{}000123", "p".repeat(1_000));
        let found = cut(&low, None, 1_002, &alphabet(&low)).unwrap();
        assert_eq!(found.depth, 501);
        assert_eq!(found.at, format!("{}q", "p".repeat(501)));
    }

    #[test]
    fn a_proved_prefix_is_not_tested_again() {
        let low = "aaaa123";
        let cut = cut(low, Some("aab"), 6, &alphabet("a123")).unwrap();
        assert!(cut.depth > 2, "{cut:?}");
    }

    proptest! {
        #[test]
        fn a_cut_lies_between_its_bounds(
            low in "[a-c/é]{0,8}", high in proptest::option::of("[a-c/é]{0,8}"), depth in 0..9_usize,
        ) {
            let alphabet = alphabet("abc/é");
            prop_assume!(high.as_ref().is_none_or(|high| &low < high));
            if let Some(cut) = cut(&low, high.as_deref(), depth, &alphabet) {
                prop_assert!(cut.at > low, "{cut:?}");
                prop_assert!(high.is_none_or(|high| cut.at < high), "{cut:?}");
            }
        }
    }
}
