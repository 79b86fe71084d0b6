//! Backends that each break one rule of the trait: the suite must find every one of them, or it
//! proves nothing about those that pass.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use skyhaul_model::group::{Counts, GroupId, GroupStatus, Lease, RangeId};
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{HolderId, Result, TransferId};
use skyhaul_state::{
    GatewayRow, GroupRow, ListSegmentKind, NewUpload, Progress, Publication, RangeRow, Record,
    SqliteState, Submitted, TransferChange, TransferRow, TransferState, UploadKey, UploadResult,
    UploadRow, UploadStatus, suite,
};

/// The rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// None: the wrapper itself must pass.
    Nothing,
    /// A range is leased whoever holds it.
    RangeLeaseIgnored,
    /// A publication under an old lease is taken.
    PublishFence,
    /// A repeated publication is appended again.
    PublishRepeated,
    /// A publication does not move the lease's counter.
    PublishSilent,
    /// A range is cut under an old lease.
    SplitFence,
    /// The range that a cut makes is never leased.
    SplitUnleased,
    /// A record under an old lease is taken.
    RecordFence,
    /// A repeated record is counted twice.
    RecordRepeated,
    /// A record loses its follow-ups.
    FollowUpLost,
    /// Follow-ups are added although the upload had ended.
    FollowUpTwice,
    /// A lease under an old fence is renewed.
    RenewFence,
    /// A renewal does not raise the counter.
    RenewSilent,
    /// A group is taken over although its lease moved on.
    TakeOverUnseen,
    /// A group is given back under an old lease.
    ReleaseFence,
    /// A claim does not start at its cursor.
    ClaimFromStart,
    /// A claimed group stays pending in listings.
    ClaimUnseen,
    /// A transfer's row is changed at any revision.
    ChangeUnchecked,
    /// Another specification under a known id is taken for the same.
    SubmitUnchecked,
    /// A group is counted again in an upload when it reports again.
    SliceTwice,
    /// A second token replaces the first.
    TokenReplaced,
    /// An upload moves from any status.
    StatusUnchecked,
    /// An upload's result is forgotten.
    ResultLost,
    /// Pages of uploads repeat the last row of the page before.
    PageRepeats,
}

const ALL: [Broken; 23] = [
    Broken::RangeLeaseIgnored,
    Broken::PublishFence,
    Broken::PublishRepeated,
    Broken::PublishSilent,
    Broken::SplitFence,
    Broken::SplitUnleased,
    Broken::RecordFence,
    Broken::RecordRepeated,
    Broken::FollowUpLost,
    Broken::FollowUpTwice,
    Broken::RenewFence,
    Broken::RenewSilent,
    Broken::TakeOverUnseen,
    Broken::ReleaseFence,
    Broken::ClaimFromStart,
    Broken::ClaimUnseen,
    Broken::ChangeUnchecked,
    Broken::SubmitUnchecked,
    Broken::SliceTwice,
    Broken::TokenReplaced,
    Broken::StatusUnchecked,
    Broken::ResultLost,
    Broken::PageRepeats,
];

#[derive(Debug)]
struct Mutant {
    rule: Broken,
    inner: SqliteState,
    extra: Arc<Extra>,
}

/// What a mutant keeps over its handles.
#[derive(Debug, Default)]
struct Extra {
    salt: AtomicU64,
    counted: Mutex<Counts>,
}

impl Mutant {
    fn breaks(&self, rule: Broken) -> bool {
        self.rule == rule
    }

    /// The lease that counts, for a mutant that does not look at the caller's.
    async fn group_lease(&self, id: &TransferId, group: GroupId, lease: &Lease) -> Lease {
        let row = self.inner.group(id, group).await.ok();
        row.and_then(|row| row.lease)
            .unwrap_or_else(|| lease.clone())
    }

    async fn range_lease(&self, id: &TransferId, range: RangeId, lease: &Lease) -> Lease {
        let rows = self.inner.ranges(id).await.unwrap();
        let row = rows.into_iter().find(|row| row.id == range);
        row.and_then(|row| row.lease)
            .unwrap_or_else(|| lease.clone())
    }
}

#[async_trait]
impl TransferState for Mutant {
    fn shards(&self) -> u32 {
        self.inner.shards()
    }

    async fn submit(&self, id: &TransferId, spec: &TransferSpec) -> Result<Submitted> {
        match self.inner.transfer(id).await {
            Ok(row) if self.breaks(Broken::SubmitUnchecked) => Ok(Submitted::Existing(row)),
            _ => self.inner.submit(id, spec).await,
        }
    }

    async fn transfer(&self, id: &TransferId) -> Result<TransferRow> {
        self.inner.transfer(id).await
    }

    async fn transfers(&self) -> Result<Vec<TransferRow>> {
        self.inner.transfers().await
    }

