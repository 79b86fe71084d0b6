//! Reading everything: against the model, and against invariants that hold without one. At the
//! end of a run every group is brought to its end, so that none can have been lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use skyhaul_model::group::{Bitmap, Counts, GroupId, GroupStatus, RangeId};
use skyhaul_model::{HolderId, TransferId};

use super::Run;
use super::model::Model;
use crate::operation::{Operation, Reply};
use crate::{GroupRow, ListSegmentKind, Record, TransferState, UploadStatus};

/// Learns where the backend put groups that were just added: each in one shard, in a place of its
/// own that it keeps.
pub(super) async fn place(model: &mut Model, state: &dyn TransferState) -> Result<(), String> {
    for (id, transfer) in &mut model.transfers {
        if transfer.groups.values().all(|group| group.shard.is_some()) {
            continue;
        }
        for shard in 0..model.shards {
            let found = state.groups(id, shard, None, None, usize::MAX).await;
            let mut previous = None;
            for row in found.map_err(|error| error.to_string())? {
                let Some(group) = transfer.groups.get_mut(&row.id) else {
                    return Err(format!("{id}: group {} appeared from nowhere", row.id));
                };
                let new = group.shard.is_none();
                let kept = (group.shard, group.row.sequence) == (Some(shard), row.sequence);
                if row.id.range.is_first() != (shard + 1 == model.shards) {
                    return Err(format!("{id}: group {} is in the wrong shard", row.id));
                }
                if !(new || kept) || previous.is_some_and(|previous| previous >= row.sequence) {
                    return Err(format!("{id}: group {} is not where it was put", row.id));
                }
                previous = Some(row.sequence);
                group.shard = Some(shard);
                group.row.sequence = row.sequence;
            }
        }
        if let Some(lost) = transfer.groups.values().find(|group| group.shard.is_none()) {
            return Err(format!("{id}: group {} was lost", lost.row.id));
        }
    }
    Ok(())
}

impl Run {
    /// Reads all there is through one handle.
    pub(super) async fn audit(&mut self) -> Result<(), String> {
        let _ = self.apply(&Operation::Transfers).await?;
        let ids: Vec<_> = self.model.transfers.keys().cloned().collect();
        for id in ids {
            let _ = self.apply(&Operation::Transfer(id.clone())).await?;
            for kind in [ListSegmentKind::Outcomes, ListSegmentKind::Deletes] {
                let _ = self
                    .apply(&Operation::ListSegments(id.clone(), kind))
                    .await?;
            }
            self.audit_ranges(&id).await?;
            let counts = self.audit_uploads(&id).await?;
            self.audit_groups(&id, counts).await?;
        }
        Ok(())
    }

    /// Ranges cover all keys, each once.
    async fn audit_ranges(&mut self, id: &TransferId) -> Result<(), String> {
        let Ok(Reply::Ranges(mut rows)) = self.apply(&Operation::Ranges(id.clone())).await? else {
            return Err(format!("{id}: no ranges"));
        };
        rows.sort_by(|a, b| a.after.cmp(&b.after));
        let mut covered = None;
        for (index, row) in rows.iter().enumerate() {
            let last = index + 1 == rows.len();
            if row.after != covered || (row.upto.is_none() != last) || row.cursor < row.after {
                return Err(format!("{id}: ranges have a gap or overlap: {rows:?}"));
            }
            covered.clone_from(&row.upto);
        }
        Ok(())
    }

    /// Pages through the uploads; gives what their results count.
    async fn audit_uploads(&mut self, id: &TransferId) -> Result<Counts, String> {
        let all = vec![
            UploadStatus::Intent,
            UploadStatus::Open,
            UploadStatus::Done,
            UploadStatus::Superseded,
            UploadStatus::Aborted,
        ];
        let limit = 1 + self.dice.below(5) as usize;
        let (mut counts, mut after) = (Counts::default(), None);
        loop {
            let page = Operation::Uploads(id.clone(), all.clone(), after.clone(), limit);
            let Ok(Reply::Uploads(rows)) = self.apply(&page).await? else {
                return Err(format!("{id}: no uploads"));
            };
            let Some(last) = rows.last() else {
                return Ok(counts);
            };
            after = Some(last.key.clone());
            for row in rows {
                let _ = self
                    .apply(&Operation::Upload(id.clone(), row.key.clone()))
                    .await?;
                if let Some(result) = row.result {
                    counts += result.counts;
                }
            }
        }
    }

