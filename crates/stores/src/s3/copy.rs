//! Copies inside the service.

use aws_sdk_s3::types::{MetadataDirective, TaggingDirective};
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Error, ErrorKind, Result};

use super::attributes::{encode_path, send_attributes, with_expires};
use super::bucket::Bucket;
use super::checksums::{self, quote, stored, unquote};
use super::errors::Failed;
use super::multipart::part_number;
use super::retry::Call;
use super::standing;
use crate::store::{Condition, CopyRequest, CopySource, PutReceipt, UploadToken};

impl Bucket {
    /// CopyObject.
    pub(super) async fn copy_object(
        &self,
        key: &str,
        source: &CopySource,
        request: &CopyRequest,
    ) -> Result<PutReceipt> {
        let reply = self
            .call(Call::object(key).slow(), || {
                let mut operation = self
                    .client
                    .copy_object()
                    .bucket(self.name())
                    .key(key)
                    .copy_source(header(source))
                    .set_copy_source_if_match(source.pin.etag.as_deref().map(quote))
                    .set_expected_source_bucket_owner(source.bucket_owner.clone())
                    .set_checksum_algorithm(request.algorithm.and_then(checksums::name))
                    .set_if_match(request.condition.if_match())
                    .set_if_none_match(request.condition.if_none_match());
                let carried = skyhaul_model::Attributes {
                    storage_class: request.storage_class.clone(),
                    ..skyhaul_model::Attributes::default()
                };
                let attributes = request.attributes.as_ref().unwrap_or(&carried);
                if request.attributes.is_some() {
                    operation = operation
                        .metadata_directive(MetadataDirective::Replace)
                        .tagging_directive(TaggingDirective::Replace);
                }
                let operation = send_attributes!(operation, self, attributes, None);
                with_expires!(operation.customize(), attributes).send()
            })
            .await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(failed) => return Err(self.which_precondition(failed, source, request).await),
        };
        self.confirm_source(source).await?;
        let result = reply.copy_object_result();
        let checksum = result.and_then(|result| stored!(result));
        Ok(PutReceipt {
            etag: result.and_then(|result| result.e_tag()).map(unquote),
            version: reply.version_id().map(ToOwned::to_owned),
            verified: false,
            checksum,
            staged: None,
        })
    }

    /// UploadPartCopy.
    pub(super) async fn copy_range(
        &self,
        key: &str,
        token: &UploadToken,
        source: &CopySource,
        number: u32,
        (at, len): (u64, u64),
    ) -> Result<PartReceipt> {
        let part = part_number(number)?;
        if len == 0 {
            return Err(Error::invalid("an empty range cannot be copied"));
        }
        let range = format!("bytes={at}-{}", at + len - 1);
        let reply = self
            .call(Call::object(key).slow(), || {
                self.client
                    .upload_part_copy()
                    .bucket(self.name())
                    .key(key)
                    .upload_id(&token.0)
                    .part_number(part)
                    .copy_source(header(source))
                    .copy_source_range(&range)
                    .set_expected_source_bucket_owner(source.bucket_owner.clone())
                    .set_copy_source_if_match(source.pin.etag.as_deref().map(quote))
                    .send()
            })
            .await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(failed) => return Err(changed(failed.error, source)),
        };
        self.confirm_source(source).await?;
        let result = reply.copy_part_result();
        Ok(PartReceipt {
            number,
            size: len,
            etag: result.and_then(|result| result.e_tag()).map(unquote),
            checksum: result.and_then(|result| checksums::part_checksum!(result)),
            verified: false,
        })
    }

    /// A 412 says that a precondition failed, not which one. The source tells.
    async fn which_precondition(
        &self,
        failed: Failed,
        source: &CopySource,
        request: &CopyRequest,
    ) -> Error {
        let error = failed.error;
        if error.kind != ErrorKind::PreconditionFailed || source.pin.etag.is_none() {
            return error;
        }
        if request.condition == Condition::None {
            return changed(error, source);
        }
        match self.source_etag(source).await {
            Ok(etag) if etag == source.pin.etag => error,
            _ => changed(error, source),
        }
    }

    /// Some services ignore the pin of a copy. There the source is looked at again: if it is still
    /// the version that was asked for, that is what was copied.
    async fn confirm_source(&self, source: &CopySource) -> Result<()> {
        if self.context.aws || source.pin.etag.is_none() {
            return Ok(());
        }
        let same = match self.source_etag(source).await {
            Ok(etag) => etag == source.pin.etag,
            Err(error) if error.kind == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if same {
            return Ok(());
        }
        let error = Error::new(self.context.side, ErrorKind::PreconditionFailed, "");
        Err(changed(error, source))
    }

    async fn source_etag(&self, source: &CopySource) -> Result<Option<String>> {
        let head = self
            .call(Call::object(&source.key), || {
                self.client
                    .head_object()
                    .bucket(&source.container)
                    .key(&source.key)
                    .set_version_id(source.pin.version_id.clone())
                    .customize()
                    .mutate_request(standing::of_owner(source.bucket_owner.clone()))
                    .send()
            })
            .await?;
        Ok(head.e_tag().map(unquote))
    }
}

/// `x-amz-copy-source`.
fn header(source: &CopySource) -> String {
    let mut header = format!("{}/{}", source.container, encode_path(&source.key));
    if let Some(version) = &source.pin.version_id {
        header.push_str("?versionId=");
        header.push_str(&encode_path(version));
    }
    header
}

fn changed(mut error: Error, source: &CopySource) -> Error {
    if error.kind == ErrorKind::PreconditionFailed {
        error.kind = ErrorKind::Changed;
        error.retryable = false;
        error.object = Some(format!("s3://{}/{}", source.container, source.key));
        "the object changed since it was listed".clone_into(&mut error.message);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhaul_model::Pin;

    #[test]
    fn sources_are_encoded_once() {
        let mut source = CopySource {
            container: "b".into(),
            key: "/a//b c%20+ü".into(),
            pin: Pin::default(),
            bucket_owner: None,
        };
        assert_eq!(header(&source), "b//a//b%20c%2520%2B%C3%BC");
        source.pin.version_id = Some("x/y".into());
        assert!(header(&source).ends_with("?versionId=x/y"));
    }
}
