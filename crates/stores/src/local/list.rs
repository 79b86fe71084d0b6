//! Listing: a walk of the tree in the order of the full keys' UTF-8 bytes. Directories outside
//! the bounds are not opened; memory holds the names of the directories on the way down, and of
//! those only so many (see [`names`](super::names)).

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use async_trait::async_trait;
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use skyhaul_model::{Error, ErrorKind, ObjectEntry, Pin, Result, Side};

use super::disk::{Disk, Links};
use super::names::{Collector, Kind, Names};
use super::{blocking, identity, marker, temp};
use crate::store::{ListPage, ListRequest, Lister};

/// Entries a page where the caller names no number.
const PAGE: usize = 1_000;
/// Names held in memory by one walk.
pub(super) const HELD_NAMES: usize = 100_000;

/// Which keys are listed. Directories are tested with their closing slash.
#[derive(Debug)]
struct Bounds {
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
    upto: Option<Vec<u8>>,
}

impl Bounds {
    fn has(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
            && self.after.as_deref().is_none_or(|after| key > after)
            && self.upto.as_deref().is_none_or(|upto| key <= upto)
    }

    /// Whether any key that starts with `directory` can be within the bounds.
    fn overlaps(&self, directory: &[u8]) -> bool {
        (directory.starts_with(&self.prefix) || self.prefix.starts_with(directory))
            && self
                .after
                .as_deref()
                .is_none_or(|after| directory > after || after.starts_with(directory))
            && self.upto.as_deref().is_none_or(|upto| directory <= upto)
    }
}

/// A directory on the way down.
#[derive(Debug)]
struct Level {
    /// Its key: empty for the root, else with a closing slash.
    key: String,
    names: Names,
    /// Open while its own files are listed, closed while the walk is below it.
    open: Option<OwnedFd>,
    /// Device and inode, to notice links that lead back up.
    place: (u64, u64),
}

/// A listing under way.
#[derive(Debug)]
struct Walk {
    disk: Arc<Disk>,
    bounds: Bounds,
    page_size: usize,
    /// Whether directories that are no markers are listed too.
    directories: bool,
    held_names: usize,
    levels: Vec<Level>,
    started: bool,
}

/// The lister that the store gives out.
#[derive(Debug)]
pub(super) struct LocalLister(Option<Walk>);

impl LocalLister {
    pub(super) fn new(disk: Arc<Disk>, request: ListRequest, held_names: usize) -> Self {
        let bounds = Bounds {
            prefix: request.prefix.into_bytes(),
            after: request.after.map(String::into_bytes),
            upto: request.upto.map(String::into_bytes),
        };
        let page_size = if request.page_size == 0 {
            PAGE
        } else {
            request.page_size
        };
        let directories = request.directories;
        let (levels, started) = (Vec::new(), false);
        Self(Some(Walk {
            disk,
            bounds,
            page_size,
            directories,
            held_names,
            levels,
            started,
        }))
    }
}

#[async_trait]
impl Lister for LocalLister {
    async fn next_page(&mut self) -> Result<Option<ListPage>> {
        let Some(mut walk) = self.0.take() else {
            return Ok(None);
        };
        let (walk, page) = blocking(move || {
            let page = walk.page()?;
            Ok((walk, page))
        })
        .await?;
        self.0 = page.is_some().then_some(walk);
        Ok(page)
    }
}

impl Walk {
    fn page(&mut self) -> Result<Option<ListPage>> {
        let mut page = ListPage::default();
        if !self.started {
            self.started = true;
            self.start(&mut page)?;
        }
        let mut name = Vec::new();
        while page.entries.len() + page.refused.len() < self.page_size {
            let Some(level) = self.levels.last_mut() else {
                break;
            };
            name.clear();
            let next = level.names.next(&mut name);
            let next = next.map_err(|error| {
                Error::control(
                    ErrorKind::Internal,
                    "cannot read a listing's temporary file",
                )
                .cause(error)
            })?;
            match next {
                None => drop(self.levels.pop()),
                Some(kind) => self.visit(&name, kind, &mut page)?,
            }
        }
        let last = self.levels.is_empty() && page.entries.is_empty() && page.refused.is_empty();
        Ok((!last).then_some(page))
    }

