//! Writing the parts of an upload into its temporary file: held ones, and such as come while they
//! are written. A part is acknowledged when it is on disk; parts that end at about the same time
//! share one flush.

use std::collections::HashMap;
use std::fs::File;
use std::io::Error as IoError;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use futures::TryStreamExt as _;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::spec::Durability;
use skyhaul_model::{Error, ErrorKind, Hasher, Result, Side};

use super::blocking;
use super::disk::Disk;
use super::upload::{Upload, gone, is_open, open_for_parts};
use crate::store::{PartStream, PartWrite, UploadToken};

/// Bytes that are gathered before they are written: enough that handing them to a thread that may
/// block costs nothing, few enough to be in a cache still.
const BATCH: usize = 512 << 10;

/// The temporary files that parts are being written into, by name.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(Mutex<HashMap<String, Weak<PartFile>>>);

impl OpenFiles {
    /// The file of that name, opened by `open` if no other part holds it.
    fn share(&self, name: &str, open: impl FnOnce() -> Result<File>) -> Result<Arc<PartFile>> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = |file: &Arc<PartFile>| file.failed.get().is_none();
        if let Some(file) = files.get(name).and_then(Weak::upgrade).filter(usable) {
            return Ok(file);
        }
        files.retain(|_, file| file.strong_count() > 0);
        let file = Arc::new(PartFile {
            file: open()?,
            begun: AtomicU64::new(0),
            flushed: Mutex::default(),
            failed: OnceLock::new(),
        });
        files.insert(name.to_owned(), Arc::downgrade(&file));
        Ok(file)
    }
}

/// One temporary file. All parts that are under way share one descriptor: an error in writing
/// back is told once for each descriptor, so whoever sees it must be able to tell all of them.
#[derive(Debug)]
struct PartFile {
    file: File,
    /// Flushes that were begun.
    begun: AtomicU64,
    /// The number of the last flush that ended well.
    flushed: Mutex<u64>,
    /// What a flush failed with: whose bytes were lost is unknown. Parts that begin later take
    /// another descriptor.
    failed: OnceLock<i32>,
}

impl PartFile {
    fn write(&self, frames: &[Bytes], mut offset: u64) -> Result<(), IoError> {
        for frame in frames {
            self.file.write_all_at(frame, offset)?;
            offset += frame.len() as u64;
        }
        Ok(())
    }

    /// Returns when all that was written before the call is on disk: by this flush, or by one that
    /// another part has begun since.
    fn flush(&self) -> Result<(), IoError> {
        let before = self.begun.load(Ordering::Acquire);
        let mut flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = self.failed.get() {
            return Err(IoError::from_raw_os_error(*number));
        }
        if *flushed > before {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        self.file.sync_data().inspect_err(|error| {
            // A system call's error has a number.
            self.failed
                .get_or_init(|| error.raw_os_error().unwrap_or_default());
        })?;
        *flushed = number;
        Ok(())
    }
}

/// A part under way.
#[derive(Clone)]
struct Part {
    disk: Arc<Disk>,
    key: Arc<str>,
    temp: Arc<str>,
    file: Arc<PartFile>,
    number: u32,
    offset: u64,
    len: u64,
}

impl Part {
    fn begin(
        disk: Arc<Disk>,
        key: &str,
        token: &UploadToken,
        (number, offset, len): (u32, u64, u64),
    ) -> Result<Self> {
        let path = super::upload::parse(&disk, key)?;
        let upload = Upload::parse(&disk, key, token)?;
        let end = offset.checked_add(len);
        if end.is_none_or(|end| upload.size.is_some_and(|whole| end > whole)) {
            let message = format!("part {number} lies beyond the object's end");
            return Err(disk.error(ErrorKind::Invalid, key, message));
        }
        let file = disk
            .open_files
            .share(&upload.temp, || open_for_parts(&disk, &path, &upload, key))?;
        Ok(Self {
            key: key.into(),
            temp: upload.temp.into(),
            disk,
            file,
            number,
            offset,
            len,
        })
    }

    fn write(&self, frames: &[Bytes], offset: u64) -> Result<()> {
        self.file
            .write(frames, offset)
            .map_err(|error| self.disk.io_fault(&self.key, "write", error))
    }

    /// Makes the part last, if it should.
    fn end(&self, checksum: Option<skyhaul_model::Checksum>) -> Result<PartReceipt> {
        if self.disk.durability == Durability::Fsync {
            self.file.flush().map_err(|error| {
                self.disk
                    .io_fault(&self.key, "flush the part to disk", error)
            })?;
        }
        // Aborted or finished meanwhile: these bytes are no part of it.
        if !is_open(&self.disk, &self.key, &self.temp, &self.file.file)? {
            return Err(gone(&self.disk, &self.key));
        }
        Ok(PartReceipt {
            number: self.number,
            size: self.len,
            etag: None,
            checksum,
            verified: false,
        })
    }

