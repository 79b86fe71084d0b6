//! The reference: what the trait says, in plain collections and without any regard to cost.
//! Progress is summed up anew each time; a repetition is known by comparing arguments.

use std::collections::BTreeMap;

use jiff::Timestamp;
use skyhaul_model::group::{Bitmap, Counts, GroupId, GroupStatus, Lease, RangeId};
use skyhaul_model::{ErrorKind, HolderId, TransferId};

use crate::operation::{Operation, Reply};
use crate::{
    GatewayRow, GroupRow, ListCounts, ListSegmentKind, NewGroup, NewUpload, Phase, Progress,
    Publication, RangeRow, Record, TransferChange, TransferRow, TransferStatus, UploadKey,
    UploadResult, UploadRow, UploadStatus,
};

/// What a call gives, by the trait.
pub(super) type Answer<T> = Result<T, ErrorKind>;

/// A listing range.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) row: RangeRow,
    /// Leases given so far.
    fences: u64,
    /// The cut that made it: range and lease.
    cut: Option<(RangeId, u64)>,
    last: Option<(Lease, Publication)>,
}

/// A group. Where the backend put it is learned after it was added.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) row: GroupRow,
    pub(super) shard: Option<u32>,
    records: Vec<(Bitmap, Option<String>)>,
}

/// A transfer and all that belongs to it.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    pub(super) row: TransferRow,
    pub(super) ranges: BTreeMap<RangeId, Range>,
    pub(super) segments: Vec<(ListSegmentKind, String)>,
    pub(super) groups: BTreeMap<GroupId, Group>,
    pub(super) gateways: BTreeMap<String, GatewayRow>,
    pub(super) uploads: BTreeMap<UploadKey, UploadRow>,
}

/// All transfers.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) transfers: BTreeMap<TransferId, Transfer>,
    /// Shards of the backend.
    pub(super) shards: u32,
}

/// Same lease, whatever its counter.
fn same(held: Option<&Lease>, lease: &Lease) -> bool {
    held.is_some_and(|held| (held.fence, &held.holder) == (lease.fence, &lease.holder))
}

impl Model {
    fn of(&mut self, id: &TransferId) -> Answer<&mut Transfer> {
        self.transfers.get_mut(id).ok_or(ErrorKind::NotFound)
    }

    fn shard(&self, shard: u32) -> Answer<()> {
        if shard < self.shards {
            Ok(())
        } else {
            Err(ErrorKind::Invalid)
        }
    }