    /// Begins at the deepest directory that holds all of the prefix.
    fn start(&mut self, page: &mut ListPage) -> Result<()> {
        let prefix = String::from_utf8_lossy(&self.bounds.prefix).into_owned();
        let directory = prefix
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        let is_path = |directory| self.disk.parse(directory).is_ok_and(|path| !path.is_marker);
        if prefix.starts_with('/') || !(directory.is_empty() || is_path(directory)) {
            // No file can have such a key.
            return Ok(());
        }
        match self.disk.root_fd() {
            Ok(_) => {}
            // The destination's root is made by the first write.
            Err(Errno::NOENT) if self.disk.side == Side::Destination => return Ok(()),
            Err(errno) => return Err(self.disk.fault("", "open the directory", errno)),
        }
        let key = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        match self
            .disk
            .open(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
        {
            Ok(open) => self.enter(key, open, page),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(errno) => Err(self.disk.fault(&key, "list the directory", errno)),
        }
    }

    /// Lists one name of the deepest level, or goes down into it.
    fn visit(&mut self, name: &[u8], kind: Kind, page: &mut ListPage) -> Result<()> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(());
        };
        let disk = Arc::clone(&self.disk);
        let refuse = |key: &str, message: &str| disk.error(ErrorKind::Refused, key, message);
        let Ok(name) = std::str::from_utf8(name) else {
            let key = format!("{}{}", level.key, String::from_utf8_lossy(name));
            page.refused.push(refuse(&key, "the name is not UTF-8"));
            return Ok(());
        };
        let key = format!("{}{name}", level.key);
        match kind {
            Kind::File | Kind::Linked => {
                match look(&disk, level, name, &key, kind) {
                    Ok(stat) if identity::file_type(&stat).is_file() => {
                        page.entries.push(entry(key, &stat));
                    }
                    // Replaced by something else since its directory was read, or gone.
                    Ok(_) => page.refused.push(refuse(&key, "no longer a regular file")),
                    Err(Errno::NOENT | Errno::NOTDIR) => {}
                    Err(errno) => page
                        .refused
                        .push(self.disk.fault(&key, "look at it", errno)),
                }
            }
            Kind::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let path = key.trim_end_matches('/');
                match self.disk.open(path, flags, Mode::empty()) {
                    Ok(open) => return self.enter(key, open, page),
                    Err(Errno::NOENT) => {}
                    Err(errno) => {
                        page.refused
                            .push(self.disk.fault(&key, "list the directory", errno));
                    }
                }
            }
            Kind::Link => page.refused.push(
                // Skipped by rule, not for want of ability: no failure of the transfer.
                disk.error(ErrorKind::Unsupported, &key, "a symbolic link is skipped")
                    .hint("--follow-symlinks copies what it points to"),
            ),
            Kind::Broken => page.refused.push(refuse(
                &key,
                "the symbolic link leads nowhere, in a circle or out of the directory",
            )),
            Kind::Special => {
                page.refused.push(disk.error(
                    ErrorKind::Unsupported,
                    &key,
                    "neither a file nor a directory (socket, pipe, device)",
                ));
            }
        }
        Ok(())
    }

    /// Reads a directory's names and goes down into it. A directory that cannot be read is
    /// refused, with what could be read of it listed.
    fn enter(&mut self, key: String, open: OwnedFd, page: &mut ListPage) -> Result<()> {
        let place = match fs::fstat(&open) {
            Ok(stat) => (stat.st_dev, stat.st_ino),
            Err(errno) => {
                page.refused
                    .push(self.disk.fault(&key, "look at the directory", errno));
                return Ok(());
            }
        };
        if self.disk.links != Links::Refuse && self.levels.iter().any(|level| level.place == place)
        {
            let message = "the symbolic link leads back to a directory above it";
            page.refused
                .push(self.disk.error(ErrorKind::Refused, &key, message));
            return Ok(());
        }
        if self.bounds.has(key.as_bytes()) && !key.is_empty() {
            page.entries.extend(self.directory_entry(&key, &open));
        }
        let held: usize = self.levels.iter().map(|level| level.names.held()).sum();
        let limit = self
            .held_names
            .saturating_sub(held)
            .max(self.held_names / 16);
        let mut collector = Collector::new(limit);
        if let Err(errno) = self.collect(&key, &open, &mut collector)? {
            page.refused
                .push(self.disk.fault(&key, "list the directory", errno));
        }
        let names = collector.finish().map_err(spilling)?;
        if let Some(above) = self.levels.last_mut() {
            // Depth is bounded by memory, not by descriptors.
            above.open = None;
        }
        self.levels.push(Level {
            key,
            names,
            open: Some(open),
            place,
        });
        Ok(())
    }

    /// A directory as an entry: folder markers always, others only when asked for. A marker has
    /// no pin; a plain directory's is its identity.
    fn directory_entry(&self, key: &str, open: &OwnedFd) -> Option<ObjectEntry> {
        let entry = |mtime, pin| ObjectEntry {
            key: key.to_owned(),
            size: 0,
            mtime,
            pin,
            storage_class: None,
            archived: false,
        };
        if let Some(mtime) = marker::read(open) {
            return Some(entry(mtime, Pin::default()));
        }
        if !self.directories {
            return None;
        }
        let identity = identity::identity(&fs::fstat(open).ok()?);
        Some(entry(
            identity::timestamp(identity.mtime_ns),
            identity::pin(identity),
        ))
    }

    /// Collects the names that are within the bounds. The outer error is this machine's, the
    /// inner one the directory's.
    fn collect(
        &self,
        key: &str,
        open: &OwnedFd,
        collector: &mut Collector,
    ) -> Result<Result<(), Errno>> {
        let entries = match Dir::read_from(open) {
            Ok(entries) => entries,
            Err(errno) => return Ok(Err(errno)),
        };
        let mut full = key.as_bytes().to_vec();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => return Ok(Err(errno)),
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || temp::is_temporary(name) {
                continue;
            }
            full.truncate(key.len());
            full.extend_from_slice(name);
            let as_file = self.bounds.has(&full);
            full.push(b'/');
            let as_directory = self.bounds.overlaps(&full);
            if !as_file && !as_directory {
                continue;
            }
            let Some(kind) = self.kind(open, key, entry.file_name(), entry.file_type()) else {
                continue;
            };
            if if kind == Kind::Directory {
                as_directory
            } else {
                as_file
            } {
                collector.push(name, kind).map_err(spilling)?;
            }
        }
        Ok(Ok(()))
    }

    /// What a name stands for; `None` if it is gone.
    fn kind(&self, open: &OwnedFd, above: &str, name: &CStr, told: FileType) -> Option<Kind> {
        let kind = match told {
            // Not every file system tells it with the name.
            FileType::Unknown => match fs::statat(open, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => identity::file_type(&stat),
                Err(Errno::NOENT) => return None,
                // Still a name: what is wrong with it is found, and told, when it is visited.
                Err(_) => FileType::RegularFile,
            },
            told => told,
        };
        Some(match kind {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink if self.disk.links == Links::Refuse => Kind::Link,
            FileType::Symlink => {
                let path = name.to_str().ok().map(|name| format!("{above}{name}"));
                match path.map(|path| self.disk.stat(&path)) {
                    Some(Ok(stat)) if identity::file_type(&stat).is_dir() => Kind::Directory,
                    Some(Ok(stat)) if identity::file_type(&stat).is_file() => Kind::Linked,
                    Some(Ok(_)) => Kind::Special,
                    Some(Err(_)) | None => Kind::Broken,
                }
            }
            _ => Kind::Special,
        })
    }
}

/// The state of a file of the deepest level.
fn look(disk: &Disk, level: &mut Level, name: &str, key: &str, kind: Kind) -> Result<Stat, Errno> {
    if kind == Kind::Linked {
        return disk.stat(key);
    }
    let open = match level.open.take() {
        Some(open) => open,
        None => disk.open_directory(level.key.trim_end_matches('/'))?,
    };
    fs::statat(
        level.open.insert(open).as_fd(),
        name,
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

fn entry(key: String, stat: &Stat) -> ObjectEntry {
    let identity = identity::identity(stat);
    ObjectEntry {
        key,
        size: identity.size,
        mtime: identity::timestamp(identity.mtime_ns),
        pin: identity::pin(identity),
        storage_class: None,
        archived: false,
    }
}

fn spilling(error: std::io::Error) -> Error {
    Error::control(
        ErrorKind::Full,
        "cannot sort a large directory in a temporary file",
    )
    .cause(error)
    .hint("TMPDIR names the directory for temporary files")
}