    /// The source delivered another number of bytes than was asked for.
    fn miscounted(&self, what: &str) -> Error {
        Error::new(Side::Source, ErrorKind::Corrupt, what)
            .object(self.disk.uri(&self.key))
            .retryable(true)
    }
}

/// Writes one part that is held.
pub(super) fn put(
    disk: Arc<Disk>,
    key: &str,
    token: &UploadToken,
    part: &PartWrite,
) -> Result<PartReceipt> {
    let range = (part.number, part.offset, part.payload.len());
    let begun = Part::begin(disk, key, token, range)?;
    begun.write(part.payload.frames(), part.offset)?;
    begun.end(part.checksum.clone())
}

/// Writes one part while it comes. When this returns, nothing of it is under way any more.
pub(super) async fn stream(
    disk: Arc<Disk>,
    key: String,
    token: UploadToken,
    stream: PartStream,
) -> Result<PartReceipt> {
    let range = (stream.number, stream.offset, stream.len);
    let part = blocking(move || Part::begin(disk, &key, &token, range)).await?;
    let mut writer = Writer::new(part.clone(), stream.algorithm.map(Hasher::new));
    let received = receive(&part, stream, &mut writer).await;
    // Also after an error: whoever writes the part again must be alone.
    let hasher = writer.written().await;
    received?;
    let checksum = hasher?.map(Hasher::finish);
    blocking(move || part.end(checksum)).await
}

async fn receive(part: &Part, mut stream: PartStream, writer: &mut Writer) -> Result<()> {
    let mut left = part.len;
    while let Some(frame) = stream.body.try_next().await? {
        left = left
            .checked_sub(frame.len() as u64)
            .ok_or_else(|| part.miscounted("more bytes than asked for"))?;
        writer.push(frame).await?;
    }
    if left > 0 {
        return Err(part.miscounted("the object's bytes ended early"));
    }
    writer.start().await
}

/// Writes one batch of frames while the next is gathered.
struct Writer {
    part: Part,
    batch: Vec<Bytes>,
    gathered: usize,
    /// Where the batch belongs.
    offset: u64,
    /// Computed where the bytes are written, when no batch is under way it is here.
    hasher: Option<Hasher>,
    writing: Option<tokio::task::JoinHandle<Result<Option<Hasher>>>>,
}

impl Writer {
    fn new(part: Part, hasher: Option<Hasher>) -> Self {
        Self {
            offset: part.offset,
            part,
            batch: Vec::new(),
            gathered: 0,
            hasher,
            writing: None,
        }
    }

    async fn push(&mut self, frame: Bytes) -> Result<()> {
        self.gathered += frame.len();
        self.batch.push(frame);
        if self.gathered >= BATCH {
            self.start().await?;
        }
        Ok(())
    }

    /// Waits for the batch under way.
    async fn wait(&mut self) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            self.hasher = writing
                .await
                .unwrap_or_else(|error| Err(super::lost(error)))?;
        }
        Ok(())
    }

    /// Begins to write what was gathered.
    async fn start(&mut self) -> Result<()> {
        self.wait().await?;
        let (part, offset) = (self.part.clone(), self.offset);
        let (frames, mut hasher) = (std::mem::take(&mut self.batch), self.hasher.take());
        self.offset += std::mem::take(&mut self.gathered) as u64;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            if let Some(hasher) = &mut hasher {
                for frame in &frames {
                    hasher.update(frame);
                }
            }
            part.write(&frames, offset)?;
            Ok(hasher)
        }));
        Ok(())
    }

    /// Waits until nothing is under way.
    async fn written(mut self) -> Result<Option<Hasher>> {
        self.wait().await?;
        Ok(self.hasher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(file: File) -> PartFile {
        PartFile {
            file,
            begun: AtomicU64::new(0),
            flushed: Mutex::default(),
            failed: OnceLock::new(),
        }
    }

    #[test]
    fn one_flush_serves_all_who_wait_for_one_that_begins_later() {
        let file = file(tempfile::tempfile().unwrap());
        let flushing = file.flushed.lock().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| file.flush().unwrap());
            }
            drop(flushing);
        });
        let begun = file.begun.load(Ordering::Acquire);
        assert!((1..=8).contains(&begun), "{begun}");
        assert_eq!(*file.flushed.lock().unwrap(), begun);
        // Whoever comes afterwards is not served by what was.
        file.flush().unwrap();
        assert_eq!(file.begun.load(Ordering::Acquire), begun + 1);
        // One that has begun since whoever waits looked serves them.
        *file.flushed.lock().unwrap() = begun + 2;
        file.flush().unwrap();
        assert_eq!(file.begun.load(Ordering::Acquire), begun + 1);
    }

    #[test]
    fn what_a_flush_failed_with_is_told_to_all() {
        // A device that cannot be flushed.
        let file = file(File::options().write(true).open("/dev/null").unwrap());
        let first = file.flush().unwrap_err().raw_os_error();
        assert!(first.is_some());
        assert_eq!(file.flush().unwrap_err().raw_os_error(), first);
        assert_eq!(file.begun.load(Ordering::Acquire), 1);
    }
}
