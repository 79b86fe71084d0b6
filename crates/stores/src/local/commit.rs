//! Making staged files durable and visible: bytes flushed, then renamed, then their directories
//! flushed. What is reported as committed survives a power failure (unless flushing is off).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use skyhaul_model::spec::Durability;
use skyhaul_model::{Error, ErrorKind, FileIdentity, Result};

use super::disk::{Disk, SYNCFS_FROM};
use super::staged::{Waiting, check_marker, check_target, discard, precondition};
use super::{identity, marker};
use crate::store::{Condition, PutReceipt, Staged};

/// Files flushed at once.
const FLUSHERS: usize = 8;

/// Moves a temporary file to its final name.
pub(super) fn publish(
    disk: &Disk,
    directory: impl AsFd,
    temp: &str,
    name: &str,
    key: &str,
    condition: &Condition,
) -> Result<()> {
    let rename = |flags| fs::renameat_with(&directory, temp, &directory, name, flags);
    // Mostly there is nothing yet, and need not be looked for.
    if *condition == Condition::None && rename(RenameFlags::NOREPLACE).is_ok() {
        return Ok(());
    }
    check_target(disk, &directory, name, key, condition)?;
    let renamed = match condition {
        Condition::Absent => match rename(RenameFlags::NOREPLACE) {
            // Not every file system can; a hard link cannot replace either.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::linkat(&directory, temp, &directory, name, AtFlags::empty())
                    .and_then(|()| fs::unlinkat(&directory, temp, AtFlags::empty()))
            }
            other => other,
        },
        Condition::None | Condition::Is(_) => fs::renameat(&directory, temp, &directory, name),
    };
    match renamed {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(precondition(disk, key, "the file is there already")),
        Err(errno) => Err(disk.fault(key, "rename the temporary file", errno)),
    }
}

/// Whether the file at its final name is the one that was staged: a commit whose end was lost.
pub(super) fn is_published(directory: impl AsFd, name: &str, staged: &FileIdentity) -> bool {
    fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        let found = identity::identity(&stat);
        FileIdentity {
            ctime_ns: staged.ctime_ns,
            ..found
        } == *staged
    })
}

/// Commits staged objects in order; one result for each.
pub(super) fn commit(disk: &Disk, staged: &[Staged]) -> Vec<Result<PutReceipt>> {
    let mut items: Vec<Result<Waiting>> = staged.iter().map(|token| parse(disk, token)).collect();
    if disk.durability == Durability::Fsync {
        flush(disk, &mut items);
    }
    let mut last: Option<(String, OwnedFd)> = None;
    let renamed: Vec<Result<String>> = items
        .into_iter()
        .map(|item| item.and_then(|item| appear(disk, &item, &mut last)))
        .collect();
    let directories = renamed.iter().flatten().map(String::as_str);
    let flushed = disk.sync_directories(directories);
    let outcome = |directory: String| match &flushed {
        Ok(()) => Ok(PutReceipt::default()),
        Err(error) => Err(disk.error(error.kind, &directory, error.to_string())),
    };
    renamed
        .into_iter()
        .map(|item| item.and_then(outcome))
        .collect()
}

fn parse(disk: &Disk, token: &Staged) -> Result<Waiting> {
    serde_json::from_str(&token.0).map_err(|error| {
        Error::new(disk.side, ErrorKind::Invalid, "not a token of this store").cause(error)
    })
}

/// Flushes the bytes of all staged files; those that fail are discarded.
fn flush(disk: &Disk, items: &mut [Result<Waiting>]) {
    let device = disk.root_fd().and_then(fs::fstat).map(|stat| stat.st_dev);
    let on_root = |item: &Result<Waiting>| matches!(item, Ok(Waiting::File { identity, .. }) if device == Ok(identity.device));
    // One call flushes one file system: files on mounts below the root are flushed one by one.
    let count = items.iter().filter(|item| on_root(item)).count();
    let at_once = count >= SYNCFS_FROM && disk.root_fd().and_then(fs::syncfs).is_ok();
    let mut single: Vec<&mut Result<Waiting>> = items
        .iter_mut()
        .filter(|item| !(at_once && on_root(item)))
        .collect();
    if single.is_empty() {
        return;
    }
    let share = single.len().div_ceil(FLUSHERS);
    std::thread::scope(|scope| {
        for slice in single.chunks_mut(share) {
            scope.spawn(move || {
                for item in slice {
                    if let Ok(waiting) = &**item
                        && let Err(error) = flush_one(disk, waiting)
                    {
                        **item = Err(error);
                    }
                }
            });
        }
    });
}

fn flush_one(disk: &Disk, item: &Waiting) -> Result<()> {
    let Waiting::File { key, temp, .. } = item else {
        return Ok(());
    };
    let path = disk.parse(key)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
    match disk.open(
        &super::key::join(path.directory, temp),
        flags,
        Mode::empty(),
    ) {
        Ok(file) => fs::fsync(file).map_err(|errno| {
            if let Ok(directory) = disk.open_directory(path.directory) {
                discard(disk, directory, temp, key);
            }
            disk.fault(key, "flush the file to disk", errno)
        }),
        // Committed before; `appear` finds out.
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(disk.fault(key, "open the temporary file", errno)),
    }
}

/// Gives a staged object its name. Returns the directory to be flushed.
fn appear(disk: &Disk, item: &Waiting, last: &mut Option<(String, OwnedFd)>) -> Result<String> {
    match item {
        Waiting::Marker {
            key,
            condition,
            mtime,
        } => {
            let path = disk.parse(key)?;
            check_marker(disk, key, &path, condition)?;
            let directory = path.path();
            disk.make_directory(&directory, key)?;
            disk.open(
                &directory,
                OFlags::RDONLY | OFlags::DIRECTORY,
                Mode::empty(),
            )
            .and_then(|open| marker::write(open, *mtime))
            .map_err(|errno| disk.fault(key, "mark the directory", errno))?;
            Ok(directory)
        }
        Waiting::File {
            key,
            temp,
            condition,
            identity,
        } => {
            let path = disk.parse(key)?;
            if !super::temp::is_temporary(temp.as_bytes()) {
                return Err(disk.error(ErrorKind::Invalid, key, "not a token of this store"));
            }
            // A bundle's files are mostly neighbours.
            let open = match last.take() {
                Some((name, open)) if name == path.directory => open,
                _ => match disk.open_directory(path.directory) {
                    Ok(open) => open,
                    Err(Errno::NOENT) => return Err(removed(disk, key)),
                    Err(errno) => return Err(disk.fault(key, "open its directory", errno)),
                },
            };
            let (_, open) = last.insert((path.directory.to_owned(), open));
            match fs::statat(&*open, temp, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if identity::size(&stat) == identity.size => {
                    publish(disk, &*open, temp, path.name, key, condition).inspect_err(|_| {
                        discard(disk, &*open, temp, key);
                    })?;
                }
                Ok(_) => {
                    discard(disk, &*open, temp, key);
                    let message = "the temporary file has lost bytes since it was written";
                    return Err(disk.error(ErrorKind::Corrupt, key, message));
                }
                Err(Errno::NOENT) if is_published(&*open, path.name, identity) => {}
                Err(Errno::NOENT) => return Err(removed(disk, key)),
                Err(errno) => return Err(disk.fault(key, "look at the temporary file", errno)),
            }
            Ok(path.directory.to_owned())
        }
    }
}

/// The error for a staged file that is no longer where it was made.
fn removed(disk: &Disk, key: &str) -> Error {
    disk.forget_recent();
    let message = "the temporary file was removed before it got its name";
    disk.error(ErrorKind::Service, key, message).retryable(true)
}
