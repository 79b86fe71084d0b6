//! Segments in a folder of this machine.
//!
//! A segment is written under a temporary name and renamed, so a name that exists is whole after
//! `kill -9` at any moment. By default nothing is flushed: a power failure may lose or empty
//! segments that were written shortly before it (as it may lose the state's own last transactions,
//! see [`SqliteState`](crate::SqliteState)). Such a segment is noticed when it is read, by its
//! length and checksum; it is never taken for an empty one. [`Segments::durable`] flushes each.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use skyhaul_model::Result;

use super::{SegmentKind, SegmentStore, gone};
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

    /// Removes the folder with all segments; one that is gone already is no error.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(fault::io(error, "cannot remove the segments", &self.root))
            }
            _ => Ok(()),
        }
    }
}

/// Runs what blocks where that holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[async_trait]
impl SegmentStore for Segments {
    async fn keep(&self, kind: SegmentKind, pointer: &str, bytes: Vec<u8>) -> Result<()> {
        kind.check(pointer)?;
        let target = self.root.join(pointer);
        let own = kind.new_pointer().replace('/', "-");
        let temporary = self.root.join(TEMPORARY).join(own);
        let (to, durable) = (target.clone(), self.durable);
        blocking(move || {
            let written = write(&temporary, &to, &bytes, durable);
            if written.is_err() {
                // The first error is the one to tell; a leftover goes with the folder.
                let _ = fs::remove_file(&temporary);
            }
            written
        })
        .await
        .map_err(|error| fault::io(error, "cannot write the segment", &target))
    }

    async fn get(&self, kind: SegmentKind, pointer: &str) -> Result<Vec<u8>> {
        kind.check(pointer)?;
        let path = self.root.join(pointer);
        let from = path.clone();
        blocking(move || fs::read(from))
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => gone(self.full_name(pointer)),
                _ => fault::io(error, "cannot read the segment", &path),
            })
    }

    fn full_name(&self, pointer: &str) -> String {
        self.root.join(pointer).display().to_string()
    }
}

fn write(temporary: &Path, target: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
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
