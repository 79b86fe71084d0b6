//! Removing what an interrupted transfer left behind: its own temporary files, nobody else's.

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use skyhaul_model::Result;

use super::disk::{Disk, remove_if_there};
use super::key::join;
use super::temp;

/// Removes this transfer's temporary files in the directories named; how many there were.
pub(super) fn folders(disk: &Disk, folders: &[String]) -> Result<u64> {
    let mut removed = 0;
    for folder in folders {
        let path = folder.strip_suffix('/').unwrap_or(folder);
        if path.is_empty() || disk.parse(folder).is_ok() {
            removed += directory(disk, path, &mut Vec::new())?;
        }
    }
    Ok(removed)
}

/// Removes this transfer's temporary files in the whole tree; how many there were.
pub(super) fn tree(disk: &Disk) -> Result<u64> {
    let mut removed = 0;
    let mut waiting = vec![String::new()];
    while let Some(path) = waiting.pop() {
        removed += directory(disk, &path, &mut waiting)?;
    }
    Ok(removed)
}

/// Sweeps one directory; the directories in it are added to `below`.
fn directory(disk: &Disk, path: &str, below: &mut Vec<String>) -> Result<u64> {
    let failed = |errno| disk.fault(path, "list the directory", errno);
    let open = match disk.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
        Ok(open) => open,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(0),
        Err(errno) => return Err(failed(errno)),
    };
    let mut removed = 0;
    for entry in Dir::read_from(&open).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Ok(text) = name.to_str() else {
            continue;
        };
        if temp::belongs_to(name.to_bytes(), &disk.transfer) {
            removed += u64::from(remove_if_there(&open, text).map_err(failed)?);
        } else if matches!(entry.file_type(), FileType::Directory | FileType::Unknown)
            && !matches!(text, "." | "..")
        {
            below.push(join(path, text));
        }
    }
    Ok(removed)
}