    #[allow(clippy::too_many_lines)] // one arm for each method of the trait
    pub(super) fn answer(&mut self, operation: &Operation) -> Answer<Reply> {
        let group = |row| Reply::Group(Some(row));
        let upload = |row| Reply::Upload(Some(Box::new(row)));
        Ok(match operation.clone() {
            Operation::Submit(id, spec) => {
                let fingerprint = spec.fingerprint();
                if let Some(known) = self.transfers.get(&id) {
                    if known.row.fingerprint != fingerprint {
                        return Err(ErrorKind::Invalid);
                    }
                    return Ok(Reply::Submitted(false, Box::new(known.row.clone())));
                }
                let row = TransferRow {
                    id: id.clone(),
                    spec: *spec,
                    fingerprint,
                    status: TransferStatus::Running,
                    phase: Phase::Copy,
                    attempt: 1,
                    created: Timestamp::UNIX_EPOCH,
                    updated: Timestamp::UNIX_EPOCH,
                    error: None,
                    revision: 0,
                };
                self.transfers.insert(id, Transfer::new(row.clone()));
                Reply::Submitted(true, Box::new(row))
            }
            Operation::Transfer(id) => Reply::Transfer(Box::new(self.of(&id)?.row.clone())),
            Operation::Transfers => Reply::Transfers(
                self.transfers
                    .values()
                    .rev()
                    .map(|transfer| transfer.row.clone())
                    .collect(),
            ),
            Operation::Change(id, revision, change) => {
                Reply::Transfer(Box::new(self.of(&id)?.change(revision, change)?))
            }
            Operation::Purge(id) => {
                self.transfers.remove(&id);
                Reply::Nothing
            }
            Operation::Ranges(id) => {
                Reply::Ranges(self.transfers.get(&id).map_or_else(Vec::new, |transfer| {
                    transfer
                        .ranges
                        .values()
                        .map(|range| range.row.clone())
                        .collect()
                }))
            }
            Operation::LeaseRange(id, range, holder, seen) => {
                Reply::Range(self.of(&id)?.lease_range(range, holder, seen.as_ref())?)
            }
            Operation::Publish(id, range, lease, publication) => {
                Reply::Range(self.of(&id)?.publish(range, lease, publication)?)
            }
            Operation::SplitRange(id, range, lease, at, lease_new) => {
                let (kept, new) = self.of(&id)?.split(range, &lease, at, lease_new)?;
                Reply::Split(Box::new((kept, new)))
            }
            Operation::ReleaseRange(id, range, lease) => {
                self.of(&id)?.release_range(range, &lease)?;
                Reply::Nothing
            }
            Operation::ListSegments(id, kind) => {
                let mut pointers = self.transfers.get(&id).map_or_else(Vec::new, |transfer| {
                    let of_kind = transfer.segments.iter().filter(|(of, _)| *of == kind);
                    of_kind.map(|(_, pointer)| pointer.clone()).collect()
                });
                pointers.sort();
                Reply::Pointers(pointers)
            }
            Operation::Claim(id, shard, holder, after) => {
                self.shard(shard)?;
                let transfer = self.transfers.get_mut(&id);
                Reply::Group(transfer.and_then(|transfer| transfer.claim(shard, holder, after)))
            }
            Operation::TakeOver(id, of, seen, holder) => {
                group(self.of(&id)?.take_over(of, &seen, holder)?)
            }
            Operation::Renew(id, of, lease) => Reply::Lease(self.of(&id)?.renew(of, &lease)?),
            Operation::Record(id, of, lease, record) => {
                group(self.of(&id)?.record(of, &lease, *record)?)
            }
            Operation::Release(id, of, lease) => {
                self.of(&id)?.release(of, &lease)?;
                Reply::Nothing
            }
            Operation::Group(id, of) => group(self.of(&id)?.group(of)?.row.clone()),
            Operation::Groups(id, shard, status, after, limit) => {
                self.shard(shard)?;
                Reply::Groups(self.transfers.get(&id).map_or_else(Vec::new, |transfer| {
                    let rows = transfer.in_shard(shard, after).into_iter();
                    let wanted =
                        rows.filter(|row| status.is_none_or(|status| row.status == status));
                    wanted.take(limit).collect()
                }))
            }
            Operation::UploadIntent(id, new) => upload(self.of(&id)?.intend(new)),
            Operation::UploadOpened(id, key, token) => {
                let row = self.of(&id)?.upload(&key)?;
                if row.token.is_none() {
                    row.token = Some(token);
                    if row.status == UploadStatus::Intent {
                        row.status = UploadStatus::Open;
                    }
                }
                upload(row.clone())
            }
            Operation::UploadSlice(id, key, of, parts) => {
                let row = self.of(&id)?.upload(&key)?;
                if !row.slices.iter().any(|slice| slice.0 == of) {
                    row.slices.push((of, parts));
                }
                upload(row.clone())
            }
            Operation::UploadStatus(id, key, from, to, result) => {
                if result.is_some() && !ends(to) {
                    return Err(ErrorKind::Invalid);
                }
                Reply::Flag(move_upload(
                    self.of(&id)?.upload(&key)?,
                    &from,
                    to,
                    result.as_deref(),
                )?)
            }
            Operation::Upload(id, key) => Reply::Upload(
                self.transfers
                    .get(&id)
                    .and_then(|transfer| transfer.uploads.get(&key))
                    .map(|row| Box::new(row.clone())),
            ),
            Operation::Uploads(id, statuses, after, limit) => {
                Reply::Uploads(self.transfers.get(&id).map_or_else(Vec::new, |transfer| {
                    let rows = transfer.uploads.values();
                    rows.filter(|row| after.as_ref().is_none_or(|after| row.key > *after))
                        .filter(|row| statuses.contains(&row.status))
                        .take(limit)
                        .cloned()
                        .collect()
                }))
            }
            Operation::Announce(id, row) => {
                self.of(&id)?.gateways.insert(row.name.clone(), *row);
                Reply::Nothing
            }
            Operation::Gateways(id) => {
                Reply::Gateways(self.transfers.get(&id).map_or_else(Vec::new, |transfer| {
                    transfer.gateways.values().cloned().collect()
                }))
            }
            Operation::Progress(id) => Reply::Progress(self.of(&id)?.progress()),
        })
    }
}

