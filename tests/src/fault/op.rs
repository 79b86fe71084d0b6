//! Which S3 operation a request is.

use http::request::Parts;
use percent_encoding::percent_decode_str;

/// An S3 operation, as told by method, path style URL and headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // S3's own names, shortened
pub enum Op {
    ListBuckets,
    HeadBucket,
    ListObjects,
    ListUploads,
    ListVersions,
    DeleteMany,
    /// Anything else that names a bucket only.
    OtherBucket,
    Head,
    Get,
    GetTagging,
    PutTagging,
    Put,
    Copy,
    CreateUpload,
    UploadPart,
    UploadPartCopy,
    Complete,
    Abort,
    ListParts,
    Delete,
    /// Anything else that names an object.
    OtherObject,
}

/// What tells one request from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The operation.
    pub op: Op,
    /// The bucket; empty for `ListBuckets`.
    pub bucket: String,
    /// The key, decoded; empty where only a bucket is named.
    pub key: String,
    /// The query as sent.
    pub query: String,
    /// The Range header.
    pub range: Option<String>,
    /// The If-Match header.
    pub if_match: Option<String>,
}

impl Request {
    /// Reads a request's head.
    #[must_use]
    pub fn of(head: &Parts) -> Self {
        let path = head.uri.path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = head.uri.query().unwrap_or_default();
        let copies = head.headers.contains_key("x-amz-copy-source");
        let header = |name: http::HeaderName| {
            let value = head.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Self {
            op: operation(head.method.as_str(), bucket, key, query, copies),
            bucket: bucket.to_owned(),
            key: percent_decode_str(key).decode_utf8_lossy().into_owned(),
            query: query.to_owned(),
            range: header(http::header::RANGE),
            if_match: header(http::header::IF_MATCH),
        }
    }

    /// A value of the query, decoded.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        parameter(&self.query, name)
            .map(|value| percent_decode_str(value).decode_utf8_lossy().into())
    }

    /// The same for every attempt at one piece of work: without upload ids, which change.
    #[must_use]
    pub(super) fn identity(&self) -> String {
        let part = self.parameter("partNumber").unwrap_or_default();
        let after = ["continuation-token", "start-after", "marker", "prefix"]
            .map(|name| self.parameter(name).unwrap_or_default())
            .join("\n");
        let range = self.range.as_deref().unwrap_or_default();
        format!("{:?}\n{}\n{part}\n{range}\n{after}", self.op, self.key)
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find_map(|(found, value)| (found == name).then_some(value))
}

fn operation(method: &str, bucket: &str, key: &str, query: &str, copies: bool) -> Op {
    let has = |name| parameter(query, name).is_some();
    if bucket.is_empty() {
        return Op::ListBuckets;
    }
    if key.is_empty() {
        return match method {
            "HEAD" => Op::HeadBucket,
            "POST" if has("delete") => Op::DeleteMany,
            "GET" if has("uploads") => Op::ListUploads,
            "GET" if has("versions") => Op::ListVersions,
            "GET" if has("list-type") || has("prefix") || has("marker") || query.is_empty() => {
                Op::ListObjects
            }
            _ => Op::OtherBucket,
        };
    }
    match method {
        "HEAD" => Op::Head,
        "GET" if has("tagging") => Op::GetTagging,
        "GET" if has("uploadId") => Op::ListParts,
        "GET" if has("acl") || has("attributes") || has("retention") => Op::OtherObject,
        "GET" => Op::Get,
        "PUT" if has("tagging") => Op::PutTagging,
        "PUT" if has("partNumber") && copies => Op::UploadPartCopy,
        "PUT" if has("partNumber") => Op::UploadPart,
        "PUT" if has("acl") || has("retention") || has("legal-hold") => Op::OtherObject,
        "PUT" if copies => Op::Copy,
        "PUT" => Op::Put,
        "POST" if has("uploads") => Op::CreateUpload,
        "POST" if has("uploadId") => Op::Complete,
        "DELETE" if has("uploadId") => Op::Abort,
        "DELETE" if has("tagging") => Op::OtherObject,
        "DELETE" => Op::Delete,
        _ => Op::OtherObject,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request {
        let mut builder = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        Request::of(&builder.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn operations_are_told_apart() {
        let cases = [
            ("GET", "/", Op::ListBuckets),
            ("GET", "/b?list-type=2&prefix=x", Op::ListObjects),
            ("GET", "/b/?list-type=2", Op::ListObjects),
            ("GET", "/b?location", Op::OtherBucket),
            ("GET", "/b?uploads", Op::ListUploads),
            ("POST", "/b?delete", Op::DeleteMany),
            ("HEAD", "/b", Op::HeadBucket),
            ("HEAD", "/b/k", Op::Head),
            ("GET", "/b/k?x-id=GetObject", Op::Get),
            ("GET", "/b/k?tagging", Op::GetTagging),
            ("PUT", "/b/k?x-id=PutObject", Op::Put),
            ("POST", "/b/k?uploads", Op::CreateUpload),
            ("PUT", "/b/k?partNumber=3&uploadId=u", Op::UploadPart),
            ("POST", "/b/k?uploadId=u", Op::Complete),
            ("DELETE", "/b/k?uploadId=u", Op::Abort),
            ("GET", "/b/k?uploadId=u", Op::ListParts),
            ("DELETE", "/b/k", Op::Delete),
        ];
        for (method, uri, op) in cases {
            assert_eq!(request(method, uri, &[]).op, op, "{method} {uri}");
        }
        let copy = [("x-amz-copy-source", "/b/k")];
        assert_eq!(request("PUT", "/b/k", &copy).op, Op::Copy);
        assert_eq!(
            request("PUT", "/b/k?partNumber=1&uploadId=u", &copy).op,
            Op::UploadPartCopy
        );
    }

    #[test]
    fn keys_are_decoded_and_identity_ignores_upload_ids() {
        let one = request("PUT", "/b/a//b%20%C3%BC?partNumber=1&uploadId=u", &[]);
        assert_eq!((one.bucket.as_str(), one.key.as_str()), ("b", "a//b ü"));
        let again = request("PUT", "/b/a//b%20%C3%BC?partNumber=1&uploadId=v", &[]);
        let other = request("PUT", "/b/a//b%20%C3%BC?partNumber=2&uploadId=u", &[]);
        assert_eq!(one.identity(), again.identity());
        assert_ne!(one.identity(), other.identity());
    }
}
