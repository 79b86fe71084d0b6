//! The names of one directory in key order, in bounded memory: more names than the limit go to
//! sorted runs in an unnamed temporary file, which are merged on the way out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Bytes that all runs' read buffers take together.
const MERGE_MEMORY: usize = 4 << 20;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A directory, or a followed link to one. Its name is held with a closing slash, which is
    /// what its keys sort by.
    Directory,
    /// A link that is followed to a file.
    Linked,
    /// A link that is not followed.
    Link,
    /// A link that leads nowhere, in a circle, or out of the root.
    Broken,
    /// A socket, pipe or device.
    Special,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::File,
        Self::Directory,
        Self::Linked,
        Self::Link,
        Self::Broken,
        Self::Special,
    ];

    fn code(self) -> u8 {
        self as u8
    }

    fn from_code(code: u8) -> io::Result<Self> {
        let kind = Self::ALL.get(usize::from(code)).copied();
        kind.ok_or_else(|| io::Error::other("a listing's temporary file is damaged"))
    }
}

/// Names in one allocation, with an index that is sorted in their stead.
#[derive(Debug, Default)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    index: Vec<(u32, u16, Kind)>,
}

impl Arena {
    fn name(&self, (start, len, _): (u32, u16, Kind)) -> &[u8] {
        &self.bytes[start as usize..][..usize::from(len)]
    }

    fn sort(&mut self) {
        let mut index = std::mem::take(&mut self.index);
        index.sort_unstable_by(|a, b| self.name(*a).cmp(self.name(*b)));
        self.index = index;
    }
}

/// Collects a directory's names.
#[derive(Debug)]
pub(super) struct Collector {
    arena: Arena,
    /// Most names held in memory.
    limit: usize,
    spill: Option<BufWriter<File>>,
    /// End offsets of the runs written.
    runs: Vec<u64>,
    written: u64,
}

impl Collector {
    pub(super) fn new(limit: usize) -> Self {
        let (arena, runs) = (Arena::default(), Vec::new());
        Self {
            arena,
            limit: limit.max(2),
            spill: None,
            runs,
            written: 0,
        }
    }

    /// Adds a name, without slash.
    pub(super) fn push(&mut self, name: &[u8], kind: Kind) -> io::Result<()> {
        if self.arena.index.len() >= self.limit {
            self.write_run()?;
        }
        let start = self.arena.bytes.len();
        self.arena.bytes.extend_from_slice(name);
        if kind == Kind::Directory {
            self.arena.bytes.push(b'/');
        }
        let len = self.arena.bytes.len() - start;
        // A name has at most 255 bytes and the limit keeps the arena far below 4 GiB.
        self.arena.index.push((start as u32, len as u16, kind));
        Ok(())
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.arena.sort();
        let out = match &mut self.spill {
            Some(out) => out,
            None => self.spill.insert(BufWriter::new(tempfile::tempfile()?)),
        };
        for entry in &self.arena.index {
            let name = self.arena.name(*entry);
            out.write_all(&[entry.2.code()])?;
            out.write_all(&entry.1.to_le_bytes())?;
            out.write_all(name)?;
            self.written += 3 + name.len() as u64;
        }
        self.runs.push(self.written);
        self.arena.bytes.clear();
        self.arena.index.clear();
        Ok(())
    }

    /// All names in order.
    pub(super) fn finish(mut self) -> io::Result<Names> {
        if self.spill.is_none() {
            self.arena.sort();
            return Ok(Names::Held {
                arena: self.arena,
                next: 0,
            });
        }
        if !self.arena.index.is_empty() {
            self.write_run()?;
        }
        let Some(out) = self.spill.take() else {
            return Err(io::Error::other("no run was written"));
        };
        let file = Arc::new(out.into_inner().map_err(io::IntoInnerError::into_error)?);
        let buffer = (MERGE_MEMORY / self.runs.len()).clamp(4 << 10, 256 << 10);
        let mut heads = BinaryHeap::with_capacity(self.runs.len());
        let mut at = 0;
        for end in self.runs {
            let mut run = Run {
                file: Arc::clone(&file),
                at,
                end,
                buffer: Vec::new(),
                size: buffer,
                used: 0,
            };
            if let Some((name, kind)) = run.next()? {
                heads.push(Reverse(Head { name, kind, run }));
            }
            at = end;
        }
        Ok(Names::Spilled(heads))
    }
}

