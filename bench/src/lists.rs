//! Listings as XML: buckets, objects (both versions), uploads, parts.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::dataset::MODIFIED;
use crate::error::S3Error;
use crate::listing::{Ordered, Page, Query};
use crate::request::Target;
use crate::server::Server;
use crate::xml::Xml;

/// What `encoding-type=url` leaves as it is.
const URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

const MAX_KEYS: usize = 1000;

/// A time as listings write it.
pub(crate) fn iso_date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S.000Z")
        .to_string()
}

/// `ListBuckets`.
pub(crate) fn buckets(server: &Server) -> String {
    let mut xml = Xml::new("ListAllMyBucketsResult");
    xml.open("Owner");
    xml.leaf("ID", "bench");
    xml.close("Owner");
    xml.open("Buckets");
    for name in server.bucket_names() {
        xml.open("Bucket");
        xml.leaf("Name", &name);
        xml.leaf("CreationDate", &iso_date(MODIFIED));
        xml.close("Bucket");
    }
    xml.close("Buckets");
    xml.finish("ListAllMyBucketsResult")
}

/// The replies to questions about a bucket's configuration that clients ask.
pub(crate) fn bucket_config(target: &Target) -> Result<String, S3Error> {
    let root = if target.has("location") {
        "LocationConstraint"
    } else if target.has("versioning") {
        "VersioningConfiguration"
    } else {
        return Err(S3Error::not_implemented("this bucket configuration"));
    };
    Ok(Xml::new(root).finish(root))
}

/// A continuation token is the last key or prefix in hexadecimal.
fn from_token(token: &str) -> Result<String, S3Error> {
    hex::decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| S3Error::invalid("the continuation token is not one of ours"))
}

/// `ListObjects` and `ListObjectsV2`.
pub(crate) fn objects(server: &Server, target: &Target) -> Result<String, S3Error> {
    let v2 = target.query("list-type") == Some("2");
    let text = |name| target.query(name).filter(|t: &&str| !t.is_empty());
    let after = if v2 {
        match text("continuation-token") {
            Some(token) => Some(from_token(token)?),
            None => text("start-after").map(str::to_owned),
        }
    } else {
        text("marker").map(str::to_owned)
    };
    let query = Query {
        prefix: target.query("prefix").unwrap_or_default().to_owned(),
        delimiter: text("delimiter").map(str::to_owned),
        after,
        max_keys: target.number("max-keys")?.unwrap_or(MAX_KEYS).min(MAX_KEYS),
    };
    if let Some(dataset) = server.datasets.get(&target.bucket) {
        return Ok(render(
            target,
            v2,
            &query,
            &query.page(dataset as &dyn Ordered),
        ));
    }
    if !server.bucket_exists(&target.bucket) {
        return Err(S3Error::no_such_bucket(&target.bucket));
    }
    let page = server
        .sinks()
        .get(&target.bucket)
        .map(|sink| query.page(sink))
        .unwrap_or_default();
    Ok(render(target, v2, &query, &page))
}

