//! Before a transfer: where the bucket is, and whether it can be read or written.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_smithy_types::byte_stream::ByteStream;
use skyhaul_model::{Error, ErrorKind, Result};

use super::bucket::Bucket;
use super::retry::{Call, FEW_ATTEMPTS, QUICK};
use crate::store::Access;

/// The region of a bucket of AWS, as any region's endpoint tells it, also in its refusals. `None`
/// if it cannot be found out: the check that follows says why.
pub(super) async fn find_region(client: &Client, bucket: &str) -> Option<String> {
    let asked = tokio::time::timeout(QUICK, client.head_bucket().bucket(bucket).send());
    match asked.await.ok()? {
        Ok(reply) => reply.bucket_region().map(ToOwned::to_owned),
        Err(error) => {
            let SdkError::ServiceError(refusal) = error else {
                return None;
            };
            refusal
                .raw()
                .headers()
                .get("x-amz-bucket-region")
                .map(ToOwned::to_owned)
        }
    }
}

impl Bucket {
    /// Whether the bucket can be used; writes nothing.
    pub(super) async fn check(&self, access: Access, prefix: &str) -> Result<()> {
        match access {
            Access::Read => self.check_read(prefix).await,
            Access::Write => self.check_write(prefix).await,
        }
    }

    async fn check_read(&self, prefix: &str) -> Result<()> {
        let call = Call::bucket().attempts(FEW_ATTEMPTS);
        let reply = self.call(call, || {
            self.client
                .list_objects_v2()
                .bucket(self.name())
                .set_prefix(Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()))
                .max_keys(1)
                .send()
        });
        reply.await?;
        Ok(())
    }

    /// A part of an upload that does not exist needs the permission of a write and cannot be
    /// written: the refusal tells which of the two was missing.
    async fn check_write(&self, prefix: &str) -> Result<()> {
        let key = if prefix.is_empty() || prefix.ends_with('/') {
            format!("{prefix}skyhaul-permission-check")
        } else {
            prefix.to_owned()
        };
        let call = Call::bucket().attempts(FEW_ATTEMPTS);
        let reply = self
            .call(call, || {
                self.client
                    .upload_part()
                    .bucket(self.name())
                    .key(&key)
                    .upload_id("skyhaul-permission-check")
                    .part_number(1)
                    .body(ByteStream::from_static(b""))
                    .customize()
                    .disable_payload_signing()
                    .send()
            })
            .await;
        match reply {
            Ok(_) => Ok(()),
            Err(failed) => match failed.error.kind {
                // A service that stumbles over an upload that never was says nothing of permission.
                ErrorKind::UploadGone | ErrorKind::Refused | ErrorKind::Service => Ok(()),
                ErrorKind::NotFound if !failed.error.message.contains("NoSuchBucket") => Ok(()),
                _ => Err(self.explain(failed.error)),
            },
        }
    }

    fn explain(&self, error: Error) -> Error {
        if error.kind == ErrorKind::AccessDenied {
            tracing::debug!(
                region = self.context.region,
                "the write permission check was denied"
            );
        }
        error
    }
}
