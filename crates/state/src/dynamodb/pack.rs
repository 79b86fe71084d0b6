//! How values are packed, so that a row stays below one write unit's KB: text that is read as a
//! whole is JSON, compressed where that is shorter; numbers are a few bytes each.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skyhaul_model::group::{Bitmap, Counts};
use skyhaul_model::{Error, ErrorKind, Result};
use ulid::Ulid;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// Shorter texts do not get shorter.
const WORTH_COMPRESSING: usize = 160;

/// Far more than a row can hold.
const LONGEST_TEXT: usize = 64 << 20;

/// A value as JSON, which takes added fields without a migration.
pub(super) fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
    let packed = if text.len() >= WORTH_COMPRESSING {
        Some(zstd::bulk::compress(&text, 3).map_err(|error| failed(error.into()))?)
    } else {
        None
    };
    let (tag, bytes) = match packed {
        Some(packed) if packed.len() < text.len() => (ZSTD, packed),
        _ => (PLAIN, text),
    };
    Ok([&[tag], bytes.as_slice()].concat())
}

/// The value that [`json`] packed.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match bytes.split_first()? {
        (&PLAIN, text) => serde_json::from_slice(text).ok(),
        (&ZSTD, packed) => {
            let text = zstd::bulk::decompress(packed, LONGEST_TEXT).ok()?;
            serde_json::from_slice(&text).ok()
        }
        _ => None,
    }
}

/// One record that was applied to a group: what tells its repetition from an overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Applied {
    pub(super) done: Bitmap,
    pub(super) receipts: Option<Pointer>,
}

/// A pointer to receipts: of those that segments have by themselves only the unique part is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Pointer {
    Unique([u8; 16]),
    Text(String),
}

impl Pointer {
    pub(super) fn new(text: String) -> Self {
        let name = text
            .strip_prefix("receipts/")
            .and_then(|name| name.strip_suffix(".zst"));
        match name.and_then(|name| Ulid::from_string(name).ok()) {
            Some(unique) if Self::Unique(unique.to_bytes()).text() == text => {
                Self::Unique(unique.to_bytes())
            }
            _ => Self::Text(text),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Unique(bytes) => format!("receipts/{}.zst", Ulid::from_bytes(*bytes)),
            Self::Text(text) => text.clone(),
        }
    }
}

pub(super) fn records(applied: &[Applied]) -> Result<Vec<u8>> {
    postcard::to_stdvec(applied).map_err(|error| failed(error.into()))
}

pub(super) fn from_records(bytes: &[u8]) -> Option<Vec<Applied>> {
    postcard::from_bytes(bytes).ok()
}

/// In the order of their declaration; a field that is added goes to the end, and is 0 where it
/// was not written.
fn fields(counts: &mut Counts) -> [&mut u64; 9] {
    let Counts {
        objects,
        bytes,
        failed,
        skipped,
        deleted,
        retries,
        source_verified,
        transport_verified,
        moved_chunks,
    } = counts;
    [
        objects,
        bytes,
        failed,
        skipped,
        deleted,
        retries,
        source_verified,
        transport_verified,
        moved_chunks,
    ]
}

/// Names of [`Counts`]' fields as attributes, in the order of [`fields`].
pub(super) const COUNTS: [&str; 9] = [
    "objects",
    "bytes",
    "failed",
    "skipped",
    "deleted",
    "retries",
    "source_verified",
    "transport_verified",
    "moved_chunks",
];

pub(super) fn numbers(mut counts: Counts) -> [u64; 9] {
    fields(&mut counts).map(|number| *number)
}

pub(super) fn from_numbers(numbers: impl IntoIterator<Item = u64>) -> Counts {
    let mut counts = Counts::default();
    for (field, number) in fields(&mut counts).into_iter().zip(numbers) {
        *field = number;
    }
    counts
}

pub(super) fn counts(counts: Counts) -> Result<Vec<u8>> {
    postcard::to_stdvec(numbers(counts).as_slice()).map_err(|error| failed(error.into()))
}

pub(super) fn from_counts(bytes: &[u8]) -> Option<Counts> {
    let numbers: Vec<u64> = postcard::from_bytes(bytes).ok()?;
    Some(from_numbers(numbers))
}

fn failed(cause: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::control(ErrorKind::Internal, "a value cannot be packed").cause(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        for text in [String::new(), "key/".repeat(200)] {
            let packed = json(&text).unwrap();
            assert!(packed.len() <= text.len() + 3);
            assert_eq!(from_json::<String>(&packed), Some(text));
        }
        assert_eq!(from_json::<String>(&[7, 1, 2]), None);
        let some = Counts {
            objects: 256,
            bytes: u64::MAX,
            transport_verified: 3,
            ..Counts::default()
        };
        assert_eq!(from_counts(&counts(some).unwrap()), Some(some));
        // Written before a field was added.
        let short = postcard::to_stdvec(&[5_u64, 6].as_slice()).unwrap();
        let read = from_counts(&short).unwrap();
        assert_eq!((read.objects, read.bytes, read.failed), (5, 6, 0));
    }

    #[test]
    fn a_record_takes_less_than_thirty_bytes() {
        let pointer = format!("receipts/{}.zst", Ulid::generate());
        let applied = Applied {
            done: Bitmap(u64::MAX),
            receipts: Some(Pointer::new(pointer.clone())),
        };
        assert_eq!(applied.receipts.as_ref().unwrap().text(), pointer);
        let packed = records(std::slice::from_ref(&applied)).unwrap();
        assert!(packed.len() < 30, "{}", packed.len());
        assert_eq!(from_records(&packed), Some(vec![applied]));
        // Text that is not as a segment writes it is kept as it is.
        for text in ["receipts-12".to_owned(), pointer.to_lowercase()] {
            assert_eq!(Pointer::new(text.clone()).text(), text);
        }
    }
}
