//! Which keys a transfer takes and what they are called at the destination.

use serde::{Deserialize, Serialize};

/// The mapping of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyMap {
    /// One object under a new key.
    Object {
        /// Key at the source.
        source: String,
        /// Key at the destination.
        destination: String,
    },
    /// Everything under a prefix, under another prefix. Prefixes are empty or end in a slash, so
    /// that `foo/` never touches `foobar`.
    Prefix {
        /// Prefix at the source.
        source: String,
        /// Prefix at the destination.
        destination: String,
    },
}
