//! Writing whole files: bytes go to a temporary file beside the final name, which appears at
//! [`commit`](super::commit::commit).

use std::fs::File;
use std::io::{IoSlice, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use skyhaul_model::{ErrorKind, FileIdentity, Result};

use super::disk::{Disk, FILE_MODE, Links, PRUNED_RETRIES, remove_if_there};
use super::key::KeyPath;
use super::{identity, marker, temp};
use crate::payload::Payload;
use crate::store::{Condition, PutReceipt, PutRequest, Staged};

/// What waits for its commit. (Tagged from outside: serde buffers no 128-bit numbers.)
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Waiting {
    /// A file, whole, under its temporary name.
    File {
        key: String,
        temp: String,
        condition: Condition,
        /// Of the temporary file; all but the change time survive the rename.
        identity: FileIdentity,
    },
    /// A folder marker; nothing is made before the commit.
    Marker {
        key: String,
        condition: Condition,
        mtime: Option<jiff::Timestamp>,
    },
}

impl Waiting {
    fn receipt(&self) -> Result<PutReceipt> {
        let token = serde_json::to_string(self).map_err(|error| {
            skyhaul_model::Error::control(ErrorKind::Internal, "cannot write a token").cause(error)
        })?;
        Ok(PutReceipt {
            staged: Some(Staged(token)),
            ..PutReceipt::default()
        })
    }
}

/// Whether what stands at the final name may be replaced, and is what the condition says.
pub(super) fn check_target(
    disk: &Disk,
    directory: impl AsFd,
    name: &str,
    key: &str,
    condition: &Condition,
) -> Result<()> {
    let stat = match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => {
            return match condition {
                Condition::None | Condition::Absent => Ok(()),
                Condition::Is(_) => Err(precondition(disk, key, "the file is gone")),
            };
        }
        Err(errno) => return Err(disk.fault(key, "look at what is there", errno)),
    };
    let kind = identity::file_type(&stat);
    if kind.is_dir() {
        return Err(disk.error(
            ErrorKind::Refused,
            key,
            "a directory of this name is in the way",
        ));
    }
    if kind.is_symlink() && disk.links == Links::Refuse {
        return Err(disk
            .error(
                ErrorKind::Refused,
                key,
                "a symbolic link of this name is in the way",
            )
            .hint("--follow-symlinks replaces it"));
    }
    if !kind.is_file() && !kind.is_symlink() {
        return Err(disk.error(ErrorKind::Refused, key, "a special file is in the way"));
    }
    match condition {
        Condition::None => Ok(()),
        Condition::Absent => Err(precondition(disk, key, "the file is there already")),
        Condition::Is(pin) if pin.file == Some(identity::identity(&stat)) => Ok(()),
        Condition::Is(_) => Err(precondition(disk, key, "the file is another than expected")),
    }
}

pub(super) fn precondition(disk: &Disk, key: &str, message: &str) -> skyhaul_model::Error {
    disk.error(ErrorKind::PreconditionFailed, key, message)
}

/// Makes a new temporary file for `key`, and its directories.
pub(super) fn create(
    disk: &Disk,
    path: &KeyPath<'_>,
    key: &str,
    kind: temp::Kind,
) -> Result<(Arc<OwnedFd>, String, File)> {
    let name = temp::name(&disk.transfer, kind, key);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Some(directory) = disk.recent(path.directory)
        && let Ok(file) = fs::openat(&directory, &name, flags, FILE_MODE)
    {
        return Ok((directory, name, File::from(file)));
    }
    for _ in 0..PRUNED_RETRIES {
        let directory = Arc::new(disk.make_directory(path.directory, key)?);
        match fs::openat(&directory, &name, flags, FILE_MODE) {
            Ok(file) => {
                disk.keep_recent(path.directory, &directory);
                return Ok((directory, name, File::from(file)));
            }
            // The directory was pruned by a deletion since.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(disk.fault(key, "create a temporary file", errno)),
        }
    }
    Err(disk.error(
        ErrorKind::Service,
        key,
        "its directory is removed as often as it is made",
    ))
}

/// Writes all frames, many in one call.
fn write_frames(mut file: &File, payload: &Payload) -> std::io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = payload
        .frames()
        .iter()
        .map(|frame| IoSlice::new(frame))
        .collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a whole object under a temporary name. What stands at the final name is looked at when
/// the object gets it.
pub(super) fn put(disk: &Disk, key: &str, request: &PutRequest) -> Result<PutReceipt> {
    let path = disk.parse(key)?;
    if path.is_marker {
        return put_marker(disk, key, &path, request);
    }
    let (directory, temp, file) = create(disk, &path, key, temp::Kind::Staged)?;
    let written = write_frames(&file, &request.payload)
        .map_err(|error| disk.io_fault(key, "write", error))
        .and_then(|()| finish_temp(disk, key, &file, request.mtime));
    match written {
        Ok(identity) => {
            let condition = request.condition.clone();
            Waiting::File {
                key: key.to_owned(),
                temp,
                condition,
                identity,
            }
            .receipt()
        }
        Err(error) => {
            discard(disk, &directory, &temp, key);
            Err(error)
        }
    }
}

/// Sets the modification time and tells what was written.
pub(super) fn finish_temp(
    disk: &Disk,
    key: &str,
    file: &File,
    mtime: Option<jiff::Timestamp>,
) -> Result<FileIdentity> {
    if let Some(mtime) = mtime {
        fs::futimens(file, &identity::modified_at(mtime))
            .map_err(|errno| disk.fault(key, "set the modification time", errno))?;
    }
    fs::fstat(file)
        .map(|stat| identity::identity(&stat))
        .map_err(|errno| disk.fault(key, "look at the temporary file", errno))
}

/// Removes a temporary file on a path that already has an error to report.
pub(super) fn discard(disk: &Disk, directory: impl AsFd, temp: &str, key: &str) {
    if let Err(errno) = remove_if_there(directory, temp) {
        let uri = disk.uri(key);
        tracing::warn!(%uri, temp, %errno, "a temporary file is left behind");
    }
}

fn put_marker(
    disk: &Disk,
    key: &str,
    path: &KeyPath<'_>,
    request: &PutRequest,
) -> Result<PutReceipt> {
    if !request.payload.is_empty() {
        let message = "the name ends in a slash and the object has bytes: a directory holds none";
        return Err(disk.error(ErrorKind::Refused, key, message));
    }
    disk.ensure_root()?;
    check_marker(disk, key, path, &request.condition)?;
    let condition = request.condition.clone();
    Waiting::Marker {
        key: key.to_owned(),
        condition,
        mtime: request.mtime,
    }
    .receipt()
}

/// Whether the marker's presence is what the condition says. Markers have no versions.
pub(super) fn check_marker(
    disk: &Disk,
    key: &str,
    path: &KeyPath<'_>,
    condition: &Condition,
) -> Result<()> {
    if *condition == Condition::None {
        return Ok(());
    }
    let found = marker::find(disk, &path.path())
        .map_err(|errno| disk.fault(key, "look at what is there", errno))?;
    match (condition, found) {
        (Condition::Absent, Some(_)) => Err(precondition(disk, key, "the marker is there already")),
        (Condition::Is(_), None) => Err(precondition(disk, key, "the marker is gone")),
        _ => Ok(()),
    }
}
