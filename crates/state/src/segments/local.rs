//! Segments in a folder of this machine.
//!
//! A segment is written under a temporary name and renamed, so a name that exists is whole after
//! `kill -9` at any moment. By default nothing is flushed: a power failure may lose or empty
//! segments that were written shortly before it (as it may lose the state's own last transactions,
//! see [`SqliteState`](crate::SqliteState)). Such a segment is noticed when it is read, by its
//! length and checksum; it is never taken for an empty one. [`Segments::durable`] flushes each.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skyhaul_model::outcome::{Outcome, ReceiptRecord};
use skyhaul_model::segment::Segment;
use skyhaul_model::{Error, ErrorKind, Result};
use ulid::Ulid;

use super::codec::{self, Decoder};
use super::{SegmentKind, SegmentStore};
use crate::fault;

/// Where half-written segments are.
const TEMPORARY: &str = "tmp";

/// A folder of segments, one for each transfer.
#[derive(Debug, Clone)]
pub struct Segments {
    root: PathBuf,
    durable: bool,
}

impl Segments {
    /// Opens a folder, which is made if there is none.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let root = dir.into();
        for name in SegmentKind::ALL
            .map(SegmentKind::name)
            .into_iter()
            .chain([TEMPORARY])
        {
            let folder = root.join(name);
            fs::create_dir_all(&folder)
                .map_err(|error| fault::io(error, "cannot make the folder", &folder))?;
        }
        Ok(Self {
            root,
            durable: false,
        })
    }

    /// Whether each segment and its name are flushed to the disk before its pointer is returned.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes the folder with all segments; one that is gone already is no error.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(fault::io(error, "cannot remove the segments", &self.root))
            }
            _ => Ok(()),
        }
    }

    /// Writes records of any type as one segment.
    pub async fn write<T: Serialize + Sync>(
        &self,
        kind: SegmentKind,
        records: &[T],
    ) -> Result<String> {
        let name = Ulid::generate().to_string();
        let pointer = format!("{kind}/{name}.zst");
        let target = self.root.join(&pointer);
        let failed = |error| fault::io(error, "cannot write the segment", &target);
        let bytes = codec::encode(kind, records).await.map_err(failed)?;
        let temporary = self.root.join(TEMPORARY).join(name);
        let (to, durable) = (target.clone(), self.durable);
        tokio::task::spawn_blocking(move || {
            let written = put(&temporary, &to, &bytes, durable);
            if written.is_err() {
                // The first error is the one to tell; a leftover goes with the folder.
                let _ = fs::remove_file(&temporary);
            }
            written
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(failed)?;
        Ok(pointer)
    }

    /// Reads a segment record by record: memory is that of one record. Blocking.
    pub fn records<T: DeserializeOwned>(
        &self,
        kind: SegmentKind,
        pointer: &str,
    ) -> Result<Records<T>> {
        let path = self.resolve(kind, pointer)?;
        let opened = File::open(&path).and_then(|file| Decoder::new(file, kind));
        match opened {
            Ok(decoder) => Ok(Records { decoder, path }),
            Err(error) => Err(unreadable(error, &path)),
        }
    }

    /// Reads a whole segment.
    pub async fn read<T: DeserializeOwned + Send + 'static>(
        &self,
        kind: SegmentKind,
        pointer: &str,
    ) -> Result<Vec<T>> {
        let (this, name) = (self.clone(), pointer.to_owned());
        tokio::task::spawn_blocking(move || this.records(kind, &name)?.collect())
            .await
            .unwrap_or_else(|error| Err(fault::internal("reading a segment", error)))
    }

    /// A pointer comes from a row; it names a file of its kind in this folder and nothing else.
    fn resolve(&self, kind: SegmentKind, pointer: &str) -> Result<PathBuf> {
        let mut parts = Path::new(pointer).components();
        let valid = matches!(
            (parts.next(), parts.next(), parts.next()),
            (Some(Component::Normal(folder)), Some(Component::Normal(_)), None)
                if folder == kind.name()
        );
        if valid {
            Ok(self.root.join(pointer))
        } else {
            Err(Error::control(
                ErrorKind::Corrupt,
                format!("not a pointer to a {kind} segment"),
            )
            .object(pointer)
            .retryable(false))
        }
    }
}

/// The records of a segment; see [`Segments::records`]. Ends after the first error.
pub struct Records<T> {
    decoder: Decoder<File, T>,
    path: PathBuf,
}

impl<T> fmt::Debug for Records<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Iterator for Records<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.decoder.next()?;
        Some(record.map_err(|error| unreadable(error, &self.path)))
    }
}

fn put(temporary: &Path, target: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let mut file = File::create_new(temporary)?;
    file.write_all(bytes)?;
    if durable {
        file.sync_data()?;
    }
    drop(file);
    fs::rename(temporary, target)?;
    match target.parent() {
        Some(folder) if durable => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

fn unreadable(error: io::Error, path: &Path) -> Error {
    const HINT: &str = "this transfer cannot be resumed; start it again with --fresh";
    let (kind, message) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::NotFound, "the segment is gone"),
        io::ErrorKind::PermissionDenied => {
            return fault::io(error, "cannot read the segment", path);
        }
        _ => (ErrorKind::Corrupt, "the segment is damaged"),
    };
    Error::control(kind, message)
        .object(path.display().to_string())
        .cause(error)
        .hint(HINT)
        .retryable(false)
}

#[async_trait]
impl SegmentStore for Segments {
    async fn write_manifest(&self, manifest: &Segment) -> Result<String> {
        self.write(SegmentKind::Manifest, std::slice::from_ref(manifest))
            .await
    }

    async fn read_manifest(&self, pointer: &str) -> Result<Segment> {
        let mut found = self.read::<Segment>(SegmentKind::Manifest, pointer).await?;
        let (Some(manifest), true) = (found.pop(), found.is_empty()) else {
            let error = io::Error::new(io::ErrorKind::InvalidData, "not exactly one manifest");
            return Err(unreadable(error, &self.root.join(pointer)));
        };
        manifest.validate().map_err(|error| error.object(pointer))?;
        Ok(manifest)
    }

    async fn write_receipts(&self, receipts: &[ReceiptRecord]) -> Result<String> {
        self.write(SegmentKind::Receipts, receipts).await
    }

    async fn read_receipts(&self, pointer: &str) -> Result<Vec<ReceiptRecord>> {
        self.read(SegmentKind::Receipts, pointer).await
    }

    async fn write_outcomes(&self, outcomes: &[Outcome]) -> Result<String> {
        self.write(SegmentKind::Outcomes, outcomes).await
    }

    async fn read_outcomes(&self, pointer: &str) -> Result<Vec<Outcome>> {
        self.read(SegmentKind::Outcomes, pointer).await
    }

    async fn write_deletes(&self, keys: &[String]) -> Result<String> {
        self.write(SegmentKind::Deletes, keys).await
    }

    async fn read_deletes(&self, pointer: &str) -> Result<Vec<String>> {
        self.read(SegmentKind::Deletes, pointer).await
    }
}
