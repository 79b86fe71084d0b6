//! Objects as stores describe them: in a listing, by a stat, and pinned to one version.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::checksum::Checksum;

/// What identifies one state of a local file's content: any write, truncation or replacement
/// changes at least one field (the change time cannot be set by a program).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Change time in nanoseconds since 1970.
    pub ctime_ns: i128,
}

/// One version of one object: reads that carry it fail with
/// [`ErrorKind::Changed`](crate::ErrorKind::Changed) when the object is no longer that version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pin {
    /// The entity tag, without quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The version id, where the bucket keeps versions and the listing tells them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// For local files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileIdentity>,
}

impl Pin {
    /// Whether it names a version at all.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }
}

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectEntry {
    /// The full key in its container, byte for byte.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Last modification as the store tells it.
    pub mtime: Timestamp,
    /// Which version was listed.
    pub pin: Pin,
    /// Storage class under the service's own name, where it is told and not the default.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub storage_class: Option<String>,
    /// Set when the object must be restored from an archive before it can be read.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub archived: bool,
}

/// One object by a stat or as the head of a read: everything but its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// Size in bytes of the whole object.
    pub size: u64,
    /// Last modification as the store tells it.
    pub mtime: Timestamp,
    /// The version that was seen.
    pub pin: Pin,
    /// Headers and user metadata. Tags are `None` unless asked for.
    pub attributes: Attributes,
    /// How many tags the object has, where the service says it with the headers.
    pub tag_count: Option<u32>,
    /// The checksum of the full object that the store keeps, if any and if not composite.
    pub checksum: Option<Checksum>,
    /// Set when the object must be restored from an archive before it can be read.
    pub archived: bool,
}
