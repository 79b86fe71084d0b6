//! Writing whole objects, and finding out what became of a write whose reply was lost.

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use http_body_util::{BodyExt as _, Limited};
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, ObjectInfo, Pin, Result};

use super::body::{Progress, outgoing};
use super::bucket::Bucket;
use super::checksums::{etag_md5, quote};
use super::errors::Failed;
use super::replies;
use super::retry::Call;
use crate::store::{Condition, PutReceipt, PutRequest};

/// More than any reply to a PUT holds, in bytes.
const REPLY_LIMIT: usize = 64 << 10;

/// How long the end of a reply is waited for.
const DRAIN: Duration = Duration::from_secs(5);

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

/// Reads a reply to its end, so that its connection can be used again; one that does not end is
/// dropped with it.
pub(super) async fn drain(reply: HttpResponse) {
    let body = Limited::new(reply.into_body(), REPLY_LIMIT).collect();
    let _ = tokio::time::timeout(DRAIN, body).await;
}

impl Bucket {
    /// Refuses a reply that tells another checksum, of the same algorithm, than was sent: what was
    /// stored is not what was sent.
    pub(super) fn check_told(
        &self,
        key: &str,
        sent: Option<&Checksum>,
        told: Option<&str>,
    ) -> Result<()> {
        if let (Some(sent), Some(told)) = (sent, told)
            && told != sent.to_base64()
        {
            let message =
                format!("the destination has checksum {told} of what was sent with {sent}");
            return Err(Error::new(self.context.side, ErrorKind::Corrupt, message)
                .object(self.context.uri(key)));
        }
        Ok(())
    }

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
        let headers = self.write_headers(&attributes, mtime, checksum.as_ref(), &condition);
        let reply = self
            .run(Call::object(key).progress(&progress), || {
                let mut put = self
                    .wire
                    .request(http::Method::PUT, key, "")
                    .header("content-length", size);
                for (name, value) in &headers {
                    put = put.header(name.as_ref(), value);
                }
                let sending = outgoing(&payload, &progress);
                let checksum = checksum.as_ref();
                async move {
                    let reply = self
                        .wire
                        .send(&self.context, Some(key), put, sending)
                        .await?;
                    let told =
                        checksum.and_then(|sent| replies::echoed(reply.headers(), sent.algorithm));
                    let checked = self.check_told(key, checksum, told);
                    checked.map(|()| reply).map_err(|error| Failed {
                        error,
                        ambiguous: true,
                    })
                }
            })
            .await;
        match reply {
            Ok(reply) => {
                let receipt = replies::receipt(reply.headers(), checksum.as_ref());
                drain(reply).await;
                Ok(receipt)
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
