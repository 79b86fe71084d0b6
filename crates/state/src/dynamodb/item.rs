//! One row of the table, and what its attributes hold.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use skyhaul_model::{Error, ErrorKind, Result};

use super::key::Key;
use super::pack;

/// The primary key's attributes.
pub(super) const PARTITION: &str = "pk";
pub(super) const SORT: &str = "sk";
/// When the service may remove the row, in seconds since 1970.
pub(super) const EXPIRES: &str = "expires";
/// Raised by one with each write of a row that is written as a whole: the condition of the next.
pub(super) const VERSION: &str = "version";
/// Who wrote last: a call that finds its own stamp was carried out, whatever became of the reply.
pub(super) const STAMP: &str = "stamp";
/// What is read as a whole, packed.
pub(super) const BODY: &str = "body";

/// Rows outlive their last write by this: a net below `cleanup`.
const LIFE_SECONDS: i64 = 400 * 24 * 3600;

/// The service's limit for a row, in bytes.
const LARGEST: usize = 400 << 10;

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item(pub(super) HashMap<String, AttributeValue>);

impl Item {
    /// A row with nothing but its key.
    pub(super) fn new(key: &Key) -> Self {
        Self(HashMap::new())
            .with(PARTITION, text(&key.partition))
            .with(SORT, text(&key.sort))
    }

    pub(super) fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    pub(super) fn find_text(&self, name: &str) -> Result<Option<&str>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(_) => Err(self.damaged()),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<&str> {
        self.find_text(name)?.ok_or_else(|| self.damaged())
    }

    /// A number; 0 if there is none.
    pub(super) fn number<N: FromStr + Default>(&self, name: &str) -> Result<N> {
        match self.0.get(name) {
            None => Ok(N::default()),
            Some(AttributeValue::N(digits)) => digits.parse().map_err(|_| self.damaged()),
            Some(_) => Err(self.damaged()),
        }
    }

    pub(super) fn find_bytes(&self, name: &str) -> Result<Option<&[u8]>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::B(bytes)) => Ok(Some(bytes.as_ref())),
            Some(_) => Err(self.damaged()),
        }
    }

    /// What the body holds.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T> {
        self.find_bytes(BODY)?
            .and_then(pack::from_json)
            .ok_or_else(|| self.damaged())
    }

    /// Whether this call wrote it last.
    pub(super) fn is_by(&self, stamp: Stamp) -> bool {
        matches!(self.0.get(STAMP), Some(AttributeValue::B(by)) if by.as_ref() == stamp.0)
    }

    /// The row was written by something else, or by a newer build that it can be read by only.
    pub(super) fn damaged(&self) -> Error {
        let name = |attribute: &str| match self.0.get(attribute) {
            Some(AttributeValue::S(text)) => text.escape_debug().to_string(),
            _ => "?".to_owned(),
        };
        let failure = Error::control(ErrorKind::Corrupt, "a row of the state cannot be read");
        failure
            .object(format!("{} {}", name(PARTITION), name(SORT)))
            .hint("the transfer can only be started again")
            .retryable(false)
    }

    /// Bytes as the service counts them (within a few).
    pub(super) fn size(&self) -> usize {
        let value = |value: &AttributeValue| match value {
            AttributeValue::S(text) => text.len(),
            AttributeValue::N(digits) => digits.len() / 2 + 2,
            AttributeValue::B(bytes) => bytes.as_ref().len(),
            _ => 1,
        };
        self.0
            .iter()
            .map(|(name, held)| name.len() + value(held))
            .sum()
    }

    /// Refuses a row that the service would refuse.
    pub(super) fn check_size(&self) -> Result<()> {
        let size = self.size();
        if size <= LARGEST {
            return Ok(());
        }
        let failure = Error::control(
            ErrorKind::Refused,
            format!("a row of the state of {size} bytes: {LARGEST} fit"),
        );
        Err(failure
            .object(self.text(SORT)?)
            .hint("shorten the filters, or the text that is kept"))
    }
}

/// One call, told from all others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp([u8; 8]);

impl Stamp {
    pub(super) fn new() -> Self {
        Self(rand::random())
    }

    pub(super) fn value(self) -> AttributeValue {
        bytes(self.0)
    }
}

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: impl Into<u64>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

pub(super) fn bytes(value: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// The time to live of a row that is written now. The service alone compares it, with days to
/// spare.
pub(super) fn expires() -> AttributeValue {
    AttributeValue::N((Timestamp::now().as_second() + LIFE_SECONDS).to_string())
}
