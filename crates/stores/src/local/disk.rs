//! Paths under the root, opened so that no symbolic link leads elsewhere: every access goes
//! through here.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use skyhaul_model::spec::Durability;
use skyhaul_model::{Error, ErrorKind, Result, Side, TransferId};

use super::fault::{fault, io_fault};
use super::key::{KeyPath, ancestors};
use super::parts::OpenFiles;
use super::workers::Workers;

/// For new directories and files, less the process's mask.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o777);
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
/// How often a write is begun again when its directory is pruned under it.
pub(super) const PRUNED_RETRIES: u32 = 8;

/// From this many files or directories on one `syncfs` is cheaper than flushing each, which costs
/// a flush of the device every time.
pub(super) const SYNCFS_FROM: usize = 16;

/// What becomes of symbolic links on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// An error.
    Refuse,
    /// Followed if they stay under the root: nothing that is written or deleted leaves it.
    Within,
    /// Followed wherever they lead: for sources only.
    Anywhere,
}

/// One directory tree.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) root: PathBuf,
    pub(super) side: Side,
    pub(super) durability: Durability,
    pub(super) links: Links,
    /// Whose temporary files are made here.
    pub(super) transfer: TransferId,
    /// Temporary files into which parts are being written.
    pub(super) open_files: OpenFiles,
    /// Who makes the short calls.
    pub(super) workers: Arc<Workers>,
    root_fd: OnceLock<OwnedFd>,
    /// The directory that files were last made in: the next one is mostly made there, too.
    recent: Mutex<Option<(String, Arc<OwnedFd>)>>,
}

impl Disk {
    pub(super) fn new(
        root: PathBuf,
        side: Side,
        durability: Durability,
        links: Links,
        transfer: TransferId,
    ) -> Self {
        Self {
            root,
            side,
            durability,
            links,
            transfer,
            open_files: OpenFiles::default(),
            workers: Arc::default(),
            root_fd: OnceLock::new(),
            recent: Mutex::new(None),
        }
    }

    /// A key as the user would write it.
    pub(super) fn uri(&self, key: &str) -> String {
        let root = self.root.to_string_lossy();
        let slash = if root.ends_with('/') { "" } else { "/" };
        format!("{root}{slash}{key}")
    }

    /// The error for a system call that failed while `doing` something with `key`.
    pub(super) fn fault(&self, key: &str, doing: &str, errno: Errno) -> Error {
        fault(self.side, self.uri(key), doing, errno)
    }

    /// The same for errors that come through the standard library.
    pub(super) fn io_fault(&self, key: &str, doing: &str, error: std::io::Error) -> Error {
        io_fault(self.side, self.uri(key), doing, error)
    }

    /// An error that no system call reported.
    pub(super) fn error(&self, kind: ErrorKind, key: &str, message: impl Into<String>) -> Error {
        Error::new(self.side, kind, message).object(self.uri(key))
    }

