//! Local disk, and anything mounted as a file system of this machine.
//!
//! - Keys are paths relative to the root, byte for byte; a key that cannot be such a path is
//!   refused ([`key`]). Nothing leaves the root through symbolic links ([`disk`]).
//! - Whole objects and uploads are written under temporary names and renamed when they are
//!   complete and flushed ([`staged`], [`commit`], [`upload`], [`parts`]).
//! - A read delivers one version of a file or an error ([`read`]).
//! - Links that are not followed, sockets, pipes and devices are listed as `Unsupported`: passed
//!   over by rule. What should have been copied and cannot be is `Refused` or `AccessDenied`.
//! - On a file system that folds case, two keys that differ in case only are one file: the later
//!   one replaces the earlier. Skyhaul does not look for that.

mod commit;
mod delete;
mod disk;
mod fault;
mod identity;
mod key;
mod list;
mod marker;
mod names;
mod parts;
mod probe;
mod read;
mod staged;
mod sweep;
mod temp;
#[cfg(test)]
mod tests;
mod upload;
mod workers;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use skyhaul_model::capabilities::Capabilities;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::spec::Durability;
use skyhaul_model::{
    Algorithm, Checksum, Error, ErrorKind, ObjectInfo, Pin, Result, Side, TransferId,
};

use self::disk::{Disk, Links};
use self::list::LocalLister;
use crate::store::{
    Access, Condition, CopyRequest, CopySource, DeleteOutcome, ListRequest, Lister, ObjectReader,
    OpenUpload, PartStream, PartWrite, PutReceipt, PutRequest, ReadRequest, Staged, Store,
    UploadRequest, UploadToken,
};

/// How a local store works.
#[derive(Debug, Clone, Default)]
pub struct LocalOptions {
    /// Whether what is reported as written has been flushed to disk.
    pub durability: Durability,
    /// Whether symbolic links are followed: anywhere when reading as a source, within the root
    /// as a destination. Otherwise a listing refuses them by name.
    pub follow_symlinks: bool,
    /// Whose temporary files are made here; a generated identifier if none is given.
    pub transfer: Option<TransferId>,
}

/// A directory tree of this machine as a store.
#[derive(Debug)]
pub struct LocalStore {
    disk: Arc<Disk>,
    capabilities: Capabilities,
    held_names: usize,
}

impl LocalStore {
    /// A store over the directory `root`, which is looked at when it is first used. Fails only if
    /// `root` is relative and there is no current directory.
    pub fn open(root: impl AsRef<Path>, side: Side, options: LocalOptions) -> Result<Self> {
        let root = root.as_ref();
        let root = std::path::absolute(root).map_err(|error| {
            Error::new(side, ErrorKind::Invalid, "the path cannot be made absolute")
                .object(root.to_string_lossy())
                .cause(error)
        })?;
        let links = match (options.follow_symlinks, side) {
            (false, _) => Links::Refuse,
            (true, Side::Source) => Links::Anywhere,
            (true, _) => Links::Within,
        };
        let transfer = options.transfer.unwrap_or_else(TransferId::generate);
        let disk = Arc::new(Disk::new(root, side, options.durability, links, transfer));
        Ok(Self {
            disk,
            capabilities: Capabilities::posix(),
            held_names: list::HELD_NAMES,
        })
    }

    /// Removes all temporary files of this store's transfer under the root; how many there were.
    pub async fn sweep_tree(&self) -> Result<u64> {
        self.run_long(sweep::tree).await
    }

    /// Runs file system work that is mostly short.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let disk = Arc::clone(&self.disk);
        let workers = Arc::clone(&disk.workers);
        workers.run(move || work(&disk)).await
    }

    /// Runs file system work that may take long: it waits for the disk, or walks through much.
    async fn run_long<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let disk = Arc::clone(&self.disk);
        blocking(move || work(&disk)).await
    }

    fn no_copy(&self, key: &str) -> Error {
        self.disk.error(
            ErrorKind::Unsupported,
            key,
            "local disk copies nothing by itself",
        )
    }
}

/// Runs work on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(lost(error)))
}

/// The error for work that ended without a result: the process is stopping, or it panicked.
fn lost(error: tokio::task::JoinError) -> Error {
    Error::control(
        ErrorKind::Internal,
        "file system work ended without a result",
    )
    .cause(error)
}

#[async_trait]
impl Store for LocalStore {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn side(&self) -> Side {
        self.disk.side
    }

    fn uri(&self, key: &str) -> String {
        self.disk.uri(key)
    }

