//! Segments: immutable compressed files (manifests, receipts, outcomes, deletions) that rows of
//! the state point to. One trait; a local folder here, the staging bucket with the control plane.

mod codec;
mod local;

use std::fmt::{self, Debug};

use async_trait::async_trait;
use skyhaul_model::Result;
use skyhaul_model::outcome::{Outcome, ReceiptRecord};
use skyhaul_model::segment::Segment;

pub use local::{Records, Segments};

/// What a segment holds; the first component of its pointer and part of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// One group's manifest: a single [`Segment`].
    Manifest,
    /// [`ReceiptRecord`]s of finished chunks.
    Receipts,
    /// [`Outcome`]s that the listing decided: skipped and refused objects.
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
}

impl fmt::Display for SegmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a transfer's segments are kept. A write returns a pointer, unique and relative, that is
/// stored in a row; a segment that no row points to was never written as far as anyone knows.
///
/// Errors (control side): `Full` when there is no room, `NotFound` when a pointer's segment is
/// gone, `Corrupt` (not retryable) when it is damaged or of another kind or version.
#[async_trait]
pub trait SegmentStore: Debug + Send + Sync {
    /// Writes a group's manifest.
    async fn write_manifest(&self, manifest: &Segment) -> Result<String>;

    /// Reads a manifest; it is validated, so that its methods cannot panic.
    async fn read_manifest(&self, pointer: &str) -> Result<Segment>;

    /// Writes receipts of finished chunks.
    async fn write_receipts(&self, receipts: &[ReceiptRecord]) -> Result<String>;

    /// Reads receipts.
    async fn read_receipts(&self, pointer: &str) -> Result<Vec<ReceiptRecord>>;

    /// Writes outcomes of objects that are not copied.
    async fn write_outcomes(&self, outcomes: &[Outcome]) -> Result<String>;

    /// Reads outcomes.
    async fn read_outcomes(&self, pointer: &str) -> Result<Vec<Outcome>>;

    /// Writes keys to delete.
    async fn write_deletes(&self, keys: &[String]) -> Result<String>;

    /// Reads keys to delete.
    async fn read_deletes(&self, pointer: &str) -> Result<Vec<String>>;
}
