//! Multipart uploads: open, write parts, complete.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_sdk_s3::types::{ChecksumType, CompletedMultipartUpload, CompletedPart};
use aws_smithy_types::byte_stream::ByteStream;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, Result};

use super::attributes::{send_attributes, with_expires};
use super::body::{Progress, outgoing};
use super::bucket::Bucket;
use super::checksums::{self, confirmed, multipart_etag, send_checksum, unquote};
use super::errors::Failed;
use super::put::content_md5;
use super::retry::Call;
use crate::store::{Condition, PartWrite, PutReceipt, UploadRequest, UploadToken};

impl Bucket {
    /// CreateMultipartUpload.
    pub(super) async fn create_upload(
        &self,
        key: &str,
        request: &UploadRequest,
    ) -> Result<UploadToken> {
        let algorithm = request
            .algorithm
            .filter(|_| !self.plain_uploads.load(Ordering::Relaxed));
        match self.try_create(key, request, algorithm).await {
            Err(failed) if algorithm.is_some() && self.lacks_checksums(&failed) => {
                let token = self.try_create(key, request, None).await?;
                self.plain_uploads.store(true, Ordering::Relaxed);
                tracing::warn!(
                    service = self.context.service(),
                    reason = %failed.error,
                    "the service keeps no checksums of multipart uploads: lengths are compared"
                );
                Ok(token)
            }
            reply => Ok(reply?),
        }
    }

    async fn try_create(
        &self,
        key: &str,
        request: &UploadRequest,
        algorithm: Option<Algorithm>,
    ) -> Result<UploadToken, Failed> {
        // Once: a creation whose reply was lost leaves an upload, which only the caller can tell
        // from a stranger's.
        let reply = self
            .call(Call::object(key).attempts(1), || {
                let operation = self
                    .client
                    .create_multipart_upload()
                    .bucket(self.name())
                    .key(key)
                    .set_checksum_algorithm(algorithm.and_then(checksums::name))
                    .set_checksum_type(
                        algorithm
                            .filter(|algorithm| algorithm.combines())
                            .map(|_| ChecksumType::FullObject),
                    );
                let operation =
                    send_attributes!(operation, self, &request.attributes, request.mtime);
                with_expires!(operation.customize(), request.attributes).send()
            })
            .await?;
        reply
            .upload_id()
            .map(|id| UploadToken(id.to_owned()))
            .ok_or_else(|| {
                let error = Error::new(
                    self.context.side,
                    ErrorKind::Service,
                    "the service opened an upload without an id",
                );
                Failed {
                    error: error.object(self.context.uri(key)),
                    ambiguous: true,
                }
            })
    }

    /// Whether a refusal may be due to checksum fields that an older service does not know.
    fn lacks_checksums(&self, failed: &Failed) -> bool {
        !self.context.aws
            && matches!(
                failed.error.kind,
                ErrorKind::Refused | ErrorKind::Unsupported
            )
    }

