//! Groups of chunks: identity, lease and the bitmap of finished chunks.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::HolderId;

/// A listing range of a transfer: the owner of the groups that were found in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RangeId(pub u32);

impl RangeId {
    /// Set in the range of groups that are claimed first. A transfer has far fewer ranges.
    const FIRST: u32 = 1 << 31;

    /// The range under which those groups of this one are known that are claimed first: they have
    /// ordinals of their own.
    #[must_use]
    pub fn first(self) -> Self {
        Self(self.0 | Self::FIRST)
    }

    /// Whether groups of this range are claimed first.
    #[must_use]
    pub fn is_first(self) -> bool {
        self != GroupId::RETRY_RANGE && self.0 & Self::FIRST != 0
    }

    /// The range that was listed.
    #[must_use]
    pub fn listed(self) -> Self {
        if self.is_first() {
            Self(self.0 & !Self::FIRST)
        } else {
            self
        }
    }
}

/// A group's identity inside its transfer: the range that it was found in and its ordinal there.
/// Both are deterministic, so appending the same group twice is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupId {
    /// The listing range, [`RangeId::first`] of it, or [`GroupId::RETRY_RANGE`].
    pub range: RangeId,
    /// Ordinal in the range, from 0.
    pub ordinal: u32,
}

impl GroupId {
    /// Groups in this range were not listed but split off from other groups to be tried again.
    pub const RETRY_RANGE: RangeId = RangeId(u32::MAX);
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.range == Self::RETRY_RANGE {
            write!(f, "retry-{}", self.ordinal)
        } else if self.range.is_first() {
            write!(f, "first-{}-{}", self.range.listed().0, self.ordinal)
        } else {
            write!(f, "{}-{}", self.range.0, self.ordinal)
        }
    }
}

/// The lease on a group, or what an observer saw of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it.
    pub holder: HolderId,
    /// Raised by one each time the group is leased; every write carries it.
    pub fence: u64,
    /// Raised by one at each renewal.
    pub counter: u64,
}

/// Which chunks of a group are done: bit `i` for chunk `i`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bitmap(pub u64);

impl Bitmap {
    /// All of the first `chunks` bits (at most 64).
    #[must_use]
    pub fn full(chunks: u32) -> Self {
        Self(if chunks >= 64 {
            u64::MAX
        } else {
            (1 << chunks) - 1
        })
    }

    /// Whether bit `index` is set.
    #[must_use]
    pub fn contains(self, index: u32) -> bool {
        index < 64 && self.0 >> index & 1 == 1
    }

    /// Sets bit `index` (below 64).
    pub fn insert(&mut self, index: u32) {
        self.0 |= 1 << index;
    }

    /// Bits in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Bits in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// How many bits are set.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }
}

/// Where a group is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupStatus {
    /// Nobody works on it.
    Pending,
    /// A holder works on it.
    Leased,
    /// All its chunks are done.
    Done,
}

/// What a group or transfer counts. All fields add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Objects committed at the destination.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that failed for good.
    pub failed: u64,
    /// Objects that were not copied because the destination has them (or by a rule).
    pub skipped: u64,
    /// Objects deleted at the destination.
    pub deleted: u64,
    /// Times an object was begun anew.
    pub retries: u64,
    /// Objects proved against a checksum that the source keeps.
    pub source_verified: u64,
    /// Objects proved by the destination's own checksum.
    pub transport_verified: u64,
    /// Chunks that are done in their groups only because they went on in others: work that is
    /// counted twice among chunks that are done.
    pub moved_chunks: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.deleted += other.deleted;
        self.retries += other.retries;
        self.source_verified += other.source_verified;
        self.transport_verified += other.transport_verified;
        self.moved_chunks += other.moved_chunks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_are_claimed_first_are_told_apart() {
        let range = RangeId(7);
        assert!(range.first().is_first() && !range.is_first());
        assert_eq!((range.listed(), range.first().listed()), (range, range));
        let retries = GroupId::RETRY_RANGE;
        assert!(!retries.is_first() && retries.listed() == retries);
        let name = |range| GroupId { range, ordinal: 3 }.to_string();
        let names = [range, range.first(), retries].map(name);
        assert_eq!(names, ["7-3", "first-7-3", "retry-3"]);
    }

    #[test]
    fn bitmaps_count_and_fill() {
        let mut map = Bitmap::default();
        for index in [0, 3, 63] {
            map.insert(index);
        }
        assert!(map.contains(63) && !map.contains(1) && !map.contains(64));
        assert_eq!(map.count(), 3);
        assert_eq!(Bitmap::full(64).count(), 64);
        assert_eq!(Bitmap::full(5), Bitmap(0b1_1111));
    }
}
