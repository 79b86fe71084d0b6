//! A writable bucket: what was written, without its bytes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use md5::{Digest as _, Md5};

use crate::checksum::Checksum;
use crate::error::S3Error;
use crate::listing::{Entry, Ordered};

/// Headers that are kept with an object, besides `x-amz-meta-*`.
const KEPT: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_DISPOSITION,
    header::CACHE_CONTROL,
    header::EXPIRES,
];

const STORAGE_CLASS: HeaderName = HeaderName::from_static("x-amz-storage-class");

/// Metadata given when an object is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    /// Content headers, user metadata and storage class, as they are given back.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// `x-amz-tagging`, URL-encoded.
    pub(crate) tags: Option<String>,
}

impl Metadata {
    /// Takes what is kept out of a request's headers.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let kept = |name: &HeaderName| {
            KEPT.contains(name)
                || *name == STORAGE_CLASS
                || name.as_str().starts_with("x-amz-meta-")
        };
        let headers_kept = headers
            .iter()
            .filter(|(name, _)| kept(name))
            .filter_map(|(name, value)| {
                if *name == header::CONTENT_ENCODING {
                    return without_aws_chunked(value).map(|v| (name.clone(), v));
                }
                Some((name.clone(), value.clone()))
            })
            .collect();
        let tags = headers
            .get("x-amz-tagging")
            .and_then(|v| v.to_str().ok())
            .filter(|t| !t.is_empty())
            .map(str::to_owned);
        Self {
            headers: headers_kept,
            tags,
        }
    }

    /// Number of tags.
    pub(crate) fn tag_count(&self) -> u64 {
        self.tags
            .as_ref()
            .map_or(0, |t| t.split('&').count() as u64)
    }
}

/// `aws-chunked` describes the transfer, not the object.
fn without_aws_chunked(value: &HeaderValue) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let left: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|e| !e.is_empty() && *e != "aws-chunked")
        .collect();
    HeaderValue::from_str(&left.join(", "))
        .ok()
        .filter(|v| !v.is_empty())
}

/// A written object.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// Size in bytes.
    pub(crate) size: u64,
    /// ETag, quoted.
    pub(crate) etag: String,
    /// Unix seconds.
    pub(crate) modified: i64,
    /// What was given with it.
    pub(crate) metadata: Metadata,
    /// The full object's checksum.
    pub(crate) checksum: Option<Checksum>,
    /// Its bytes are the generator's, so that they can be read back.
    pub(crate) verified: bool,
}

/// A body that arrived, or a range that was copied.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Size in bytes.
    pub(crate) size: u64,
    /// ETag, quoted.
    pub(crate) etag: String,
    /// MD5, where the client sent it.
    pub(crate) md5: Option<[u8; 16]>,
    /// Checksum that the client sent.
    pub(crate) checksum: Option<Checksum>,
    /// CRC64NVME computed by `--verify`.
    pub(crate) crc: Option<u64>,
    /// Unix seconds.
    pub(crate) modified: i64,
}

/// A multipart upload that is neither completed nor aborted.
#[derive(Debug)]
pub(crate) struct Upload {
    /// Key of the object to be.
    pub(crate) key: String,
    /// Its metadata.
    pub(crate) metadata: Metadata,
    /// Parts by number.
    pub(crate) parts: BTreeMap<u16, Part>,
    /// Unix seconds.
    pub(crate) initiated: i64,
}

/// A writable bucket.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    /// Objects by key.
    pub(crate) objects: BTreeMap<Vec<u8>, Stored>,
    /// Uploads by id.
    pub(crate) uploads: BTreeMap<String, Upload>,
}

impl Sink {
    /// An open upload of this key.
    pub(crate) fn upload(&mut self, id: &str, key: &str) -> Result<&mut Upload, S3Error> {
        self.uploads
            .get_mut(id)
            .filter(|u| u.key == key)
            .ok_or_else(|| S3Error::no_such_upload(id))
    }

