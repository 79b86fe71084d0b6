//! What became of each object and part: the lines of receipts and reports.

use serde::{Deserialize, Serialize};

use crate::checksum::{Checksum, Verification};
use crate::error::{Error, ErrorKind, Side};
use crate::group::Bitmap;

/// What was done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Copied to the destination.
    Copied,
    /// Left as it is.
    Skipped,
    /// Deleted at the destination.
    Deleted,
    /// Not done; see the error.
    Failed,
}

/// An error as it is kept in receipts and reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where it happened.
    pub side: Side,
    /// What class of failure it is.
    pub kind: ErrorKind,
    /// Whether a later run may succeed.
    pub retryable: bool,
    /// What happened and what the user can do.
    pub message: String,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            side: error.side,
            kind: error.kind,
            retryable: error.retryable,
            message: error.to_string(),
        }
    }
}

/// One line of the per-object report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was done.
    pub action: Action,
    /// Key at the source; `None` for a deletion.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_key: Option<String>,
    /// Key at the destination.
    pub destination_key: String,
    /// Which destination, from 0.
    #[serde(skip_serializing_if = "is_first", default)]
    pub destination: u32,
    /// Size in bytes.
    pub size: u64,
    /// Checksum of the bytes that were read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checksum: Option<Checksum>,
    /// How far the bytes were proved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verified: Option<Verification>,
    /// `ETag` that the destination gave.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub etag: Option<String>,
    /// Version id that the destination gave.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// How often the object was begun.
    pub attempts: u32,
    /// Whether the service itself made the copy.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub server_side: bool,
    /// Why it was skipped or chosen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Failure>,
}

impl Outcome {
    /// A line that says what was done with a destination key, and nothing more yet.
    #[must_use]
    pub fn new(action: Action, destination_key: impl Into<String>) -> Self {
        Self {
            action,
            source_key: None,
            destination_key: destination_key.into(),
            destination: 0,
            size: 0,
            checksum: None,
            verified: None,
            etag: None,
            version: None,
            attempts: 0,
            server_side: false,
            reason: None,
            error: None,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde asks for
fn is_first(destination: &u32) -> bool {
    *destination == 0
}

/// What a store confirmed about one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReceipt {
    /// Part number, from 1.
    pub number: u32,
    /// Length in bytes.
    pub size: u64,
    /// The store's tag of the part, to be named at completion.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub etag: Option<String>,
    /// Checksum of the part's bytes as computed by us (or by the service on its own copy).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checksum: Option<Checksum>,
    /// Whether the store confirmed that checksum.
    pub verified: bool,
}

/// One record of a receipt segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum ReceiptRecord {
    /// An object reached its end.
    Object(Outcome),
    /// A part was written.
    Part {
        /// Key of the object at the destination.
        destination_key: String,
        /// Which destination, from 0.
        destination: u32,
        /// The object's attempt, from 1: parts of different attempts never mix.
        attempt: u32,
        /// What the store confirmed.
        receipt: PartReceipt,
    },
    /// Chunks went on in groups of their own, since other holders had nothing to do.
    Moved {
        /// Which, of the group that this record is of.
        chunks: Bitmap,
    },
}
