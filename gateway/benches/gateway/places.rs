//! A source whose objects are generated and a destination that discards them: what they take is nothing, so
//! that what gateways take is seen.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use skyhaul_gateway::world::Stores;
use skyhaul_model::capabilities::Capabilities;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{
    Algorithm, Attributes, Checksum, Error, ErrorKind, Hasher, ObjectEntry, ObjectInfo, Pin,
    Result, Side, TransferId,
};
use skyhaul_stores::{
    Access, Condition, CopyRequest, CopySource, DeleteOutcome, ListPage, ListRequest, Lister,
    ObjectReader, OpenUpload, PartStream, PartWrite, PutReceipt, PutRequest, ReadRequest, Staged,
    Store, UploadRequest, UploadToken,
};

/// Bytes that are generated once; objects are cut from them.
pub(crate) const POOL: usize = 64 << 20;

/// As stores read: frames of so many bytes.
pub(crate) const FRAME: usize = 1 << 20;

/// What objects hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Does not get shorter.
    Random,
    /// Words, as in a log.
    Text,
}

impl Content {
    pub(crate) fn pool(self) -> Bytes {
        let mut random = StdRng::seed_from_u64(1);
        let mut pool = vec![0; POOL];
        match self {
            Self::Random => random.fill_bytes(&mut pool),
            Self::Text => {
                let words: Vec<Vec<u8>> = (0..4_000)
                    .map(|_| {
                        let len = random.random_range(2..11);
                        (0..len).map(|_| random.random_range(b'a'..=b'z')).collect()
                    })
                    .collect();
                let mut at = 0;
                while at < POOL {
                    // Few words are said often.
                    let mut any = || random.random_range(0..words.len());
                    let rank = any().min(any()).min(any());
                    for byte in words[rank].iter().chain(b" ") {
                        if at < POOL {
                            pool[at] = *byte;
                            at += 1;
                        }
                    }
                }
            }
        }
        pool.into()
    }
}

/// Both sides.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Objects>);

#[derive(Debug)]
struct Objects {
    pool: Bytes,
    count: u64,
    size: u64,
}

impl Places {
    pub(crate) fn new(content: Content, count: u64, size: u64) -> Self {
        Self(Arc::new(Objects {
            pool: content.pool(),
            count,
            size,
        }))
    }
}

#[async_trait]
impl Stores for Places {
    async fn source(&self, _: &TransferSpec, _: &TransferId) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(Place::new(self.clone(), Side::Source)))
    }

    async fn destination(
        &self,
        _: &TransferSpec,
        _: &TransferId,
        _: u32,
    ) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(Place::new(self.clone(), Side::Destination)))
    }
}

#[derive(Debug)]
struct Place {
    objects: Places,
    side: Side,
    capabilities: Capabilities,
}

impl Place {
    fn new(objects: Places, side: Side) -> Self {
        let mut capabilities = Capabilities::s3();
        capabilities.splittable_listing = false;
        capabilities.parts.min_part = 1;
        Self {
            objects,
            side,
            capabilities,
        }
    }

    fn info(&self) -> ObjectInfo {
        ObjectInfo {
            size: self.objects.0.size,
            mtime: Timestamp::UNIX_EPOCH,
            pin: Pin::default(),
            attributes: Attributes::default(),
            tag_count: None,
            checksum: None,
            archived: false,
        }
    }

    /// What is never asked.
    fn not_asked<T>(&self) -> Result<T> {
        Err(Error::new(
            self.side,
            ErrorKind::Unsupported,
            "not asked here",
        ))
    }
}

struct Pages(Option<ListPage>);

#[async_trait]
impl Lister for Pages {
    async fn next_page(&mut self) -> Result<Option<ListPage>> {
        Ok(self.0.take())
    }
}

/// `len` bytes from `at`, in frames.
fn frames(pool: &Bytes, at: u64, len: u64) -> BoxStream<'static, Result<Bytes>> {
    let pool = pool.clone();
    let frames = stream::unfold((at, len), move |(at, left)| {
        let start = at as usize % POOL;
        let some = (POOL - start).min(FRAME).min(left as usize);
        let frame = pool.slice(start..start + some);
        let next = (at + some as u64, left - some as u64);
        std::future::ready((some > 0).then_some((Ok(frame), next)))
    });
    frames.boxed()
}

