//! The guard on deletions.

use serde::{Deserialize, Serialize};

/// Whether and how much a sync deletes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeletePolicy {
    /// Refuse to delete anything if more than this would be deleted.
    pub max: Option<DeleteLimit>,
    /// Also delete objects that filters exclude.
    pub excluded: bool,
    /// Delete even though the source is empty.
    pub force: bool,
}

/// A limit on deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteLimit {
    /// This many objects.
    Count(u64),
    /// This many per cent of the objects at the destination.
    Percent(u8),
}
