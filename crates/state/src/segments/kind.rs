//! Kinds of segments, and the pointers that lead to segments of a kind.

use std::fmt;

use skyhaul_model::{Error, ErrorKind, Result};
use ulid::Ulid;

/// What a segment holds; the first component of its pointer and part of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// One group's manifest: a single [`Segment`](skyhaul_model::segment::Segment).
    Manifest,
    /// [`ReceiptRecord`](skyhaul_model::outcome::ReceiptRecord)s of finished chunks.
    Receipts,
    /// [`Outcome`](skyhaul_model::outcome::Outcome)s that the listing decided: skipped and refused
    /// objects.
    Outcomes,
    /// Keys to delete at the destination.
    Deletes,
}

impl SegmentKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::Manifest,
        Self::Receipts,
        Self::Outcomes,
        Self::Deletes,
    ];

    /// The kind's name in pointers and headers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Receipts => "receipts",
            Self::Outcomes => "outcomes",
            Self::Deletes => "deletes",
        }
    }

    /// A pointer that no other segment has.
    #[must_use]
    pub fn new_pointer(self) -> String {
        format!("{self}/{}.zst", Ulid::generate())
    }

    /// A pointer comes from a row: refuses one that does not name a segment of this kind and nothing
    /// else, so that none leads out of the place of the segments.
    pub fn check(self, pointer: &str) -> Result<()> {
        let name = pointer
            .strip_prefix(self.name())
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
        if name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(plain)
        {
            return Ok(());
        }
        Err(Error::control(
            ErrorKind::Corrupt,
            format!("not a pointer to a {self} segment"),
        )
        .object(pointer)
        .retryable(false))
    }
}

impl fmt::Display for SegmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
