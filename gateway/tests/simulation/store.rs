//! A bucket as a gateway sees it: slow, and replies get lost.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use skyhaul_model::capabilities::{Capabilities, MtimeSupport, PartRules};
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{
    Algorithm, Attributes, Checksum, Error, ErrorKind, ObjectInfo, Pin, Result, Side,
};
use skyhaul_stores::{
    Access, Condition, CopyRequest, CopySource, DeleteOutcome, ListPage, ListRequest, Lister,
    ObjectReader, OpenUpload, PartWrite, Payload, PutReceipt, PutRequest, ReadRequest, Staged,
    Store, UploadRequest, UploadToken,
};

use crate::bucket::{Bucket, Object, checksum};
use crate::dice::Dice;

/// No upload may be opened of an object whose name ends so.
pub(crate) const REFUSED: &str = "-refused";

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct BucketStore {
    bucket: Bucket,
    side: Side,
    dice: Dice,
    capabilities: Capabilities,
}

impl BucketStore {
    /// `staged`: objects appear when they are committed, as files do.
    pub(crate) fn new(bucket: Bucket, side: Side, dice: Dice, staged: bool) -> Self {
        let capabilities = Capabilities {
            checksums: if staged {
                Vec::new()
            } else {
                vec![Algorithm::Crc64Nvme]
            },
            full_object_checksum: true,
            parts: PartRules {
                min_part: 1,
                max_part: 1 << 30,
                max_parts: 10_000,
                max_object: 1 << 40,
                max_single: 1 << 30,
                equal_parts: false,
                ordered: false,
            },
            conditional_write: true,
            attributes: true,
            tags: false,
            mtime: MtimeSupport::Metadata,
            ordered_listing: true,
            splittable_listing: true,
            delete_batch: 1_000,
            staged_writes: staged,
        };
        Self {
            bucket,
            side,
            dice,
            capabilities,
        }
    }

    /// One call, made again until its reply comes, as stores do: what it does may be done twice.
    async fn call<T>(&self, done: impl Fn(&Bucket) -> Result<T>) -> Result<T> {
        loop {
            let called = self.once(&done).await;
            match called {
                Err(error) if error.retryable => {
                    tokio::time::sleep(Duration::from_millis(self.dice.below(500))).await;
                }
                called => return called,
            }
        }
    }

    /// One call: on its way there, done, on its way back. Both ways may be the last.
    async fn once<T>(&self, done: impl FnOnce(&Bucket) -> Result<T>) -> Result<T> {
        self.way().await?;
        let result = done(&self.bucket)?;
        self.way().await?;
        Ok(result)
    }

    async fn way(&self) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(self.dice.below(60))).await;
        if self.dice.one_in(100) {
            return Err(self.lost("the store is gone"));
        }
        Ok(())
    }

    fn lost(&self, what: &str) -> Error {
        let mut error = Error::new(self.side, ErrorKind::Unreachable, what);
        error.retryable = true;
        error
    }

    fn info(object: &Object) -> ObjectInfo {
        ObjectInfo {
            size: object.bytes.len() as u64,
            mtime: Timestamp::UNIX_EPOCH,
            pin: Pin {
                etag: Some(object.etag.clone()),
                ..Pin::default()
            },
            attributes: Attributes::default(),
            tag_count: None,
            checksum: Some(checksum(&object.bytes)),
            archived: false,
        }
    }

    fn not_asked(&self, what: &str) -> Error {
        Error::new(self.side, ErrorKind::Unsupported, what)
    }
}

/// Nothing is listed in the simulation: groups are there from the beginning.
struct Nothing;

#[async_trait]
impl Lister for Nothing {
    async fn next_page(&mut self) -> Result<Option<ListPage>> {
        Ok(None)
    }
}

#[async_trait]
impl Store for BucketStore {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn side(&self) -> Side {
        self.side
    }

    fn uri(&self, key: &str) -> String {
        format!("sim://{key}")
    }

    async fn check(&self, _: Access, _: &str) -> Result<()> {
        Ok(())
    }

    fn list(&self, _: ListRequest) -> Box<dyn Lister> {
        Box::new(Nothing)
    }

    async fn stat(&self, key: &str, _: &Pin, _: bool) -> Result<Option<ObjectInfo>> {
        let found = self.call(|bucket| Ok(bucket.object(key))).await?;
        Ok(found.map(|object| Self::info(&object)))
    }

