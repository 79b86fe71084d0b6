//! Whether a part of a deployment's transfer has arrived: all objects whose keys begin with a prefix.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use skyhaul_model::group::GroupStatus;
use skyhaul_model::outcome::Action;
use skyhaul_model::segment::{Chunk, ObjectTask, Segment};
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::{
    GroupRow, Phase, RangeRow, SegmentStore, TransferState, TransferStatus, UploadStatus, pages,
};

use crate::deployed::Deployed;
use crate::records::{self, Records};

/// Rows read at a time.
const PAGE: usize = 256;

/// A part of a transfer, and what is known of it.
#[derive(Debug)]
pub struct Part {
    /// What keys begin with, relative to both sides.
    prefix: String,
    /// The first and the last source key of each manifest that was read: most are of other parts.
    spans: HashMap<String, (String, String)>,
}

impl Part {
    /// The objects whose keys begin so, relative to both sides of the transfer.
    #[must_use]
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            spans: HashMap::new(),
        }
    }
}

/// What has arrived of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is not known yet to have arrived.
    Waits,
    /// All of it is at the destination but those that failed.
    Arrived {
        /// Objects of it that failed for good.
        failed: u64,
    },
}

impl Deployed {
    /// Looks whether a part has arrived. What a sync deletes is not waited for.
    pub async fn arrival(&self, id: &TransferId, part: &mut Part) -> Result<Arrival> {
        let row = match self.state.transfer(id).await {
            Ok(row) => row,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Arrival::Waits),
            Err(error) => return Err(error),
        };
        let was_ended = matches!(
            row.status,
            TransferStatus::Cancelled | TransferStatus::Failed
        );
        if row.phase == Phase::Ended && was_ended {
            return Ok(Arrival::Waits);
        }
        let segments = self.segments(id).await?;
        let records = Records {
            id,
            state: &*self.state,
            segments: &*segments,
        };
        let prefix = format!("{}{}", row.spec.keys.source_prefix(), part.prefix);
        let waits =
            row.phase <= Phase::Complete && waits(records, &prefix, &mut part.spans).await?;
        if waits {
            return Ok(Arrival::Waits);
        }
        let failed = failed(records, &prefix).await?;
        Ok(Arrival::Arrived { failed })
    }
}

/// Whether keys of a range that begin with a prefix may still be found.
fn may_find(range: &RangeRow, prefix: &str) -> bool {
    let begins = |cursor: &String| cursor.as_str() < prefix || cursor.starts_with(prefix);
    let reaches = |upto: &String| upto.as_str() >= prefix;
    !range.done
        && range.cursor.as_ref().is_none_or(begins)
        && range.upto.as_ref().is_none_or(reaches)
}

/// Whether anything under a prefix is still to be found or copied, as far as is known. What is found comes with its
/// groups, so ranges are read first; what is tried again comes with what failed, in another group perhaps of a shard
/// that was read already: if a group came meanwhile, nothing is known.
async fn waits(
    records: Records<'_>,
    prefix: &str,
    spans: &mut HashMap<String, (String, String)>,
) -> Result<bool> {
    let (state, id) = (records.state, records.id);
    let ranges = state.ranges(id).await?;
    if ranges.iter().any(|range| may_find(range, prefix)) {
        return Ok(true);
    }
    let before = state.progress(id).await?.groups;
    // All in one pass: a group may be leased between two.
    let groups = pages::groups(state, id, None);
    futures::pin_mut!(groups);
    while let Some(row) = groups.try_next().await? {
        let is_done = row.status == GroupStatus::Done;
        if !is_done && has_left(records.segments, &row, prefix, spans).await? {
            return Ok(true);
        }
    }
    if completes(state, id, prefix).await? {
        return Ok(true);
    }
    Ok(state.progress(id).await?.groups != before)
}

