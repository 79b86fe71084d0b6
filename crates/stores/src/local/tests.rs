//! Tests of the local store as a whole, unhappy paths first.

mod changes;
mod limits;
mod listing;
mod parts;
mod writing;

use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt as _;
use skyhaul_model::{ErrorKind, ObjectEntry, Pin, Result, Side};
use tempfile::TempDir;

use super::{LocalOptions, LocalStore};
use crate::payload::Payload;
use crate::store::{ListPage, ListRequest, PutReceipt, PutRequest, ReadRequest, Store as _};

/// A store over a directory of its own.
struct Bench {
    directory: TempDir,
    store: LocalStore,
}

impl Bench {
    fn new() -> Self {
        Self::with(Side::Destination, LocalOptions::default())
    }

    fn with(side: Side, options: LocalOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::open(directory.path(), side, options).unwrap();
        Self { directory, store }
    }

    fn path(&self, key: &str) -> std::path::PathBuf {
        self.directory.path().join(key)
    }

    /// Writes a file behind the store's back.
    fn write(&self, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Puts and commits.
    async fn put(&self, key: &str, request: PutRequest) -> Result<PutReceipt> {
        let staged = self.store.put(key, request).await?.staged.unwrap();
        self.store.commit(vec![staged]).await.remove(0)
    }

    async fn read(&self, key: &str, request: ReadRequest) -> Result<Vec<u8>> {
        let reader = self.store.read(key, request).await?;
        let frames: Vec<Bytes> = reader.body.try_collect().await?;
        Ok(frames.concat())
    }

    async fn pin(&self, key: &str) -> Pin {
        self.store
            .stat(key, &Pin::default(), false)
            .await
            .unwrap()
            .unwrap()
            .pin
    }

    async fn pages(&self, request: ListRequest) -> Vec<ListPage> {
        let mut lister = self.store.list(request);
        let mut pages = Vec::new();
        while let Some(page) = lister.next_page().await.unwrap() {
            pages.push(page);
        }
        pages
    }

    async fn list(&self, request: ListRequest) -> Vec<ObjectEntry> {
        let pages = self.pages(request).await;
        assert!(pages.iter().all(ListPage::is_complete), "{pages:?}");
        pages.into_iter().flat_map(|page| page.entries).collect()
    }

    async fn keys(&self) -> Vec<String> {
        self.list(ListRequest::default())
            .await
            .into_iter()
            .map(|entry| entry.key)
            .collect()
    }
}

/// Everything under a directory, sorted, directories with a closing slash.
fn names_on_disk(root: &Path) -> Vec<String> {
    fn walk(directory: &Path, above: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{above}{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                found.push(format!("{name}/"));
                walk(&entry.path(), &format!("{name}/"), found);
            } else {
                found.push(name);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, "", &mut found);
    found.sort();
    found
}

fn whole(bytes: impl Into<Bytes>) -> PutRequest {
    PutRequest {
        payload: Payload::from(bytes.into()),
        ..PutRequest::default()
    }
}

fn pinned(pin: Pin) -> ReadRequest {
    ReadRequest {
        pin,
        ..ReadRequest::default()
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind
}
