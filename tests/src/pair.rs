//! The four pairs of stores, seen as one: a test says what is at the source and what must be at
//! the destination, and runs for disk and S3 on either side.

use crate::cli::{Cli, Finished, Running};
use crate::data::Body;
use crate::fault::FaultProxy;
use crate::oracle::{Bucket, ObjectSpec};
use crate::servers::{Endpoint, servers};
use crate::tree::{Entry, Tree};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Keys with size and SHA-256 of their bytes.
pub type Contents = BTreeMap<String, (u64, String)>;

/// A bucket or a directory of a test's own.
#[derive(Debug)]
pub enum Place {
    /// A directory.
    Disk(Tree),
    /// A bucket.
    S3(Bucket),
}

impl Place {
    /// An argument that names a place in it: a key, a prefix, or all of it.
    #[must_use]
    pub fn uri(&self, rest: &str) -> String {
        match self {
            Self::Disk(tree) => tree.uri(rest),
            Self::S3(bucket) => bucket.uri(rest),
        }
    }

    /// Writes or overwrites objects.
    pub fn write(&self, objects: &[(&str, Body)]) {
        match self {
            Self::Disk(tree) => objects
                .iter()
                .for_each(|&(key, body)| tree.write(key, body)),
            Self::S3(bucket) => {
                let specs: Vec<_> = objects
                    .iter()
                    .map(|&(key, body)| ObjectSpec::new(key, body.seed, body.size))
                    .collect();
                bucket.put(&specs);
            }
        }
    }

    /// Overwrites an object so that it is newer than everything written before this call.
    pub fn write_newer(&self, key: &str, body: Body) {
        match self {
            Self::Disk(tree) => {
                tree.write(key, body);
                let later = SystemTime::now() + Duration::from_secs(10);
                let nanos = later
                    .duration_since(UNIX_EPOCH)
                    .expect("after 1970")
                    .as_nanos();
                tree.set_mtime(key, u64::try_from(nanos).expect("before 2554"));
            }
            Self::S3(bucket) => {
                // S3 tells whole seconds: write until the next one has begun.
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .expect("after 1970");
                let next = i64::try_from(now.as_secs() + 1).expect("seconds fit") * 1000;
                crate::eventually("a newer object", Duration::from_secs(10), || {
                    bucket.put(&[ObjectSpec::new(key, body.seed, body.size)]);
                    let written = bucket.get(key).expect("just written");
                    (written.last_modified_ms >= next).then_some(())
                });
            }
        }
    }

    /// Removes an object.
    pub fn remove(&self, key: &str) {
        match self {
            Self::Disk(tree) => tree.remove(key),
            Self::S3(bucket) => bucket.delete(&[key]),
        }
    }

    /// What is in it. Folder markers, and empty directories on disk, are keys that end in a slash.
    #[must_use]
    pub fn contents(&self) -> Contents {
        match self {
            Self::Disk(tree) => tree
                .snapshot()
                .into_iter()
                .filter_map(|(name, entry)| match entry {
                    Entry::File { size, sha256, .. } => Some((name, (size, sha256))),
                    Entry::EmptyDirectory => {
                        Some((format!("{name}/"), (0, Body::new(0, 0).sha256())))
                    }
                    Entry::Link(_) => None,
                })
                .collect(),
            Self::S3(bucket) => bucket.digests(""),
        }
    }

    /// What is in it under a prefix, without the prefix.
    #[must_use]
    pub fn contents_under(&self, prefix: &str) -> Contents {
        let all = match self {
            Self::Disk(_) => self.contents(),
            Self::S3(bucket) => bucket.digests(prefix),
        };
        all.into_iter()
            .filter_map(|(key, found)| Some((key.strip_prefix(prefix)?.to_owned(), found)))
            .collect()
    }

    /// The keys in it.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.contents().into_keys().collect()
    }

    /// The tree, on disk.
    ///
    /// Panics for a bucket.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        match self {
            Self::Disk(tree) => tree,
            Self::S3(bucket) => panic!("{} is a bucket", bucket.name),
        }
    }

    /// The bucket, on S3.
    ///
    /// Panics for a tree.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        match self {
            Self::Disk(tree) => panic!("{} is a tree", tree.root().display()),
            Self::S3(bucket) => bucket,
        }
    }
}

/// What [`Place::contents`] gives for these objects.
#[must_use]
pub fn contents(objects: &[(&str, Body)]) -> Contents {
    objects
        .iter()
        .map(|(key, body)| ((*key).to_owned(), (body.size, body.sha256())))
        .collect()
}

/// Which two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // they say it
pub enum Kind {
    DiskToDisk,
    DiskToS3,
    S3ToDisk,
    S3ToS3,
}

impl Kind {
    /// All four.
    pub const ALL: [Self; 4] = [
        Self::DiskToDisk,
        Self::DiskToS3,
        Self::S3ToDisk,
        Self::S3ToS3,
    ];
}

/// A source, a destination, and a user who moves things from one to the other.
#[derive(Debug)]
pub struct Pair {
    /// Which.
    pub kind: Kind,
    /// The user.
    pub cli: Cli,
    /// What is read.
    pub source: Place,
    /// What is written.
    pub destination: Place,
    /// Where the command finds the two, if not where the test does: behind a proxy.
    via: [Option<Endpoint>; 2],
}

