//! What checks run on: two openings of one container, and helpers over the trait.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use skyhaul_model::{ObjectEntry, Pin};

use super::{Failure, ensure};
use crate::payload::Payload;
use crate::store::{ListRequest, PutReceipt, PutRequest, ReadRequest, Store};

/// What a test server gets wrong, so that its own faults are not held against the store.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools)] // each is a fault of its own
pub struct Quirks {
    /// Accepts bytes that do not match the checksum sent with them.
    pub accepts_wrong_checksums: bool,
    /// Stores `a//b` as `a/b`, or changes other odd keys.
    pub rewrites_odd_keys: bool,
    /// Cannot hold `a` beside `a/b` (SeaweedFS; file systems refuse it by name).
    pub no_keys_below_keys: bool,
    /// Lists `a/b` before `a b`: in the order of path components.
    pub orders_by_component: bool,
    /// Answers with a fault of its own where an upload is gone.
    pub fails_on_uploads_gone: bool,
    /// Completes an upload without looking at conditions.
    pub ignores_conditions_on_completion: bool,
    /// Keeps no checksums of multipart uploads.
    pub no_upload_checksums: bool,
    /// Copies without looking at the source's version.
    pub ignores_copy_conditions: bool,
}

/// A container with two openings, as two processes would have it.
pub struct Fixture {
    /// The store under test.
    pub store: Arc<dyn Store>,
    /// Another opening of the same container.
    pub other: Arc<dyn Store>,
    /// What the container is called as a copy source.
    pub container: String,
    /// Put before every key: empty, or with a closing slash.
    pub prefix: String,
    /// What the server gets wrong.
    pub quirks: Quirks,
    /// Whatever must live as long as the container.
    pub keep: Option<Box<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("store", &self.store)
            .field("prefix", &self.prefix)
            .field("quirks", &self.quirks)
            .finish_non_exhaustive()
    }
}

impl Fixture {
    /// A key of the test's own.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Puts bytes and commits them.
    pub(super) async fn put(
        &self,
        key: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<PutReceipt, skyhaul_model::Error> {
        let payload = Payload::from(bytes.into());
        self.put_with(
            key,
            PutRequest {
                payload,
                ..PutRequest::default()
            },
        )
        .await
    }

    /// Puts an object and commits it.
    pub(super) async fn put_with(
        &self,
        key: &str,
        request: PutRequest,
    ) -> Result<PutReceipt, skyhaul_model::Error> {
        let receipt = self.store.put(key, request).await?;
        match receipt.staged {
            None => Ok(receipt),
            Some(staged) => {
                let lost = || {
                    skyhaul_model::Error::control(
                        skyhaul_model::ErrorKind::Internal,
                        "a commit of one object has no result",
                    )
                };
                self.store
                    .commit(vec![staged])
                    .await
                    .pop()
                    .unwrap_or_else(|| Err(lost()))
            }
        }
    }

    /// Reads all bytes asked for.
    pub(super) async fn read(
        &self,
        key: &str,
        request: ReadRequest,
    ) -> Result<Vec<u8>, skyhaul_model::Error> {
        let reader = self.store.read(key, request).await?;
        let frames: Vec<Bytes> = reader.body.try_collect().await?;
        Ok(frames.concat())
    }

    /// The whole object, of whatever version.
    pub(super) async fn whole(&self, key: &str) -> Result<Vec<u8>, skyhaul_model::Error> {
        self.read(key, ReadRequest::default()).await
    }

    /// The version that is there now.
    pub(super) async fn pin(&self, key: &str) -> Result<Pin, Failure> {
        let info = self.store.stat(key, &Pin::default(), false).await?;
        info.map(|info| info.pin)
            .ok_or_else(|| Failure::Broken(format!("{key} is not there")))
    }

    /// A whole listing; pages are looked at on the way.
    pub(super) async fn list(&self, request: ListRequest) -> Result<Vec<ObjectEntry>, Failure> {
        let page_size = request.page_size;
        let ordered = self.store.capabilities().ordered_listing;
        let mut lister = self.store.list(request);
        let mut entries: Vec<ObjectEntry> = Vec::new();
        while let Some(page) = lister.next_page().await? {
            ensure!(
                page_size == 0 || page.entries.len() <= page_size,
                "a page of {} entries where {page_size} were asked for",
                page.entries.len()
            );
            ensure!(page.is_complete(), "refused: {:?}", page.refused);
            entries.extend(page.entries);
        }
        ensure!(lister.next_page().await?.is_none(), "a page after the last");
        if ordered {
            ensure!(
                entries.is_sorted_by(|a, b| a.key < b.key),
                "not in the order of UTF-8 bytes: {:?}",
                keys(&entries)
            );
        } else {
            entries.sort_by(|a, b| a.key.cmp(&b.key));
        }
        Ok(entries)
    }

    /// All keys of the test.
    pub(super) async fn keys(&self) -> Result<Vec<String>, Failure> {
        let request = ListRequest {
            prefix: self.prefix.clone(),
            ..ListRequest::default()
        };
        Ok(keys(&self.list(request).await?))
    }
}

/// The keys of entries.
pub(super) fn keys(entries: &[ObjectEntry]) -> Vec<String> {
    entries.iter().map(|entry| entry.key.clone()).collect()
}

/// Bytes that differ at every offset and for every seed.
pub(super) fn bytes(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    Bytes::from(out)
}
