//! Events of S3 as `EventBridge` tells them.

use serde::Deserialize;
use serde_json::Value;
use skyhaul_model::{Error, Result};

/// Something happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Orders events of one key.
    pub sequencer: Option<String>,
}

/// See <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>.
#[derive(Debug, Deserialize)]
struct Event {
    source: String,
    #[serde(rename = "detail-type")]
    kind: String,
    detail: Detail,
}

#[derive(Debug, Deserialize)]
struct Detail {
    bucket: Bucket,
    object: Object,
}

#[derive(Debug, Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Object {
    key: String,
    #[serde(default)]
    sequencer: Option<String>,
}

/// What an event tells; `None` if it is of another kind. Refused (`Invalid`) if it is no event at all.
pub fn happened(event: Value) -> Result<Option<Happened>> {
    let event: Event = serde_json::from_value(event)
        .map_err(|error| Error::invalid("what was told is no event of an object").cause(error))?;
    let of_objects = ["Object Created", "Object Deleted"].contains(&&*event.kind);
    if event.source != "aws.s3" || !of_objects {
        return Ok(None);
    }
    Ok(Some(Happened {
        bucket: event.detail.bucket.name,
        key: event.detail.object.key,
        sequencer: event
            .detail
            .object
            .sequencer
            .filter(|text| !text.is_empty()),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_read_and_others_are_left() {
        let event = |kind: &str| {
            json!({
                "version": "0", "source": "aws.s3", "detail-type": kind,
                "detail": {
                    "bucket": { "name": "b" }, "reason": "PutObject",
                    "object": { "key": "a b/ü", "size": 5, "sequencer": "0061" },
                },
            })
        };
        for kind in ["Object Created", "Object Deleted"] {
            let told = happened(event(kind)).unwrap().unwrap();
            assert_eq!((&*told.bucket, &*told.key), ("b", "a b/ü"));
            assert_eq!(told.sequencer.as_deref(), Some("0061"));
        }
        assert_eq!(happened(event("Object Tags Added")).unwrap(), None);
        assert!(happened(json!({ "detail": {} })).is_err());
    }
}