    async fn change(
        &self,
        id: &TransferId,
        revision: u64,
        change: TransferChange,
    ) -> Result<TransferRow> {
        let revision = match self.inner.transfer(id).await {
            Ok(row) if self.breaks(Broken::ChangeUnchecked) => row.revision,
            _ => revision,
        };
        self.inner.change(id, revision, change).await
    }

    async fn purge(&self, id: &TransferId) -> Result<()> {
        self.inner.purge(id).await
    }

    async fn ranges(&self, id: &TransferId) -> Result<Vec<RangeRow>> {
        self.inner.ranges(id).await
    }

    async fn lease_range(
        &self,
        id: &TransferId,
        range: RangeId,
        holder: &HolderId,
        seen: Option<&Lease>,
    ) -> Result<RangeRow> {
        if let (true, Some(lease)) = (self.breaks(Broken::RangeLeaseIgnored), seen) {
            let held = self.range_lease(id, range, lease).await;
            return self.inner.lease_range(id, range, holder, Some(&held)).await;
        }
        self.inner.lease_range(id, range, holder, seen).await
    }

    async fn publish(
        &self,
        id: &TransferId,
        range: RangeId,
        lease: &Lease,
        publication: Publication,
    ) -> Result<RangeRow> {
        let mut lease = lease.clone();
        if self.breaks(Broken::PublishFence) {
            lease = self.range_lease(id, range, &lease).await;
        }
        if self.breaks(Broken::PublishRepeated) {
            lease.counter = self.extra.salt.fetch_add(1, Ordering::Relaxed);
        }
        let mut row = self.inner.publish(id, range, &lease, publication).await?;
        if let (true, Some(lease)) = (self.breaks(Broken::PublishSilent), &mut row.lease) {
            lease.counter = 0;
        }
        Ok(row)
    }

    async fn split_range(
        &self,
        id: &TransferId,
        range: RangeId,
        lease: &Lease,
        at: &str,
        lease_new: bool,
    ) -> Result<(RangeRow, RangeRow)> {
        let mut lease = lease.clone();
        if self.breaks(Broken::SplitFence) {
            lease = self.range_lease(id, range, &lease).await;
        }
        let lease_new = lease_new && !self.breaks(Broken::SplitUnleased);
        self.inner
            .split_range(id, range, &lease, at, lease_new)
            .await
    }

    async fn release_range(&self, id: &TransferId, range: RangeId, lease: &Lease) -> Result<()> {
        self.inner.release_range(id, range, lease).await
    }

    async fn list_segments(&self, id: &TransferId, kind: ListSegmentKind) -> Result<Vec<String>> {
        self.inner.list_segments(id, kind).await
    }

    async fn claim(
        &self,
        id: &TransferId,
        shard: u32,
        holder: &HolderId,
        after: Option<u64>,
    ) -> Result<Option<GroupRow>> {
        let after = if self.breaks(Broken::ClaimFromStart) {
            None
        } else {
            after
        };
        self.inner.claim(id, shard, holder, after).await
    }

    async fn take_over(
        &self,
        id: &TransferId,
        group: GroupId,
        seen: &Lease,
        holder: &HolderId,
    ) -> Result<GroupRow> {
        let mut seen = seen.clone();
        if self.breaks(Broken::TakeOverUnseen) {
            seen = self.group_lease(id, group, &seen).await;
        }
        self.inner.take_over(id, group, &seen, holder).await
    }

    async fn renew(&self, id: &TransferId, group: GroupId, lease: &Lease) -> Result<Lease> {
        let mut lease = lease.clone();
        if self.breaks(Broken::RenewFence) {
            lease = self.group_lease(id, group, &lease).await;
        }
        let renewed = self.inner.renew(id, group, &lease).await?;
        Ok(if self.breaks(Broken::RenewSilent) {
            lease
        } else {
            renewed
        })
    }

    async fn record(
        &self,
        id: &TransferId,
        group: GroupId,
        lease: &Lease,
        mut record: Record,
    ) -> Result<GroupRow> {
        let mut lease = lease.clone();
        if self.breaks(Broken::RecordFence) {
            lease = self.group_lease(id, group, &lease).await;
        }
        if self.breaks(Broken::FollowUpLost) {
            record.follow_up.clear();
        }
        if let (true, Some((key, _))) = (self.breaks(Broken::FollowUpTwice), &record.supersede)
            && self
                .inner
                .upload(id, key)
                .await?
                .is_some_and(|row| row.result.is_some())
        {
            record.supersede = None;
        }
        let counts = record.counts;
        let before = self.inner.group(id, group).await;
        let row = self.inner.record(id, group, &lease, record).await?;
        if self.breaks(Broken::RecordRepeated) && before? == row {
            *self.extra.counted.lock().unwrap() += counts;
        }
        Ok(row)
    }

