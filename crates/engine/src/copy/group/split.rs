//! Splitting a group near the end: chunks that are not begun go on in groups of their own, for
//! holders that have nothing to do. For the group they are done by it, in one conditional write with
//! the groups that are new.

use skyhaul_model::Result;
use skyhaul_model::group::{Bitmap, Counts};
use skyhaul_model::outcome::ReceiptRecord;
use skyhaul_model::segment::{Chunk, Segment};
use skyhaul_state::{GroupRow, Record, SegmentStore};

use super::{Work, new_group};

/// With fewer chunks that are not begun a group is not split.
const FEWEST: usize = 2;

/// Parts of large objects of a group that went on in others, by its receipts: where it was begun by
/// another holder, or in another run.
pub(super) async fn moved(
    segments: &dyn SegmentStore,
    segment: &Segment,
    row: &GroupRow,
) -> Result<Bitmap> {
    let mut moved = Bitmap::default();
    let is_part = |chunk: &Chunk| matches!(chunk, Chunk::Range { .. });
    if !segment.chunks.iter().any(is_part) {
        return Ok(moved);
    }
    for pointer in &row.receipts {
        for record in segments.read_receipts(pointer).await? {
            if let ReceiptRecord::Moved { chunks } = record {
                moved = moved.union(chunks);
            }
        }
    }
    Ok(moved)
}

impl Work {
    /// Chunks that are not begun, in order.
    fn waiting(&self) -> impl Iterator<Item = u32> {
        let open = self.turns.iter().filter(|(_, turn)| turn.is_open());
        open.map(|(index, _)| *index)
    }

    pub(super) fn can_split(&self) -> bool {
        self.waiting().nth(FEWEST - 1).is_some() && !self.engine.drain.is_cancelled()
    }

    /// Gives each of `idle` other holders as much of what is not begun as it keeps.
    pub(super) async fn split(&mut self, idle: u32) -> Result<()> {
        let mut given: Vec<_> = self.waiting().collect();
        let share = given.len().div_ceil(idle as usize + 1);
        // What would come last is given.
        given.drain(..share);
        given.retain(|index| self.turns.get(index).is_some_and(|turn| turn.give()));
        if given.is_empty() {
            return Ok(());
        }
        self.pending.retain(|index| !given.contains(index));
        let mut follow_up = Vec::new();
        for chunks in given.chunks(share) {
            follow_up.push(new_group(&self.engine, &self.segment.only(chunks)).await?);
        }
        let mut done = Bitmap::default();
        for index in &given {
            done.insert(*index);
        }
        let receipt = ReceiptRecord::Moved { chunks: done };
        let receipts = self.engine.segments.write_receipts(&[receipt]).await?;
        let counts = Counts {
            moved_chunks: given.len() as u64,
            ..Counts::default()
        };
        tracing::info!(
            group = %self.row.id,
            chunks = given.len(),
            groups = follow_up.len(),
            "the group is split: others have nothing to do"
        );
        self.put(Record {
            done,
            counts,
            receipts: Some(receipts),
            follow_up,
            supersede: None,
        })
        .await?;
        self.moved = self.moved.union(done);
        self.count_slices(done).await
    }
}