    /// Refuses a key that cannot be a path.
    pub(super) fn parse<'a>(&self, key: &'a str) -> Result<KeyPath<'a>> {
        KeyPath::parse(key, self.root.as_os_str().len())
            .map_err(|reason| self.error(ErrorKind::Refused, key, reason))
    }

    /// The root's descriptor: opened when it is first there, then kept.
    pub(super) fn root_fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        if let Some(fd) = self.root_fd.get() {
            return Ok(fd.as_fd());
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match fs::open(&self.root, flags | OFlags::RDONLY, Mode::empty()) {
            // A directory may be open to search and closed to listing.
            Err(Errno::ACCESS) => fs::open(&self.root, flags | OFlags::PATH, Mode::empty())?,
            other => other?,
        };
        Ok(self.root_fd.get_or_init(|| fd).as_fd())
    }

    /// Makes the root and what is missing above it.
    pub(super) fn ensure_root(&self) -> Result<()> {
        if self.root_fd.get().is_some() {
            return Ok(());
        }
        let missing: Vec<&Path> = self
            .root
            .ancestors()
            .take_while(|path| !path.exists())
            .collect();
        std::fs::create_dir_all(&self.root)
            .map_err(|error| self.io_fault("", "create the directory", error))?;
        if self.durability == Durability::Fsync {
            for parent in missing.iter().filter_map(|path| path.parent()) {
                std::fs::File::open(parent)
                    .and_then(|directory| directory.sync_all())
                    .map_err(|error| self.io_fault("", "flush the directory above", error))?;
            }
        }
        self.root_fd()
            .map(drop)
            .map_err(|errno| self.fault("", "open the directory", errno))
    }

    /// Opens a relative path under the link policy. The empty path is the root.
    pub(super) fn open(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let root = self.root_fd()?;
        let path = if path.is_empty() { "." } else { path };
        let flags = flags | OFlags::CLOEXEC;
        let resolve = match self.links {
            Links::Anywhere => return fs::openat(root, path, flags, mode),
            Links::Within => ResolveFlags::BENEATH,
            Links::Refuse => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        };
        loop {
            match fs::openat2(root, path, flags, mode, resolve) {
                // Linux before 5.6 and some sandboxes have no such call.
                Err(Errno::NOSYS) => return open_by_component(root, path, flags, mode),
                // The kernel lost a race with a rename and wants to be asked again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Opens a directory for access to what is in it, not for reading.
    pub(super) fn open_directory(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// The state of a path under the link policy; a closing link is not followed unless the
    /// policy follows links.
    pub(super) fn stat(&self, path: &str) -> Result<Stat, Errno> {
        let nofollow = match self.links {
            Links::Refuse => OFlags::NOFOLLOW,
            Links::Within | Links::Anywhere => OFlags::empty(),
        };
        fs::fstat(self.open(path, OFlags::PATH | nofollow, Mode::empty())?)
    }

    /// Opens a directory and makes it, and what is missing above it, if it is not there.
    pub(super) fn make_directory(&self, path: &str, key: &str) -> Result<OwnedFd> {
        self.ensure_root()?;
        for _ in 0..PRUNED_RETRIES {
            match self.open_directory(path) {
                Ok(fd) => return Ok(fd),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(self.in_the_way(path, key, errno)),
            }
            let mut missing: Vec<&str> = ancestors(path).collect();
            missing.pop();
            for directory in missing.into_iter().rev() {
                let (above, name) = directory.rsplit_once('/').unwrap_or(("", directory));
                let parent = match self.open_directory(above) {
                    Ok(fd) => fd,
                    // Pruned by a deletion since: begin again.
                    Err(Errno::NOENT) => break,
                    Err(errno) => return Err(self.in_the_way(above, key, errno)),
                };
                match fs::mkdirat(&parent, name, DIRECTORY_MODE) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(Errno::NOENT) => break,
                    Err(errno) => return Err(self.fault(key, "create its directory", errno)),
                }
            }
        }
        Err(self.error(
            ErrorKind::Service,
            key,
            "its directory is removed as often as it is made",
        ))
    }

    /// The directory, if files were made in it last. It may have been deleted or moved since.
    pub(super) fn recent(&self, path: &str) -> Option<Arc<OwnedFd>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, open) = recent.as_ref()?;
        (name == path).then(|| Arc::clone(open))
    }

    /// Remembers the directory that files are made in.
    pub(super) fn keep_recent(&self, path: &str, directory: &Arc<OwnedFd>) {
        let kept = (path.to_owned(), Arc::clone(directory));
        *self.recent.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    /// Remembers none: a file is not where it was made.
    pub(super) fn forget_recent(&self) {
        *self.recent.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Names the file or link that stands where a directory is needed.
    fn in_the_way(&self, path: &str, key: &str, errno: Errno) -> Error {
        if errno == Errno::NOTDIR {
            let file = ancestors(path).find(|above| {
                self.stat(above)
                    .is_ok_and(|stat| !super::identity::file_type(&stat).is_dir())
            });
            let file = file.unwrap_or(path);
            let message = format!("`{file}` is no directory, so nothing can be stored under it");
            return self.error(ErrorKind::Refused, key, message);
        }
        self.fault(key, "open its directory", errno)
    }

    /// Flushes directories and all above them up to the root, each once.
    pub(super) fn sync_directories<'a>(
        &self,
        directories: impl IntoIterator<Item = &'a str>,
    ) -> Result<()> {
        if self.durability == Durability::Off {
            return Ok(());
        }
        let mut all = BTreeSet::new();
        for directory in directories {
            for path in ancestors(directory) {
                if !all.insert(path) {
                    break;
                }
            }
        }
        if all.len() >= SYNCFS_FROM
            && let Ok(device) = self.root_fd().and_then(fs::fstat).map(|stat| stat.st_dev)
            && self.root_fd().and_then(fs::syncfs).is_ok()
        {
            // Mounts below the root are other file systems.
            all.retain(|path| self.stat(path).map(|stat| stat.st_dev) != Ok(device));
        }
        for path in all {
            self.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
                .and_then(fs::fsync)
                .or_else(|errno| match errno {
                    // Some network file systems flush no directories and need not.
                    Errno::INVAL => Ok(()),
                    errno => Err(self.fault(path, "flush the directory", errno)),
                })?;
        }
        Ok(())
    }
}

/// Opens a path component by component; links are refused whatever the policy.
fn open_by_component(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = None;
    for component in above.split('/').filter(|component| !component.is_empty()) {
        let here = directory.as_ref().map_or(root, OwnedFd::as_fd);
        directory = Some(fs::openat(here, component, step, Mode::empty())?);
    }
    let here = directory.as_ref().map_or(root, OwnedFd::as_fd);
    fs::openat(here, name, flags | OFlags::NOFOLLOW, mode)
}

/// Removes a name that may be gone already.
pub(super) fn remove_if_there(directory: impl AsFd, name: &str) -> Result<bool, Errno> {
    match fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
