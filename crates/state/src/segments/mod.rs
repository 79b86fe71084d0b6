//! Segments: immutable compressed files (manifests, receipts, outcomes, deletions) that rows of
//! the state point to. A place keeps and gives bytes; what they mean is said here, once. Places are
//! a folder of this machine and, over the store trait, the staging bucket.

mod codec;
mod kind;
mod local;

use std::fmt::Debug;
use std::io;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skyhaul_model::outcome::{Outcome, ReceiptRecord};
use skyhaul_model::segment::Segment;
use skyhaul_model::{Error, ErrorKind, Result};

pub use kind::SegmentKind;
pub use local::Segments;

/// What can be done about a segment that cannot be read.
const HINT: &str = "this transfer cannot be resumed; start it again with --fresh";

/// Where a transfer's segments are kept. A write returns a pointer, unique and relative, that is
/// stored in a row; a segment that no row points to was never written as far as anyone knows.
///
/// Errors (control side): `Full` when there is no room, `NotFound` when a pointer's segment is
/// gone, `Corrupt` (not retryable) when it is damaged or of another kind or version.
#[async_trait]
pub trait SegmentStore: Debug + Send + Sync {
    /// Keeps bytes at a pointer that the caller made, which is checked ([`SegmentKind::check`]): whole or not
    /// at all. Of what several keep at the same pointer one stays.
    async fn keep(&self, kind: SegmentKind, pointer: &str, bytes: Vec<u8>) -> Result<()>;

    /// Keeps bytes under a name of their own ([`SegmentKind::new_pointer`]).
    async fn put(&self, kind: SegmentKind, bytes: Vec<u8>) -> Result<String> {
        let pointer = kind.new_pointer();
        self.keep(kind, &pointer, bytes).await?;
        Ok(pointer)
    }

    /// The bytes at a pointer, which is checked ([`SegmentKind::check`]); [`gone`] if there are none.
    async fn get(&self, kind: SegmentKind, pointer: &str) -> Result<Vec<u8>>;

    /// A pointer as the user would write it (a path, a URI).
    fn full_name(&self, pointer: &str) -> String;

    /// Writes a group's manifest.
    async fn write_manifest(&self, manifest: &Segment) -> Result<String> {
        write(self, SegmentKind::Manifest, std::slice::from_ref(manifest)).await
    }

    /// Reads a manifest; it is validated, so that its methods cannot panic.
    async fn read_manifest(&self, pointer: &str) -> Result<Segment> {
        let mut found: Vec<Segment> = read(self, SegmentKind::Manifest, pointer).await?;
        let (Some(manifest), true) = (found.pop(), found.is_empty()) else {
            let error = io::Error::new(io::ErrorKind::InvalidData, "not exactly one manifest");
            return Err(damaged(error, self.full_name(pointer)));
        };
        manifest.validate().map_err(|error| error.object(pointer))?;
        Ok(manifest)
    }

    /// Writes receipts of finished chunks.
    async fn write_receipts(&self, receipts: &[ReceiptRecord]) -> Result<String> {
        write(self, SegmentKind::Receipts, receipts).await
    }

    /// Reads receipts.
    async fn read_receipts(&self, pointer: &str) -> Result<Vec<ReceiptRecord>> {
        read(self, SegmentKind::Receipts, pointer).await
    }

    /// Writes outcomes of objects that are not copied.
    async fn write_outcomes(&self, outcomes: &[Outcome]) -> Result<String> {
        write(self, SegmentKind::Outcomes, outcomes).await
    }

    /// Writes outcomes at a pointer that the caller made.
    async fn keep_outcomes(&self, pointer: &str, outcomes: &[Outcome]) -> Result<()> {
        let kind = SegmentKind::Outcomes;
        self.keep(kind, pointer, encode(kind, outcomes).await?)
            .await
    }

    /// Reads outcomes.
    async fn read_outcomes(&self, pointer: &str) -> Result<Vec<Outcome>> {
        read(self, SegmentKind::Outcomes, pointer).await
    }

    /// Writes keys to delete.
    async fn write_deletes(&self, keys: &[String]) -> Result<String> {
        write(self, SegmentKind::Deletes, keys).await
    }

    /// Reads keys to delete.
    async fn read_deletes(&self, pointer: &str) -> Result<Vec<String>> {
        read(self, SegmentKind::Deletes, pointer).await
    }
}

/// Writes records of any type as one segment.
pub async fn write<T: Serialize + Sync>(
    place: &(impl SegmentStore + ?Sized),
    kind: SegmentKind,
    records: &[T],
) -> Result<String> {
    place.put(kind, encode(kind, records).await?).await
}

async fn encode<T: Serialize + Sync>(kind: SegmentKind, records: &[T]) -> Result<Vec<u8>> {
    codec::encode(kind, records).await.map_err(|error| {
        Error::control(ErrorKind::Internal, "a segment cannot be encoded").cause(error)
    })
}

/// Reads all records of a segment.
async fn read<T: DeserializeOwned + Send>(
    place: &(impl SegmentStore + ?Sized),
    kind: SegmentKind,
    pointer: &str,
) -> Result<Vec<T>> {
    let bytes = place.get(kind, pointer).await?;
    codec::decode(kind, &bytes)
        .await
        .map_err(|error| damaged(error, place.full_name(pointer)))
}

fn damaged(error: io::Error, name: String) -> Error {
    Error::control(ErrorKind::Corrupt, "the segment is damaged")
        .object(name)
        .cause(error)
        .hint(HINT)
        .retryable(false)
}

/// The error of a place in which a pointer's segment is not.
#[must_use]
pub fn gone(name: String) -> Error {
    Error::control(ErrorKind::NotFound, "the segment is gone")
        .object(name)
        .hint(HINT)
}
