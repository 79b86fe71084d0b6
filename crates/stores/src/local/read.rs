//! Reading files: one version or an error. The descriptor's identity is compared with the pin
//! before the first byte and with itself after the last.
//!
//! The kernel stamps changes with its own clock's granularity: on kernels before 6.13 a rewrite
//! that keeps the size, within the same few milliseconds as the listing, cannot be told.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use rustix::buffer::spare_capacity;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use skyhaul_model::{Attributes, ErrorKind, FileIdentity, ObjectInfo, Pin, Result};
use tokio::task::JoinHandle;

use super::disk::Disk;
use super::{identity, marker};
use crate::store::{ObjectReader, ReadRequest};

/// Bytes a frame: what is read in one go and handed on.
const FRAME: u64 = 1 << 20;

/// A file under way, from `offset` to `end` bytes.
struct Cursor {
    disk: Arc<Disk>,
    key: String,
    file: OwnedFd,
    identity: FileIdentity,
    offset: u64,
    end: u64,
}

impl Cursor {
    fn changed(&self) -> skyhaul_model::Error {
        changed(&self.disk, &self.key)
    }

    /// The next frame. The last is only given if the file is still what it was.
    fn frame(&mut self) -> Result<Bytes> {
        let want = (self.end - self.offset).min(FRAME) as usize;
        let mut frame = Vec::with_capacity(want);
        while frame.len() < want {
            let at = self.offset + frame.len() as u64;
            let got =
                retry_on_intr(|| rustix::io::pread(&self.file, spare_capacity(&mut frame), at))
                    .map_err(|errno| self.disk.fault(&self.key, "read", errno))?;
            if got == 0 {
                return Err(self.changed());
            }
        }
        // A vector may have more room than it was asked for.
        frame.truncate(want);
        self.offset += want as u64;
        if self.offset == self.end {
            self.check()?;
        }
        Ok(Bytes::from(frame))
    }

