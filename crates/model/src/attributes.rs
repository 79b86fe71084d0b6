//! What an object carries besides its bytes, and what a transfer does with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The user-metadata key under which a file's modification time travels to stores that keep none:
/// seconds since 1970 with a decimal fraction, as rclone writes it (`x-amz-meta-mtime`).
pub const MTIME_KEY: &str = "mtime";

/// Headers, user metadata, tags and storage class of an object. Equal attributes serialise
/// equally.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Expires`, as the source sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// User metadata, without the service's header prefix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Tags; `None` when they were not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// Storage class under the service's own name; `None` is the service's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

/// What to do with one attribute at the destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep<T> {
    /// As at the source.
    #[default]
    Source,
    /// This value instead.
    Set(T),
    /// Nothing: the destination's default.
    Off,
}

impl<T: Clone> Keep<T> {
    /// The value to write, given the source's.
    pub fn apply(&self, source: Option<T>) -> Option<T> {
        match self {
            Self::Source => source,
            Self::Set(value) => Some(value.clone()),
            Self::Off => None,
        }
    }
}

/// What a transfer does with each attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttributePolicy {
    /// `Content-Type`.
    pub content_type: Keep<String>,
    /// `Content-Encoding`.
    pub content_encoding: Keep<String>,
    /// `Content-Language`.
    pub content_language: Keep<String>,
    /// `Content-Disposition`.
    pub content_disposition: Keep<String>,
    /// `Cache-Control`.
    pub cache_control: Keep<String>,
    /// `Expires`.
    pub expires: Keep<String>,
    /// User metadata as a whole.
    pub metadata: Keep<BTreeMap<String, String>>,
    /// Tags as a whole.
    pub tags: Keep<BTreeMap<String, String>>,
    /// Storage class. Source classes travel only between S3 services.
    pub storage_class: Keep<String>,
}

impl AttributePolicy {
    /// The attributes to write, given the source's.
    #[must_use]
    pub fn apply(&self, source: Attributes) -> Attributes {
        Attributes {
            content_type: self.content_type.apply(source.content_type),
            content_encoding: self.content_encoding.apply(source.content_encoding),
            content_language: self.content_language.apply(source.content_language),
            content_disposition: self.content_disposition.apply(source.content_disposition),
            cache_control: self.cache_control.apply(source.cache_control),
            expires: self.expires.apply(source.expires),
            metadata: self
                .metadata
                .apply(Some(source.metadata))
                .unwrap_or_default(),
            tags: self.tags.apply(source.tags),
            storage_class: self.storage_class.apply(source.storage_class),
        }
    }

    /// Whether the source's tags must be read.
    #[must_use]
    pub fn wants_source_tags(&self) -> bool {
        self.tags == Keep::Source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_does_what_it_says() {
        let source = Attributes {
            content_type: Some("text/plain".into()),
            cache_control: Some("no-cache".into()),
            metadata: [("a".to_owned(), "1".to_owned())].into(),
            ..Attributes::default()
        };
        let policy = AttributePolicy {
            content_type: Keep::Set("text/html".into()),
            cache_control: Keep::Off,
            ..AttributePolicy::default()
        };
        let written = policy.apply(source.clone());
        assert_eq!(written.content_type.as_deref(), Some("text/html"));
        assert_eq!(written.cache_control, None);
        assert_eq!(written.metadata, source.metadata);
        let off = AttributePolicy {
            metadata: Keep::Off,
            ..AttributePolicy::default()
        };
        assert!(off.apply(source).metadata.is_empty());
    }
}
