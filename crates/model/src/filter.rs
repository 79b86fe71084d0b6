//! Which objects a transfer leaves out.

use serde::{Deserialize, Serialize};

/// Filters as the user gave them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilterSpec {
    /// Rules in the order given; the first that matches decides.
    pub rules: Vec<FilterRule>,
    /// Only these keys, relative to the source prefix.
    pub files: Option<Vec<String>>,
    /// Smallest size in bytes.
    pub min_size: Option<u64>,
    /// Largest size in bytes.
    pub max_size: Option<u64>,
    /// Youngest: leave out objects modified within this many seconds.
    pub min_age_s: Option<u64>,
    /// Oldest: leave out objects modified longer ago than this many seconds.
    pub max_age_s: Option<u64>,
}

/// One include or exclude rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRule {
    /// Whether a match takes the object in.
    pub include: bool,
    /// The pattern, in rclone's syntax.
    pub pattern: String,
}