impl Pair {
    /// A pair of empty stores; two S3 stores are on different servers.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let disk = || Place::Disk(Tree::new());
        let source = match kind {
            Kind::DiskToDisk | Kind::DiskToS3 => disk(),
            Kind::S3ToDisk | Kind::S3ToS3 => Place::S3(Bucket::create(&servers().src, "from")),
        };
        let destination = match kind {
            Kind::DiskToDisk | Kind::S3ToDisk => disk(),
            Kind::DiskToS3 | Kind::S3ToS3 => Place::S3(Bucket::create(&servers().dst, "to")),
        };
        Self::of(kind, source, destination)
    }

    /// Two empty buckets of one server, which can copy between them by itself.
    #[must_use]
    pub fn in_one_service() -> Self {
        let bucket = |hint| Place::S3(Bucket::create(&servers().src, hint));
        Self::of(Kind::S3ToS3, bucket("from"), bucket("to"))
    }

    /// A pair of given stores.
    #[must_use]
    pub fn of(kind: Kind, source: Place, destination: Place) -> Self {
        Self {
            kind,
            cli: Cli::new(),
            source,
            destination,
            via: [None, None],
        }
    }

    /// Has the command reach the two through proxies; the test itself goes straight to them.
    #[must_use]
    pub fn through(
        mut self,
        source: Option<&FaultProxy>,
        destination: Option<&FaultProxy>,
    ) -> Self {
        self.via = [source, destination].map(|proxy| proxy.map(|proxy| proxy.endpoint().clone()));
        self
    }

    /// Runs a test for all four pairs, saying which.
    #[allow(clippy::print_stderr)] // a failed run must show the pair
    pub fn each(test: impl Fn(&Self)) {
        for kind in Kind::ALL {
            eprintln!("pair: {kind:?}");
            test(&Self::new(kind));
        }
    }

    /// The flags that say how the two are reached.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        if let Place::S3(bucket) = &self.source {
            flags.extend(
                self.cli
                    .src(self.via[0].as_ref().unwrap_or(&bucket.endpoint)),
            );
        }
        if let Place::S3(bucket) = &self.destination {
            flags.extend(
                self.cli
                    .dst(self.via[1].as_ref().unwrap_or(&bucket.endpoint)),
            );
        }
        flags
    }

    /// Runs `command SOURCE/from DESTINATION/to` with further arguments.
    #[must_use]
    pub fn run(&self, command: &str, from: &str, to: &str, further: &[&str]) -> Finished {
        self.start(command, from, to, further).wait()
    }

    /// Starts `command SOURCE/from DESTINATION/to` with further arguments and leaves it running.
    #[must_use]
    pub fn start(&self, command: &str, from: &str, to: &str, further: &[&str]) -> Running {
        let mut arguments = vec![
            command.to_owned(),
            self.source.uri(from),
            self.destination.uri(to),
        ];
        arguments.extend(self.flags());
        arguments.extend(further.iter().map(ToString::to_string));
        self.cli.start(&arguments)
    }

    /// As [`Pair::run`], with a per-object report.
    #[must_use]
    pub fn report(&self, command: &str, from: &str, to: &str, further: &[&str]) -> Report {
        let path: PathBuf = self.cli.home().join(crate::unique_name("report"));
        let argument = path
            .to_str()
            .expect("temporary directories have UTF-8 names");
        let finished = self.run(
            command,
            from,
            to,
            &[further, &["--report", argument]].concat(),
        );
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let parse = |line| serde_json::from_str(line).expect("a report line is JSON");
        Report {
            finished,
            lines: text.lines().map(parse).collect(),
        }
    }

    /// Runs a sync of everything that must end with 0.
    #[track_caller]
    #[must_use]
    pub fn sync(&self, further: &[&str]) -> Report {
        let report = self.report("sync", "", "", further);
        report.finished.assert_code(0);
        report
    }

    /// Asserts that the destination holds what the source does.
    #[track_caller]
    pub fn assert_equal(&self) {
        assert_eq!(self.destination.contents(), self.source.contents());
    }
}

/// A command that has ended, and what it reports of each object.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub finished: Finished,
    /// The report's lines.
    pub lines: Vec<Value>,
}

impl Report {
    /// The destination keys of the lines of one action, sorted.
    #[must_use]
    pub fn keys(&self, action: &str) -> Vec<&str> {
        let mut keys: Vec<_> = self
            .lines
            .iter()
            .filter(|line| line["action"] == action)
            .map(|line| {
                line["destination_key"]
                    .as_str()
                    .expect("a line names its key")
            })
            .collect();
        keys.sort_unstable();
        keys
    }

    /// Keys copied, sorted.
    #[must_use]
    pub fn copied(&self) -> Vec<&str> {
        self.keys("copied")
    }

    /// Keys deleted, sorted.
    #[must_use]
    pub fn deleted(&self) -> Vec<&str> {
        self.keys("deleted")
    }

    /// Keys failed, sorted.
    #[must_use]
    pub fn failed(&self) -> Vec<&str> {
        self.keys("failed")
    }

    /// The line of one key.
    #[must_use]
    #[track_caller]
    pub fn line(&self, key: &str) -> &Value {
        self.lines
            .iter()
            .find(|line| line["destination_key"] == key)
            .unwrap_or_else(|| panic!("no line for {key}: {:#?}\n{}", self.lines, self.finished))
    }
}