    async fn release(&self, id: &TransferId, group: GroupId, lease: &Lease) -> Result<()> {
        let mut lease = lease.clone();
        if self.breaks(Broken::ReleaseFence) {
            lease = self.group_lease(id, group, &lease).await;
        }
        self.inner.release(id, group, &lease).await
    }

    async fn group(&self, id: &TransferId, group: GroupId) -> Result<GroupRow> {
        self.inner.group(id, group).await
    }

    async fn groups(
        &self,
        id: &TransferId,
        shard: u32,
        status: Option<GroupStatus>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<GroupRow>> {
        let mut rows = self.inner.groups(id, shard, status, after, limit).await?;
        if self.breaks(Broken::ClaimUnseen) && status.is_none() {
            for row in rows
                .iter_mut()
                .filter(|row| row.status == GroupStatus::Leased)
            {
                row.status = GroupStatus::Pending;
            }
        }
        Ok(rows)
    }

    async fn upload_intent(&self, id: &TransferId, upload: NewUpload) -> Result<UploadRow> {
        self.inner.upload_intent(id, upload).await
    }

    async fn upload_opened(
        &self,
        id: &TransferId,
        key: &UploadKey,
        token: &str,
    ) -> Result<UploadRow> {
        let mut row = self.inner.upload_opened(id, key, token).await?;
        if self.breaks(Broken::TokenReplaced) {
            row.token = Some(token.to_owned());
        }
        Ok(row)
    }

    async fn upload_slice(
        &self,
        id: &TransferId,
        key: &UploadKey,
        group: GroupId,
        parts: u32,
    ) -> Result<UploadRow> {
        let before = self.inner.upload(id, key).await?;
        let mut row = self.inner.upload_slice(id, key, group, parts).await?;
        if self.breaks(Broken::SliceTwice) && before.as_ref() == Some(&row) {
            row.slices.push((group, parts));
        }
        Ok(row)
    }

    async fn upload_status(
        &self,
        id: &TransferId,
        key: &UploadKey,
        from: &[UploadStatus],
        to: UploadStatus,
        result: Option<&UploadResult>,
    ) -> Result<bool> {
        let mut from = from.to_vec();
        if self.breaks(Broken::StatusUnchecked) {
            from.extend(self.inner.upload(id, key).await?.map(|row| row.status));
        }
        let result = result.filter(|_| !self.breaks(Broken::ResultLost));
        self.inner.upload_status(id, key, &from, to, result).await
    }

    async fn upload(&self, id: &TransferId, key: &UploadKey) -> Result<Option<UploadRow>> {
        self.inner.upload(id, key).await
    }

    async fn uploads(
        &self,
        id: &TransferId,
        statuses: &[UploadStatus],
        after: Option<&UploadKey>,
        limit: usize,
    ) -> Result<Vec<UploadRow>> {
        let mut rows = self.inner.uploads(id, statuses, after, limit).await?;
        if let (true, Some(key)) = (self.breaks(Broken::PageRepeats), after)
            && let Some(row) = self.inner.upload(id, key).await?
        {
            rows.insert(0, row);
            rows.truncate(limit);
        }
        Ok(rows)
    }

    async fn announce(&self, id: &TransferId, gateway: &GatewayRow) -> Result<()> {
        self.inner.announce(id, gateway).await
    }

    async fn gateways(&self, id: &TransferId) -> Result<Vec<GatewayRow>> {
        self.inner.gateways(id).await
    }

    async fn progress(&self, id: &TransferId) -> Result<Progress> {
        let mut progress = self.inner.progress(id).await?;
        progress.done += *self.extra.counted.lock().unwrap();
        Ok(progress)
    }
}

/// The first seed that finds the rule broken.
async fn found(rule: Broken, seeds: std::ops::Range<u64>) -> Option<suite::Violation> {
    for seed in seeds {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let extra = Arc::<Extra>::default();
        let make = || async {
            let inner = SqliteState::open(&path).unwrap();
            let mutant = Mutant {
                rule,
                inner,
                extra: Arc::clone(&extra),
            };
            Arc::new(mutant) as Arc<dyn TransferState>
        };
        if let Err(violation) = suite::run(make, seed, 400).await {
            return Some(violation);
        }
    }
    None
}

#[tokio::test]
async fn the_suite_finds_every_broken_rule() {
    for rule in ALL {
        let violation = found(rule, 0..20).await;
        let violation = violation.unwrap_or_else(|| panic!("{rule:?} passed the suite"));
        println!("{rule:?}: seed {}, step {}", violation.seed, violation.step);
    }
}

#[tokio::test]
async fn the_wrapper_that_breaks_nothing_passes() {
    let violation = found(Broken::Nothing, 0..20).await;
    assert!(violation.is_none(), "{violation:?}");
}