fn ends(status: UploadStatus) -> bool {
    [
        UploadStatus::Done,
        UploadStatus::Superseded,
        UploadStatus::Aborted,
    ]
    .contains(&status)
}

fn move_upload(
    row: &mut UploadRow,
    from: &[UploadStatus],
    to: UploadStatus,
    result: Option<&UploadResult>,
) -> Answer<bool> {
    if row.status == to {
        return Ok(true);
    }
    if !from.contains(&row.status) {
        return Ok(false);
    }
    if ends(row.status) && !ends(to) {
        return Err(ErrorKind::Invalid);
    }
    row.status = to;
    if row.result.is_none() {
        row.result = result.cloned();
    }
    Ok(true)
}

impl Range {
    fn new(id: RangeId, after: Option<String>, upto: Option<String>) -> Self {
        let row = RangeRow {
            id,
            after: after.clone(),
            upto,
            cursor: after,
            next_group: 0,
            next_first: 0,
            counts: ListCounts::default(),
            done: false,
            lease: None,
        };
        Self {
            row,
            fences: 0,
            cut: None,
            last: None,
        }
    }

    fn give(&mut self, holder: HolderId) {
        self.fences += 1;
        self.row.lease = Some(Lease {
            holder,
            fence: self.fences,
            counter: 0,
        });
    }
}

impl Transfer {
    fn new(row: TransferRow) -> Self {
        Self {
            row,
            ranges: BTreeMap::from([(RangeId(0), Range::new(RangeId(0), None, None))]),
            segments: Vec::new(),
            groups: BTreeMap::new(),
            gateways: BTreeMap::new(),
            uploads: BTreeMap::new(),
        }
    }

    fn change(&mut self, revision: u64, change: TransferChange) -> Answer<TransferRow> {
        if self.row.revision != revision {
            return Err(ErrorKind::LeaseLost);
        }
        let TransferChange {
            status,
            phase,
            attempt,
            error,
        } = change;
        let row = &mut self.row;
        if let Some(status) = status {
            row.status = status;
        }
        if let Some(phase) = phase {
            row.phase = phase;
        }
        if let Some(attempt) = attempt {
            row.attempt = attempt;
        }
        if let Some(error) = error {
            row.error = error;
        }
        row.revision += 1;
        Ok(row.clone())
    }

    fn range(&mut self, range: RangeId) -> Answer<&mut Range> {
        self.ranges.get_mut(&range).ok_or(ErrorKind::NotFound)
    }

    fn lease_range(
        &mut self,
        range: RangeId,
        holder: HolderId,
        seen: Option<&Lease>,
    ) -> Answer<RangeRow> {
        let range = self.range(range)?;
        if range.row.done {
            return Err(ErrorKind::LeaseLost);
        }
        let later = |held: &Lease| seen.is_none_or(|seen| held.fence > seen.fence);
        match range.row.lease.clone() {
            // Said before, and nothing was done under it since.
            Some(held) if held.holder == holder && held.counter == 0 && later(&held) => {}
            Some(held) if seen != Some(&held) => return Err(ErrorKind::LeaseLost),
            None if seen.is_some_and(|seen| seen.fence > range.fences) => {
                return Err(ErrorKind::LeaseLost);
            }
            _ => range.give(holder),
        }
        Ok(range.row.clone())
    }

    fn publish(&mut self, id: RangeId, lease: Lease, publication: Publication) -> Answer<RangeRow> {
        let range = self.range(id)?;
        let call = (lease, publication);
        if range.last.as_ref() == Some(&call) && range.fences == call.0.fence {
            return Ok(range.row.clone());
        }
        if !same(range.row.lease.as_ref(), &call.0) {
            return Err(ErrorKind::LeaseLost);
        }
        let publication = &call.1;
        let at = publication.cursor.as_deref().unwrap_or("");
        let back = at < range.row.cursor.as_deref().unwrap_or("");
        let beyond = range.row.upto.as_deref().is_some_and(|upto| at > upto);
        let fit = fit(&publication.groups) && fit(&publication.first);
        if back || beyond || !fit {
            return Err(ErrorKind::Invalid);
        }
        let next = (range.row.next_group, range.row.next_first);
        range.row.next_group += publication.groups.len() as u32;
        range.row.next_first += publication.first.len() as u32;
        range.row.cursor.clone_from(&publication.cursor);
        range.row.counts += publication.counts;
        range.row.done = publication.done;
        match &mut range.row.lease {
            Some(lease) if !publication.done => lease.counter += 1,
            lease => *lease = None,
        }
        let (groups, first) = (publication.groups.clone(), publication.first.clone());
        let segments = publication.segments.clone();
        range.last = Some(call);
        let row = range.row.clone();
        self.segments.extend(segments);
        self.add(id, next.0, groups);
        self.add(id.first(), next.1, first);
        Ok(row)
    }

