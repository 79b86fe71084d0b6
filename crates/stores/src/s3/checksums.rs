//! Checksums as S3 names them, and what an `ETag` says about bytes.

use aws_sdk_s3::types::ChecksumAlgorithm;
use md5::{Digest as _, Md5};
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Algorithm, Checksum};

/// S3's name of an algorithm. MD5 travels as `Content-MD5` instead.
pub(super) fn name(algorithm: Algorithm) -> Option<ChecksumAlgorithm> {
    match algorithm {
        Algorithm::Crc64Nvme => Some(ChecksumAlgorithm::Crc64Nvme),
        Algorithm::Crc32c => Some(ChecksumAlgorithm::Crc32C),
        Algorithm::Crc32 => Some(ChecksumAlgorithm::Crc32),
        Algorithm::Sha1 => Some(ChecksumAlgorithm::Sha1),
        Algorithm::Sha256 => Some(ChecksumAlgorithm::Sha256),
        Algorithm::Md5 => None,
    }
}

/// An `ETag` without its quotes.
pub(super) fn unquote(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}

/// An `ETag` as a header wants it.
pub(super) fn quote(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// The MD5 that an `ETag` is, if it is one: 32 hexadecimal digits, and the object not encrypted
/// by KMS or a customer's key (`opaque`), where the `ETag` is random.
#[must_use]
pub fn etag_md5(etag: &str, opaque: bool) -> Option<Checksum> {
    if opaque || etag.len() != 32 {
        return None;
    }
    Checksum::from_hex(Algorithm::Md5, etag).ok()
}

/// The `ETag` that an object made of these parts has, if the parts' `ETag`s are MD5s:
/// `MD5(md5 of part 1 …)-count`.
#[must_use]
pub fn multipart_etag(parts: &[PartReceipt]) -> Option<String> {
    let mut digest = Md5::new();
    for part in parts {
        digest.update(etag_md5(part.etag.as_deref()?, false)?.bytes());
    }
    Some(format!(
        "{}-{}",
        hex::encode(digest.finalize()),
        parts.len()
    ))
}

/// The strongest full-object checksum among a reply's fields; composite ones (`…-N`) say nothing
/// about the bytes alone and are dropped.
macro_rules! stored {
    ($reply:expr) => {{
        use skyhaul_model::{Algorithm, Checksum};
        let composite = matches!(
            $reply.checksum_type(),
            Some(aws_sdk_s3::types::ChecksumType::Composite)
        );
        [
            (Algorithm::Crc64Nvme, $reply.checksum_crc64_nvme()),
            (Algorithm::Crc32c, $reply.checksum_crc32_c()),
            (Algorithm::Crc32, $reply.checksum_crc32()),
            (Algorithm::Sha256, $reply.checksum_sha256()),
            (Algorithm::Sha1, $reply.checksum_sha1()),
        ]
        .into_iter()
        .filter(|_| !composite)
        .find_map(|(algorithm, value)| Checksum::from_base64(algorithm, value?).ok())
    }};
}
pub(super) use stored;

/// The checksum of one part in a reply (parts have no type: it is always of the part's bytes).
macro_rules! part_checksum {
    ($part:expr) => {
        skyhaul_model::Algorithm::ALL
            .into_iter()
            .find_map(|algorithm| {
                let value = $crate::s3::checksums::echoed!($part, algorithm)?;
                skyhaul_model::Checksum::from_base64(algorithm, value).ok()
            })
    };
}
pub(super) use part_checksum;

/// The value that a reply echoes for an algorithm.
macro_rules! echoed {
    ($reply:expr, $algorithm:expr) => {
        match $algorithm {
            skyhaul_model::Algorithm::Crc64Nvme => $reply.checksum_crc64_nvme(),
            skyhaul_model::Algorithm::Crc32c => $reply.checksum_crc32_c(),
            skyhaul_model::Algorithm::Crc32 => $reply.checksum_crc32(),
            skyhaul_model::Algorithm::Sha1 => $reply.checksum_sha1(),
            skyhaul_model::Algorithm::Sha256 => $reply.checksum_sha256(),
            skyhaul_model::Algorithm::Md5 => None,
        }
    };
}
pub(super) use echoed;

/// Sets the header (or XML element) of a checksum on a builder.
macro_rules! send_checksum {
    ($builder:expr, $checksum:expr) => {{
        let builder = $builder;
        match $checksum {
            None => builder,
            Some(checksum) => {
                let value = checksum.to_base64();
                match checksum.algorithm {
                    skyhaul_model::Algorithm::Crc64Nvme => builder.checksum_crc64_nvme(value),
                    skyhaul_model::Algorithm::Crc32c => builder.checksum_crc32_c(value),
                    skyhaul_model::Algorithm::Crc32 => builder.checksum_crc32(value),
                    skyhaul_model::Algorithm::Sha1 => builder.checksum_sha1(value),
                    skyhaul_model::Algorithm::Sha256 => builder.checksum_sha256(value),
                    skyhaul_model::Algorithm::Md5 => builder,
                }
            }
        }
    }};
}
pub(super) use send_checksum;

/// Whether a reply confirms the checksum that was sent: by echoing it, or for MD5 by an `ETag`
/// that is the same MD5.
macro_rules! confirmed {
    ($reply:expr, $checksum:expr, $etag:expr) => {
        $checksum.is_some_and(|sent: &skyhaul_model::Checksum| {
            if sent.algorithm == skyhaul_model::Algorithm::Md5 {
                return $crate::s3::checksums::etag_md5($etag.unwrap_or_default(), false).as_ref()
                    == Some(sent);
            }
            $crate::s3::checksums::echoed!($reply, sent.algorithm)
                .is_some_and(|value| value == sent.to_base64())
        })
    };
}
pub(super) use confirmed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_that_are_md5s() {
        let md5 = "900150983cd24fb0d6963f7d28e17f72";
        assert_eq!(etag_md5(md5, false).unwrap().to_hex(), md5);
        assert!(etag_md5(md5, true).is_none());
        assert!(etag_md5(&format!("{md5}-2"), false).is_none());
        assert_eq!(unquote(&quote(md5)), md5);
    }

    #[test]
    fn etag_of_parts() {
        let part = |etag: &str| PartReceipt {
            number: 1,
            size: 1,
            etag: Some(etag.into()),
            checksum: None,
            verified: false,
        };
        // md5("abc") twice: md5(bytes || bytes).
        let md5 = "900150983cd24fb0d6963f7d28e17f72";
        let twice = hex::decode(format!("{md5}{md5}")).unwrap();
        let wanted = format!("{}-2", hex::encode(Md5::digest(twice)));
        assert_eq!(multipart_etag(&[part(md5), part(md5)]).unwrap(), wanted);
        assert!(multipart_etag(&[part(md5), part("x")]).is_none());
    }
}
