//! Headers and attributes, both ways.

use std::collections::BTreeMap;

use aws_smithy_types::DateTime;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use skyhaul_model::Attributes;
use skyhaul_model::attributes::MTIME_KEY;

/// What stays as it is in query strings and copy sources.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The same for a path.
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// A key in a header, slashes kept.
pub(super) fn encode_path(key: &str) -> String {
    utf8_percent_encode(key, PATH).to_string()
}

/// A value in a query string.
pub(super) fn encode_query(value: &str) -> String {
    utf8_percent_encode(value, UNRESERVED).to_string()
}

/// Tags as `x-amz-tagging` wants them; `None` for no tags.
pub(super) fn tagging(tags: Option<&BTreeMap<String, String>>) -> Option<String> {
    let tags = tags.filter(|tags| !tags.is_empty())?;
    let pairs: Vec<String> = tags
        .iter()
        .map(|(key, value)| {
            let encode = |text| utf8_percent_encode(text, UNRESERVED);
            format!("{}={}", encode(key), encode(value))
        })
        .collect();
    Some(pairs.join("&"))
}

/// The user metadata to write: the source's, with the modification time that the object should
/// show unless the source carries one already.
pub(super) fn metadata(
    attributes: &Attributes,
    mtime: Option<Timestamp>,
) -> Option<std::collections::HashMap<String, String>> {
    let mut metadata: std::collections::HashMap<String, String> = attributes
        .metadata
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if let Some(mtime) = mtime {
        metadata
            .entry(MTIME_KEY.to_owned())
            .or_insert_with(|| skyhaul_model::mtime::format(mtime));
    }
    (!metadata.is_empty()).then_some(metadata)
}

/// A service's time. Times that no calendar holds become 1970.
pub(super) fn timestamp(time: Option<&DateTime>) -> Timestamp {
    time.and_then(|time| {
        Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).unwrap_or(0)).ok()
    })
    .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Whether an object of this class must be restored before it can be read. `restore` is the
/// `x-amz-restore` header.
pub(super) fn is_archived(class: Option<&str>, tier: Option<&str>, restore: Option<&str>) -> bool {
    let cold = matches!(class, Some("GLACIER" | "DEEP_ARCHIVE")) || tier.is_some();
    cold && !restore.is_some_and(|text| text.contains("ongoing-request=\"false\""))
}

/// A storage class that is not the default.
pub(super) fn storage_class(class: Option<&str>) -> Option<String> {
    class
        .filter(|class| !class.is_empty() && *class != "STANDARD")
        .map(ToOwned::to_owned)
}

/// Attributes from the reply to a GET or HEAD.
macro_rules! attributes_of {
    ($reply:expr) => {
        skyhaul_model::Attributes {
            content_type: $reply.content_type().map(ToOwned::to_owned),
            content_encoding: $reply.content_encoding().map(ToOwned::to_owned),
            content_language: $reply.content_language().map(ToOwned::to_owned),
            content_disposition: $reply.content_disposition().map(ToOwned::to_owned),
            cache_control: $reply.cache_control().map(ToOwned::to_owned),
            expires: $reply.expires_string().map(ToOwned::to_owned),
            metadata: $reply
                .metadata()
                .map(|pairs| {
                    pairs
                        .iter()
                        .map(|(key, value)| (key.clone(), value.clone()))
                        .collect()
                })
                .unwrap_or_default(),
            tags: None,
            storage_class: $crate::s3::attributes::storage_class(
                $reply.storage_class().map(|class| class.as_str()),
            ),
        }
    };
}
pub(super) use attributes_of;

/// Sets headers, metadata, tags, class and encryption on a request that creates an object.
macro_rules! send_attributes {
    ($builder:expr, $bucket:expr, $attributes:expr, $mtime:expr) => {{
        use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
        use skyhaul_model::spec::Encryption;
        let attributes: &skyhaul_model::Attributes = $attributes;
        let builder = $builder
            .set_content_type(attributes.content_type.clone())
            .set_content_encoding(attributes.content_encoding.clone())
            .set_content_language(attributes.content_language.clone())
            .set_content_disposition(attributes.content_disposition.clone())
            .set_cache_control(attributes.cache_control.clone())
            .set_metadata($crate::s3::attributes::metadata(attributes, $mtime))
            .set_tagging($crate::s3::attributes::tagging(attributes.tags.as_ref()))
            .set_storage_class(attributes.storage_class.as_deref().map(StorageClass::from));
        match &$bucket.encryption {
            None => builder,
            Some(Encryption::S3) => builder.server_side_encryption(ServerSideEncryption::Aes256),
            Some(Encryption::Kms { key_id }) => builder
                .server_side_encryption(ServerSideEncryption::AwsKms)
                .set_ssekms_key_id(key_id.clone()),
        }
    }};
}
pub(super) use send_attributes;

/// Adds `Expires` as the source sent it: the SDK only sends well-formed dates.
macro_rules! with_expires {
    ($operation:expr, $attributes:expr) => {{
        let operation = $operation;
        match $attributes.expires.clone() {
            None => operation,
            Some(expires) => operation.mutate_request(move |request| {
                // A value that no header can hold was never in one.
                let _ = request.headers_mut().try_insert("expires", expires.clone());
            }),
        }
    }};
}
pub(super) use with_expires;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_rclone_writes_them() {
        let at = |nanos| skyhaul_model::mtime::format(Timestamp::from_nanosecond(nanos).unwrap());
        assert_eq!(at(1_600_000_000_123_000_000), "1600000000.123");
        assert_eq!(at(1_600_000_000_000_000_000), "1600000000");
        assert_eq!(at(-1_500_000_000), "-1.5");
    }

    #[test]
    fn tags_are_a_query_string() {
        let tags = BTreeMap::from([
            ("a b".to_owned(), "1&2".to_owned()),
            ("c".into(), "ü".into()),
        ]);
        assert_eq!(tagging(Some(&tags)).unwrap(), "a%20b=1%262&c=%C3%BC");
        assert_eq!(tagging(Some(&BTreeMap::new())), None);
        assert_eq!(encode_path("a//b c/%+é"), "a//b%20c/%25%2B%C3%A9");
    }

    #[test]
    fn a_restored_object_can_be_read() {
        assert!(is_archived(Some("GLACIER"), None, None));
        assert!(is_archived(
            Some("GLACIER"),
            None,
            Some("ongoing-request=\"true\"")
        ));
        let done = "ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2029 00:00:00 GMT\"";
        assert!(!is_archived(Some("DEEP_ARCHIVE"), None, Some(done)));
        assert!(is_archived(
            Some("INTELLIGENT_TIERING"),
            Some("ARCHIVE_ACCESS"),
            None
        ));
        assert!(!is_archived(Some("GLACIER_IR"), None, None));
    }
}