    /// Pages through the groups of all shards; their sum with `uploads` is the progress, and no
    /// ordinal is missing.
    async fn audit_groups(&mut self, id: &TransferId, uploads: Counts) -> Result<(), String> {
        let rows = self.all_groups(id).await?;
        let (mut done, mut chunks, mut ended) = (uploads, 0, 0);
        let mut ordinals: BTreeMap<RangeId, Vec<u32>> = BTreeMap::new();
        for row in &rows {
            done += row.counts;
            chunks += u64::from(row.done.count());
            ended += u64::from(row.status == GroupStatus::Done);
            ordinals
                .entry(row.id.range)
                .or_default()
                .push(row.id.ordinal);
            let full = row.done == Bitmap::full(row.chunks);
            if full != (row.status == GroupStatus::Done) {
                return Err(format!(
                    "{id}: group {} is done or it is not: {row:?}",
                    row.id
                ));
            }
        }
        let held = rows.iter().filter(|row| row.status == GroupStatus::Leased);
        let held: Vec<_> = held.map(|row| row.id).collect();
        let (state, mut leased) = (Arc::clone(&self.handles[0]), Vec::new());
        for shard in 0..self.model.shards {
            let found = state.leased(id, shard).await;
            let found = found.map_err(|error| error.to_string())?;
            leased.extend(found.into_iter().map(|row| row.id));
        }
        if leased != held {
            return Err(format!("{id}: leased are {held:?}, and told {leased:?}"));
        }
        for (range, mut ordinals) in ordinals {
            ordinals.sort_unstable();
            if (0..)
                .zip(&ordinals)
                .any(|(expected, ordinal)| expected != *ordinal)
            {
                return Err(format!(
                    "{id}: groups of {range:?} are missing: {ordinals:?}"
                ));
            }
        }
        let Ok(Reply::Progress(progress)) = self.apply(&Operation::Progress(id.clone())).await?
        else {
            return Err(format!("{id}: no progress"));
        };
        let summed = (rows.len() as u64, ended, chunks, done);
        let told = (
            progress.groups,
            progress.groups_done,
            progress.chunks_done,
            progress.done,
        );
        if summed == told {
            Ok(())
        } else {
            Err(format!(
                "{id}: progress {told:?}, but rows sum up to {summed:?}"
            ))
        }
    }

    async fn all_groups(&mut self, id: &TransferId) -> Result<Vec<GroupRow>, String> {
        let limit = 1 + self.dice.below(16) as usize;
        let mut all = Vec::new();
        for shard in 0..self.model.shards {
            let mut after = None;
            loop {
                let page = Operation::Groups(id.clone(), shard, None, after, limit);
                let Ok(Reply::Groups(rows)) = self.apply(&page).await? else {
                    return Err(format!("{id}: no groups"));
                };
                let Some(last) = rows.last() else { break };
                after = Some(last.sequence);
                all.extend(rows);
            }
        }
        Ok(all)
    }

    /// Brings every group to its end by claims and takeovers alone.
    pub(super) async fn drain(&mut self) -> Result<(), String> {
        let heir = HolderId("heir".to_owned());
        let ids: Vec<_> = self.model.transfers.keys().cloned().collect();
        for id in ids {
            for row in self.all_groups(&id).await? {
                if let (GroupStatus::Leased, Some(seen)) = (row.status, row.lease) {
                    let take = Operation::TakeOver(id.clone(), row.id, seen, heir.clone());
                    self.finish(&id, &take).await?;
                }
            }
            for shard in 0..self.model.shards {
                let claim = Operation::Claim(id.clone(), shard, heir.clone(), None);
                while self.finish(&id, &claim).await?.is_some() {}
            }
            let Ok(Reply::Progress(progress)) =
                self.apply(&Operation::Progress(id.clone())).await?
            else {
                return Err(format!("{id}: no progress"));
            };
            if progress.groups_done != progress.groups {
                return Err(format!(
                    "{id}: a group can neither be claimed nor taken over"
                ));
            }
        }
        Ok(())
    }

    /// Leases a group and records all that is left of it.
    async fn finish(
        &mut self,
        id: &TransferId,
        lease: &Operation,
    ) -> Result<Option<GroupId>, String> {
        let Ok(Reply::Group(Some(row))) = self.apply(lease).await? else {
            return Ok(None);
        };
        let Some(held) = row.lease else {
            return Err(format!("{id}: group {} was leased without a lease", row.id));
        };
        let record = Record {
            done: Bitmap(Bitmap::full(row.chunks).0 & !row.done.0),
            counts: Counts {
                objects: 1,
                ..Counts::default()
            },
            receipts: None,
            follow_up: Vec::new(),
            supersede: None,
        };
        let _ = self
            .apply(&Operation::Record(
                id.clone(),
                row.id,
                held,
                Box::new(record),
            ))
            .await?;
        Ok(Some(row.id))
    }
}
