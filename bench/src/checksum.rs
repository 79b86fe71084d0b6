//! The checksums a client may send with a body.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crc_fast::{CrcAlgorithm, Digest as CrcDigest};
use http::HeaderMap;
use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::error::S3Error;

/// An algorithm of `x-amz-checksum-*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// CRC32 (IEEE).
    Crc32,
    /// CRC32C.
    Crc32c,
    /// CRC64NVME.
    Crc64Nvme,
    /// SHA-1: kept and returned, never computed.
    Sha1,
    /// SHA-256.
    Sha256,
}

const ALL: [(Algorithm, &str, &str); 5] = [
    (Algorithm::Crc32, "x-amz-checksum-crc32", "ChecksumCRC32"),
    (Algorithm::Crc32c, "x-amz-checksum-crc32c", "ChecksumCRC32C"),
    (
        Algorithm::Crc64Nvme,
        "x-amz-checksum-crc64nvme",
        "ChecksumCRC64NVME",
    ),
    (Algorithm::Sha1, "x-amz-checksum-sha1", "ChecksumSHA1"),
    (Algorithm::Sha256, "x-amz-checksum-sha256", "ChecksumSHA256"),
];

/// A checksum's algorithm and its value in Base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checksum {
    /// The algorithm.
    pub(crate) algorithm: Algorithm,
    /// The value, in Base64.
    pub(crate) value: String,
}

impl Algorithm {
    /// The algorithm of a header or trailer name in lower case.
    pub(crate) fn of_header(name: &str) -> Option<Self> {
        ALL.iter()
            .find(|(_, header, _)| *header == name)
            .map(|(a, ..)| *a)
    }

    fn names(self) -> (&'static str, &'static str) {
        ALL.iter()
            .find(|(a, ..)| *a == self)
            .map_or(("", ""), |(_, header, tag)| (header, tag))
    }

    /// Name of its header.
    pub(crate) fn header(self) -> &'static str {
        self.names().0
    }

    /// Name of its XML element.
    pub(crate) fn element(self) -> &'static str {
        self.names().1
    }

    fn crc(self) -> Option<(CrcAlgorithm, usize)> {
        match self {
            Self::Crc32 => Some((CrcAlgorithm::Crc32IsoHdlc, 4)),
            Self::Crc32c => Some((CrcAlgorithm::Crc32Iscsi, 4)),
            Self::Crc64Nvme => Some((CrcAlgorithm::Crc64Nvme, 8)),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// The checksum of a whole from those of its parts and their sizes; `None` where the
    /// algorithm cannot combine.
    pub(crate) fn combine(self, parts: &[(String, u64)]) -> Option<String> {
        let (crc, width) = self.crc()?;
        let mut whole = None;
        for (value, size) in parts {
            let bytes = BASE64_STANDARD.decode(value).ok()?;
            let part = bytes.iter().fold(0_u64, |v, b| (v << 8) | u64::from(*b));
            whole = Some(match whole {
                None => part,
                Some(before) => crc_fast::checksum_combine(crc, before, part, *size),
            });
        }
        whole.map(|value| BASE64_STANDARD.encode(&value.to_be_bytes()[8 - width..]))
    }
}

/// The checksum among the headers, if there is one.
pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Checksum> {
    ALL.iter().find_map(|(algorithm, name, _)| {
        let value = headers.get(*name)?.to_str().ok()?.to_owned();
        Some(Checksum {
            algorithm: *algorithm,
            value,
        })
    })
}

#[derive(Debug)]
enum Hasher {
    Crc(CrcDigest, usize),
    Sha256(Sha256),
}

/// Computes what `--verify-checksums` compares.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    hasher: Option<Hasher>,
    md5: Option<Md5>,
}

impl Verifier {
    /// For the checksum that headers or the announced trailer name, and for Content-MD5.
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let trailer = headers.get("x-amz-trailer").and_then(|v| v.to_str().ok());
        let algorithm = from_headers(headers).map(|c| c.algorithm).or_else(|| {
            trailer.and_then(|names| {
                names
                    .split(',')
                    .find_map(|n| Algorithm::of_header(n.trim()))
            })
        });
        let hasher = algorithm.and_then(|a| match (a, a.crc()) {
            (Algorithm::Sha256, _) => Some(Hasher::Sha256(Sha256::new())),
            (_, Some((crc, width))) => Some(Hasher::Crc(CrcDigest::new(crc), width)),
            _ => None,
        });
        Self {
            hasher,
            md5: headers.contains_key("content-md5").then(Md5::new),
        }
    }

    /// Takes the next bytes of the body.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.hasher {
            Some(Hasher::Crc(digest, _)) => digest.update(bytes),
            Some(Hasher::Sha256(digest)) => digest.update(bytes),
            None => {}
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    /// Compares with what the client sent.
    pub(crate) fn finish(
        self,
        sent: Option<&Checksum>,
        sent_md5: Option<[u8; 16]>,
    ) -> Result<(), S3Error> {
        let computed = self.hasher.map(|hasher| match hasher {
            Hasher::Crc(digest, width) => {
                BASE64_STANDARD.encode(&digest.finalize().to_be_bytes()[8 - width..])
            }
            Hasher::Sha256(digest) => BASE64_STANDARD.encode(digest.finalize()),
        });
        if let (Some(sent), Some(computed)) = (sent, computed)
            && sent.value != computed
        {
            return Err(S3Error::bad_digest(format!(
                "{} is {computed}, not {}",
                sent.algorithm.header(),
                sent.value
            )));
        }
        if let (Some(md5), Some(sent)) = (self.md5, sent_md5)
            && md5.finalize()[..] != sent
        {
            return Err(S3Error::bad_digest("Content-MD5 differs from the body's"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(name: &'static str, value: &str) -> Result<(), S3Error> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        let mut verifier = Verifier::new(&headers);
        verifier.update(b"1234");
        verifier.update(b"56789");
        verifier.finish(from_headers(&headers).as_ref(), None)
    }

    /// Published check values of "123456789".
    #[test]
    fn check_values() {
        for (name, hex_value) in [
            ("x-amz-checksum-crc32", "cbf43926"),
            ("x-amz-checksum-crc32c", "e3069283"),
            ("x-amz-checksum-crc64nvme", "ae8b14860a799888"),
        ] {
            let value = BASE64_STANDARD.encode(hex::decode(hex_value).unwrap());
            assert_eq!(check(name, &value), Ok(()), "{name}");
            assert!(check(name, "AAAAAA==").is_err(), "{name}");
        }
        let sha = BASE64_STANDARD.encode(Sha256::digest(b"123456789"));
        assert_eq!(check("x-amz-checksum-sha256", &sha), Ok(()));
    }

    #[test]
    fn parts_combine_to_the_whole() {
        let crc = |bytes: &[u8]| {
            let value = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes);
            BASE64_STANDARD.encode(value.to_be_bytes())
        };
        let parts = [(crc(b"1234"), 4), (crc(b"56789"), 5)];
        assert_eq!(
            Algorithm::Crc64Nvme.combine(&parts),
            Some(crc(b"123456789"))
        );
        assert_eq!(Algorithm::Sha256.combine(&parts), None);
    }
}
