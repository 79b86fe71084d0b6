//! Checksums of parts and whole objects: which algorithms exist and how values are carried.
//! Computing one over bytes is in [`Hasher`](crate::hasher::Hasher).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, Side};

/// A checksum algorithm that at least one store can verify natively.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// CRC-64/NVME: S3's default; part values combine to the full object's.
    Crc64Nvme,
    /// CRC-32C (Castagnoli): S3, GCS, HDFS; combines.
    Crc32c,
    /// CRC-32 (ISO-HDLC): S3; combines.
    Crc32,
    /// SHA-1: S3.
    Sha1,
    /// SHA-256: S3.
    Sha256,
    /// MD5: Content-MD5 everywhere, and the `ETag` of most single uploads.
    Md5,
}

impl Algorithm {
    /// All algorithms, cheapest first (measured single-core throughput).
    pub const ALL: [Self; 6] = [
        Self::Crc64Nvme,
        Self::Crc32c,
        Self::Crc32,
        Self::Sha1,
        Self::Sha256,
        Self::Md5,
    ];

    /// Whether values of consecutive parts can be combined into the whole's value.
    #[must_use]
    pub fn combines(self) -> bool {
        matches!(self, Self::Crc64Nvme | Self::Crc32c | Self::Crc32)
    }

    /// Length of a value in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // no value is empty
    pub fn len(self) -> usize {
        match self {
            Self::Crc64Nvme => 8,
            Self::Crc32c | Self::Crc32 => 4,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Md5 => 16,
        }
    }

    /// The name as used in flags and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "crc64nvme",
            Self::Crc32c => "crc32c",
            Self::Crc32 => "crc32",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Md5 => "md5",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.to_ascii_lowercase().replace('-', "");
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == lower)
            .ok_or_else(|| {
                Error::invalid(format!("unknown checksum algorithm `{text}`"))
                    .hint("crc64nvme, crc32c, crc32, sha1, sha256, md5 or none")
            })
    }
}

/// A checksum of one run of bytes (a part or a whole object), big-endian as S3 sends it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Checksum {
    /// Which algorithm made the value.
    pub algorithm: Algorithm,
    value: Box<[u8]>,
}

impl Checksum {
    /// A checksum from raw bytes; the length must fit the algorithm.
    pub fn new(algorithm: Algorithm, value: impl Into<Box<[u8]>>) -> Result<Self> {
        let value = value.into();
        if value.len() == algorithm.len() {
            Ok(Self { algorithm, value })
        } else {
            Err(Error::invalid(format!(
                "a {algorithm} checksum has {} bytes, not {}",
                algorithm.len(),
                value.len()
            )))
        }
    }

    /// Parses base 64, the form in which S3, GCS and Azure send checksums. A composite value
    /// (`…-N`, a checksum of part checksums) is refused: it says nothing about the bytes alone.
    pub fn from_base64(algorithm: Algorithm, text: &str) -> Result<Self> {
        let bytes = BASE64.decode(text).map_err(|error| {
            Error::invalid(format!("`{text}` is not a {algorithm} checksum")).cause(error)
        })?;
        Self::new(algorithm, bytes)
    }

    /// Parses hexadecimal, the form of an `ETag` and of md5sum.
    pub fn from_hex(algorithm: Algorithm, text: &str) -> Result<Self> {
        let bytes = hex::decode(text).map_err(|error| {
            Error::invalid(format!("`{text}` is not a {algorithm} checksum")).cause(error)
        })?;
        Self::new(algorithm, bytes)
    }

    /// Whether what was read is what its source keeps: true only if there was something to compare. `Corrupt` of
    /// the source if it is not.
    pub fn compare_kept(read: Option<&Self>, kept: Option<&Self>) -> Result<bool> {
        match (read, kept) {
            (Some(read), Some(kept)) if read.algorithm == kept.algorithm => {
                if read == kept {
                    return Ok(true);
                }
                let message =
                    format!("the bytes read have checksum {read}, the source keeps {kept}");
                Err(Error::new(Side::Source, ErrorKind::Corrupt, message))
            }
            _ => Ok(false),
        }
    }

    /// A CRC from its integer value.
    #[must_use]
    pub(crate) fn from_crc(algorithm: Algorithm, value: u64) -> Self {
        let bytes = value.to_be_bytes();
        Self {
            algorithm,
            value: bytes[8 - algorithm.len()..].into(),
        }
    }

    /// The integer value of a CRC.
    pub(crate) fn as_crc(&self) -> u64 {
        self.value
            .iter()
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }

    /// The raw value, big-endian.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.value
    }

    /// The value in base 64.
    #[must_use]
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.value)
    }

    /// The value in lower-case hexadecimal.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(&self.value)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.to_hex())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Checksum {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (algorithm, value) = text
            .split_once(':')
            .ok_or_else(|| Error::invalid(format!("`{text}` is not algorithm:hex")))?;
        Self::from_hex(algorithm.parse()?, value)
    }
}

impl Serialize for Checksum {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How far an object's bytes were proved, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verification {
    /// The checksum of the bytes read equals the one that the source store keeps, and the
    /// destination store verified it (a disk, which verifies nothing, flushed the bytes).
    SourceVerified,
    /// The destination store verified the checksum of the bytes read.
    TransportVerified,
    /// Only lengths were compared.
    SizeOnly,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip() {
        let sum = Checksum::from_crc(Algorithm::Crc32c, 0x0102_0304);
        assert_eq!(sum.to_string(), "crc32c:01020304");
        assert_eq!(sum.to_string().parse::<Checksum>().unwrap(), sum);
        assert_eq!(
            Checksum::from_base64(Algorithm::Crc32c, &sum.to_base64()).unwrap(),
            sum
        );
        let json = serde_json::to_string(&sum).unwrap();
        assert_eq!(serde_json::from_str::<Checksum>(&json).unwrap(), sum);
    }

    #[test]
    fn composite_and_misfit_values_are_refused() {
        assert!(Checksum::from_base64(Algorithm::Crc32c, "AQIDBA==-3").is_err());
        assert!(Checksum::from_base64(Algorithm::Crc64Nvme, "AQIDBA==").is_err());
    }
}
