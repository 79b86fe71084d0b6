//! Writing whole objects, and finding out what became of a write whose reply was lost.

use std::sync::Arc;

use aws_smithy_types::byte_stream::ByteStream;
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, ObjectInfo, Pin, Result};

use super::attributes::{send_attributes, with_expires};
use super::body::{Progress, outgoing};
use super::bucket::Bucket;
use super::checksums::{confirmed, etag_md5, quote, send_checksum, unquote};
use super::errors::Failed;
use super::retry::Call;
use crate::store::{Condition, PutReceipt, PutRequest};

impl Condition {
    /// `If-Match`.
    pub(super) fn if_match(&self) -> Option<String> {
        match self {
            Self::Is(pin) => pin.etag.as_deref().map(quote),
            Self::None | Self::Absent => None,
        }
    }

    /// `If-None-Match`.
    pub(super) fn if_none_match(&self) -> Option<String> {
        (*self == Self::Absent).then(|| "*".to_owned())
    }
}

impl Bucket {
    /// PUT of a whole object.
    pub(super) async fn put(&self, key: &str, request: PutRequest) -> Result<PutReceipt> {
        let PutRequest {
            payload,
            attributes,
            mtime,
            checksum,
            condition,
        } = request;
        let size = payload.len();
        let payload = Arc::new(payload);
        let progress = Progress::default();
        let length = i64::try_from(size).unwrap_or(i64::MAX);
        let md5 = content_md5(checksum.as_ref());
        let reply = self
            .call(Call::object(key).progress(&progress), || {
                let operation = self
                    .client
                    .put_object()
                    .bucket(self.name())
                    .key(key)
                    .content_length(length)
                    .set_content_md5(md5.clone())
                    .set_if_match(condition.if_match())
                    .set_if_none_match(condition.if_none_match())
                    .set_request_payer(self.payer())
                    .body(ByteStream::new(outgoing(&payload, &progress)));
                let operation = send_attributes!(operation, self, &attributes, mtime);
                let operation = send_checksum!(operation, checksum.as_ref());
                let operation = operation.customize().disable_payload_signing();
                with_expires!(operation, attributes).send()
            })
            .await;
        match reply {
            Ok(reply) => {
                let etag = reply.e_tag().map(unquote);
                Ok(PutReceipt {
                    verified: confirmed!(reply, checksum.as_ref(), etag.as_deref()),
                    checksum: super::checksums::stored!(reply),
                    version: reply.version_id().map(ToOwned::to_owned),
                    etag,
                    staged: None,
                })
            }
            Err(failed) if failed.ambiguous && condition != Condition::None => {
                // The refusal may be of our own first attempt, whose reply was lost.
                self.resolve(key, failed, size, checksum.as_ref(), |info| {
                    info.etag_is(|| payload.checksum(Algorithm::Md5))
                })
                .await
            }
            Err(failed) => Err(failed.error),
        }
    }

    /// Looks whether the object that is there is the one that we wrote: same size, and the same
    /// checksum or `ETag`. Otherwise the failure stands.
    pub(super) async fn resolve(
        &self,
        key: &str,
        failed: Failed,
        size: u64,
        checksum: Option<&Checksum>,
        same_etag: impl FnOnce(&ObjectInfo) -> bool,
    ) -> Result<PutReceipt, Error> {
        if !matches!(
            failed.error.kind,
            ErrorKind::PreconditionFailed | ErrorKind::UploadGone | ErrorKind::NotFound
        ) {
            return Err(failed.error);
        }
        let Some(info) = self.head(key, &Pin::default()).await? else {
            return Err(failed.error);
        };
        let same_checksum = match (&info.checksum, checksum) {
            (Some(there), Some(ours)) if there.algorithm == ours.algorithm => Some(there == ours),
            _ => None,
        };
        if info.size != size || !same_checksum.unwrap_or_else(|| same_etag(&info)) {
            return Err(failed.error);
        }
        tracing::debug!(
            object = self.context.uri(key),
            "a write whose reply was lost is there"
        );
        Ok(PutReceipt {
            etag: info.pin.etag,
            version: info.pin.version_id,
            // Compared with what the store keeps, not merely echoed.
            verified: same_checksum == Some(true),
            checksum: info.checksum,
            staged: None,
        })
    }
}

trait EtagIs {
    fn etag_is(&self, md5: impl FnOnce() -> Checksum) -> bool;
}

impl EtagIs for ObjectInfo {
    fn etag_is(&self, md5: impl FnOnce() -> Checksum) -> bool {
        let there = self
            .pin
            .etag
            .as_deref()
            .and_then(|etag| etag_md5(etag, false));
        there.is_some_and(|there| there == md5())
    }
}

/// `Content-MD5`, if that is how the checksum travels.
pub(super) fn content_md5(checksum: Option<&Checksum>) -> Option<String> {
    checksum
        .filter(|sum| sum.algorithm == Algorithm::Md5)
        .map(Checksum::to_base64)
}
