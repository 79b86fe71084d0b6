//! Manifest segments: the immutable description of one group's chunks. The group's row in the
//! state holds only a pointer to it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::object::Pin;
use crate::parts;

/// Version of the segment format that this build writes.
pub const SEGMENT_VERSION: u32 = 1;

/// Most chunks in one group.
pub const MAX_GROUP_CHUNKS: usize = 64;

/// One object to be copied, as the listing found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectTask {
    /// Key at the source.
    pub source_key: String,
    /// Key at the destination.
    pub destination_key: String,
    /// Size in bytes.
    pub size: u64,
    /// The version to copy.
    pub pin: Pin,
    /// Modification time at the source.
    pub mtime: jiff::Timestamp,
    /// Storage class at the source, where not the default.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub storage_class: Option<String>,
    /// Part size in bytes if the object is cut into parts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub part_size: Option<u64>,
    /// How often the object was begun anew, from 1.
    pub attempt: u32,
    /// Why it is copied, where it was compared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<std::borrow::Cow<'static, str>>,
}

impl ObjectTask {
    /// Number of parts; 1 for an object written in one piece.
    #[must_use]
    pub fn part_count(&self) -> u32 {
        self.part_size
            .map_or(1, |part| parts::part_count(self.size, part))
    }
}

/// One chunk: the unit of work. Indices point into [`Segment::objects`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chunk {
    /// One part of one large object.
    Range {
        /// The object.
        object: u32,
        /// Part number, from 1.
        part: u32,
    },
    /// Whole small objects.
    Bundle {
        /// The first object.
        first: u32,
        /// How many objects.
        count: u32,
    },
}

/// A group's manifest segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Format version.
    pub version: u32,
    /// The objects that the chunks refer to.
    pub objects: Vec<ObjectTask>,
    /// At most [`MAX_GROUP_CHUNKS`].
    pub chunks: Vec<Chunk>,
}

impl Segment {
    /// Bytes that a chunk moves.
    #[must_use]
    pub fn chunk_bytes(&self, chunk: &Chunk) -> u64 {
        match *chunk {
            Chunk::Range { object, part } => {
                let task = &self.objects[object as usize];
                task.part_size
                    .map_or(task.size, |size| parts::part_range(task.size, size, part).1)
            }
            Chunk::Bundle { first, count } => {
                self.bundle(first, count).iter().map(|task| task.size).sum()
            }
        }
    }

    /// The objects of a bundle.
    #[must_use]
    pub fn bundle(&self, first: u32, count: u32) -> &[ObjectTask] {
        &self.objects[first as usize..(first + count) as usize]
    }

    /// Some of its chunks, with their objects, as a segment of their own.
    #[must_use]
    pub fn only(&self, chunks: &[u32]) -> Self {
        let mut objects = Vec::new();
        let mut known = HashMap::new();
        let mut add = |object: u32| {
            *known.entry(object).or_insert_with(|| {
                objects.push(self.objects[object as usize].clone());
                objects.len() as u32 - 1
            })
        };
        let chunks = chunks
            .iter()
            .map(|chunk| match self.chunks[*chunk as usize] {
                Chunk::Range { object, part } => Chunk::Range {
                    object: add(object),
                    part,
                },
                // No two bundles share an object, so its objects stay next to each other.
                Chunk::Bundle { first, count } => Chunk::Bundle {
                    first: (first..first + count).map(&mut add).min().unwrap_or(0),
                    count,
                },
            });
        Self {
            version: self.version,
            chunks: chunks.collect(),
            objects,
        }
    }

    /// Checks a segment that was read back: version, and that every index is in bounds, so that
    /// the other methods cannot panic.
    pub fn validate(&self) -> Result<()> {
        if self.version != SEGMENT_VERSION {
            return Err(Error::invalid(format!(
                "manifest segment of version {}, this build reads {SEGMENT_VERSION}",
                self.version
            )));
        }
        let objects = self.objects.len() as u64;
        let fits = |chunk: &Chunk| match *chunk {
            Chunk::Range { object, part } => {
                self.objects.get(object as usize).is_some_and(|task| {
                    task.part_size != Some(0) && (1..=task.part_count()).contains(&part)
                })
            }
            Chunk::Bundle { first, count } => {
                count > 0 && u64::from(first) + u64::from(count) <= objects
            }
        };
        if self.chunks.len() <= MAX_GROUP_CHUNKS && self.chunks.iter().all(fits) {
            Ok(())
        } else {
            Err(Error::invalid("damaged manifest segment"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(key: &str, size: u64, part_size: Option<u64>) -> ObjectTask {
        ObjectTask {
            source_key: key.to_owned(),
            destination_key: key.to_owned(),
            size,
            pin: Pin::default(),
            mtime: jiff::Timestamp::UNIX_EPOCH,
            storage_class: None,
            part_size,
            attempt: 1,
            reason: None,
        }
    }

    #[test]
    fn some_chunks_are_a_segment_of_the_same_objects() {
        let small = ["a", "b", "c", "d"].map(|key| task(key, 1, None));
        let large = ["e", "f"].map(|key| task(key, 30, Some(10)));
        let range = |object, part| Chunk::Range { object, part };
        let bundle = |first, count| Chunk::Bundle { first, count };
        let segment = Segment {
            version: SEGMENT_VERSION,
            objects: small.into_iter().chain(large).collect(),
            chunks: vec![
                bundle(0, 2),
                range(4, 1),
                range(4, 3),
                bundle(2, 2),
                range(5, 2),
            ],
        };
        let some = segment.only(&[2, 3, 4]);
        some.validate().unwrap();
        let keys: Vec<_> = some.objects.iter().map(|task| &*task.source_key).collect();
        assert_eq!(keys, ["e", "c", "d", "f"]);
        assert_eq!(some.chunks, [range(0, 3), bundle(1, 2), range(3, 2)]);
        assert_eq!(segment.only(&[1, 2]).objects.len(), 1);
        assert!(segment.only(&[]).chunks.is_empty());
    }
}