fn receipt(checksum: Option<Checksum>) -> PutReceipt {
    PutReceipt {
        etag: Some("x".to_owned()),
        verified: true,
        checksum,
        ..PutReceipt::default()
    }
}

#[async_trait]
impl Store for Place {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn side(&self) -> Side {
        self.side
    }
    fn uri(&self, key: &str) -> String {
        format!("bench:{key}")
    }
    async fn check(&self, _: Access, _: &str) -> Result<()> {
        Ok(())
    }
    fn list(&self, request: ListRequest) -> Box<dyn Lister> {
        let keys = (0..self.objects.0.count).map(|number| format!("{number:08}"));
        let after = request.after.unwrap_or_default();
        let upto = request.upto;
        let keys = keys.filter(|key| *key > after && upto.as_ref().is_none_or(|upto| key <= upto));
        let entry = |key| ObjectEntry {
            key,
            size: self.objects.0.size,
            mtime: Timestamp::UNIX_EPOCH,
            pin: Pin::default(),
            storage_class: None,
            archived: false,
        };
        let page = ListPage {
            entries: keys.map(entry).collect(),
            refused: Vec::new(),
        };
        Box::new(Pages((self.side == Side::Source).then_some(page)))
    }
    async fn stat(&self, _: &str, _: &Pin, _: bool) -> Result<Option<ObjectInfo>> {
        Ok(Some(self.info()))
    }
    async fn read(&self, key: &str, request: ReadRequest) -> Result<ObjectReader> {
        let objects = &self.objects.0;
        let number: u64 = key.parse().unwrap_or_default();
        let (offset, len) = request.range.unwrap_or((0, objects.size));
        Ok(ObjectReader {
            info: self.info(),
            body: frames(&objects.pool, number * objects.size + offset, len),
        })
    }
    async fn put(&self, _: &str, request: PutRequest) -> Result<PutReceipt> {
        Ok(receipt(request.checksum))
    }
    async fn commit(&self, _: Vec<Staged>) -> Vec<Result<PutReceipt>> {
        Vec::new()
    }
    async fn open_upload(&self, _: &str, _: UploadRequest) -> Result<UploadToken> {
        Ok(UploadToken("x".to_owned()))
    }
    async fn put_part(&self, _: &str, _: &UploadToken, part: PartWrite) -> Result<PartReceipt> {
        Ok(PartReceipt {
            number: part.number,
            size: part.payload.len(),
            etag: Some("x".to_owned()),
            checksum: part.checksum,
            verified: true,
        })
    }
    fn streams_parts(&self, _: Option<Algorithm>) -> bool {
        true
    }
    /// As a store that sends the checksum behind the bytes does.
    async fn stream_part(
        &self,
        _: &str,
        _: &UploadToken,
        mut part: PartStream,
    ) -> Result<PartReceipt> {
        let mut hasher = part.algorithm.map(Hasher::new);
        let mut size = 0;
        while let Some(frame) = part.body.next().await {
            let frame = frame?;
            size += frame.len() as u64;
            if let Some(hasher) = &mut hasher {
                hasher.update(&frame);
            }
        }
        assert_eq!(size, part.len);
        Ok(PartReceipt {
            number: part.number,
            size,
            etag: Some("x".to_owned()),
            checksum: hasher.map(Hasher::finish),
            verified: true,
        })
    }
    async fn finish_upload(
        &self,
        _: &str,
        _: &UploadToken,
        _: &[PartReceipt],
        checksum: Option<&Checksum>,
        _: &Condition,
    ) -> Result<PutReceipt> {
        Ok(receipt(checksum.cloned()))
    }
    async fn list_parts(&self, _: &str, _: &UploadToken) -> Result<Vec<PartReceipt>> {
        self.not_asked()
    }
    async fn abort_upload(&self, _: &str, _: &UploadToken) -> Result<()> {
        Ok(())
    }
    async fn uploads(&self, _: &str) -> Result<Vec<OpenUpload>> {
        Ok(Vec::new())
    }
    async fn delete(&self, _: &[String]) -> Vec<DeleteOutcome> {
        Vec::new()
    }
    async fn copy(&self, _: &str, _: &CopySource, _: CopyRequest) -> Result<PutReceipt> {
        self.not_asked()
    }
    async fn copy_part(
        &self,
        _: &str,
        _: &UploadToken,
        _: &CopySource,
        _: u32,
        _: (u64, u64),
    ) -> Result<PartReceipt> {
        self.not_asked()
    }
}