fn render(target: &Target, v2: bool, query: &Query, page: &Page) -> String {
    let url = target.query("encoding-type") == Some("url");
    let encode = |text: &str| -> String {
        if url {
            utf8_percent_encode(text, URL).to_string()
        } else {
            text.to_owned()
        }
    };
    let mut xml = Xml::new("ListBucketResult");
    let key_bytes: usize = page.entries.iter().map(|e| e.key.len() + 250).sum();
    xml.reserve(key_bytes);
    xml.leaf("Name", &target.bucket);
    xml.leaf("Prefix", &encode(&query.prefix));
    xml.number("MaxKeys", query.max_keys as u64);
    if let Some(delimiter) = &query.delimiter {
        xml.leaf("Delimiter", &encode(delimiter));
    }
    if url {
        xml.leaf("EncodingType", "url");
    }
    xml.leaf(
        "IsTruncated",
        if page.next.is_some() { "true" } else { "false" },
    );
    if v2 {
        xml.number(
            "KeyCount",
            (page.entries.len() + page.prefixes.len()) as u64,
        );
        if let Some(token) = target.query("continuation-token") {
            xml.leaf("ContinuationToken", token);
        }
        if let Some(start) = target.query("start-after") {
            xml.leaf("StartAfter", &encode(start));
        }
        if let Some(next) = &page.next {
            xml.leaf("NextContinuationToken", &hex::encode(next));
        }
    } else {
        xml.leaf(
            "Marker",
            &encode(target.query("marker").unwrap_or_default()),
        );
        if let Some(next) = &page.next {
            xml.leaf("NextMarker", &encode(next));
        }
    }
    // Objects written together share their second: one formatted date serves many.
    let mut date = (i64::MIN, String::new());
    for entry in &page.entries {
        if date.0 != entry.modified {
            date = (entry.modified, iso_date(entry.modified));
        }
        let key: Cow<'_, str> = if url {
            utf8_percent_encode(&entry.key, URL).into()
        } else {
            (&entry.key).into()
        };
        xml.open("Contents");
        xml.leaf("Key", &key);
        xml.leaf("LastModified", &date.1);
        xml.leaf("ETag", &entry.etag);
        xml.number("Size", entry.size);
        xml.leaf("StorageClass", "STANDARD");
        xml.close("Contents");
    }
    for prefix in &page.prefixes {
        xml.open("CommonPrefixes");
        xml.leaf("Prefix", &encode(prefix));
        xml.close("CommonPrefixes");
    }
    xml.finish("ListBucketResult")
}

/// `ListMultipartUploads`: by key, then by upload id.
pub(crate) fn uploads(server: &Server, target: &Target) -> Result<String, S3Error> {
    let prefix = target.query("prefix").unwrap_or_default();
    let key_marker = target.query("key-marker").unwrap_or_default();
    let id_marker = target.query("upload-id-marker").unwrap_or_default();
    let most = target
        .number("max-uploads")?
        .unwrap_or(MAX_KEYS)
        .min(MAX_KEYS);
    let mut found = server.with_sink(&target.bucket, |sink| {
        let found: Vec<(String, String, i64)> = sink
            .uploads
            .iter()
            .filter(|(id, u)| {
                u.key.starts_with(prefix)
                    && (u.key.as_str() > key_marker
                        || (u.key == key_marker
                            && !id_marker.is_empty()
                            && id.as_str() > id_marker))
            })
            .map(|(id, u)| (u.key.clone(), id.clone(), u.initiated))
            .collect();
        Ok(found)
    })?;
    found.sort_unstable();
    let truncated = found.len() > most;
    found.truncate(most);
    let mut xml = Xml::new("ListMultipartUploadsResult");
    xml.leaf("Bucket", &target.bucket);
    xml.leaf("Prefix", prefix);
    xml.leaf("KeyMarker", key_marker);
    xml.leaf("UploadIdMarker", id_marker);
    xml.number("MaxUploads", most as u64);
    xml.leaf("IsTruncated", if truncated { "true" } else { "false" });
    if let Some((key, id, _)) = found.last().filter(|_| truncated) {
        xml.leaf("NextKeyMarker", key);
        xml.leaf("NextUploadIdMarker", id);
    }
    for (key, id, initiated) in &found {
        xml.open("Upload");
        xml.leaf("Key", key);
        xml.leaf("UploadId", id);
        xml.leaf("StorageClass", "STANDARD");
        xml.leaf("Initiated", &iso_date(*initiated));
        xml.close("Upload");
    }
    Ok(xml.finish("ListMultipartUploadsResult"))
}

