//! Whether the root can be used as a side of a transfer, before anything is listed or written.

use std::path::Path;

use rustix::fs::{self, Access as Mode, AtFlags, CWD, Dir};
use rustix::io::Errno;
use skyhaul_model::{ErrorKind, Result};

use super::disk::Disk;
use crate::store::Access;

/// Checks the root for `access`.
pub(super) fn check(disk: &Disk, access: Access) -> Result<()> {
    match access {
        Access::Read => readable(disk),
        Access::Write => writable(disk),
    }
}

fn readable(disk: &Disk) -> Result<()> {
    let failed = |errno| match errno {
        Errno::NOENT => disk.error(ErrorKind::NotFound, "", "no such directory"),
        Errno::NOTDIR => disk.error(ErrorKind::Invalid, "", "a file, not a directory"),
        errno => disk.fault("", "list the directory", errno),
    };
    let root = disk.root_fd().map_err(failed)?;
    Dir::read_from(root)
        .map_err(failed)?
        .next()
        .transpose()
        .map_err(failed)
        .map(drop)
}

/// Writes nothing: asks the root, or what is there of the path to it.
fn writable(disk: &Disk) -> Result<()> {
    let there = disk
        .root
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok());
    let there = there.unwrap_or(Path::new("/"));
    let named = |error: skyhaul_model::Error| error.object(there.to_string_lossy());
    if !there.is_dir() {
        let error = skyhaul_model::Error::new(disk.side, ErrorKind::Invalid, "not a directory");
        return Err(named(error));
    }
    fs::accessat(CWD, there, Mode::WRITE_OK | Mode::EXEC_OK, AtFlags::EACCESS).map_err(|errno| {
        super::fault::fault(
            disk.side,
            there.to_string_lossy().into_owned(),
            "write to the directory",
            errno,
        )
    })
}
