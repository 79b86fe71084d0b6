//! Replies that differ from AWS's in ways the SDK does not forgive.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

/// SeaweedFS calls the root of a list of parts `ListPartsResponse`.
#[derive(Debug)]
pub(super) struct NameListParts;

const FOREIGN: &[u8] = b"ListPartsResponse";
const OWN: &[u8] = b"ListPartsResult";

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for NameListParts {
    fn name(&self) -> &'static str {
        "NameListParts"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        if response.status().is_success() {
            let body = std::mem::replace(response.body_mut(), SdkBody::taken());
            *response.body_mut() = renamed(body);
        }
        Ok(())
    }
}

fn renamed(body: SdkBody) -> SdkBody {
    let frame = async move {
        // At most a thousand parts: a few hundred kilobytes.
        let bytes = body.collect().await?.to_bytes();
        Ok::<_, BoxError>(Frame::data(rename(bytes)))
    };
    SdkBody::from_body_1_x(StreamBody::new(futures::stream::once(frame)))
}

fn rename(bytes: Bytes) -> Bytes {
    let head = &bytes[..bytes.len().min(200)];
    if !head.windows(FOREIGN.len()).any(|at| at == FOREIGN) {
        return bytes;
    }
    let mut renamed = Vec::with_capacity(bytes.len());
    let mut rest = &bytes[..];
    // The name stands at both ends only: keys and ids sit in elements of their own, escaped.
    while let Some(at) = rest.windows(FOREIGN.len()).position(|at| at == FOREIGN) {
        let tag = rest[..at].ends_with(b"<") || rest[..at].ends_with(b"</");
        renamed.extend_from_slice(&rest[..at]);
        renamed.extend_from_slice(if tag { OWN } else { FOREIGN });
        rest = &rest[at + FOREIGN.len()..];
    }
    renamed.extend_from_slice(rest);
    renamed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tags_are_renamed() {
        let foreign = b"<ListPartsResponse><Key>ListPartsResponse</Key></ListPartsResponse>";
        let own = b"<ListPartsResult><Key>ListPartsResponse</Key></ListPartsResult>";
        assert_eq!(rename(Bytes::from_static(foreign)), &own[..]);
        assert_eq!(rename(Bytes::from_static(own)), &own[..]);
    }
}