/// `ListParts`.
pub(crate) fn parts(server: &Server, target: &Target) -> Result<String, S3Error> {
    let id = target.query("uploadId").unwrap_or_default();
    let marker: u16 = target.number("part-number-marker")?.unwrap_or(0);
    let most = target
        .number("max-parts")?
        .unwrap_or(MAX_KEYS)
        .min(MAX_KEYS);
    let mut xml = Xml::new("ListPartsResult");
    xml.leaf("Bucket", &target.bucket);
    xml.leaf("Key", &target.key);
    xml.leaf("UploadId", id);
    xml.number("PartNumberMarker", marker.into());
    xml.number("MaxParts", most as u64);
    server.with_sink(&target.bucket, |sink| {
        let upload = sink.upload(id, &target.key)?;
        let mut last = marker;
        let rest = || upload.parts.range(marker.saturating_add(1)..);
        for (number, part) in rest().take(most) {
            last = *number;
            xml.open("Part");
            xml.number("PartNumber", (*number).into());
            xml.leaf("LastModified", &iso_date(part.modified));
            xml.leaf("ETag", &part.etag);
            xml.number("Size", part.size);
            if let Some(checksum) = &part.checksum {
                xml.leaf(checksum.algorithm.element(), &checksum.value);
            }
            xml.close("Part");
        }
        let truncated = rest().nth(most).is_some();
        xml.leaf("IsTruncated", if truncated { "true" } else { "false" });
        if truncated {
            xml.number("NextPartNumberMarker", last.into());
        }
        Ok(())
    })?;
    Ok(xml.finish("ListPartsResult"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Args;
    use crate::xml::{records, text_of};

    fn server(flags: &[&str]) -> Server {
        let args = ["bench"].iter().chain(flags);
        Server::new(Args::parse_from(args)).unwrap()
    }

    fn list(server: &Server, query: &str) -> String {
        objects(server, &Target::parse("/b", Some(query)).unwrap()).unwrap()
    }

    /// Lists by continuation token (v2) or marker (v1) until the end.
    fn walk(server: &Server, v2: bool) -> Vec<String> {
        let mut keys = Vec::new();
        let mut resume = String::new();
        loop {
            let mode = if v2 {
                "list-type=2&continuation-token="
            } else {
                "marker="
            };
            let found = records(
                &list(server, &format!("max-keys=70&{mode}{resume}")),
                "Contents",
            )
            .unwrap();
            keys.extend(
                found
                    .records
                    .iter()
                    .map(|r| text_of(r, "Key").unwrap().to_owned()),
            );
            let tag = if v2 {
                "NextContinuationToken"
            } else {
                "NextMarker"
            };
            let next = text_of(&found.outer, tag);
            assert_eq!(
                next.is_some(),
                text_of(&found.outer, "IsTruncated") == Some("true")
            );
            match next {
                Some(next) => next.clone_into(&mut resume),
                None => return keys,
            }
        }
    }

    #[test]
    fn both_versions_list_every_key_of_every_shape_once() {
        for shape in ["uniform", "deep", "skew", "longprefix"] {
            let server = server(&["--keyspace", &format!("b={shape}:500")]);
            let set = &server.datasets["b"];
            let want: Vec<String> = set.entries(b"", false).map(|e| e.key).collect();
            assert_eq!(want.len(), 500);
            assert_eq!(walk(&server, true), want, "{shape}");
            assert_eq!(walk(&server, false), want, "{shape}");
        }
    }

    #[test]
    fn url_encoding_covers_keys_and_prefixes() {
        let server = server(&["--source", "b=1x1:a b/%C3&%02d/x"]);
        let text = list(&server, "list-type=2&encoding-type=url&prefix=a+b");
        assert!(text.contains("<Prefix>a%20b</Prefix>"), "{text}");
        assert!(text.contains("<Key>a%20b/%25C3%2600/x</Key>"), "{text}");
        let text = list(&server, "delimiter=/");
        let found = records(&text, "CommonPrefixes").unwrap();
        assert_eq!(text_of(&found.records[0], "Prefix"), Some("a b/"));
    }

    #[test]
    fn unknown_sinks_are_empty_or_absent() {
        let open = server(&[]);
        assert!(list(&open, "").contains("<IsTruncated>false</IsTruncated>"));
        let closed = server(&["--sink", "other"]);
        let error = objects(&closed, &Target::parse("/b", None).unwrap()).unwrap_err();
        assert_eq!(error.code, "NoSuchBucket");
    }
}