    fn split(
        &mut self,
        id: RangeId,
        lease: &Lease,
        at: String,
        lease_new: bool,
    ) -> Answer<(RangeRow, RangeRow)> {
        let kept = self.range(id)?.row.clone();
        let before = self.ranges.values().find(|range| {
            range.cut == Some((id, lease.fence)) && range.row.after.as_deref() == Some(&at)
        });
        if let Some(before) = before {
            return Ok((kept, before.row.clone()));
        }
        if !same(kept.lease.as_ref(), lease) {
            return Err(ErrorKind::LeaseLost);
        }
        let low = kept.cursor.as_deref().unwrap_or("");
        if at.as_str() <= low || kept.upto.as_deref().is_some_and(|upto| at.as_str() >= upto) {
            return Err(ErrorKind::Invalid);
        }
        let new = RangeId(self.ranges.len() as u32);
        let mut cut = Range::new(new, Some(at.clone()), kept.upto);
        cut.cut = Some((id, lease.fence));
        if lease_new {
            cut.give(lease.holder.clone());
        }
        let row = cut.row.clone();
        self.ranges.insert(new, cut);
        let range = self.range(id)?;
        range.row.upto = Some(at);
        Ok((range.row.clone(), row))
    }

    fn release_range(&mut self, range: RangeId, lease: &Lease) -> Answer<()> {
        let range = self.range(range)?;
        let free = range.row.lease.is_none() && range.fences == lease.fence;
        if !free && !same(range.row.lease.as_ref(), lease) {
            return Err(ErrorKind::LeaseLost);
        }
        range.row.lease = None;
        Ok(())
    }

    fn add(&mut self, range: RangeId, first: u32, groups: Vec<NewGroup>) {
        for (ordinal, new) in (first..).zip(groups) {
            let id = GroupId { range, ordinal };
            let row = GroupRow {
                id,
                sequence: u64::MAX,
                chunks: new.chunks,
                bytes: new.bytes,
                segment: new.segment,
                status: GroupStatus::Pending,
                lease: None,
                done: Bitmap::default(),
                counts: Counts::default(),
                receipts: Vec::new(),
            };
            self.groups.insert(
                id,
                Group {
                    row,
                    shard: None,
                    records: Vec::new(),
                },
            );
        }
    }

    fn group(&mut self, group: GroupId) -> Answer<&mut Group> {
        self.groups.get_mut(&group).ok_or(ErrorKind::NotFound)
    }

    /// Groups of a shard in order.
    fn in_shard(&self, shard: u32, after: Option<u64>) -> Vec<GroupRow> {
        let mut rows: Vec<GroupRow> = self
            .groups
            .values()
            .filter(|group| group.shard == Some(shard))
            .map(|group| group.row.clone())
            .filter(|row| after.is_none_or(|after| row.sequence > after))
            .collect();
        rows.sort_by_key(|row| row.sequence);
        rows
    }

    fn claim(&mut self, shard: u32, holder: HolderId, after: Option<u64>) -> Option<GroupRow> {
        let rows = self.in_shard(shard, after);
        let id = rows
            .iter()
            .find(|row| row.status == GroupStatus::Pending)?
            .id;
        let group = self.groups.get_mut(&id)?;
        group.give(holder);
        Some(group.row.clone())
    }

    fn take_over(&mut self, id: GroupId, seen: &Lease, holder: HolderId) -> Answer<GroupRow> {
        let group = self.group(id)?;
        if group.row.status != GroupStatus::Leased {
            return Err(ErrorKind::LeaseLost);
        }
        let before = Lease {
            holder: holder.clone(),
            fence: seen.fence + 1,
            counter: 0,
        };
        match &group.row.lease {
            Some(held) if held == seen => group.give(holder),
            Some(held) if *held == before => {}
            _ => return Err(ErrorKind::LeaseLost),
        }
        Ok(group.row.clone())
    }

    fn renew(&mut self, id: GroupId, lease: &Lease) -> Answer<Lease> {
        let group = self.group(id)?;
        match &mut group.row.lease {
            Some(held) if group.row.status == GroupStatus::Leased && same(Some(&*held), lease) => {
                held.counter += 1;
                Ok(held.clone())
            }
            _ => Err(ErrorKind::LeaseLost),
        }
    }

