//! Whether an object that the destination has is copied again.

use serde::{Deserialize, Serialize};

/// How a sync compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// Copy when sizes differ.
    Size,
    /// Copy when sizes differ or the source is newer.
    #[default]
    Mtime,
    /// Copy when sizes or checksums differ.
    Checksum,
}

/// What a copy does with an object that the destination has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfExists {
    /// Leave it.
    Skip,
    /// Write over it.
    #[default]
    Overwrite,
    /// Write over it when the source is newer.
    Newer,
}
