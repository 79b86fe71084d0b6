//! Local trees: made from generated bodies, read back as digests.

use crate::data::{Body, sha256_of};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Of the content, lower-case hex.
        sha256: String,
        /// Modification time, nanoseconds since 1970.
        mtime_ns: u128,
    },
    /// A symbolic link and its target.
    Link(PathBuf),
    /// A directory with nothing in it.
    EmptyDirectory,
}

/// A directory of a test's own, removed with the value.
#[derive(Debug)]
pub struct Tree {
    directory: TempDir,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a temporary directory can be made"),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The path of `name`, which is relative and has `/` between its parts.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The tree, or a place in it, as an argument: `root/name`.
    #[must_use]
    pub fn uri(&self, name: &str) -> String {
        let root = self
            .root()
            .to_str()
            .expect("temporary directories have UTF-8 names");
        format!("{root}/{name}")
    }

    /// Writes or rewrites a file in place, with the directories above it.
    pub fn write(&self, name: &str, body: Body) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file has a parent")).expect("mkdir");
        let mut out = BufWriter::new(File::create(&path).expect("create"));
        body.write_to(&mut out)
            .and_then(|()| out.flush())
            .expect("write");
    }

    /// Makes an empty directory.
    pub fn directory(&self, name: &str) {
        fs::create_dir_all(self.path(name)).expect("mkdir");
    }

    /// Makes a symbolic link at `name` to `target`.
    pub fn link(&self, name: &str, target: impl AsRef<Path>) {
        std::os::unix::fs::symlink(target, self.path(name)).expect("symlink");
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("unlink");
    }

    /// Sets a file's modification time, nanoseconds since 1970.
    pub fn set_mtime(&self, name: &str, mtime_ns: u64) {
        let file = File::options()
            .write(true)
            .open(self.path(name))
            .expect("open");
        file.set_modified(UNIX_EPOCH + Duration::from_nanos(mtime_ns))
            .expect("set mtime");
    }

    /// Whether `name` exists, be it a dangling link.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    /// Everything in the tree by relative path with `/`; directories only where empty.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<String, Entry> {
        let mut found = BTreeMap::new();
        collect(self.root(), "", &mut found);
        found
    }

    /// Size and digest of every regular file: for comparing with a bucket.
    #[must_use]
    pub fn digests(&self) -> BTreeMap<String, (u64, String)> {
        let files = self
            .snapshot()
            .into_iter()
            .filter_map(|(name, entry)| match entry {
                Entry::File { size, sha256, .. } => Some((name, (size, sha256))),
                Entry::Link(_) | Entry::EmptyDirectory => None,
            });
        files.collect()
    }
}

fn collect(directory: &Path, above: &str, found: &mut BTreeMap<String, Entry>) {
    let mut empty = true;
    for entry in fs::read_dir(directory).expect("readdir") {
        empty = false;
        let entry = entry.expect("readdir");
        let name = entry
            .file_name()
            .into_string()
            .expect("test files have UTF-8 names");
        let name = if above.is_empty() {
            name
        } else {
            format!("{above}/{name}")
        };
        let kind = entry.file_type().expect("file type");
        if kind.is_dir() {
            collect(&entry.path(), &name, found);
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).expect("readlink");
            found.insert(name, Entry::Link(target));
        } else {
            // A tree that is being written to: renamed since its directory was read.
            found.extend(file(&entry.path()).map(|entry| (name, entry)));
        }
    }
    if empty && !above.is_empty() {
        found.insert(above.to_owned(), Entry::EmptyDirectory);
    }
}

/// A file as it is; `None` if it is gone.
fn file(path: &Path) -> Option<Entry> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        opened => opened.expect("open"),
    };
    let (sha256, size) = sha256_of(&mut file).expect("read");
    let modified = file
        .metadata()
        .and_then(|meta| meta.modified())
        .expect("mtime");
    Some(Entry::File {
        size,
        sha256,
        mtime_ns: nanoseconds(modified),
    })
}

fn nanoseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_reads_back_what_was_written() {
        let tree = Tree::new();
        tree.write("a/b.bin", Body::new(1, 3_000_000));
        tree.set_mtime("a/b.bin", 1_600_000_000_123_456_789);
        tree.write("empty", Body::new(1, 0));
        tree.directory("d/e");
        tree.link("l", "a/b.bin");
        let found = tree.snapshot();
        let sha256 = Body::new(1, 3_000_000).sha256();
        let mtime_ns = 1_600_000_000_123_456_789;
        assert_eq!(
            found["a/b.bin"],
            Entry::File {
                size: 3_000_000,
                sha256,
                mtime_ns
            }
        );
        assert_eq!(found["d/e"], Entry::EmptyDirectory);
        assert_eq!(found["l"], Entry::Link("a/b.bin".into()));
        assert_eq!(found.len(), 4);
        assert_eq!(tree.digests().len(), 2);
    }
}