    fn record(&mut self, id: GroupId, lease: &Lease, record: Record) -> Answer<GroupRow> {
        let group = self.group(id)?.clone();
        if !same(group.row.lease.as_ref(), lease) {
            return Err(ErrorKind::LeaseLost);
        }
        let Record {
            done,
            counts,
            receipts,
            follow_up,
            supersede,
        } = record;
        if group.records.contains(&(done, receipts.clone())) {
            return Ok(group.row);
        }
        if group.row.status != GroupStatus::Leased {
            return Err(ErrorKind::LeaseLost);
        }
        let open = Bitmap::full(group.row.chunks).0 & !group.row.done.0;
        if done.0 == 0 || done.0 & !open != 0 {
            return Err(ErrorKind::Invalid);
        }
        let mut again = true;
        if let Some((key, result)) = supersede {
            let upload = self.upload(&key)?;
            again = !ends(upload.status);
            // A group that is refused below leaves everything as it was.
            if again && !fit(&follow_up) {
                return Err(ErrorKind::Invalid);
            }
            let from = [UploadStatus::Intent, UploadStatus::Open];
            if again {
                move_upload(upload, &from, UploadStatus::Superseded, result.as_ref())?;
            }
        }
        if again {
            if !fit(&follow_up) {
                return Err(ErrorKind::Invalid);
            }
            let retries = self
                .groups
                .keys()
                .filter(|id| id.range == GroupId::RETRY_RANGE);
            let first = retries.count() as u32;
            self.add(GroupId::RETRY_RANGE, first, follow_up);
        }
        let group = self.group(id)?;
        group.row.done.0 |= done.0;
        group.row.counts += counts;
        group.row.receipts.extend(receipts.clone());
        group.records.push((done, receipts));
        if group.row.done.count() == group.row.chunks {
            group.row.status = GroupStatus::Done;
        }
        if let Some(held) = &mut group.row.lease {
            held.counter += 1;
        }
        Ok(group.row.clone())
    }

    fn release(&mut self, id: GroupId, lease: &Lease) -> Answer<()> {
        let group = self.group(id)?;
        if !same(group.row.lease.as_ref(), lease) {
            return Err(ErrorKind::LeaseLost);
        }
        if group.row.status == GroupStatus::Leased {
            group.row.status = GroupStatus::Pending;
        }
        Ok(())
    }

    fn upload(&mut self, key: &UploadKey) -> Answer<&mut UploadRow> {
        self.uploads.get_mut(key).ok_or(ErrorKind::NotFound)
    }

    fn intend(&mut self, new: NewUpload) -> UploadRow {
        if let Some(row) = self.uploads.get_mut(&new.key)
            && row.status == UploadStatus::Intent
            && new.replaces == Some(row.intended)
        {
            row.intended = new.intended;
            row.strangers.clone_from(&new.strangers);
        }
        let row = UploadRow {
            key: new.key.clone(),
            status: UploadStatus::Intent,
            intended: new.intended,
            strangers: new.strangers,
            token: None,
            parts_total: new.parts_total,
            slices: Vec::new(),
            task: new.task,
            result: None,
        };
        self.uploads.entry(new.key).or_insert(row).clone()
    }

    fn progress(&self) -> Progress {
        let mut progress = Progress {
            listing_done: true,
            ..Progress::default()
        };
        for range in self.ranges.values() {
            progress.listed += range.row.counts;
            progress.listing_done &= range.row.done;
        }
        for group in self.groups.values() {
            progress.groups += 1;
            progress.groups_done += u64::from(group.row.status == GroupStatus::Done);
            progress.chunks_done += u64::from(group.row.done.count());
            progress.done += group.row.counts;
        }
        let results = self.uploads.values().filter_map(|row| row.result.as_ref());
        for result in results {
            progress.done += result.counts;
        }
        progress
    }
}

impl Group {
    fn give(&mut self, holder: HolderId) {
        let fence = self.row.lease.as_ref().map_or(1, |lease| lease.fence + 1);
        self.row.status = GroupStatus::Leased;
        self.row.lease = Some(Lease {
            holder,
            fence,
            counter: 0,
        });
    }
}

fn fit(groups: &[NewGroup]) -> bool {
    groups.iter().all(|group| (1..=64).contains(&group.chunks))
}