/// Whether a group has something under a prefix that is not done.
async fn has_left(
    segments: &dyn SegmentStore,
    row: &GroupRow,
    prefix: &str,
    spans: &mut HashMap<String, (String, String)>,
) -> Result<bool> {
    let touches = |(first, last): &(String, String)| {
        last.as_str() >= prefix && (first.as_str() < prefix || first.starts_with(prefix))
    };
    if spans.get(&row.segment).is_some_and(|span| !touches(span)) {
        return Ok(false);
    }
    let segment = segments.read_manifest(&row.segment).await?;
    let keys = || segment.objects.iter().map(|task| &task.source_key);
    if let (Some(first), Some(last)) = (keys().min(), keys().max()) {
        spans.insert(row.segment.clone(), (first.clone(), last.clone()));
    }
    let mut left = (0u32..).zip(&segment.chunks);
    Ok(left.any(|(index, chunk)| !row.done.contains(index) && is_under(&segment, chunk, prefix)))
}

fn is_under(segment: &Segment, chunk: &Chunk, prefix: &str) -> bool {
    let tasks = match *chunk {
        Chunk::Range { object, .. } => segment.bundle(object, 1),
        Chunk::Bundle { first, count } => segment.bundle(first, count),
    };
    tasks.iter().any(|task| task.source_key.starts_with(prefix))
}

/// Whether an object under a prefix has all its parts, perhaps, and is not completed.
async fn completes(state: &dyn TransferState, id: &TransferId, prefix: &str) -> Result<bool> {
    let mut after = None;
    loop {
        let statuses = [UploadStatus::Intent, UploadStatus::Open];
        let rows = state.uploads(id, &statuses, after.as_ref(), PAGE).await?;
        let Some(last) = rows.last() else {
            return Ok(false);
        };
        after = Some(last.key.clone());
        for row in rows {
            let task: ObjectTask = serde_json::from_str(&row.task).map_err(|error| {
                Error::control(ErrorKind::Corrupt, "an upload's task cannot be read")
                    .object(&*row.key.key)
                    .retryable(false)
                    .cause(error)
            })?;
            if task.source_key.starts_with(prefix) {
                return Ok(true);
            }
        }
    }
}

/// Objects under a prefix that failed.
async fn failed(records: Records<'_>, prefix: &str) -> Result<u64> {
    let progress = records.state.progress(records.id).await?;
    let mut failed = 0;
    if progress.listed.failed + progress.done.failed == 0 {
        return Ok(failed);
    }
    let mut count = |outcome: skyhaul_model::outcome::Outcome| {
        let key = outcome.source_key.as_deref().unwrap_or_default();
        failed += u64::from(outcome.action == Action::Failed && key.starts_with(prefix));
        Ok(())
    };
    records::outcomes(records, &[], &mut count).await?;
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(cursor: Option<&str>, upto: Option<&str>, done: bool) -> RangeRow {
        RangeRow {
            id: skyhaul_model::group::RangeId(0),
            after: None,
            upto: upto.map(ToOwned::to_owned),
            cursor: cursor.map(ToOwned::to_owned),
            next_group: 0,
            next_first: 0,
            counts: skyhaul_state::ListCounts::default(),
            done,
            lease: None,
        }
    }

    #[test]
    fn a_range_may_find_a_prefix_until_it_is_past_it() {
        for (cursor, upto, wanted) in [
            (None, None, true),
            (Some("a"), None, true),
            // Keys under the prefix may follow these.
            (Some("b/"), None, true),
            (Some("b/9"), None, true),
            (Some("b0"), None, false),
            (None, Some("a"), false),
            (None, Some("b"), false),
            (None, Some("b/"), true),
            (None, Some("c"), true),
            (Some("a"), Some("b/5"), true),
            (Some("b/5"), Some("c"), true),
        ] {
            let found = may_find(&range(cursor, upto, false), "b/");
            assert_eq!(found, wanted, "{cursor:?} {upto:?}");
            assert!(!may_find(&range(cursor, upto, true), "b/"));
        }
    }
}
