//! Multipart uploads: one temporary file of the full size, parts written at their offsets by any
//! process ([`parts`](super::parts)), renamed at the end.
//!
//! A part is flushed before it is acknowledged, so that a receipt that was recorded is true after
//! a power failure too. Files keep no receipts: `list_parts` has nothing to tell, and the caller's
//! receipts are what a completion is checked against.

use std::fs::File;
use std::os::fd::OwnedFd;

use jiff::Timestamp;
use rustix::fs::{self, Dir, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::spec::Durability;
use skyhaul_model::{ErrorKind, FileIdentity, Result};

use super::commit::{is_published, publish};
use super::disk::{Disk, remove_if_there};
use super::key::KeyPath;
use super::staged::{check_target, create, discard, finish_temp};
use super::{identity, temp};
use crate::store::{Condition, OpenUpload, PutReceipt, UploadRequest, UploadToken};

/// An open upload, as its token says it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Upload {
    /// The temporary file's name, in the directory of the key.
    pub(super) temp: String,
    device: u64,
    inode: u64,
    /// Size of the whole object in bytes; unknown for uploads that were found, not opened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    mtime: Option<Timestamp>,
}

impl Upload {
    fn token(&self) -> Result<UploadToken> {
        serde_json::to_string(self)
            .map(UploadToken)
            .map_err(|error| {
                skyhaul_model::Error::control(ErrorKind::Internal, "cannot write a token")
                    .cause(error)
            })
    }

    pub(super) fn parse(disk: &Disk, key: &str, token: &UploadToken) -> Result<Self> {
        serde_json::from_str(&token.0)
            .ok()
            .filter(|upload: &Self| temp::is_upload_of(upload.temp.as_bytes(), key))
            .ok_or_else(|| disk.error(ErrorKind::Invalid, key, "not an upload of this file"))
    }
}

pub(super) fn gone(disk: &Disk, key: &str) -> skyhaul_model::Error {
    disk.error(ErrorKind::UploadGone, key, "the temporary file is gone")
}

/// The key's path; markers take no uploads.
pub(super) fn parse<'a>(disk: &Disk, key: &'a str) -> Result<KeyPath<'a>> {
    let path = disk.parse(key)?;
    if path.is_marker {
        let message = "the name ends in a slash and the object has bytes: a directory holds none";
        return Err(disk.error(ErrorKind::Refused, key, message));
    }
    Ok(path)
}

/// The key's directory, if it is there.
fn directory(disk: &Disk, path: &KeyPath<'_>, key: &str) -> Result<Option<OwnedFd>> {
    match disk.open_directory(path.directory) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(disk.fault(key, "open its directory", errno)),
    }
}

/// Opens the temporary file, if it is there.
fn open_temp(disk: &Disk, directory: &OwnedFd, temp: &str, key: &str) -> Result<Option<File>> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(directory, temp, flags, Mode::empty()) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(disk.fault(key, "open the temporary file", errno)),
    }
}

/// Takes the space for the whole object, so that a full disk is known before the first byte.
fn reserve(file: &File, size: u64) -> Result<(), Errno> {
    if size == 0 {
        return Ok(());
    }
    match fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => fs::ftruncate(file, size),
        other => other,
    }
}

/// Opens an upload.
pub(super) fn open(disk: &Disk, key: &str, request: &UploadRequest) -> Result<UploadToken> {
    let path = parse(disk, key)?;
    let (directory, temp, file) = create(disk, &path, key, temp::Kind::Upload)?;
    // Before the first of many bytes, not only when all are there.
    if let Err(error) = check_target(disk, &directory, path.name, key, &Condition::None) {
        discard(disk, &directory, &temp, key);
        return Err(error);
    }
    let reserved = reserve(&file, request.size)
        .map_err(|errno| disk.fault(key, "reserve the space", errno))
        .and_then(|()| finish_temp(disk, key, &file, None));
    match reserved {
        Ok(FileIdentity { device, inode, .. }) => {
            let (size, mtime) = (Some(request.size), request.mtime);
            Upload {
                temp,
                device,
                inode,
                size,
                mtime,
            }
            .token()
        }
        Err(error) => {
            discard(disk, &directory, &temp, key);
            Err(error)
        }
    }
}

/// Opens the temporary file for writing parts into it.
pub(super) fn open_for_parts(
    disk: &Disk,
    path: &KeyPath<'_>,
    upload: &Upload,
    key: &str,
) -> Result<File> {
    let directory = directory(disk, path, key)?.ok_or_else(|| gone(disk, key))?;
    open_temp(disk, &directory, &upload.temp, key)?.ok_or_else(|| gone(disk, key))
}

