//! Identifiers: transfers and the processes that hold leases.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A transfer's identifier: a ULID, so that identifiers sort by the time of their making.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TransferId(String);

impl TransferId {
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

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TransferId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        ulid::Ulid::from_str(text)
            .map(|id| Self(id.to_string()))
            .map_err(|_| {
                Error::invalid(format!("`{text}` is not a transfer id"))
                    .hint("`skyhaul status` lists the transfers")
            })
    }
}

impl TryFrom<String> for TransferId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<TransferId> for String {
    fn from(id: TransferId) -> Self {
        id.0
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
}