    /// Checks `If-Match` and `If-None-Match` of a write.
    pub(crate) fn check_write(&self, key: &str, headers: &HeaderMap) -> Result<(), S3Error> {
        let etag = self.objects.get(key.as_bytes()).map(|o| o.etag.as_str());
        match headers.get(header::IF_MATCH) {
            Some(_) if etag.is_none() => return Err(S3Error::no_such_key(key)),
            Some(value) if !etag.is_some_and(|e| etag_matches(value, e)) => {
                return Err(S3Error::precondition("If-Match"));
            }
            _ => {}
        }
        match headers.get(header::IF_NONE_MATCH) {
            Some(value) if etag.is_some_and(|e| etag_matches(value, e)) => {
                Err(S3Error::precondition("If-None-Match"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a condition's value (`*` or a list of ETags) names this ETag.
pub(crate) fn etag_matches(condition: &HeaderValue, etag: &str) -> bool {
    let bare = |e: &str| e.trim().trim_matches('"').to_owned();
    condition.to_str().is_ok_and(|list| {
        list.split(',')
            .any(|e| e.trim() == "*" || bare(e) == bare(etag))
    })
}

/// The ETag of a multipart object, computed as S3 does where all MD5s are known.
pub(crate) fn multipart_etag<'a>(parts: impl Iterator<Item = &'a Part>, id: u64) -> String {
    let mut md5 = Some(Md5::new());
    let mut count = 0;
    for part in parts {
        count += 1;
        match part.md5 {
            Some(value) => {
                if let Some(md5) = &mut md5 {
                    md5.update(value);
                }
            }
            None => md5 = None,
        }
    }
    match md5 {
        Some(md5) => format!("\"{}-{count}\"", hex::encode(md5.finalize())),
        None => format!("\"{id:032x}-{count}\""),
    }
}

/// The ETag of a body: the MD5 where the client sent it, else one that no client takes for one.
pub(crate) fn single_etag(md5: Option<[u8; 16]>, id: u64) -> String {
    md5.map_or_else(
        || format!("\"{id:032x}-1\""),
        |md5| format!("\"{}\"", hex::encode(md5)),
    )
}

/// A `Content-MD5` header.
pub(crate) fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, S3Error> {
    let Some(value) = headers.get("content-md5") else {
        return Ok(None);
    };
    BASE64_STANDARD
        .decode(value.as_bytes())
        .ok()
        .and_then(|v| v.try_into().ok())
        .map(Some)
        .ok_or_else(|| S3Error::invalid("Content-MD5 is no MD5 in Base64"))
}

impl Ordered for Sink {
    fn entries<'a>(
        &'a self,
        bound: &[u8],
        after: bool,
    ) -> Box<dyn Iterator<Item = Entry> + Send + 'a> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = if after {
            Excluded(bound)
        } else {
            Included(bound)
        };
        Box::new(
            self.objects
                .range::<[u8], _>((from, Unbounded))
                .map(|(key, object)| Entry {
                    key: String::from_utf8_lossy(key).into_owned(),
                    size: object.size,
                    etag: object.etag.clone(),
                    modified: object.modified,
                }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let value = HeaderValue::from_static("\"a\", b");
        assert!(etag_matches(&value, "\"a\"") && etag_matches(&value, "b"));
        assert!(!etag_matches(&value, "\"c\""));
        assert!(etag_matches(&HeaderValue::from_static("*"), "\"c\""));
    }

    #[test]
    fn aws_chunked_is_not_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_ENCODING,
            HeaderValue::from_static("aws-chunked,gzip"),
        );
        assert_eq!(Metadata::from_headers(&headers).headers[0].1, "gzip");
        headers.insert(
            header::CONTENT_ENCODING,
            HeaderValue::from_static("aws-chunked"),
        );
        assert!(Metadata::from_headers(&headers).headers.is_empty());
    }

    #[test]
    fn multipart_etag_as_s3_computes_it() {
        let part = |md5: Option<[u8; 16]>| Part {
            size: 1,
            etag: String::new(),
            md5,
            checksum: None,
            crc: None,
            modified: 0,
        };
        let parts = [
            part(Some(Md5::digest(b"a").into())),
            part(Some(Md5::digest(b"b").into())),
        ];
        let mut both = Md5::digest(b"a").to_vec();
        both.extend_from_slice(&Md5::digest(b"b"));
        let want = format!("\"{}-2\"", hex::encode(Md5::digest(&both)));
        assert_eq!(multipart_etag(parts.iter(), 1), want);
        let unknown = multipart_etag([part(None)].iter(), 7);
        assert_eq!(unknown, format!("\"{:032x}-1\"", 7));
    }
}
