//! Which keys a transfer takes and what they are called at the destination.

use serde::{Deserialize, Serialize};

/// The mapping of keys. Names are replaced at the front only, so mapped keys sort as their
/// originals do.
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

/// A key of the source that belongs to the transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped<'a> {
    /// What filters look at: the key without the source prefix; of a single object its name.
    pub relative: &'a str,
    /// The key at the destination.
    pub destination: String,
}

impl KeyMap {
    /// Maps a key of the source. `None` if it is not part of the transfer; so is the marker of the
    /// source prefix itself where the destination prefix is empty and thus can have no marker.
    #[must_use]
    pub fn map<'a>(&self, source_key: &'a str) -> Option<Mapped<'a>> {
        match self {
            Self::Object {
                source,
                destination,
            } => (source_key == source).then(|| Mapped {
                relative: name(source_key),
                destination: destination.clone(),
            }),
            Self::Prefix {
                source,
                destination,
            } => {
                let relative = source_key.strip_prefix(source.as_str())?;
                let destination = join(destination, relative)?;
                Some(Mapped {
                    relative,
                    destination,
                })
            }
        }
    }

    /// The key of the source that maps to a key of the destination, whether it exists or not.
    /// `None` if there is none: such an object does not concern the transfer.
    #[must_use]
    pub fn unmap(&self, destination_key: &str) -> Option<String> {
        match self {
            Self::Object {
                source,
                destination,
            } => (destination_key == destination).then(|| source.clone()),
            Self::Prefix {
                source,
                destination,
            } => join(source, destination_key.strip_prefix(destination.as_str())?),
        }
    }

    /// What filters look at for a destination key: its key relative to the prefix, which is that of
    /// the source object it stands for. `None` as for [`KeyMap::unmap`].
    #[must_use]
    pub fn unmap_relative<'a>(&'a self, destination_key: &'a str) -> Option<&'a str> {
        match self {
            Self::Object {
                source,
                destination,
            } => (destination_key == destination).then(|| name(source)),
            Self::Prefix {
                source,
                destination,
            } => destination_key
                .strip_prefix(destination.as_str())
                .filter(|relative| !(relative.is_empty() && source.is_empty())),
        }
    }

    /// The prefix to list at the source; of a single object its key.
    #[must_use]
    pub fn source_prefix(&self) -> &str {
        match self {
            Self::Object { source, .. } | Self::Prefix { source, .. } => source,
        }
    }

    /// The prefix to list at the destination; of a single object its key.
    #[must_use]
    pub fn destination_prefix(&self) -> &str {
        match self {
            Self::Object { destination, .. } | Self::Prefix { destination, .. } => destination,
        }
    }

    /// The bound at the destination that cuts its keys as `bound` cuts those of the source
    /// (`after < key <= upto` at both). `None` if the bound lies outside the source prefix and so
    /// cuts nothing, and always for a single object.
    #[must_use]
    pub fn map_bound(&self, bound: &str) -> Option<String> {
        match self {
            Self::Object { .. } => None,
            Self::Prefix {
                source,
                destination,
            } => bound
                .strip_prefix(source.as_str())
                .map(|rest| format!("{destination}{rest}")),
        }
    }
}

/// The last component of a key, with its trailing slash if it is a folder marker.
#[must_use]
pub fn name(key: &str) -> &str {
    let body = key.strip_suffix('/').unwrap_or(key);
    body.rfind('/').map_or(key, |slash| &key[slash + 1..])
}

/// Joins prefix and relative key; `None` for the empty key, which no store can hold.
fn join(prefix: &str, relative: &str) -> Option<String> {
    let key = format!("{prefix}{relative}");
    (!key.is_empty()).then_some(key)
}
