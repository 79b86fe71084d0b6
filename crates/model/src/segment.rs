//! Manifest segments: the immutable description of one group's chunks. The group's row in the
//! state holds only a pointer to it.

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
