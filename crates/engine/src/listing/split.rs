//! Where to cut a key range so that both halves probably hold keys, knowing only the keys seen so
//! far. No hints, no delimiter: characters are guessed from those that were seen to take turns with
//! each other in the data set.
//!
//! A range whose last seen key is `low` and whose end is `high` (or unknown) is cut at the first
//! position where keys can still differ. Where the end is unknown, the position is bisected: keys
//! of one page share a long prefix, but how much of it *all* remaining keys share is unknown. A
//! probe beyond the prefix either finds keys (a cut) or proves that the prefix is shared (the end
//! moves down). So a prefix of n characters costs about log2(n) probes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skyhaul_stores::ListPage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Characters that occur in keys; bounded, because only their order and spread matter.
#[derive(Debug, Clone, Default)]
pub struct Alphabet {
    all: BTreeSet<char>,
    turns: Turns,
}

/// Which characters were seen at the same place of two keys of one page: what takes turns with
/// what. Bounded as well.
#[derive(Debug, Clone, Default)]
pub struct Turns(BTreeMap<char, BTreeSet<char>>);

impl Turns {
    const MOST: usize = 256;

    /// Learns from the places of a page.
    pub fn learn(&mut self, places: &[BTreeSet<char>]) {
        for place in places.iter().filter(|place| place.len() > 1) {
            for c in place {
                if self.0.len() < Self::MOST || self.0.contains_key(c) {
                    let turns = self.0.entry(*c).or_default();
                    if turns.len() < Self::MOST {
                        turns.extend(place);
                    }
                }
            }
        }
    }
}

/// The characters that some keys of a page have at each place behind the first `shared`, which all
/// of them share.
#[must_use]
pub fn places(page: &ListPage, shared: usize) -> Vec<BTreeSet<char>> {
    let mut places: Vec<BTreeSet<char>> = Vec::new();
    for key in some(page) {
        for (at, c) in key.chars().skip(shared).take(LEARNT).enumerate() {
            if at == places.len() {
                places.push(BTreeSet::new());
            }
            places[at].insert(c);
        }
    }
    places
}

/// Some keys of a page, from all over it.
fn some(page: &ListPage) -> impl Iterator<Item = &str> {
    let every = (page.entries.len() / 16).max(1);
    let some = page.entries.iter().step_by(every);
    some.map(|entry| entry.key.as_str())
}

impl Alphabet {
    const MOST: usize = 1_024;

    /// Learns from a page whose keys share their first `shared` characters, and from its places.
    pub fn learn(&mut self, page: &ListPage, shared: usize, places: &[BTreeSet<char>]) {
        for (nth, key) in some(page).enumerate() {
            if self.all.len() < Self::MOST {
                let known = if nth == 0 { 0 } else { shared };
                self.all.extend(key.chars().skip(known));
            }
        }
        self.turns.learn(places);
    }
}

/// What is known of the characters in a range.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// From the range itself.
    pub own: &'a Turns,
    /// From all ranges.
    pub shared: &'a Alphabet,
}

impl Known<'_> {
    /// What takes turns with `c`, if anything was seen to.
    fn turns(&self, c: char) -> Option<&BTreeSet<char>> {
        let Known { own, shared } = self;
        own.0.get(&c).or_else(|| shared.turns.0.get(&c))
    }

    /// The middle one of the characters in `low < c < high`: of those that take turns with `low`,
    /// or of all if nothing was seen to.
    fn between(&self, low: Option<char>, high: Option<char>) -> Option<char> {
        if let (Some(low), Some(high)) = (low, high)
            && low >= high
        {
            return None;
        }
        let turns = low.and_then(|low| self.turns(low));
        middle(turns.unwrap_or(&self.shared.all), low, high)
    }

    /// Where a key lies between its neighbours, from 0 to 1, judged by the characters behind the
    /// first `shared`, if all that takes turns is as frequent.
    fn place(&self, key: &str, shared: usize) -> f64 {
        let (mut place, mut width) = (0.0, 1.0);
        for c in key.chars().skip(shared).take(PLACES) {
            if let Some(turns) = self.turns(c) {
                width /= turns.len() as f64;
                place += width * turns.range(..c).count() as f64;
            }
        }
        place
    }

    /// How many pages like the one from `first` to `last` lie between `last` and `end`, as far as
    /// can be told; infinitely many if it cannot. All in order.
    #[must_use]
    pub fn pages_left(&self, first: &str, last: &str, end: &str) -> f64 {
        let shared = first_difference(first, last).min(first_difference(last, end));
        let place = |key| self.place(key, shared);
        let (left, page) = (place(end) - place(last), place(last) - place(first));
        if left > 0.0 && page > 0.0 {
            left / page
        } else {
            f64::INFINITY
        }
    }
}

/// Places of a page's keys that are learnt from.
const LEARNT: usize = 64;

/// Characters that say where a key lies: more would not change it.
const PLACES: usize = 12;

fn middle(of: &BTreeSet<char>, low: Option<char>, high: Option<char>) -> Option<char> {
    use std::ops::Bound::{Excluded, Unbounded};
    let range = (
        low.map_or(Unbounded, Excluded),
        high.map_or(Unbounded, Excluded),
    );
    let count = of.range(range).count();
    of.range(range).nth(count / 2).copied()
}

