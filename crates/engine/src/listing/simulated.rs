//! A listing service that takes 50 ms a page of a clock that the tests wind: how well ranges cut
//! themselves shows in its hands, whatever machine the tests run on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use skyhaul_model::capabilities::Capabilities;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Checksum, ObjectEntry, ObjectInfo, Pin, Result, Side};
use skyhaul_stores::{
    Access, Condition, CopyRequest, CopySource, DeleteOutcome, ListPage, ListRequest, Lister,
    ObjectReader, OpenUpload, PartWrite, PutReceipt, PutRequest, ReadRequest, Staged, Store,
    UploadRequest, UploadToken,
};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::parallel::list_unordered;

const DELAY: Duration = Duration::from_millis(50);
const PAGE: usize = 1_000;

/// Sorted keys.
type Keys = Arc<Vec<String>>;

#[derive(Debug)]
struct Simulated {
    keys: Keys,
    calls: Arc<AtomicU64>,
    capabilities: Capabilities,
}

impl Simulated {
    fn new(keys: Vec<String>) -> Self {
        Self {
            keys: Arc::new(keys),
            calls: Arc::default(),
            capabilities: Capabilities::s3(),
        }
    }
}

/// One page ahead of whoever reads it, as the listers of services are.
struct Pages {
    keys: Keys,
    calls: Arc<AtomicU64>,
    /// Where the page that was asked for begins.
    at: usize,
    end: usize,
    next: Option<AbortOnDropHandle<()>>,
}

impl Pages {
    fn ask(&mut self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let page = tokio::spawn(tokio::time::sleep(DELAY));
        self.next = Some(AbortOnDropHandle::new(page));
    }
}

#[async_trait]
impl Lister for Pages {
    async fn next_page(&mut self) -> Result<Option<ListPage>> {
        if self.next.is_none() {
            if self.at > self.end {
                return Ok(None);
            }
            self.ask();
        }
        if let Some(next) = self.next.take() {
            next.await.unwrap();
        }
        // A service knows no upper bound: its caller cuts the page off.
        let upto = (self.at + PAGE).min(self.keys.len());
        let keys = &self.keys[self.at..upto.min(self.end).max(self.at)];
        let entries = keys.iter().map(|key| entry(key)).collect();
        self.at = upto;
        if upto < self.end {
            self.ask();
        } else {
            self.at = self.end + 1;
        }
        let refused = Vec::new();
        Ok(Some(ListPage { entries, refused }))
    }
}

pub(super) fn entry(key: &str) -> ObjectEntry {
    ObjectEntry {
        key: key.to_owned(),
        size: 1,
        mtime: jiff::Timestamp::UNIX_EPOCH,
        pin: Pin::default(),
        storage_class: None,
        archived: false,
    }
}

#[async_trait]
impl Store for Simulated {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn side(&self) -> Side {
        Side::Source
    }

    fn uri(&self, key: &str) -> String {
        key.to_owned()
    }

    fn list(&self, request: ListRequest) -> Box<dyn Lister> {
        let beyond = |bound: &str| self.keys.partition_point(|key| key.as_str() <= bound);
        let prefix = request.prefix.as_str();
        let first = self.keys.partition_point(|key| key.as_str() < prefix);
        let under = |key: &String| key.as_str() < prefix || key.starts_with(prefix);
        let last = self.keys.partition_point(under);
        Box::new(Pages {
            keys: Arc::clone(&self.keys),
            calls: Arc::clone(&self.calls),
            at: request.after.as_deref().map_or(0, beyond).max(first),
            end: request.upto.as_deref().map_or(last, beyond).min(last),
            next: None,
        })
    }

    async fn check(&self, _: Access, _: &str) -> Result<()> {
        unimplemented!()
    }

    async fn stat(&self, _: &str, _: &Pin, _: bool) -> Result<Option<ObjectInfo>> {
        unimplemented!()
    }

    async fn read(&self, _: &str, _: ReadRequest) -> Result<ObjectReader> {
        unimplemented!()
    }

    async fn put(&self, _: &str, _: PutRequest) -> Result<PutReceipt> {
        unimplemented!()
    }

    async fn commit(&self, _: Vec<Staged>) -> Vec<Result<PutReceipt>> {
        unimplemented!()
    }

    async fn open_upload(&self, _: &str, _: UploadRequest) -> Result<UploadToken> {
        unimplemented!()
    }

