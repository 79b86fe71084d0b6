//! Folder markers: an object `dir/` is a directory with an extended attribute, so that it is told
//! from a directory that merely holds files.
//!
//! The attribute's value is the marker's modification time, since a directory's own moves with
//! every file made in it. Where the file system keeps no attributes the directory is made and the
//! marker is not listed again.

use std::os::fd::AsFd;

use jiff::Timestamp;
use rustix::fs::{self, OFlags, XattrFlags};
use rustix::io::Errno;

use super::disk::Disk;
use super::identity;

const ATTRIBUTE: &str = "user.skyhaul.marker";

/// A directory's state as a marker, from a descriptor that is open for reading.
pub(super) fn read(directory: impl AsFd) -> Option<Timestamp> {
    let mut value = [0_u8; 40];
    let len = fs::fgetxattr(&directory, ATTRIBUTE, &mut value).ok()?;
    let text = std::str::from_utf8(&value[..len]).unwrap_or_default();
    let own = || fs::fstat(&directory).map_or(0, |stat| identity::identity(&stat).mtime_ns);
    Some(identity::timestamp(text.parse().unwrap_or_else(|_| own())))
}

/// Flags a directory as a marker; best effort where attributes are not to be had.
pub(super) fn write(directory: impl AsFd, mtime: Option<Timestamp>) -> Result<(), Errno> {
    let value = mtime
        .map(|time| time.as_nanosecond().to_string())
        .unwrap_or_default();
    match fs::fsetxattr(directory, ATTRIBUTE, value.as_bytes(), XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        other => other,
    }
}

/// Removes the flag; whether there was one.
pub(super) fn clear(directory: impl AsFd) -> Result<bool, Errno> {
    match fs::fremovexattr(directory, ATTRIBUTE) {
        Ok(()) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The marker at a relative path (without closing slash), if there is one.
pub(super) fn find(disk: &Disk, path: &str) -> Result<Option<Timestamp>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    match disk.open(path, flags, fs::Mode::empty()) {
        Ok(directory) => Ok(read(directory)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