/// Permits for the ranges that one range may give away now, of `width` list calls at a time.
pub(crate) fn take_permits(permits: &Arc<Semaphore>, width: usize) -> Vec<OwnedSemaphorePermit> {
    let most = cuts_at_once(permits.available_permits(), width);
    let take = |_| Arc::clone(permits).try_acquire_owned().ok();
    (0..most).map_while(take).collect()
}

/// How many cuts a range may try at once, of `width` calls of which `free` are not under way: its
/// share of the free ones.
fn cuts_at_once(free: usize, width: usize) -> usize {
    let ranges = width.saturating_sub(free).max(1);
    (free / ranges).clamp(free.min(1), MOST_CUTS)
}

/// Cuts tried at once.
const MOST_CUTS: usize = 3;

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

/// Proposes a cut between `low` (exclusive) and `high`, at a position from `fixed`, how many
/// characters all keys share in any case, to `depth`, the deepest at which a cut can pay; `None` if
/// there is no such place.
#[must_use]
pub fn cut(
    low: &str,
    high: Option<&str>,
    fixed: usize,
    depth: usize,
    known: Known<'_>,
) -> Option<Cut> {
    let low: Vec<char> = low.chars().collect();
    let make = |position: usize, last: char| Cut {
        at: low[..position].iter().chain([&last]).collect(),
        depth: position,
    };
    let mut first = fixed;
    if let Some(high) = high {
        let high: Vec<char> = high.chars().collect();
        let common = low.iter().zip(&high).take_while(|(a, b)| a == b).count();
        let high_char = high.get(common).copied()?;
        if let Some(middle) = known.between(low.get(common).copied(), Some(high_char)) {
            return Some(make(common, middle));
        }
        first = first.max(common + 1);
    }
    if low.is_empty() || first > depth || first >= low.len() {
        return None;
    }
    let depth = depth.min(low.len() - 1);
    let mut position = first + depth.saturating_sub(first) / 2;
    while position == first {
        if let Some(middle) = known.between(Some(low[position]), None) {
            return Some(make(position, middle));
        }
        if known.turns(low[position]).is_none() {
            break;
        }
        // The last of its kind: what comes behind begins with it.
        if first == depth {
            return None;
        }
        first += 1;
        position = first + (depth - first) / 2;
    }
    Some(make(position, successor(low[position])?))
}

/// The next character after `c` in code point order, which is the order of UTF-8 bytes.
fn successor(c: char) -> Option<char> {
    ((c as u32 + 1)..=u32::from(char::MAX)).find_map(char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::super::simulated::entry;
    use super::*;
    use proptest::prelude::*;

    /// An alphabet whose characters all take turns.
    fn alphabet(text: &str) -> Alphabet {
        let mut alphabet = Alphabet::default();
        let keys = text.chars().map(String::from);
        let page = page(keys);
        alphabet.learn(&page, 0, &places(&page, 0));
        alphabet
    }

    fn page(keys: impl Iterator<Item = String>) -> ListPage {
        ListPage {
            entries: keys.map(|key| entry(&key)).collect(),
            refused: Vec::new(),
        }
    }

    fn cut(low: &str, high: Option<&str>, depth: usize, shared: &Alphabet) -> Option<Cut> {
        let own = &Turns::default();
        super::cut(low, high, 0, depth, Known { own, shared })
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
    fn what_takes_turns_with_digits_are_digits() {
        let mut own = Turns::default();
        let page = page((0..1_000).map(|n| format!("part-{n:05}.gz")));
        own.learn(&places(&page, 7));
        let shared = &alphabet("0123456789abcdef");
        let cut = |low, high| {
            super::cut(low, high, 0, 7, Known { own: &own, shared })
                .unwrap()
                .at
        };
        assert_eq!(cut("part-00999.gz", Some("part-1")), "part-05");
        // Nothing follows a nine: what is behind it begins with it.
        assert_eq!(cut("part-09012.gz", Some("part-1")), "part-095");
        let shared = Alphabet::default();
        let known = Known {
            own: &own,
            shared: &shared,
        };
        let left = known.pages_left("part-00000.gz", "part-00999.gz", "part-01");
        assert!(left < 0.1, "{left}");
        let left = known.pages_left("part-00000.gz", "part-00999.gz", "part-05");
        assert!((3.5..4.5).contains(&left), "{left}");
    }

    #[test]
    fn what_all_keys_share_is_not_tested() {
        let low = "backup/0123";
        let own = &Turns::default();
        let shared = &alphabet("0123456789");
        let cut = super::cut(low, None, 7, 8, Known { own, shared }).unwrap();
        assert_eq!(cut.at, "backup/5");
    }

    #[test]
    fn free_calls_are_shared() {
        let cuts = [
            (31, 32),
            (30, 32),
            (24, 32),
            (8, 32),
            (1, 32),
            (0, 32),
            (0, 1),
        ];
        let found = cuts.map(|(free, width)| cuts_at_once(free, width));
        assert_eq!(found, [3, 3, 3, 1, 1, 0, 0]);
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
