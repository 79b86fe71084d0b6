//! Key spaces: sorted keys computed by index, so that a million of them cost next to nothing.

use std::str::FromStr;

/// Prefix, zero-padded number, suffix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPattern {
    before: String,
    digits: usize,
    after: String,
}

impl FromStr for KeyPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (before, rest) = text.split_once("%0")?;
            let (digits, after) = rest.split_once('d')?;
            let digits = digits.parse().ok().filter(|d| (1..=18).contains(d))?;
            Some(Self {
                before: before.to_owned(),
                digits,
                after: after.to_owned(),
            })
        };
        parse().ok_or_else(|| format!("{text:?} holds no %0Nd with N from 1 to 18"))
    }
}

impl KeyPattern {
    fn new(before: String, digits: usize) -> Self {
        Self {
            before,
            digits,
            after: String::new(),
        }
    }

    /// How many keys have all their digits, and therefore stay in order.
    pub(crate) fn capacity(&self) -> u64 {
        10_u64.pow(self.digits as u32)
    }

    /// Key number `index`.
    pub(crate) fn key(&self, index: u64) -> String {
        let Self {
            before,
            digits,
            after,
        } = self;
        format!("{before}{index:0digits$}{after}")
    }
}

/// The shapes that listings are measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Hexadecimal hashes: the first characters are evenly spread.
    Uniform,
    /// All keys under one prefix of 26 levels.
    Deep,
    /// 99 % of the keys under one prefix, the others spread around it.
    Skew,
    /// A shared prefix of 1,000 bytes, then digits.
    LongPrefix,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "uniform" => Ok(Self::Uniform),
            "deep" => Ok(Self::Deep),
            "skew" => Ok(Self::Skew),
            "longprefix" => Ok(Self::LongPrefix),
            _ => Err(format!(
                "{text:?} is none of uniform, deep, skew, longprefix"
            )),
        }
    }
}

/// Sorted keys, in the order of UTF-8 bytes.
#[derive(Debug, Clone)]
pub(crate) enum Keyspace {
    /// `count` keys of one pattern.
    Numbered {
        /// How a key is made.
        pattern: KeyPattern,
        /// Number of keys.
        count: u64,
    },
    /// Keys that are the hexadecimal form of these sorted numbers.
    Hashed(Vec<u64>),
    /// `hot` between the first `below` and the other of the `cold` keys.
    Skewed {
        /// The many.
        hot: KeyPattern,
        /// How many they are.
        hot_count: u64,
        /// The few, sorted.
        cold: Vec<String>,
        /// How many of the few sort before the many.
        below: u64,
    },
}

/// A well-mixed number from a counter (the finaliser of `SplitMix64`, a bijection: no collisions).
fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Keyspace {
    /// `count` keys of a shape.
    pub(crate) fn shaped(shape: Shape, count: u64) -> Self {
        match shape {
            Shape::Uniform => {
                let mut hashes: Vec<u64> = (0..count).map(mix).collect();
                hashes.sort_unstable();
                Self::Hashed(hashes)
            }
            Shape::Deep => {
                let before: String = ('a'..='z').flat_map(|c| [c, '/']).collect();
                Self::Numbered {
                    pattern: KeyPattern::new(before, 10),
                    count,
                }
            }
            Shape::LongPrefix => {
                let before = "long-prefix-of-1000-bytes/"
                    .chars()
                    .cycle()
                    .take(1000)
                    .collect();
                Self::Numbered {
                    pattern: KeyPattern::new(before, 10),
                    count,
                }
            }
            Shape::Skew => {
                let hot = KeyPattern::new("hot/".to_owned(), 10);
                let cold_count = count / 100;
                let mut cold: Vec<String> = (0..cold_count)
                    .map(|i| {
                        let hash = mix(i);
                        format!("{}/{hash:016x}", char::from(b'a' + (hash % 26) as u8))
                    })
                    .collect();
                cold.sort_unstable();
                let below = cold.partition_point(|k| k.as_str() < hot.before.as_str()) as u64;
                Self::Skewed {
                    hot,
                    hot_count: count - cold_count,
                    cold,
                    below,
                }
            }
        }
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Numbered { count, .. } => *count,
            Self::Hashed(hashes) => hashes.len() as u64,
            Self::Skewed {
                hot_count, cold, ..
            } => hot_count + cold.len() as u64,
        }
    }

    /// Key number `index`, which must be below [`Self::len`].
    pub(crate) fn key(&self, index: u64) -> String {
        match self {
            Self::Numbered { pattern, .. } => pattern.key(index),
            Self::Hashed(hashes) => format!("{:016x}", hashes[index as usize]),
            Self::Skewed {
                hot,
                hot_count,
                cold,
                below,
            } => {
                if index < *below {
                    cold[index as usize].clone()
                } else if index < below + hot_count {
                    hot.key(index - below)
                } else {
                    cold[(index - hot_count) as usize].clone()
                }
            }
        }
    }

    /// Index of the first key that is not below `bound` (above it, if `after`).
    pub(crate) fn seek(&self, bound: &[u8], after: bool) -> u64 {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let key = self.key(middle);
            if key.as_bytes() < bound || (after && key.as_bytes() == bound) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Whether `key` is one of them.
    pub(crate) fn contains(&self, key: &str) -> bool {
        let index = self.seek(key.as_bytes(), false);
        index < self.len() && self.key(index) == key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [Shape; 4] = [Shape::Uniform, Shape::Deep, Shape::Skew, Shape::LongPrefix];

    #[test]
    fn every_shape_is_strictly_sorted_and_complete() {
        for shape in SHAPES {
            let keys = Keyspace::shaped(shape, 5000);
            assert_eq!(keys.len(), 5000, "{shape:?}");
            for i in 1..keys.len() {
                assert!(
                    keys.key(i - 1).as_bytes() < keys.key(i).as_bytes(),
                    "{shape:?} {i}"
                );
            }
            assert!(keys.key(4999).len() <= 1024, "{shape:?}");
        }
    }

    #[test]
    fn seek_finds_each_key_and_its_successor() {
        for shape in SHAPES {
            let keys = Keyspace::shaped(shape, 300);
            for i in 0..keys.len() {
                let key = keys.key(i);
                assert_eq!(keys.seek(key.as_bytes(), false), i);
                assert_eq!(keys.seek(key.as_bytes(), true), i + 1);
                assert!(keys.contains(&key) && !keys.contains(&format!("{key}!")));
            }
            assert_eq!(keys.seek(b"", false), 0);
            assert_eq!(keys.seek(b"\xff", false), 300);
        }
    }

    #[test]
    fn shapes_are_what_they_are_called() {
        let skew = Keyspace::shaped(Shape::Skew, 1000);
        let hot = (0..1000)
            .filter(|i| skew.key(*i).starts_with("hot/"))
            .count();
        assert_eq!(hot, 990);
        assert!(!skew.key(0).starts_with("hot/") && !skew.key(999).starts_with("hot/"));
        let long = Keyspace::shaped(Shape::LongPrefix, 10);
        assert_eq!(long.key(0).len(), 1010);
        assert_eq!(long.key(0)[..1000], long.key(9)[..1000]);
    }
}
