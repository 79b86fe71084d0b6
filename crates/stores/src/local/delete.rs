//! Deleting files, folder markers and the directories that a deletion emptied.

use std::collections::BTreeSet;

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use skyhaul_model::{ErrorKind, Result};

use super::disk::{Disk, Links};
use super::key::{KeyPath, ancestors};
use super::{identity, marker};
use crate::store::DeleteOutcome;

/// Deletes keys. Directories go with their last file, but never the root, and never one that is a
/// folder marker unless the marker itself is deleted.
pub(super) fn delete(disk: &Disk, keys: &[String]) -> Vec<DeleteOutcome> {
    let mut emptied = BTreeSet::new();
    let outcomes = keys
        .iter()
        .map(|key| {
            let result = delete_one(disk, key).map(|above| {
                emptied.extend(above);
            });
            DeleteOutcome {
                key: key.clone(),
                result,
            }
        })
        .collect();
    // Deepest first: what is below a directory sorts after it.
    for directory in emptied.iter().rev() {
        prune(disk, directory);
    }
    outcomes
}

/// Deletes one key; the directory that may be empty now, if something was deleted.
fn delete_one(disk: &Disk, key: &str) -> Result<Option<String>> {
    let path = disk.parse(key)?;
    if path.is_marker {
        return delete_marker(disk, key, &path);
    }
    let directory = match disk.open_directory(path.directory) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(disk.fault(key, "open its directory", errno)),
    };
    let kind = match fs::statat(&directory, path.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => identity::file_type(&stat),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(disk.fault(key, "look at the file", errno)),
    };
    if kind.is_dir() {
        return Ok(None);
    }
    let listed = kind.is_file() || (kind.is_symlink() && disk.links != Links::Refuse);
    if !listed {
        let message = "neither a file nor a directory: it is left as it is";
        return Err(disk.error(ErrorKind::Refused, key, message));
    }
    match fs::unlinkat(&directory, path.name, AtFlags::empty()) {
        Ok(()) => Ok(Some(path.directory.to_owned())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(disk.fault(key, "delete the file", errno)),
    }
}

/// Takes the flag off a directory; what is then empty is pruned.
fn delete_marker(disk: &Disk, key: &str, path: &KeyPath<'_>) -> Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    match disk
        .open(&path.path(), flags, Mode::empty())
        .and_then(marker::clear)
    {
        Ok(cleared) => Ok(cleared.then(|| path.path())),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(disk.fault(key, "delete the folder marker", errno)),
    }
}

/// Removes a directory and those above it while they are empty and no markers. What cannot be
/// removed stays: an empty directory is no object, so nothing is lost or left over by it.
fn prune(disk: &Disk, directory: &str) {
    for path in ancestors(directory).filter(|path| !path.is_empty()) {
        match marker::find(disk, path) {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return,
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let removed = disk
            .open_directory(above)
            .and_then(|above| fs::unlinkat(above, name, AtFlags::REMOVEDIR));
        match removed {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                if !matches!(errno, Errno::NOTEMPTY | Errno::EXIST) {
                    tracing::debug!(path, %errno, "an empty directory stays");
                }
                return;
            }
        }
    }
}
