//! The chunks of a transfer, one by one: what they are, who works on them, what came of them. A group
//! is in memory at a time.

use std::collections::{HashMap, HashSet};

use futures::TryStreamExt as _;
use serde::Serialize;
use skyhaul_model::group::{Bitmap, GroupStatus};
use skyhaul_model::outcome::{Action, PartReceipt, ReceiptRecord};
use skyhaul_model::segment::{Chunk, ObjectTask, Segment};
use skyhaul_model::{Checksum, Result, TransferId, parts};
use skyhaul_state::{GroupRow, SegmentStore, TransferState, UploadKey, pages};

use crate::embedded::Embedded;

/// Where a chunk is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkState {
    /// Nobody works on its group.
    Pending,
    /// A holder works on its group.
    Leased,
    /// It was recorded, and all its objects arrived (or were there).
    Done,
    /// It was recorded, and an object of it failed.
    Failed,
}

/// What was recorded of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Receipt {
    /// Of a part.
    Part {
        /// The store's tag of it.
        etag: Option<String>,
        /// Checksum of its bytes.
        checksum: Option<Checksum>,
    },
    /// Of whole objects: how many of them came to which end.
    Bundle {
        /// Copied.
        copied: u64,
        /// Left as they are.
        skipped: u64,
        /// Failed for good.
        failed: u64,
    },
}

/// One chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChunkInfo {
    /// Its group.
    pub group: String,
    /// Its number in the group, from 0.
    pub chunk: u32,
    /// Where it is in its life.
    pub state: ChunkState,
    /// Destination key of the object that it is a part of, or of its first object.
    pub key: String,
    /// Objects in it; of a part 1.
    pub objects: u32,
    /// Which part of the object it is, from 1; null: whole objects.
    pub part: Option<u32>,
    /// Where in the object it begins, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Who works on its group, or did last.
    pub holder: Option<String>,
    /// How often the group was leased.
    pub fence: Option<u64>,
    /// What was recorded of it.
    pub receipt: Option<Receipt>,
}