    fn check(&self) -> Result<()> {
        let stat = fs::fstat(&self.file)
            .map_err(|errno| self.disk.fault(&self.key, "look at the file again", errno))?;
        if identity::identity(&stat) == self.identity {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    fn is_done(&self) -> bool {
        self.offset == self.end
    }
}

fn changed(disk: &Disk, key: &str) -> skyhaul_model::Error {
    disk.error(
        ErrorKind::Changed,
        key,
        "the file changed while it was copied",
    )
}

fn not_found(disk: &Disk, key: &str) -> skyhaul_model::Error {
    disk.error(ErrorKind::NotFound, key, "no such file")
}

/// The head of a marker: nothing of it can change but its being there.
fn marker_info(mtime: jiff::Timestamp, tags: bool) -> ObjectInfo {
    info(0, mtime, Pin::default(), tags)
}

fn info(size: u64, mtime: jiff::Timestamp, pin: Pin, tags: bool) -> ObjectInfo {
    ObjectInfo {
        size,
        mtime,
        pin,
        attributes: Attributes {
            tags: tags.then(BTreeMap::new),
            ..Attributes::default()
        },
        tag_count: None,
        checksum: None,
        archived: false,
    }
}

fn file_info(identity: FileIdentity, tags: bool) -> ObjectInfo {
    let mtime = identity::timestamp(identity.mtime_ns);
    info(identity.size, mtime, identity::pin(identity), tags)
}

/// Refuses what is neither a file nor absent; `None` for what is no object.
fn regular(disk: &Disk, key: &str, stat: &fs::Stat) -> Result<Option<FileIdentity>> {
    let kind = identity::file_type(stat);
    if kind.is_file() {
        Ok(Some(identity::identity(stat)))
    } else if kind.is_dir() {
        Ok(None)
    } else if kind.is_symlink() {
        Err(disk
            .error(ErrorKind::Refused, key, "a symbolic link")
            .hint("--follow-symlinks copies what it points to"))
    } else {
        Err(disk.error(ErrorKind::Refused, key, "neither a file nor a directory"))
    }
}

/// Describes the file of a key.
pub(super) fn stat(disk: &Disk, key: &str, pin: &Pin, tags: bool) -> Result<Option<ObjectInfo>> {
    let path = disk.parse(key)?;
    let absent = |errno| match errno {
        Errno::NOENT | Errno::NOTDIR => Ok(None),
        errno => Err(disk.fault(key, "look at the file", errno)),
    };
    if path.is_marker {
        return marker::find(disk, &path.path())
            .map(|found| found.map(|mtime| marker_info(mtime, tags)))
            .or_else(absent);
    }
    let stat = match disk.stat(key) {
        Ok(stat) => stat,
        Err(errno) => return absent(errno),
    };
    let Some(identity) = regular(disk, key, &stat)? else {
        return Ok(None);
    };
    if pin.file.is_some_and(|pinned| pinned != identity) {
        return Err(changed(disk, key));
    }
    Ok(Some(file_info(identity, tags)))
}

/// Opens a file and reads the first frame: small files are done with that.
fn begin(
    disk: &Arc<Disk>,
    key: String,
    request: &ReadRequest,
) -> Result<(ObjectInfo, Bytes, Option<Cursor>)> {
    let path = disk.parse(&key)?;
    if path.is_marker {
        let mtime = marker::find(disk, &path.path())
            .map_err(|errno| disk.fault(&key, "open", errno))?
            .ok_or_else(|| not_found(disk, &key))?;
        return Ok((marker_info(mtime, request.tags), Bytes::new(), None));
    }
    // NONBLOCK has no effect on files and keeps a pipe of this name from holding us up.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let file = match disk.open(&key, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(not_found(disk, &key)),
        Err(errno) => return Err(disk.fault(&key, "open", errno)),
    };
    let stat = fs::fstat(&file).map_err(|errno| disk.fault(&key, "look at the file", errno))?;
    let identity = regular(disk, &key, &stat)?.ok_or_else(|| not_found(disk, &key))?;
    if request.pin.file.is_some_and(|pinned| pinned != identity) {
        return Err(changed(disk, &key));
    }
    let (offset, len) = request.range.unwrap_or((0, identity.size));
    let end = offset
        .checked_add(len)
        .filter(|end| *end <= identity.size)
        .ok_or_else(|| {
            let message = format!(
                "the range of {len} bytes at {offset} is not within the file's {} bytes",
                identity.size
            );
            disk.error(ErrorKind::Invalid, &key, message)
        })?;
    let info = file_info(identity, request.tags);
    let mut cursor = Cursor {
        disk: Arc::clone(disk),
        key,
        file,
        identity,
        offset,
        end,
    };
    let first = if cursor.is_done() {
        Bytes::new()
    } else {
        cursor.frame()?
    };
    let rest = (!cursor.is_done()).then_some(cursor);
    Ok((info, first, rest))
}

/// A stream that keeps one frame ahead of its reader.
struct Ahead(JoinHandle<(Cursor, Result<Bytes>)>);

impl Ahead {
    fn start(mut cursor: Cursor) -> Self {
        Self(tokio::task::spawn_blocking(move || {
            let frame = cursor.frame();
            (cursor, frame)
        }))
    }

    async fn next(self) -> (Result<Bytes>, Option<Self>) {
        match self.0.await {
            Ok((cursor, Ok(frame))) => {
                let rest = (!cursor.is_done()).then(|| Self::start(cursor));
                (Ok(frame), rest)
            }
            Ok((_, Err(error))) => (Err(error), None),
            Err(error) => (Err(super::lost(error)), None),
        }
    }
}

/// Reads a file or a range of it.
pub(super) async fn read(
    disk: Arc<Disk>,
    key: String,
    request: ReadRequest,
) -> Result<ObjectReader> {
    let workers = Arc::clone(&disk.workers);
    let (info, first, rest) = workers.run(move || begin(&disk, key, &request)).await?;
    let first = stream::iter((!first.is_empty()).then_some(Ok(first)));
    let body: BoxStream<'static, Result<Bytes>> = match rest {
        None => first.boxed(),
        Some(cursor) => {
            let rest = stream::unfold(Some(Ahead::start(cursor)), |ahead| async {
                Some(ahead?.next().await)
            });
            first.chain(rest).boxed()
        }
    };
    Ok(ObjectReader { info, body })
}
