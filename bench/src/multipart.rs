//! Multipart uploads: create, parts, copy of parts, completion, abortion.

use std::collections::BTreeMap;

use http::{HeaderMap, Response};
use hyper::body::Incoming;

use crate::body::Reply;
use crate::checksum::{self, Checksum};
use crate::error::S3Error;
use crate::lists::iso_date;
use crate::pattern::Variant;
use crate::range::{Selection, select};
use crate::receive::{self, now};
use crate::request::Target;
use crate::server::Server;
use crate::sink::{Metadata, Part, Stored, Upload, multipart_etag, single_etag};
use crate::write::{source, verify};
use crate::xml::{Leaf, Xml, records, text_of};

/// The address of a part: upload id and part number.
fn address(target: &Target) -> Result<(&str, u16), S3Error> {
    let id = target.query("uploadId").unwrap_or_default();
    match target.number("partNumber")? {
        Some(number @ 1..=10_000) => Ok((id, number)),
        other => Err(S3Error::invalid(format!(
            "part number {other:?} is not in 1..=10000"
        ))),
    }
}

/// `CreateMultipartUpload`.
pub(crate) fn create(
    server: &Server,
    target: &Target,
    headers: &HeaderMap,
) -> Result<String, S3Error> {
    let id = format!("upload-{:016x}", server.next_id());
    let upload = Upload {
        key: target.key.clone(),
        metadata: Metadata::from_headers(headers),
        parts: BTreeMap::new(),
        initiated: now(),
    };
    server.with_sink(&target.bucket, |sink| {
        sink.uploads.insert(id.clone(), upload);
        Ok(())
    })?;
    let mut xml = Xml::new("InitiateMultipartUploadResult");
    xml.leaf("Bucket", &target.bucket);
    xml.leaf("Key", &target.key);
    xml.leaf("UploadId", &id);
    Ok(xml.finish("InitiateMultipartUploadResult"))
}

