//! What is open at the service: parts of an upload, uploads of a key, and getting rid of them.

use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Error, ErrorKind, Result};

use super::attributes::timestamp;
use super::bucket::Bucket;
use super::checksums::{part_checksum, unquote};
use super::dialects::NameListParts;
use super::retry::Call;
use crate::store::{OpenUpload, UploadToken};

impl Bucket {
    /// `ListParts`, all pages.
    pub(super) async fn parts(&self, key: &str, token: &UploadToken) -> Result<Vec<PartReceipt>> {
        let mut parts = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let reply = self
                .call(Call::object(key), || {
                    self.client
                        .list_parts()
                        .bucket(self.name())
                        .key(key)
                        .upload_id(&token.0)
                        .set_part_number_marker(marker.clone())
                        .customize()
                        .interceptor(NameListParts)
                        .send()
                })
                .await?;
            for part in reply.parts() {
                parts.push(PartReceipt {
                    number: u32::try_from(part.part_number().unwrap_or(0)).unwrap_or(0),
                    size: u64::try_from(part.size().unwrap_or(0)).unwrap_or(0),
                    etag: part.e_tag().map(unquote),
                    checksum: part_checksum!(part),
                    verified: false,
                });
            }
            if reply.is_truncated() != Some(true) {
                return Ok(parts);
            }
            let next = reply.next_part_number_marker().map(ToOwned::to_owned);
            if next.is_none() || next == marker {
                return Err(self.stuck(key, "parts"));
            }
            marker = next;
        }
    }

    /// AbortMultipartUpload; an upload that is gone is no error.
    pub(super) async fn abort(&self, key: &str, token: &UploadToken) -> Result<()> {
        let reply = self
            .call(Call::object(key), || {
                self.client
                    .abort_multipart_upload()
                    .bucket(self.name())
                    .key(key)
                    .upload_id(&token.0)
                    .send()
            })
            .await;
        match reply {
            Err(failed)
                if !matches!(
                    failed.error.kind,
                    ErrorKind::UploadGone | ErrorKind::NotFound
                ) =>
            {
                Err(failed.error)
            }
            _ => Ok(()),
        }
    }

    /// `ListMultipartUploads` of exactly this key. Uploads come in key order, and the key itself is
    /// the first that has it as a prefix.
    pub(super) async fn open_uploads(&self, key: &str) -> Result<Vec<OpenUpload>> {
        let mut uploads = Vec::new();
        let mut marker: (Option<String>, Option<String>) = (None, None);
        loop {
            let reply = self
                .call(Call::object(key), || {
                    self.client
                        .list_multipart_uploads()
                        .bucket(self.name())
                        .prefix(key)
                        .set_key_marker(marker.0.clone())
                        .set_upload_id_marker(marker.1.clone())
                        .send()
                })
                .await?;
            let mut beyond = false;
            for upload in reply.uploads() {
                match (upload.key(), upload.upload_id()) {
                    (Some(name), Some(id)) if name == key => uploads.push(OpenUpload {
                        key: name.to_owned(),
                        token: UploadToken(id.to_owned()),
                        initiated: upload.initiated().map(|time| timestamp(Some(time))),
                        store: 0,
                    }),
                    (Some(name), _) => beyond |= name > key,
                    _ => {}
                }
            }
            if reply.is_truncated() != Some(true) || beyond {
                return Ok(uploads);
            }
            let next = (
                reply.next_key_marker().map(ToOwned::to_owned),
                reply.next_upload_id_marker().map(ToOwned::to_owned),
            );
            if next.0.is_none() || next == marker {
                return Err(self.stuck(key, "open uploads"));
            }
            marker = next;
        }
    }

    fn stuck(&self, key: &str, what: &str) -> Error {
        let message = format!("the service's list of {what} does not get on");
        Error::new(self.context.side, ErrorKind::Corrupt, message)
            .object(self.context.uri(key))
            .retryable(false)
    }
}