/// Whether the temporary file is there still, and is this one.
pub(super) fn is_open(disk: &Disk, key: &str, temp: &str, file: &File) -> Result<bool> {
    let path = parse(disk, key)?;
    let Some(directory) = directory(disk, &path, key)? else {
        return Ok(false);
    };
    let look = |errno| disk.fault(key, "look at the temporary file", errno);
    let ours = fs::fstat(file).map_err(look)?;
    match fs::statat(directory, temp, fs::AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok((found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(look(errno)),
    }
}

/// Gives the file its name once all its bytes are there.
pub(super) fn finish(
    disk: &Disk,
    key: &str,
    token: &UploadToken,
    parts: &[PartReceipt],
    condition: &Condition,
) -> Result<PutReceipt> {
    let path = parse(disk, key)?;
    let upload = Upload::parse(disk, key, token)?;
    let total: u64 = parts.iter().map(|part| part.size).sum();
    let in_order = parts
        .iter()
        .zip(1..)
        .all(|(part, number)| part.number == number);
    if !in_order || upload.size.is_some_and(|size| size != total) {
        let message = format!("the parts named hold {total} bytes and do not make up the object");
        return Err(disk.error(ErrorKind::Invalid, key, message));
    }
    let directory = directory(disk, &path, key)?.ok_or_else(|| gone(disk, key))?;
    let Some(file) = open_temp(disk, &directory, &upload.temp, key)? else {
        return finished_before(disk, &directory, &path, key, &upload, total);
    };
    let found = finish_temp(disk, key, &file, upload.mtime)?;
    if found.size != total {
        let message = format!(
            "the temporary file has {} bytes instead of {total}",
            found.size
        );
        return Err(disk
            .error(ErrorKind::Corrupt, key, message)
            .retryable(false));
    }
    if disk.durability == Durability::Fsync {
        fs::fsync(&file).map_err(|errno| disk.fault(key, "flush the file to disk", errno))?;
    }
    publish(disk, &directory, &upload.temp, path.name, key, condition)?;
    disk.sync_directories([path.directory])?;
    Ok(PutReceipt::default())
}

/// The reply to an earlier completion was lost, if the very file that was opened now has its name.
fn finished_before(
    disk: &Disk,
    directory: &OwnedFd,
    path: &KeyPath<'_>,
    key: &str,
    upload: &Upload,
    total: u64,
) -> Result<PutReceipt> {
    check_target(disk, directory, path.name, key, &Condition::None)?;
    let stat = fs::statat(directory, path.name, fs::AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|_| gone(disk, key))?;
    let found = identity::identity(&stat);
    let expected = FileIdentity {
        device: upload.device,
        inode: upload.inode,
        size: total,
        mtime_ns: upload
            .mtime
            .map_or(found.mtime_ns, Timestamp::as_nanosecond),
        ctime_ns: found.ctime_ns,
    };
    if !is_published(directory, path.name, &expected) {
        return Err(gone(disk, key));
    }
    disk.sync_directories([path.directory])?;
    Ok(PutReceipt::default())
}

/// Removes the temporary file.
pub(super) fn abort(disk: &Disk, key: &str, token: &UploadToken) -> Result<()> {
    let path = parse(disk, key)?;
    let upload = Upload::parse(disk, key, token)?;
    match directory(disk, &path, key)? {
        None => Ok(()),
        Some(directory) => remove_if_there(directory, &upload.temp)
            .map(drop)
            .map_err(|errno| disk.fault(key, "remove the temporary file", errno)),
    }
}

/// Open uploads of exactly this key, of whatever transfer.
pub(super) fn find(disk: &Disk, key: &str) -> Result<Vec<OpenUpload>> {
    let path = parse(disk, key)?;
    let listed = |errno| disk.fault(key, "list its directory", errno);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let directory = match disk.open(path.directory, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        Err(errno) => return Err(listed(errno)),
    };
    let mut found = Vec::new();
    for entry in Dir::read_from(&directory).map_err(listed)? {
        let entry = entry.map_err(listed)?;
        let name = entry.file_name();
        if !temp::is_upload_of(name.to_bytes(), key) {
            continue;
        }
        let stat = match fs::statat(&directory, name, fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => identity::identity(&stat),
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(listed(errno)),
        };
        let temp = name.to_string_lossy().into_owned();
        let FileIdentity {
            device,
            inode,
            mtime_ns,
            ..
        } = stat;
        let token = Upload {
            temp,
            device,
            inode,
            size: None,
            mtime: None,
        }
        .token()?;
        let initiated = Some(identity::timestamp(mtime_ns));
        found.push(OpenUpload {
            key: key.to_owned(),
            token,
            initiated,
            store: 0,
        });
    }
    Ok(found)
}
