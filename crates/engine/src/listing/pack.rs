//! Cutting objects into chunks and chunks into groups.

use skyhaul_model::segment::{Chunk, MAX_GROUP_CHUNKS, ObjectTask, SEGMENT_VERSION, Segment};

/// A bundle holds at most this many bytes: what a crash makes to be sent again is a few bundles.
const BUNDLE_BYTES: u64 = 8 << 20;

/// A bundle holds at most this many objects.
const BUNDLE_OBJECTS: u32 = 256;

/// Objects, in listing order, packed into manifest segments.
#[derive(Debug)]
pub struct Packer {
    full: Vec<Segment>,
    open: Segment,
    bundle: Vec<ObjectTask>,
    bundle_bytes: u64,
    /// Chunks in a group.
    group_chunks: usize,
    objects: u64,
    bytes: u64,
}

/// What was packed.
#[derive(Debug, Default)]
pub struct Packed {
    /// One segment a group.
    pub segments: Vec<Segment>,
    /// Objects in them.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

fn empty() -> Segment {
    Segment {
        version: SEGMENT_VERSION,
        objects: Vec::new(),
        chunks: Vec::new(),
    }
}

impl Packer {
    /// A packer of groups of at most `group_chunks` chunks.
    #[must_use]
    pub fn new(group_chunks: usize) -> Self {
        Self {
            full: Vec::new(),
            open: empty(),
            bundle: Vec::new(),
            bundle_bytes: 0,
            group_chunks: group_chunks.clamp(1, MAX_GROUP_CHUNKS),
            objects: 0,
            bytes: 0,
        }
    }

    /// Objects packed since the last [`Packer::take`].
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// Groups that are full.
    #[must_use]
    pub fn full_groups(&self) -> usize {
        self.full.len()
    }

    /// Adds an object.
    pub fn push(&mut self, task: ObjectTask) {
        self.objects += 1;
        self.bytes += task.size;
        if task.part_size.is_none() {
            let overflows = self.bundle_bytes + task.size > BUNDLE_BYTES;
            if overflows && !self.bundle.is_empty() {
                self.close_bundle();
            }
            self.bundle_bytes += task.size;
            self.bundle.push(task);
            if self.bundle_bytes >= BUNDLE_BYTES || self.bundle.len() >= BUNDLE_OBJECTS as usize {
                self.close_bundle();
            }
            return;
        }
        for part in 1..=task.part_count() {
            if self.open.chunks.len() >= self.group_chunks {
                self.close_group();
            }
            // Each group describes the objects of its own chunks.
            if self.open.objects.last() != Some(&task) {
                self.open.objects.push(task.clone());
            }
            let object = self.open.objects.len() as u32 - 1;
            self.open.chunks.push(Chunk::Range { object, part });
        }
    }

    fn close_bundle(&mut self) {
        if self.bundle.is_empty() {
            return;
        }
        if self.open.chunks.len() >= self.group_chunks {
            self.close_group();
        }
        let first = self.open.objects.len() as u32;
        let count = self.bundle.len() as u32;
        self.open.objects.append(&mut self.bundle);
        self.open.chunks.push(Chunk::Bundle { first, count });
        self.bundle_bytes = 0;
    }

    fn close_group(&mut self) {
        if !self.open.chunks.is_empty() {
            self.full.push(std::mem::replace(&mut self.open, empty()));
        }
    }

    /// Takes everything packed so far, open bundles and groups included; the next groups have at
    /// most `group_chunks` chunks.
    pub fn take(&mut self, group_chunks: usize) -> Packed {
        self.close_bundle();
        self.close_group();
        self.group_chunks = group_chunks.clamp(1, MAX_GROUP_CHUNKS);
        Packed {
            segments: std::mem::take(&mut self.full),
            objects: std::mem::take(&mut self.objects),
            bytes: std::mem::take(&mut self.bytes),
        }
    }
}

/// Packs a few objects, for follow-up groups.
#[must_use]
pub fn pack(tasks: Vec<ObjectTask>) -> Vec<Segment> {
    let mut packer = Packer::new(MAX_GROUP_CHUNKS);
    for task in tasks {
        packer.push(task);
    }
    packer.take(MAX_GROUP_CHUNKS).segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skyhaul_model::Pin;

    fn task(key: usize, size: u64, part_size: Option<u64>) -> ObjectTask {
        ObjectTask {
            source_key: format!("k{key}"),
            destination_key: format!("k{key}"),
            size,
            pin: Pin::default(),
            mtime: jiff::Timestamp::UNIX_EPOCH,
            storage_class: None,
            part_size: part_size.filter(|part| *part < size),
            attempt: 1,
            reason: None,
        }
    }

    proptest! {
        #[test]
        fn every_part_and_object_is_packed_once(
            sizes in prop::collection::vec((0_u64..40 << 20, any::<bool>()), 0..300),
            group_chunks in 1_usize..64,
        ) {
            let mut packer = Packer::new(group_chunks);
            let mut expected = Vec::new();
            for (index, (size, cut)) in sizes.into_iter().enumerate() {
                let task = task(index, size, cut.then_some(5 << 20));
                for part in 1..=task.part_count() {
                    expected.push((task.source_key.clone(), part));
                }
                packer.push(task);
            }
            let mut found = Vec::new();
            for segment in packer.take(1).segments {
                segment.validate().unwrap();
                prop_assert!(segment.chunks.len() <= group_chunks && !segment.chunks.is_empty());
                for chunk in &segment.chunks {
                    match *chunk {
                        Chunk::Range { object, part } => {
                            found.push((segment.objects[object as usize].source_key.clone(), part));
                        }
                        Chunk::Bundle { first, count } => {
                            let bundle = segment.bundle(first, count);
                            let bytes: u64 = bundle.iter().map(|task| task.size).sum();
                            prop_assert!(count <= BUNDLE_OBJECTS);
                            prop_assert!(bytes <= BUNDLE_BYTES || count == 1);
                            found.extend(bundle.iter().map(|task| (task.source_key.clone(), 1)));
                        }
                    }
                }
            }
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