    /// UploadPart.
    pub(super) async fn upload_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartWrite,
    ) -> Result<PartReceipt> {
        let size = part.payload.len();
        let payload = Arc::new(part.payload);
        let checksum = part.checksum;
        let progress = Progress::default();
        let md5 = content_md5(checksum.as_ref());
        let number = part_number(part.number)?;
        let reply = self
            .call(Call::object(key).progress(&progress), || {
                let operation = self
                    .client
                    .upload_part()
                    .bucket(self.name())
                    .key(key)
                    .upload_id(&token.0)
                    .part_number(number)
                    .content_length(i64::try_from(size).unwrap_or(i64::MAX))
                    .set_content_md5(md5.clone())
                    .body(ByteStream::new(outgoing(&payload, &progress)));
                let operation = send_checksum!(operation, checksum.as_ref());
                operation.customize().disable_payload_signing().send()
            })
            .await?;
        let etag = reply.e_tag().map(unquote);
        let sent = checksum.as_ref();
        let told = sent.and_then(|sent| checksums::echoed!(reply, sent.algorithm));
        self.check_told(key, sent, told)?;
        Ok(PartReceipt {
            number: part.number,
            size,
            verified: confirmed!(reply, checksum.as_ref(), etag.as_deref()),
            etag,
            checksum,
        })
    }

    /// CompleteMultipartUpload. An upload that is gone may have been completed by an attempt whose
    /// reply was lost, in this process or an earlier one: then the object is there.
    pub(super) async fn complete_upload(
        &self,
        key: &str,
        token: &UploadToken,
        parts: &[PartReceipt],
        checksum: Option<&Checksum>,
        condition: &Condition,
    ) -> Result<PutReceipt> {
        let size: u64 = parts.iter().map(|part| part.size).sum();
        let plain = self.plain_uploads.load(Ordering::Relaxed);
        let mut reply = self
            .try_complete(key, token, parts, checksum, condition, plain)
            .await;
        if let Err(failed) = &reply
            && !plain
            && self.lacks_checksums(failed)
        {
            // Another process may have opened the upload, and found that it must be a plain one.
            reply = self
                .try_complete(key, token, parts, checksum, condition, true)
                .await;
        }
        if let Err(failed) = &mut reply
            && failed.ambiguous
            && failed.error.retryable
            && let Err(gone) = self.parts(key, token).await
            && gone.kind == ErrorKind::UploadGone
        {
            // No reply ever came, but the upload has ended.
            failed.error = gone;
        }
        match reply {
            Ok(receipt) => Ok(receipt),
            Err(failed)
                if failed.error.kind == ErrorKind::UploadGone
                    || failed.ambiguous && failed.error.kind != ErrorKind::AccessDenied =>
            {
                self.resolve(key, failed, size, checksum, |info| {
                    info.pin.etag.is_some() && info.pin.etag == multipart_etag(parts)
                })
                .await
            }
            Err(failed) => Err(failed.error),
        }
    }

    async fn try_complete(
        &self,
        key: &str,
        token: &UploadToken,
        parts: &[PartReceipt],
        checksum: Option<&Checksum>,
        condition: &Condition,
        plain: bool,
    ) -> Result<PutReceipt, Failed> {
        let size: u64 = parts.iter().map(|part| part.size).sum();
        let fail = |error| Failed {
            error,
            ambiguous: false,
        };
        let named = parts
            .iter()
            .map(|part| {
                let named = CompletedPart::builder()
                    .part_number(part_number(part.number)?)
                    .set_e_tag(part.etag.as_deref().map(checksums::quote));
                let sum = part.checksum.as_ref().filter(|_| !plain);
                Ok(send_checksum!(named, sum).build())
            })
            .collect::<Result<Vec<_>>>()
            .map_err(fail)?;
        let upload = CompletedMultipartUpload::builder()
            .set_parts(Some(named))
            .build();
        // Only what combines is a checksum of the full object at S3.
        let full = checksum.filter(|sum| !plain && sum.algorithm.combines());
        let reply = self
            .call(Call::object(key).slow(), || {
                let operation = self
                    .client
                    .complete_multipart_upload()
                    .bucket(self.name())
                    .key(key)
                    .upload_id(&token.0)
                    .multipart_upload(upload.clone())
                    .mpu_object_size(i64::try_from(size).unwrap_or(i64::MAX))
                    .set_checksum_type(full.map(|_| ChecksumType::FullObject))
                    .set_if_match(condition.if_match())
                    .set_if_none_match(condition.if_none_match());
                send_checksum!(operation, full).send()
            })
            .await?;
        let stored = checksums::stored!(reply);
        if let (Some(sent), Some(kept)) = (full, &stored)
            && sent.algorithm == kept.algorithm
            && sent != kept
        {
            // Completing it again would not change what was put together.
            let message =
                format!("the destination put together an object with checksum {kept}, not {sent}");
            let mut error = Error::new(self.context.side, ErrorKind::Corrupt, message);
            error.retryable = false;
            return Err(fail(error.object(self.context.uri(key))));
        }
        Ok(PutReceipt {
            etag: reply.e_tag().map(unquote),
            version: reply.version_id().map(ToOwned::to_owned),
            verified: match (full, &stored) {
                (Some(sent), Some(kept)) => sent == kept,
                // SHA and MD5 are verified part by part.
                _ => checksum.is_some() && full.is_none() && parts.iter().all(|part| part.verified),
            },
            checksum: stored,
            staged: None,
        })
    }
}

/// A part number as the SDK wants it.
pub(super) fn part_number(number: u32) -> Result<i32> {
    i32::try_from(number)
        .ok()
        .filter(|number| (1..=10_000).contains(number))
        .ok_or_else(|| Error::invalid(format!("{number} is no part number: 1 to 10,000")))
}