    async fn read(&self, key: &str, request: ReadRequest) -> Result<ObjectReader> {
        let found = self.call(|bucket| Ok(bucket.object(key))).await?;
        let object =
            found.ok_or_else(|| Error::new(self.side, ErrorKind::NotFound, "no such object"))?;
        if request.pin.is_set() && request.pin.etag.as_ref() != Some(&object.etag) {
            return Err(Error::new(self.side, ErrorKind::Changed, "another version"));
        }
        let (start, len) = request.range.unwrap_or((0, object.bytes.len() as u64));
        let range = object.bytes.slice(start as usize..(start + len) as usize);
        let mut frames: Vec<Result<Bytes>> = range
            .chunks(5_000)
            .map(|frame| Ok(Bytes::copy_from_slice(frame)))
            .collect();
        if self.dice.one_in(60) {
            frames.truncate(self.dice.below(frames.len() as u64 + 1) as usize);
            frames.push(Err(self.lost("it broke off")));
        }
        let delay = Duration::from_millis(self.dice.below(10));
        let body = stream::iter(frames).then(move |frame| async move {
            tokio::time::sleep(delay).await;
            frame
        });
        Ok(ObjectReader {
            info: Self::info(&object),
            body: body.boxed(),
        })
    }

    async fn put(&self, key: &str, request: PutRequest) -> Result<PutReceipt> {
        self.call(|bucket| {
            if self.capabilities.staged_writes {
                let token = bucket.stage(key, &request.payload);
                return Ok(PutReceipt {
                    staged: Some(Staged(token)),
                    ..PutReceipt::default()
                });
            }
            let (payload, sum) = (&request.payload, request.checksum.as_ref());
            bucket.put(key, payload, sum, &request.condition)
        })
        .await
    }

    async fn commit(&self, staged: Vec<Staged>) -> Vec<Result<PutReceipt>> {
        let mut receipts = Vec::new();
        for Staged(token) in staged {
            receipts.push(self.call(|bucket| bucket.commit(&token)).await);
        }
        receipts
    }

    async fn open_upload(&self, key: &str, _: UploadRequest) -> Result<UploadToken> {
        // Whoever asks looks for what a lost reply was of.
        self.once(|bucket| {
            if key.ends_with(REFUSED) {
                return Err(Error::new(self.side, ErrorKind::AccessDenied, "refused"));
            }
            Ok(UploadToken(bucket.open(key)))
        })
        .await
    }

    async fn put_part(&self, _: &str, token: &UploadToken, part: PartWrite) -> Result<PartReceipt> {
        self.call(|bucket| {
            let sum = part.checksum.as_ref();
            bucket.put_part(&token.0, part.number, &part.payload, sum)
        })
        .await
    }

    fn streams_parts(&self, _: Option<Algorithm>) -> bool {
        true
    }

    async fn stream_part(
        &self,
        _: &str,
        token: &UploadToken,
        part: skyhaul_stores::PartStream,
    ) -> Result<PartReceipt> {
        let frames: Vec<Bytes> = part.body.try_collect().await?;
        let mut payload = Payload::new();
        for frame in frames {
            payload.push(frame);
        }
        if payload.len() != part.len {
            return Err(Error::new(self.side, ErrorKind::Corrupt, "another length"));
        }
        self.once(|bucket| bucket.put_part(&token.0, part.number, &payload, None))
            .await
    }

    async fn finish_upload(
        &self,
        key: &str,
        token: &UploadToken,
        parts: &[PartReceipt],
        checksum: Option<&Checksum>,
        condition: &Condition,
    ) -> Result<PutReceipt> {
        self.call(|bucket| bucket.finish(key, &token.0, parts, checksum, condition))
            .await
    }

    async fn list_parts(&self, _: &str, token: &UploadToken) -> Result<Vec<PartReceipt>> {
        self.call(|bucket| bucket.parts(&token.0)).await
    }

    async fn abort_upload(&self, _: &str, token: &UploadToken) -> Result<()> {
        self.call(|bucket| {
            bucket.abort(&token.0);
            Ok(())
        })
        .await
    }

    async fn uploads(&self, key: &str) -> Result<Vec<OpenUpload>> {
        let tokens = self.call(|bucket| Ok(bucket.uploads(key))).await?;
        let open = |token| OpenUpload {
            key: key.to_owned(),
            token: UploadToken(token),
            initiated: None,
            store: 0,
        };
        Ok(tokens.into_iter().map(open).collect())
    }

    async fn delete(&self, keys: &[String]) -> Vec<DeleteOutcome> {
        let refused = |key: &String| DeleteOutcome {
            key: key.clone(),
            result: Err(self.not_asked("nothing is deleted")),
        };
        keys.iter().map(refused).collect()
    }

    async fn copy(&self, _: &str, _: &CopySource, _: CopyRequest) -> Result<PutReceipt> {
        Err(self.not_asked("no copies"))
    }

    async fn copy_part(
        &self,
        _: &str,
        _: &UploadToken,
        _: &CopySource,
        _: u32,
        _: (u64, u64),
    ) -> Result<PartReceipt> {
        Err(self.not_asked("no copies"))
    }
}