    async fn check(&self, access: Access, _prefix: &str) -> Result<()> {
        self.run(move |disk| probe::check(disk, access)).await
    }

    fn list(&self, request: ListRequest) -> Box<dyn Lister> {
        Box::new(LocalLister::new(
            Arc::clone(&self.disk),
            request,
            self.held_names,
        ))
    }

    async fn stat(&self, key: &str, pin: &Pin, tags: bool) -> Result<Option<ObjectInfo>> {
        let (key, pin) = (key.to_owned(), pin.clone());
        self.run(move |disk| read::stat(disk, &key, &pin, tags))
            .await
    }

    async fn read(&self, key: &str, request: ReadRequest) -> Result<ObjectReader> {
        read::read(Arc::clone(&self.disk), key.to_owned(), request).await
    }

    async fn put(&self, key: &str, request: PutRequest) -> Result<PutReceipt> {
        let key = key.to_owned();
        self.run(move |disk| staged::put(disk, &key, &request))
            .await
    }

    async fn commit(&self, staged: Vec<Staged>) -> Vec<Result<PutReceipt>> {
        let count = staged.len();
        match self
            .run_long(move |disk| Ok(commit::commit(disk, &staged)))
            .await
        {
            Ok(results) => results,
            Err(error) => {
                let text = error.to_string();
                let each = || Err(Error::control(ErrorKind::Internal, text.clone()));
                std::iter::repeat_with(each).take(count).collect()
            }
        }
    }

    async fn open_upload(&self, key: &str, request: UploadRequest) -> Result<UploadToken> {
        let key = key.to_owned();
        self.run(move |disk| upload::open(disk, &key, &request))
            .await
    }

    async fn put_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartWrite,
    ) -> Result<PartReceipt> {
        let (disk, key, token) = (Arc::clone(&self.disk), key.to_owned(), token.clone());
        blocking(move || parts::put(disk, &key, &token, &part)).await
    }

    fn streams_parts(&self, _algorithm: Option<Algorithm>) -> bool {
        true
    }

    async fn stream_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartStream,
    ) -> Result<PartReceipt> {
        let disk = Arc::clone(&self.disk);
        parts::stream(disk, key.to_owned(), token.clone(), part).await
    }

    async fn finish_upload(
        &self,
        key: &str,
        token: &UploadToken,
        parts: &[PartReceipt],
        _checksum: Option<&Checksum>,
        condition: &Condition,
    ) -> Result<PutReceipt> {
        let (key, token) = (key.to_owned(), token.clone());
        let (parts, condition) = (parts.to_vec(), condition.clone());
        self.run_long(move |disk| upload::finish(disk, &key, &token, &parts, &condition))
            .await
    }

    /// Always empty: a file keeps no receipts of its parts. Callers rely on their own.
    async fn list_parts(&self, _key: &str, _token: &UploadToken) -> Result<Vec<PartReceipt>> {
        Ok(Vec::new())
    }

    async fn abort_upload(&self, key: &str, token: &UploadToken) -> Result<()> {
        let (key, token) = (key.to_owned(), token.clone());
        self.run(move |disk| upload::abort(disk, &key, &token))
            .await
    }

    async fn uploads(&self, key: &str) -> Result<Vec<OpenUpload>> {
        let key = key.to_owned();
        self.run_long(move |disk| upload::find(disk, &key)).await
    }

    async fn delete(&self, keys: &[String]) -> Vec<DeleteOutcome> {
        let owned = keys.to_vec();
        match self
            .run_long(move |disk| Ok(delete::delete(disk, &owned)))
            .await
        {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let text = error.to_string();
                let failed = |key: &String| DeleteOutcome {
                    key: key.clone(),
                    result: Err(Error::control(ErrorKind::Internal, text.clone())),
                };
                keys.iter().map(failed).collect()
            }
        }
    }

    async fn copy(
        &self,
        key: &str,
        _source: &CopySource,
        _request: CopyRequest,
    ) -> Result<PutReceipt> {
        Err(self.no_copy(key))
    }

    async fn copy_part(
        &self,
        key: &str,
        _token: &UploadToken,
        _source: &CopySource,
        _number: u32,
        _range: (u64, u64),
    ) -> Result<PartReceipt> {
        Err(self.no_copy(key))
    }

    async fn sweep_temporaries(&self, folders: &[String]) -> Result<u64> {
        let folders = folders.to_vec();
        self.run(move |disk| sweep::folders(disk, &folders)).await
    }
}