impl Embedded {
    /// Calls `show` with the chunks of a transfer (those in `wanted`, if that is given), in the
    /// order of their groups, until it says `false`.
    pub async fn chunks(
        &self,
        id: &TransferId,
        wanted: Option<ChunkState>,
        show: &mut (dyn FnMut(ChunkInfo) -> bool + Send),
    ) -> Result<()> {
        let (home, state) = self.home()?;
        state.transfer(id).await?;
        let segments = home.segments(id)?;
        // Chunks that are recorded are in groups of every status.
        let status = match wanted {
            Some(ChunkState::Pending) => Some(GroupStatus::Pending),
            Some(ChunkState::Leased) => Some(GroupStatus::Leased),
            _ => None,
        };
        let groups = pages::groups(&*state, id, status);
        futures::pin_mut!(groups);
        while let Some(row) = groups.try_next().await? {
            for chunk in of_group(&*state, &segments, id, &row).await? {
                let is_wanted = wanted.is_none_or(|wanted| wanted == chunk.state);
                if is_wanted && !show(chunk) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A part of an object's attempt.
type PartKey = (String, u32, u32);

/// What a group's receipts say.
#[derive(Default)]
struct Recorded {
    objects: HashMap<String, Action>,
    parts: HashMap<PartKey, PartReceipt>,
    /// Chunks that are in other groups now.
    moved: Bitmap,
}

impl Recorded {
    async fn read(segments: &dyn SegmentStore, row: &GroupRow) -> Result<Self> {
        let mut all = Self::default();
        for pointer in &row.receipts {
            for record in segments.read_receipts(pointer).await? {
                match record {
                    ReceiptRecord::Object(outcome) => {
                        all.objects.insert(outcome.destination_key, outcome.action);
                    }
                    ReceiptRecord::Part {
                        destination_key,
                        attempt,
                        receipt,
                        ..
                    } => {
                        let key = (destination_key, attempt, receipt.number);
                        all.parts.insert(key, receipt);
                    }
                    ReceiptRecord::Moved { chunks } => all.moved = all.moved.union(chunks),
                }
            }
        }
        Ok(all)
    }

    fn bundle(&self, tasks: &[ObjectTask]) -> Receipt {
        let ended = |action| {
            let of = |task: &&ObjectTask| self.objects.get(&task.destination_key) == Some(&action);
            tasks.iter().filter(of).count() as u64
        };
        Receipt::Bundle {
            copied: ended(Action::Copied),
            skipped: ended(Action::Skipped),
            failed: ended(Action::Failed),
        }
    }

    fn part(&self, task: &ObjectTask, part: u32) -> Option<Receipt> {
        let key = (task.destination_key.clone(), task.attempt, part);
        let receipt = self.parts.get(&key)?.clone();
        Some(Receipt::Part {
            etag: receipt.etag,
            checksum: receipt.checksum,
        })
    }
}

async fn of_group(
    state: &dyn TransferState,
    segments: &dyn SegmentStore,
    id: &TransferId,
    row: &GroupRow,
) -> Result<Vec<ChunkInfo>> {
    let segment = segments.read_manifest(&row.segment).await?;
    let recorded = Recorded::read(segments, row).await?;
    let failed = failed_objects(state, id, row, &segment).await?;
    let mut chunks = Vec::with_capacity(segment.chunks.len());
    for (index, chunk) in segment.chunks.iter().enumerate() {
        let index = index as u32;
        if recorded.moved.contains(index) {
            continue;
        }
        let is_done = row.done.contains(index);
        let (task, objects, part, offset, receipt) = match *chunk {
            Chunk::Range { object, part } => {
                let task = &segment.objects[object as usize];
                let size = task.part_size.unwrap_or(task.size);
                let (offset, _) = parts::part_range(task.size, size, part);
                (task, 1, Some(part), offset, recorded.part(task, part))
            }
            Chunk::Bundle { first, count } => {
                let tasks = segment.bundle(first, count);
                let receipt = is_done.then(|| recorded.bundle(tasks));
                (&segment.objects[first as usize], count, None, 0, receipt)
            }
        };
        let has_failed = match &receipt {
            Some(Receipt::Bundle { failed, .. }) => *failed > 0,
            _ => part.is_some() && failed.contains(&task.destination_key),
        };
        let lease = row.lease.as_ref();
        chunks.push(ChunkInfo {
            group: row.id.to_string(),
            chunk: index,
            state: match row.status {
                _ if is_done && has_failed => ChunkState::Failed,
                _ if is_done => ChunkState::Done,
                GroupStatus::Leased => ChunkState::Leased,
                GroupStatus::Pending | GroupStatus::Done => ChunkState::Pending,
            },
            key: task.destination_key.clone(),
            objects,
            part,
            offset,
            bytes: segment.chunk_bytes(chunk),
            holder: lease.map(|lease| lease.holder.to_string()),
            fence: lease.map(|lease| lease.fence),
            receipt,
        });
    }
    Ok(chunks)
}

/// Destination keys of the large objects with recorded parts in this group that failed.
async fn failed_objects(
    state: &dyn TransferState,
    id: &TransferId,
    row: &GroupRow,
    segment: &Segment,
) -> Result<HashSet<String>> {
    let mut looked_at = HashSet::new();
    let mut failed = HashSet::new();
    for (index, chunk) in segment.chunks.iter().enumerate() {
        let Chunk::Range { object, .. } = *chunk else {
            continue;
        };
        if !row.done.contains(index as u32) || !looked_at.insert(object) {
            continue;
        }
        let task = &segment.objects[object as usize];
        let key = UploadKey::of(task);
        let result = state.upload(id, &key).await?.and_then(|row| row.result);
        if result.is_some_and(|result| result.outcome.action == Action::Failed) {
            failed.insert(task.destination_key.clone());
        }
    }
    Ok(failed)
}
