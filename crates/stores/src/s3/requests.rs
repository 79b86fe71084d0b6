//! The headers of a PUT, on the short way.

use std::borrow::Cow;

use jiff::Timestamp;
use skyhaul_model::spec::Encryption;
use skyhaul_model::{Attributes, Checksum};

use super::attributes::{metadata, tagging};
use super::bucket::Bucket;
use super::replies::checksum_header;
use crate::store::Condition;

/// A header by name and value.
pub(super) type Header = (Cow<'static, str>, String);

impl Bucket {
    /// What a new object is written with.
    pub(super) fn write_headers(
        &self,
        attributes: &Attributes,
        mtime: Option<Timestamp>,
        checksum: Option<&Checksum>,
        condition: &Condition,
    ) -> Vec<Header> {
        let mut headers: Vec<Header> = Vec::with_capacity(16);
        let mut add = |name: &'static str, value: Option<String>| {
            headers.extend(value.map(|value| (Cow::Borrowed(name), value)));
        };
        let kind = attributes
            .content_type
            .as_deref()
            .unwrap_or("application/octet-stream");
        add("content-type", Some(kind.to_owned()));
        add("content-encoding", attributes.content_encoding.clone());
        add("content-language", attributes.content_language.clone());
        add(
            "content-disposition",
            attributes.content_disposition.clone(),
        );
        add("cache-control", attributes.cache_control.clone());
        add("expires", attributes.expires.clone());
        add("x-amz-tagging", tagging(attributes.tags.as_ref()));
        add("x-amz-storage-class", attributes.storage_class.clone());
        add("if-match", condition.if_match());
        add("if-none-match", condition.if_none_match());
        if let Some(checksum) = checksum {
            add(
                checksum_header(checksum.algorithm),
                Some(checksum.to_base64()),
            );
        }
        match &self.encryption {
            None => {}
            Some(Encryption::S3) => add("x-amz-server-side-encryption", Some("AES256".into())),
            Some(Encryption::Kms { key_id }) => {
                add("x-amz-server-side-encryption", Some("aws:kms".into()));
                add(
                    "x-amz-server-side-encryption-aws-kms-key-id",
                    key_id.clone(),
                );
            }
        }
        let pairs = metadata(attributes, mtime).unwrap_or_default();
        headers.extend(
            pairs
                .into_iter()
                .map(|(key, value)| (format!("x-amz-meta-{key}").into(), value)),
        );
        headers
    }
}
