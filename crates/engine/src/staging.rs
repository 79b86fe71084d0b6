//! Segments in the staging bucket, over the store trait: where a transfer's machines, which share no
//! disk, read and write them; and what those machines say.

use std::sync::Arc;

use async_trait::async_trait;
use backon::Retryable as _;
use bytes::Bytes;
use futures::TryStreamExt as _;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Algorithm, Attributes, Error, ErrorKind, Result, Scheme, Side};
use skyhaul_state::segments::{SegmentKind, SegmentStore, gone};
use skyhaul_stores::open::{Opens, Use};
use skyhaul_stores::{Condition, ListRequest, Payload, PutReceipt, PutRequest, ReadRequest, Store};

use crate::copy::read::backoff;

/// A segment has at most so many bytes: far more than the manifest of a group of the longest keys.
const MOST: u64 = 256 << 20;

/// Segments under a prefix of a store. Each is one object, written once under a name that nobody else
/// makes; who lists a prefix finds all that its transfer wrote.
#[derive(Debug, Clone)]
pub struct Staging {
    store: Arc<dyn Store>,
    prefix: String,
}

impl Staging {
    /// Segments under `prefix`, to which a slash is added where none ends it.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, prefix: impl Into<String>) -> Self {
        let mut prefix = prefix.into();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        Self { store, prefix }
    }

    /// What machines say, at its place: a folder is its store, else the place is a prefix of a bucket.
    pub async fn of_lines(opens: &dyn Opens, at: &Endpoint) -> Result<Self> {
        let prefix = match at.location.scheme {
            Scheme::Local => "",
            Scheme::S3 => &at.location.path,
        };
        let store = opens.open(at, Side::Control, Use::default()).await?;
        Ok(Self::new(store, prefix))
    }

    fn key(&self, pointer: &str) -> String {
        format!("{}{pointer}", self.prefix)
    }

    /// Removes all segments.
    pub async fn clear(&self) -> Result<()> {
        let mut listing = self.store.list(ListRequest {
            prefix: self.prefix.clone(),
            ..ListRequest::default()
        });
        while let Some(page) = listing.next_page().await.map_err(Self::own)? {
            let keys: Vec<_> = page.entries.into_iter().map(|entry| entry.key).collect();
            let batch = self.store.capabilities().delete_batch.max(1);
            for keys in keys.chunks(batch) {
                for deleted in self.store.delete(keys).await {
                    deleted.result.map_err(Self::own)?;
                }
            }
        }
        Ok(())
    }

    /// Whoever keeps segments is neither side of a transfer.
    fn own(error: Error) -> Error {
        Error {
            side: Side::Control,
            ..error
        }
    }

    async fn fetch(&self, pointer: &str) -> Result<Vec<u8>> {
        let key = self.key(pointer);
        let read = self.store.read(&key, ReadRequest::default());
        let reader = read.await.map_err(|error| match error.kind {
            ErrorKind::NotFound => gone(self.full_name(pointer)),
            _ => error,
        })?;
        let size = reader.info.size;
        if size > MOST {
            let message = format!("a segment of {size} bytes is none of ours");
            return Err(Error::control(ErrorKind::Corrupt, message)
                .object(self.full_name(pointer))
                .retryable(false));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        let mut body = reader.body;
        while let Some(frame) = body.try_next().await? {
            bytes.extend_from_slice(&frame);
        }
        Ok(bytes)
    }

    async fn read(&self, pointer: &str) -> Result<Vec<u8>> {
        (|| self.fetch(pointer))
            .retry(backoff())
            .when(|error: &Error| error.retryable)
            .await
            .map_err(Self::own)
    }

    /// Writes an object, unless it is there.
    async fn write(&self, pointer: &str, bytes: Vec<u8>, content_type: &str) -> Result<()> {
        let payload = Payload::from(Bytes::from(bytes));
        let request = PutRequest {
            checksum: Some(payload.checksum(Algorithm::Crc64Nvme)),
            payload,
            attributes: Attributes {
                content_type: Some(content_type.to_owned()),
                ..Attributes::default()
            },
            condition: Condition::Absent,
            ..PutRequest::default()
        };
        let written = async {
            let receipt = self.store.put(&self.key(pointer), request).await?;
            self.commit(receipt).await
        };
        match written.await {
            // Somebody else has kept his.
            Err(error) if error.kind == ErrorKind::PreconditionFailed => Ok(()),
            written => written.map_err(Self::own),
        }
    }

    /// Keeps lines of a log under a name that nobody else makes.
    pub async fn keep_lines(&self, name: &str, lines: Vec<u8>) -> Result<()> {
        self.write(name, lines, "text/plain; charset=utf-8").await
    }

    /// The lines at a name.
    pub async fn lines(&self, name: &str) -> Result<Vec<u8>> {
        self.read(name).await
    }

    /// The names of all that is here, in their order.
    pub async fn names(&self) -> Result<Vec<String>> {
        let mut listing = self.store.list(ListRequest {
            prefix: self.prefix.clone(),
            ..ListRequest::default()
        });
        let mut names = Vec::new();
        while let Some(page) = listing.next_page().await.map_err(Self::own)? {
            let keys = page.entries.into_iter().map(|entry| entry.key);
            names.extend(keys.filter_map(|key| Some(key.strip_prefix(&self.prefix)?.to_owned())));
        }
        Ok(names)
    }

    async fn commit(&self, receipt: PutReceipt) -> Result<()> {
        let Some(staged) = receipt.staged else {
            return Ok(());
        };
        let committed = self.store.commit(vec![staged]).await;
        committed.into_iter().try_for_each(|one| one.map(drop))
    }
}

#[async_trait]
impl SegmentStore for Staging {
    async fn keep(&self, kind: SegmentKind, pointer: &str, bytes: Vec<u8>) -> Result<()> {
        kind.check(pointer)?;
        self.write(pointer, bytes, "application/zstd").await
    }

    async fn get(&self, kind: SegmentKind, pointer: &str) -> Result<Vec<u8>> {
        kind.check(pointer)?;
        self.read(pointer).await
    }

    fn full_name(&self, pointer: &str) -> String {
        self.store.uri(&self.key(pointer))
    }
}