    async fn put_part(&self, _: &str, _: &UploadToken, _: PartWrite) -> Result<PartReceipt> {
        unimplemented!()
    }

    async fn finish_upload(
        &self,
        _: &str,
        _: &UploadToken,
        _: &[PartReceipt],
        _: Option<&Checksum>,
        _: &Condition,
    ) -> Result<PutReceipt> {
        unimplemented!()
    }

    async fn list_parts(&self, _: &str, _: &UploadToken) -> Result<Vec<PartReceipt>> {
        unimplemented!()
    }

    async fn abort_upload(&self, _: &str, _: &UploadToken) -> Result<()> {
        unimplemented!()
    }

    async fn uploads(&self, _: &str) -> Result<Vec<OpenUpload>> {
        unimplemented!()
    }

    async fn delete(&self, _: &[String]) -> Vec<DeleteOutcome> {
        unimplemented!()
    }

    async fn copy(&self, _: &str, _: &CopySource, _: CopyRequest) -> Result<PutReceipt> {
        unimplemented!()
    }

    async fn copy_part(
        &self,
        _: &str,
        _: &UploadToken,
        _: &CopySource,
        _: u32,
        _: (u64, u64),
    ) -> Result<PartReceipt> {
        unimplemented!()
    }
}

/// Numbers as they come from hashes.
fn hashed(count: u64) -> impl Iterator<Item = u64> {
    let mut rng = StdRng::seed_from_u64(7);
    (0..count).map(move |_| rng.next_u64())
}

fn numbered(prefix: &str, count: u64) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n:010}")).collect()
}

/// Calls more than half as many as the fewest: what cuts cost where there are few pages.
const SLACK: u64 = 16;

const COUNT: u64 = 200_000;

/// Shapes of keys, each with a prefix that they all have.
fn shapes() -> Vec<(&'static str, &'static str, Vec<String>)> {
    let deep: String = ('a'..='z').flat_map(|c| [c, '/']).collect();
    let long = "long-prefix-of-300-bytes/".repeat(12);
    let uniform = hashed(COUNT).map(|hash| format!("{hash:016x}"));
    let below = hashed(COUNT).map(|hash| format!("a/rather/long/prefix/of/hashes/{hash:016x}"));
    let letter = |hash: u64| char::from(b'a' + (hash % 26) as u8);
    let cold = hashed(COUNT / 100).map(|hash| format!("{}/{hash:016x}", letter(hash)));
    let skew = numbered("hot/", COUNT - COUNT / 100);
    let dated = (0..COUNT).map(|n| {
        let (day, hour) = (n / 1_000 % 28 + 1, n % 24);
        format!(
            "logs/2026-{:02}-{day:02}/{hour:02}/host{:03}.gz",
            n / 28_000 + 1,
            n / 24 % 50
        )
    });
    vec![
        ("uniform", "", uniform.collect()),
        ("deep", "", numbered(&deep, COUNT)),
        ("skew", "", cold.chain(skew).collect()),
        (
            "longprefix",
            "long-prefix-of-300-bytes/",
            numbered(&long, COUNT),
        ),
        ("dated", "logs/", dated.collect()),
        ("below", "a/rather/long/prefix/of/hashes/", below.collect()),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_shape_is_listed_at_once_with_few_calls() {
    for (shape, prefix, mut keys) in shapes() {
        keys.sort_unstable();
        keys.dedup();
        let store = Arc::new(Simulated::new(keys.clone()));
        let mut found = Vec::new();
        let begun = Instant::now();
        let mut show = |page: ListPage| found.extend(page.entries.into_iter().map(|e| e.key));
        list_unordered(Arc::clone(&store) as Arc<dyn Store>, prefix, 32, &mut show)
            .await
            .unwrap();
        let took = begun.elapsed();
        found.sort_unstable();
        assert!(found == keys, "{shape}: not every key once");
        let fewest = keys.len().div_ceil(PAGE) as u64;
        let calls = store.calls.load(Ordering::Relaxed);
        assert!(
            calls <= fewest * 3 / 2 + SLACK,
            "{shape}: {calls} calls of {fewest}"
        );
        let serial = DELAY * fewest as u32;
        assert!(took * 6 <= serial, "{shape}: {took:?} of {serial:?}");
    }
}
