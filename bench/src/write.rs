//! PUT, copy and deletion of objects.

use http::{HeaderMap, Response};
use hyper::body::Incoming;

use crate::body::Reply;
use crate::error::S3Error;
use crate::lists::iso_date;
use crate::pattern::Variant;
use crate::read::stat;
use crate::receive::{self, now};
use crate::request::{Target, copy_source};
use crate::server::Server;
use crate::sink::{Metadata, Part, Stored, etag_matches, single_etag};
use crate::xml::{Xml, records, text_of};

/// Compares a whole object with the generator, where `--verify` asks for it.
pub(crate) fn verify(server: &Server, key: &str, size: u64, crc: u64) -> Result<(), S3Error> {
    let mut sizes = server
        .datasets
        .values()
        .filter_map(|d| d.size_by_name(key))
        .peekable();
    if sizes.peek().is_some() && !sizes.any(|expected| expected == size) {
        return Err(S3Error::bad_digest(format!(
            "{key} has {size} bytes, not its source's"
        )));
    }
    if server.pattern.crc(Variant::of(key), 0, size) == crc {
        Ok(())
    } else {
        Err(S3Error::bad_digest(format!(
            "the bytes of {key} are not the generator's"
        )))
    }
}

/// `PutObject`.
pub(crate) async fn put(
    server: &Server,
    target: &Target,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Response<Reply>, S3Error> {
    server.check_writable(&target.bucket)?;
    let part = receive::discard(server, headers, body).await?;
    if let Some(crc) = part.crc {
        verify(server, &target.key, part.size, crc)?;
    }
    let mut reply = Response::builder().header("etag", part.etag.as_str());
    if let Some(checksum) = &part.checksum {
        reply = reply
            .header(checksum.algorithm.header(), checksum.value.as_str())
            .header("x-amz-checksum-type", "FULL_OBJECT");
    }
    let metadata = Metadata::from_headers(headers);
    server.with_sink(&target.bucket, |sink| {
        sink.check_write(&target.key, headers)?;
        let Part {
            size,
            etag,
            checksum,
            crc,
            modified,
            ..
        } = part;
        let object = Stored {
            size,
            etag,
            modified,
            metadata,
            checksum,
            verified: crc.is_some(),
        };
        sink.objects.insert(target.key.clone().into_bytes(), object);
        Ok(())
    })?;
    reply
        .body(Reply::empty())
        .map_err(|e| S3Error::invalid(format!("the checksum sent is no header value: {e}")))
}

/// The source of a copy, its conditions checked: its description and its key.
pub(crate) fn source(server: &Server, headers: &HeaderMap) -> Result<(Stored, String), S3Error> {
    let header = headers
        .get("x-amz-copy-source")
        .and_then(|v| v.to_str().ok())
        .ok_or_else(|| S3Error::invalid("x-amz-copy-source is not text"))?;
    let (bucket, key) = copy_source(header)?;
    let object = stat(server, &bucket, &key)?;
    match headers.get("x-amz-copy-source-if-match") {
        Some(value) if !etag_matches(value, &object.etag) => {
            Err(S3Error::precondition("x-amz-copy-source-if-match"))
        }
        _ => Ok((object, key)),
    }
}

/// `CopyObject`.
pub(crate) fn copy(
    server: &Server,
    target: &Target,
    headers: &HeaderMap,
) -> Result<String, S3Error> {
    let (mut object, source_key) = source(server, headers)?;
    let is_replaced = |name: &str| headers.get(name).is_some_and(|v| v == "REPLACE");
    let given = Metadata::from_headers(headers);
    if is_replaced("x-amz-metadata-directive") {
        object.metadata.headers = given.headers;
    }
    if is_replaced("x-amz-tagging-directive") {
        object.metadata.tags = given.tags;
    }
    // Readable only under a name that generates the same bytes.
    object.verified &= Variant::of(&source_key) == Variant::of(&target.key);
    object.modified = now();
    // Only an MD5 of the contents survives a copy.
    if object.etag.contains('-') {
        object.etag = single_etag(None, server.next_id());
    }
    let mut xml = Xml::new("CopyObjectResult");
    xml.leaf("LastModified", &iso_date(object.modified));
    xml.leaf("ETag", &object.etag);
    if let Some(checksum) = &object.checksum {
        xml.leaf(checksum.algorithm.element(), &checksum.value);
    }
    server.with_sink(&target.bucket, |sink| {
        sink.check_write(&target.key, headers)?;
        sink.objects.insert(target.key.clone().into_bytes(), object);
        Ok(())
    })?;
    Ok(xml.finish("CopyObjectResult"))
}

/// `DeleteObject`: no error if there is none.
pub(crate) fn delete(server: &Server, target: &Target) -> Result<(), S3Error> {
    server.with_sink(&target.bucket, |sink| {
        sink.objects.remove(target.key.as_bytes());
        Ok(())
    })
}

/// `DeleteObjects`.
pub(crate) fn delete_many(server: &Server, bucket: &str, body: &str) -> Result<String, S3Error> {
    let request = records(body, "Object")?;
    let quiet = text_of(&request.outer, "Quiet") == Some("true");
    let mut xml = Xml::new("DeleteResult");
    server.with_sink(bucket, |sink| {
        for object in &request.records {
            let key =
                text_of(object, "Key").ok_or_else(|| S3Error::malformed_xml("no Key in Object"))?;
            sink.objects.remove(key.as_bytes());
            if !quiet {
                xml.open("Deleted");
                xml.leaf("Key", key);
                xml.close("Deleted");
            }
        }
        Ok(())
    })?;
    Ok(xml.finish("DeleteResult"))
}
