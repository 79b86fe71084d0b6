//! Identifiers: transfers and the processes that hold leases.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// An identifier that is a ULID, so that identifiers sort by the time of their making.
macro_rules! ulid_id {
    ($name:ident, $what:literal, $hint:literal) => {
        #[doc = concat!("What is called ", $what, ": a ULID, so that identifiers sort by the time of their making.")]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A new identifier.
            #[must_use]
            pub fn generate() -> Self {
                Self(ulid::Ulid::generate().to_string())
            }

            /// The identifier as text: 26 characters of Crockford's base 32.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                ulid::Ulid::from_str(text)
                    .map(|id| Self(id.to_string()))
                    .map_err(|_| {
                        let message = format!("`{text}` is not {}", $what);
                        Error::invalid(message).hint($hint)
                    })
            }
        }

        text_through!($name);
    };
}

/// Text on the wire and in rows, checked when it is read.
macro_rules! text_through {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}
pub(crate) use text_through;

ulid_id!(
    TransferId,
    "a transfer id",
    "`skyhaul status` lists the transfers"
);
ulid_id!(
    DataplaneId,
    "a dataplane's id",
    "`skyhaul dataplane list` lists them"
);

impl TransferId {
    /// The identifier of something that belongs to this transfer and is kept as a transfer of its own: always
    /// the same for the same words, and of the same time.
    #[must_use]
    pub fn beside(&self, what: &str) -> Self {
        let digest = Sha256::digest(format!("{self} {what}"));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        // What is parsed is a ULID, and so is this.
        let own = ulid::Ulid::from_str(&self.0).map_or(0, |id| id.timestamp_ms());
        Self(ulid::Ulid::from_parts(own, u128::from_be_bytes(bytes)).to_string())
    }
}

impl TransferId {
    /// The identifier of what is begun at a time (milliseconds since 1970), for a reason: always the same for the
    /// same words.
    #[must_use]
    pub fn at(milliseconds: u64, why: &str) -> Self {
        let digest = Sha256::digest(format!("{milliseconds} {why}"));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(ulid::Ulid::from_parts(milliseconds, u128::from_be_bytes(bytes)).to_string())
    }
}

/// Who holds a lease: unique for each start of each process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HolderId(pub String);

impl HolderId {
    /// A holder never used before.
    #[must_use]
    pub fn generate() -> Self {
        Self(ulid::Ulid::generate().to_string())
    }
}

impl fmt::Display for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_other_text() {
        let id = TransferId::generate();
        assert_eq!(id.as_str().parse::<TransferId>().unwrap(), id);
        assert!("../x".parse::<TransferId>().is_err());
    }

    #[test]
    fn what_is_begun_at_a_time_has_one_name() {
        let one = TransferId::at(1_700_000_000_000, "schedule a");
        assert_eq!(one, TransferId::at(1_700_000_000_000, "schedule a"));
        assert_eq!(one.as_str().parse::<TransferId>().unwrap(), one);
        for other in [
            TransferId::at(1_700_000_000_001, "schedule a"),
            TransferId::at(1_700_000_000_000, "schedule b"),
        ] {
            assert_ne!(one, other);
        }
        assert!(one < TransferId::at(1_700_000_000_001, "x"));
    }

    #[test]
    fn what_is_beside_a_transfer_is_found_again() {
        let (one, other) = (TransferId::generate(), TransferId::generate());
        let beside = one.beside("check");
        assert_eq!(beside, one.beside("check"));
        assert_eq!(beside.as_str()[..10], one.as_str()[..10]);
        for different in [one.clone(), one.beside("x"), other.beside("check")] {
            assert_ne!(beside, different);
        }
        assert_eq!(beside.as_str().parse::<TransferId>().unwrap(), beside);
    }
}