/// A sorted run in the temporary file.
#[derive(Debug)]
pub(super) struct Run {
    file: Arc<File>,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// Size of the buffer in bytes.
    size: usize,
    /// How much of the buffer was taken.
    used: usize,
}

impl Run {
    /// Makes the next `len` bytes of the run available in the buffer, from `used` on.
    fn fill(&mut self, len: usize) -> io::Result<()> {
        let left = self.buffer.len() - self.used;
        if left >= len {
            return Ok(());
        }
        self.buffer.drain(..self.used);
        self.used = 0;
        let room = (self.size.max(len) - left).min((self.end - self.at) as usize);
        self.buffer.resize(left + room, 0);
        self.file.read_exact_at(&mut self.buffer[left..], self.at)?;
        self.at += room as u64;
        if self.buffer.len() >= len {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn next(&mut self) -> io::Result<Option<(Vec<u8>, Kind)>> {
        if self.used == self.buffer.len() && self.at == self.end {
            return Ok(None);
        }
        self.fill(3)?;
        let head = &self.buffer[self.used..][..3];
        let kind = Kind::from_code(head[0])?;
        let len = usize::from(u16::from_le_bytes([head[1], head[2]]));
        self.used += 3;
        self.fill(len)?;
        let name = self.buffer[self.used..][..len].to_vec();
        self.used += len;
        Ok(Some((name, kind)))
    }
}

/// The first name that is left of a run.
#[derive(Debug)]
pub(super) struct Head {
    name: Vec<u8>,
    kind: Kind,
    run: Run,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl Eq for Head {}
impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(&other.name)
    }
}

/// A directory's names in order.
#[derive(Debug)]
pub(super) enum Names {
    Held { arena: Arena, next: usize },
    Spilled(BinaryHeap<Reverse<Head>>),
}

impl Names {
    /// How many names are held in memory and yet to come.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Held { arena, .. } => arena.index.len(),
            Self::Spilled(_) => 0,
        }
    }

    /// Appends the next name to `key`.
    pub(super) fn next(&mut self, key: &mut Vec<u8>) -> io::Result<Option<Kind>> {
        match self {
            Self::Held { arena, next } => {
                let Some(entry) = arena.index.get(*next) else {
                    return Ok(None);
                };
                *next += 1;
                key.extend_from_slice(arena.name(*entry));
                Ok(Some(entry.2))
            }
            Self::Spilled(heads) => {
                let Some(mut first) = heads.peek_mut() else {
                    return Ok(None);
                };
                let Reverse(head) = &mut *first;
                key.extend_from_slice(&head.name);
                let kind = head.kind;
                match head.run.next()? {
                    Some((name, kind)) => (head.name, head.kind) = (name, kind),
                    None => drop(PeekMut::pop(first)),
                }
                Ok(Some(kind))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(names: &[String], limit: usize) -> Vec<(String, Kind)> {
        let mut collector = Collector::new(limit);
        for (at, name) in names.iter().enumerate() {
            collector.push(name.as_bytes(), Kind::ALL[at % 2]).unwrap();
        }
        let mut sorted = collector.finish().unwrap();
        let mut found = Vec::new();
        let mut name = Vec::new();
        while let Some(kind) = sorted.next(&mut name).unwrap() {
            found.push((String::from_utf8(std::mem::take(&mut name)).unwrap(), kind));
        }
        found
    }

    proptest! {
        #[test]
        fn spilled_names_come_out_as_held_ones(
            names in prop::collection::btree_set("[a-c.!é0]{1,40}", 0..200),
            limit in 2..40_usize,
        ) {
            let names: Vec<String> = names.into_iter().collect();
            let held = sorted(&names, usize::MAX);
            prop_assert!(held.is_sorted_by(|a, b| a.0 <= b.0));
            prop_assert_eq!(held.len(), names.len());
            prop_assert_eq!(sorted(&names, limit), held);
        }
    }

    #[test]
    fn a_damaged_run_is_an_error() {
        assert!(Kind::from_code(6).is_err());
        for kind in Kind::ALL {
            assert_eq!(Kind::from_code(kind.code()).unwrap(), kind);
        }
    }
}
