//! What a store can do: everything that the rest of Skyhaul may depend on without knowing the
//! provider. Checked on paper against S3, R2, GCS, Azure Blob, HDFS and POSIX in ADR 0002.

use serde::{Deserialize, Serialize};

use crate::checksum::Algorithm;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How objects may be cut into parts. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRules {
    /// Smallest part, except an object's last.
    pub min_part: u64,
    /// Largest part.
    pub max_part: u64,
    /// Most parts an object can have.
    pub max_parts: u32,
    /// Largest object.
    pub max_object: u64,
    /// Largest object written without parts.
    pub max_single: u64,
    /// All parts but the last must be of one size (R2).
    pub equal_parts: bool,
    /// Parts must be written one after the other (HDFS append).
    pub ordered: bool,
}

/// How a store keeps a modification time that is not its own clock's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MtimeSupport {
    /// As the object's own modification time, shown in listings (POSIX, HDFS).
    Native,
    /// In user metadata under [`MTIME_KEY`](crate::attributes::MTIME_KEY) (object stores).
    Metadata,
    /// Some of several stores natively, others in metadata.
    Both,
}

/// What a store can do.
#[allow(clippy::struct_excessive_bools)] // independent answers to independent questions
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Checksums that the store verifies itself on a write, cheapest first.
    pub checksums: Vec<Algorithm>,
    /// Whether a completion verifies a combined checksum of the full object.
    pub full_object_checksum: bool,
    /// How objects may be cut into parts.
    pub parts: PartRules,
    /// Whether writes can be made conditional on what is there (If-Match, If-None-Match, or
    /// a rename that refuses to replace).
    pub conditional_write: bool,
    /// Whether content headers and user metadata are kept.
    pub attributes: bool,
    /// Whether tags are kept.
    pub tags: bool,
    /// Where a modification time given by us goes.
    pub mtime: MtimeSupport,
    /// Whether listings come in the order of the keys' UTF-8 bytes.
    pub ordered_listing: bool,
    /// Whether a listing that starts in the middle costs no more than one from the start, so that
    /// splitting its range makes it faster.
    pub splittable_listing: bool,
    /// Most keys that one delete call takes.
    pub delete_batch: usize,
    /// Whether written objects stay invisible until `commit` made them durable (POSIX).
    pub staged_writes: bool,
}

impl Capabilities {
    /// AWS S3 (limits: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
    #[must_use]
    pub fn s3() -> Self {
        Self {
            checksums: Algorithm::ALL.to_vec(),
            full_object_checksum: true,
            parts: PartRules {
                min_part: 5 * MIB,
                max_part: 5 * GIB,
                max_parts: 10_000,
                max_object: 10_000 * 5 * GIB,
                max_single: 5 * GIB,
                equal_parts: false,
                ordered: false,
            },
            conditional_write: true,
            attributes: true,
            tags: true,
            mtime: MtimeSupport::Metadata,
            ordered_listing: true,
            splittable_listing: true,
            delete_batch: 1_000,
            staged_writes: false,
        }
    }

    /// A POSIX file system. Parts are ranges of one file, so only their number is bounded, to keep
    /// receipts small.
    #[must_use]
    pub fn posix() -> Self {
        Self {
            checksums: Vec::new(),
            full_object_checksum: false,
            parts: PartRules {
                min_part: 1,
                max_part: 5 * GIB,
                max_parts: 10_000,
                max_object: i64::MAX as u64,
                max_single: i64::MAX as u64,
                equal_parts: false,
                ordered: false,
            },
            conditional_write: true,
            attributes: false,
            tags: false,
            mtime: MtimeSupport::Native,
            ordered_listing: true,
            splittable_listing: false,
            delete_batch: 1_000,
            staged_writes: true,
        }
    }
}
