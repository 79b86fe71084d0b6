//! What the headers of a GET or PUT say, on the short way.

use std::collections::BTreeMap;

use aws_smithy_runtime_api::http::Headers;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use skyhaul_model::{Algorithm, Attributes, Checksum, ObjectInfo, Pin};

use super::attributes::{is_archived, storage_class, timestamp};
use super::checksums::{etag_md5, unquote};
use crate::store::PutReceipt;

const METADATA: &str = "x-amz-meta-";

/// The header that carries a checksum.
pub(super) fn checksum_header(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        Algorithm::Crc32c => "x-amz-checksum-crc32c",
        Algorithm::Crc32 => "x-amz-checksum-crc32",
        Algorithm::Sha1 => "x-amz-checksum-sha1",
        Algorithm::Sha256 => "x-amz-checksum-sha256",
        Algorithm::Md5 => "content-md5",
    }
}

/// The full-object checksum that a reply tells, if any.
fn checksum(headers: &Headers) -> Option<Checksum> {
    if headers
        .get("x-amz-checksum-type")
        .is_some_and(|kind| kind == "COMPOSITE")
    {
        return None;
    }
    Algorithm::ALL
        .into_iter()
        .filter(|algorithm| *algorithm != Algorithm::Md5)
        .find_map(|algorithm| {
            let value = headers.get(checksum_header(algorithm))?;
            Checksum::from_base64(algorithm, value).ok()
        })
}

fn version(headers: &Headers) -> Option<String> {
    headers
        .get("x-amz-version-id")
        .filter(|id| *id != "null")
        .map(ToOwned::to_owned)
}

/// An object of `size` bytes as the reply to a GET describes it.
pub(super) fn info(headers: &Headers, size: u64) -> ObjectInfo {
    let text = |name: &str| headers.get(name).map(ToOwned::to_owned);
    let number = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.parse::<u32>().ok())
    };
    let modified = headers
        .get("last-modified")
        .and_then(|value| DateTime::from_str(value, Format::HttpDate).ok());
    let class = headers.get("x-amz-storage-class");
    let metadata: BTreeMap<String, String> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(METADATA)?.to_owned(), value.into())))
        .collect();
    ObjectInfo {
        size,
        mtime: timestamp(modified.as_ref()),
        pin: Pin {
            etag: headers.get("etag").map(unquote),
            version_id: version(headers),
            file: None,
        },
        attributes: Attributes {
            content_type: text("content-type"),
            content_encoding: text("content-encoding"),
            content_language: text("content-language"),
            content_disposition: text("content-disposition"),
            cache_control: text("cache-control"),
            expires: text("expires"),
            metadata,
            tags: None,
            storage_class: storage_class(class),
        },
        tag_count: number("x-amz-tagging-count"),
        checksum: checksum(headers),
        archived: is_archived(class, None, headers.get("x-amz-restore")),
    }
}

/// The checksum that a reply tells of this algorithm. None for MD5: an `ETag` that is no MD5 of the
/// bytes may be of an encrypted object.
pub(super) fn echoed(headers: &Headers, algorithm: Algorithm) -> Option<&str> {
    match algorithm {
        Algorithm::Md5 => None,
        _ => headers.get(checksum_header(algorithm)),
    }
}

/// What a reply to a PUT confirms of the checksum that was sent.
pub(super) fn receipt(headers: &Headers, sent: Option<&Checksum>) -> PutReceipt {
    let etag = headers.get("etag").map(unquote);
    let verified = sent.is_some_and(|sent| {
        if sent.algorithm == Algorithm::Md5 {
            return etag_md5(etag.as_deref().unwrap_or_default(), false).as_ref() == Some(sent);
        }
        echoed(headers, sent.algorithm).is_some_and(|echo| echo == sent.to_base64())
    });
    PutReceipt {
        etag,
        version: version(headers),
        verified,
        checksum: checksum(headers),
        staged: None,
    }
}