/// `UploadPart`.
pub(crate) async fn part(
    server: &Server,
    target: &Target,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Response<Reply>, S3Error> {
    let (id, number) = address(target)?;
    server.with_sink(&target.bucket, |sink| {
        sink.upload(id, &target.key).map(|_| ())
    })?;
    let part = receive::discard(server, headers, body).await?;
    let mut reply = Response::builder().header("etag", part.etag.as_str());
    if let Some(checksum) = &part.checksum {
        reply = reply.header(checksum.algorithm.header(), checksum.value.as_str());
    }
    server.with_sink(&target.bucket, |sink| {
        sink.upload(id, &target.key)?.parts.insert(number, part);
        Ok(())
    })?;
    reply
        .body(Reply::empty())
        .map_err(|e| S3Error::invalid(format!("the checksum sent is no header value: {e}")))
}

/// `UploadPartCopy`.
pub(crate) fn part_copy(
    server: &Server,
    target: &Target,
    headers: &HeaderMap,
) -> Result<String, S3Error> {
    let (id, number) = address(target)?;
    let (object, key) = source(server, headers)?;
    let range = headers
        .get("x-amz-copy-source-range")
        .and_then(|v| v.to_str().ok());
    let (start, len) = match select(range, object.size) {
        Selection::Whole => (0, object.size),
        Selection::Part { start, len } => (start, len),
        Selection::Unsatisfiable => return Err(S3Error::invalid_range(range.unwrap_or_default())),
    };
    let part = Part {
        size: len,
        etag: single_etag(None, server.next_id()),
        md5: None,
        checksum: None,
        crc: (server.verify && object.verified)
            .then(|| server.pattern.crc(Variant::of(&key), start, len)),
        modified: now(),
    };
    let mut xml = Xml::new("CopyPartResult");
    xml.leaf("LastModified", &iso_date(part.modified));
    xml.leaf("ETag", &part.etag);
    server.with_sink(&target.bucket, |sink| {
        sink.upload(id, &target.key)?.parts.insert(number, part);
        Ok(())
    })?;
    Ok(xml.finish("CopyPartResult"))
}

/// `AbortMultipartUpload`.
pub(crate) fn abort(server: &Server, target: &Target) -> Result<(), S3Error> {
    let id = target.query("uploadId").unwrap_or_default();
    server.with_sink(&target.bucket, |sink| {
        sink.upload(id, &target.key)?;
        sink.uploads.remove(id);
        Ok(())
    })
}

/// The parts that a completion names, in its order, which must be ascending.
fn chosen(upload: &Upload, named: &[Vec<Leaf>]) -> Result<Vec<Part>, S3Error> {
    let mut parts = Vec::with_capacity(named.len());
    let mut last = 0;
    for leaves in named {
        let number: u16 = text_of(leaves, "PartNumber")
            .and_then(|n| n.trim().parse().ok())
            .ok_or_else(|| S3Error::malformed_xml("part without a number"))?;
        let etag = text_of(leaves, "ETag")
            .unwrap_or_default()
            .trim()
            .trim_matches('"');
        if number <= last {
            return Err(S3Error::invalid_part(format!(
                "part {number} comes after part {last}"
            )));
        }
        last = number;
        let part = upload
            .parts
            .get(&number)
            .filter(|part| part.etag.trim_matches('"') == etag)
            .ok_or_else(|| S3Error::invalid_part(format!("no part {number} with ETag {etag}")))?;
        parts.push(part.clone());
    }
    if parts.is_empty() {
        return Err(S3Error::malformed_xml("completion names no part"));
    }
    Ok(parts)
}

/// The full object's checksum: what the completion says, compared with what the parts give.
fn full_checksum(parts: &[Part], headers: &HeaderMap) -> Result<Option<Checksum>, S3Error> {
    let Some(sent) = checksum::from_headers(headers) else {
        return Ok(None);
    };
    let values: Option<Vec<(String, u64)>> = parts
        .iter()
        .map(|part| {
            let checksum = part
                .checksum
                .as_ref()
                .filter(|c| c.algorithm == sent.algorithm)?;
            Some((checksum.value.clone(), part.size))
        })
        .collect();
    match values.and_then(|values| sent.algorithm.combine(&values)) {
        Some(combined) if combined != sent.value => Err(S3Error::bad_digest(format!(
            "{} of the parts is {combined}, not {}",
            sent.algorithm.header(),
            sent.value
        ))),
        _ => Ok(Some(sent)),
    }
}

/// CRC64NVME of the whole, where `--verify` made one for each part.
fn whole_crc(parts: &[Part]) -> Option<u64> {
    let mut whole: Option<u64> = None;
    for part in parts {
        let crc = part.crc?;
        whole = Some(whole.map_or(crc, |before| {
            crc_fast::checksum_combine(crc_fast::CrcAlgorithm::Crc64Nvme, before, crc, part.size)
        }));
    }
    whole
}

/// `CompleteMultipartUpload`.
pub(crate) fn complete(
    server: &Server,
    target: &Target,
    headers: &HeaderMap,
    body: &str,
) -> Result<String, S3Error> {
    let id = target.query("uploadId").unwrap_or_default();
    let named = records(body, "Part")?.records;
    let (parts, metadata) = server.with_sink(&target.bucket, |sink| {
        sink.check_write(&target.key, headers)?;
        let upload = sink.upload(id, &target.key)?;
        Ok((chosen(upload, &named)?, upload.metadata.clone()))
    })?;
    let size = parts.iter().map(|p| p.size).sum();
    let checksum = full_checksum(&parts, headers)?;
    let crc = whole_crc(&parts);
    if let Some(crc) = crc {
        verify(server, &target.key, size, crc)?;
    }
    let etag = multipart_etag(parts.iter(), server.next_id());
    let mut xml = Xml::new("CompleteMultipartUploadResult");
    xml.leaf("Location", &format!("/{}/{}", target.bucket, target.key));
    xml.leaf("Bucket", &target.bucket);
    xml.leaf("Key", &target.key);
    xml.leaf("ETag", &etag);
    if let Some(checksum) = &checksum {
        xml.leaf(checksum.algorithm.element(), &checksum.value);
        xml.leaf("ChecksumType", "FULL_OBJECT");
    }
    let object = Stored {
        size,
        etag,
        modified: now(),
        metadata,
        checksum,
        verified: crc.is_some(),
    };
    server.with_sink(&target.bucket, |sink| {
        sink.uploads.remove(id);
        sink.objects.insert(target.key.clone().into_bytes(), object);
        Ok(())
    })?;
    Ok(xml.finish("CompleteMultipartUploadResult"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload() -> Upload {
        let part = |etag: &str| Part {
            size: 5,
            etag: format!("\"{etag}\""),
            md5: None,
            checksum: None,
            crc: None,
            modified: 0,
        };
        Upload {
            key: "k".into(),
            metadata: Metadata::default(),
            parts: [(1, part("a")), (2, part("b")), (3, part("c"))].into(),
            initiated: 0,
        }
    }

    fn named(parts: &[(&str, &str)]) -> Vec<Vec<Leaf>> {
        parts
            .iter()
            .map(|(n, e)| {
                vec![
                    ("PartNumber".into(), (*n).into()),
                    ("ETag".into(), (*e).into()),
                ]
            })
            .collect()
    }

    #[test]
    fn a_completion_chooses_existing_parts_in_order() {
        let upload = upload();
        assert_eq!(
            chosen(&upload, &named(&[("1", "\"a\""), ("3", "c")]))
                .unwrap()
                .len(),
            2
        );
        for bad in [
            &[("1", "b")][..],
            &[("4", "a")],
            &[("2", "b"), ("1", "a")],
            &[("x", "a")],
            &[],
        ] {
            assert!(chosen(&upload, &named(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn part_numbers_have_bounds() {
        for (query, ok) in [
            ("partNumber=1", true),
            ("partNumber=10000", true),
            ("partNumber=0", false),
        ] {
            let target = Target::parse("/b/k", Some(query)).unwrap();
            assert_eq!(address(&target).is_ok(), ok, "{query}");
        }
    }
}
