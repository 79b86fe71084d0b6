//! GET and HEAD of objects, and their tags.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::body::Reply;
use crate::checksum::{Algorithm, Checksum};
use crate::dataset::MODIFIED;
use crate::error::S3Error;
use crate::pattern::Variant;
use crate::range::{Selection, select};
use crate::request::Target;
use crate::server::Server;
use crate::sink::{Metadata, Stored, etag_matches};
use crate::xml::Xml;

/// The description of an object, generated or written.
pub(crate) fn stat(server: &Server, bucket: &str, key: &str) -> Result<Stored, S3Error> {
    if let Some(dataset) = server.datasets.get(bucket) {
        let size = dataset
            .size_of(key)
            .ok_or_else(|| S3Error::no_such_key(key))?;
        let octets = HeaderValue::from_static("application/octet-stream");
        return Ok(Stored {
            size,
            etag: dataset.etag(key).to_owned(),
            modified: MODIFIED,
            metadata: Metadata {
                headers: vec![(header::CONTENT_TYPE, octets)],
                tags: None,
            },
            checksum: Some(Checksum {
                algorithm: Algorithm::Crc64Nvme,
                value: dataset.crc64nvme(key).to_owned(),
            }),
            verified: true,
        });
    }
    server.with_sink(bucket, |sink| {
        sink.objects
            .get(key.as_bytes())
            .cloned()
            .ok_or_else(|| S3Error::no_such_key(key))
    })
}

/// `Last-Modified` as HTTP writes it.
fn http_date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

fn check_read(object: &Stored, headers: &HeaderMap) -> Result<(), S3Error> {
    match headers.get(header::IF_MATCH) {
        Some(value) if !etag_matches(value, &object.etag) => {
            return Err(S3Error::precondition("If-Match"));
        }
        _ => {}
    }
    match headers.get(header::IF_NONE_MATCH) {
        Some(value) if etag_matches(value, &object.etag) => Err(S3Error::not_modified()),
        _ => Ok(()),
    }
}

/// `GetObject` and `HeadObject`.
pub(crate) fn object(
    server: &Arc<Server>,
    target: &Target,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response<Reply>, S3Error> {
    let object = stat(server, &target.bucket, &target.key)?;
    check_read(&object, headers)?;
    let range = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
    let size = object.size;
    let mut reply = Response::builder()
        .header(header::ETAG, object.etag.as_str())
        .header(header::LAST_MODIFIED, http_date(object.modified))
        .header(header::ACCEPT_RANGES, "bytes");
    for (name, value) in &object.metadata.headers {
        reply = reply.header(name, value);
    }
    let tags = object.metadata.tag_count();
    if tags > 0 {
        reply = reply.header("x-amz-tagging-count", tags);
    }
    let (start, len) = match select(range, size) {
        Selection::Unsatisfiable => return Err(S3Error::invalid_range(range.unwrap_or_default())),
        Selection::Whole => {
            let wanted = headers
                .get("x-amz-checksum-mode")
                .is_some_and(|v| v == "ENABLED");
            if let Some(checksum) = object.checksum.as_ref().filter(|_| wanted) {
                reply = reply
                    .header(checksum.algorithm.header(), checksum.value.as_str())
                    .header("x-amz-checksum-type", "FULL_OBJECT");
            }
            (0, size)
        }
        Selection::Part { start, len } => {
            let last = start + len - 1;
            reply = reply.status(StatusCode::PARTIAL_CONTENT).header(
                header::CONTENT_RANGE,
                format!("bytes {start}-{last}/{size}"),
            );
            (start, len)
        }
    };
    reply = reply.header(header::CONTENT_LENGTH, len);
    let body = if method == Method::HEAD {
        Reply::empty()
    } else if object.verified {
        let variant = Variant::of(&target.key);
        Reply::Object {
            server: Arc::clone(server),
            variant,
            offset: start,
            left: len,
        }
    } else if len == 0 {
        Reply::empty()
    } else {
        return Err(S3Error::not_implemented(format!(
            "the bytes of {} were discarded; with --verify they can be read back",
            target.key
        )));
    };
    reply
        .body(body)
        .map_err(|e| S3Error::invalid(format!("kept metadata makes no reply: {e}")))
}

/// `GetObjectTagging`.
pub(crate) fn tagging(server: &Server, target: &Target) -> Result<String, S3Error> {
    let object = stat(server, &target.bucket, &target.key)?;
    let mut xml = Xml::new("Tagging");
    xml.open("TagSet");
    let tags = object.metadata.tags.unwrap_or_default();
    for pair in tags.split('&').filter(|pair| !pair.is_empty()) {
        let pair = Target::parse("", Some(pair))?;
        for (name, value) in pair.pairs() {
            xml.open("Tag");
            xml.leaf("Key", name);
            xml.leaf("Value", value);
            xml.close("Tag");
        }
    }
    xml.close("TagSet");
    Ok(xml.finish("Tagging"))
}
