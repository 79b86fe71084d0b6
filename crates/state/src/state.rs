//! The state trait: transfers, listing ranges, groups of chunks, uploads. Every transition is a
//! conditional write fenced by a lease's number; nothing is stored per object.

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skyhaul_model::group::{Bitmap, Counts, GroupId, GroupStatus, Lease, RangeId};
use skyhaul_model::outcome::Outcome;
use skyhaul_model::segment::ObjectTask;
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{HolderId, Result, TransferId};

use crate::pages::PAGE;

/// Where a transfer is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferStatus {
    /// Begun and not ended: at work, or interrupted (nobody holds it).
    Running,
    /// Ended; every object is at the destination.
    Succeeded,
    /// Ended; some objects failed.
    Incomplete,
    /// Ended by an error.
    Failed,
    /// Ended by the user; its uploads were aborted.
    Cancelled,
}

/// What a running transfer does. Phases follow each other in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Listing and copying.
    Copy,
    /// Completing uploads whose completer died.
    Complete,
    /// Deleting at the destination.
    Delete,
    /// Checking the destination.
    Verify,
    /// Writing the report.
    Report,
    /// Nothing more to do.
    Ended,
}

/// One transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRow {
    /// Its identifier.
    pub id: TransferId,
    /// What it does.
    pub spec: TransferSpec,
    /// See [`TransferSpec::fingerprint`].
    pub fingerprint: String,
    /// Where it is in its life.
    pub status: TransferStatus,
    /// What it is at.
    pub phase: Phase,
    /// How often it was started, from 1.
    pub attempt: u32,
    /// When it was submitted, by the submitter's clock (shown, never compared between machines).
    pub created: Timestamp,
    /// When the row last changed.
    pub updated: Timestamp,
    /// Why it failed.
    pub error: Option<String>,
    /// Raised by one at each change: the condition of the next.
    pub revision: u64,
}

/// What [`TransferState::submit`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The transfer is new; its whole key range is open as range 0.
    Created(TransferRow),
    /// The same submission was made before.
    Existing(TransferRow),
}

/// A change of a transfer's row; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferChange {
    /// New status.
    pub status: Option<TransferStatus>,
    /// New phase.
    pub phase: Option<Phase>,
    /// New attempt.
    pub attempt: Option<u32>,
    /// New error (the inner `None` clears it).
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given"
    )]
    pub error: Option<Option<String>>,
}

/// A field that is there, also as `null`.
#[allow(clippy::option_option, reason = "what the field it reads is")]
fn given<'de, D: serde::Deserializer<'de>>(field: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// What a range's listing has counted so far. All fields add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListCounts {
    /// Source objects seen (after filters).
    pub source_objects: u64,
    /// Destination objects seen.
    pub destination_objects: u64,
    /// Objects to copy.
    pub copy_objects: u64,
    /// Their bytes.
    pub copy_bytes: u64,
    /// Chunks they were cut into.
    pub chunks: u64,
    /// Objects skipped.
    pub skipped: u64,
    /// Objects refused while listing (counted as failed).
    pub failed: u64,
    /// Keys to delete.
    pub deletes: u64,
    /// List pages read, on both sides.
    pub pages: u64,
    /// Names that a listing could not show: any forbids deletions.
    pub unlisted: u64,
}

impl std::ops::AddAssign for ListCounts {
    fn add_assign(&mut self, other: Self) {
        self.source_objects += other.source_objects;
        self.destination_objects += other.destination_objects;
        self.copy_objects += other.copy_objects;
        self.copy_bytes += other.copy_bytes;
        self.chunks += other.chunks;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.deletes += other.deletes;
        self.pages += other.pages;
        self.unlisted += other.unlisted;
    }
}

/// One range of keys, `after < source key <= upto`, being listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRow {
    /// Its identifier.
    pub id: RangeId,
    /// Lower bound (exclusive), a source key.
    pub after: Option<String>,
    /// Upper bound (inclusive), a source key; `None` is the end.
    pub upto: Option<String>,
    /// All keys up to this one are published; starts as `after`.
    pub cursor: Option<String>,
    /// Ordinal of the next group.
    pub next_group: u32,
    /// Ordinal of the next group that is claimed first.
    #[serde(default)]
    pub next_first: u32,
    /// What was counted up to the cursor.
    pub counts: ListCounts,
    /// Whether the listing of this range ended.
    pub done: bool,
    /// Who lists it.
    pub lease: Option<Lease>,
}

/// Kinds of segments that a listing writes beside manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListSegmentKind {
    /// Outcomes of skipped and refused objects.
    Outcomes,
    /// Keys to delete at the destination.
    Deletes,
}

/// What one slice of listing found: published as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// New cursor.
    pub cursor: Option<String>,
    /// Groups found, in order; ordinals continue at the row's `next_group`.
    pub groups: Vec<NewGroup>,
    /// Groups found that are claimed before all others; ordinals continue at the row's `next_first`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<NewGroup>,
    /// Segments of skipped objects and deletions found.
    pub segments: Vec<(ListSegmentKind, String)>,
    /// What was counted since the last publication.
    pub counts: ListCounts,
    /// Whether the range's listing ended.
    pub done: bool,
}

/// A group to be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewGroup {
    /// Number of chunks, 1 to 64.
    pub chunks: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Pointer to the manifest segment.
    pub segment: String,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Its identifier.
    pub id: GroupId,
    /// Its place in its shard: what the claim cursor counts.
    pub sequence: u64,
    /// Number of chunks.
    pub chunks: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Pointer to the manifest segment.
    pub segment: String,
    /// Where it is in its life.
    pub status: GroupStatus,
    /// The lease, while leased (kept after that, for its fence).
    pub lease: Option<Lease>,
    /// Chunks that are done.
    pub done: Bitmap,
    /// What its chunks counted.
    pub counts: Counts,
    /// Pointers to receipt segments.
    pub receipts: Vec<String>,
}

/// Chunks that were finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The chunks.
    pub done: Bitmap,
    /// What they counted.
    pub counts: Counts,
    /// Pointer to their receipts.
    pub receipts: Option<String>,
    /// Groups of what is to be tried again, added together with the record.
    pub follow_up: Vec<NewGroup>,
    /// An upload that ends with this record because its object changed or failed. In the same
    /// transaction: if the upload is `Intent` or `Open` it becomes `Superseded` with this result;
    /// otherwise somebody else ended it already, and `follow_up` is not added.
    pub supersede: Option<(UploadKey, Option<UploadResult>)>,
}

/// How an object written in parts ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadResult {
    /// Its line of the report.
    pub outcome: Outcome,
    /// What it counts; part of [`Progress::done`] once the upload is `Done`, or `Superseded` or
    /// `Aborted` with a result.
    pub counts: Counts,
}

/// An upload's key in the state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UploadKey {
    /// Which destination, from 0.
    pub destination: u32,
    /// The object's key at the destination.
    pub key: String,
    /// The object's attempt, from 1.
    pub attempt: u32,
}

impl UploadKey {
    /// That of an attempt at an object.
    #[must_use]
    pub fn of(task: &ObjectTask) -> Self {
        Self {
            destination: 0,
            key: task.destination_key.clone(),
            attempt: task.attempt,
        }
    }
}

/// Where an upload is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadStatus {
    /// About to be created; there may or may not be one at the store.
    Intent,
    /// Created; its token is known.
    Open,
    /// Completed.
    Done,
    /// Given up (the object changed or failed); to be aborted.
    Superseded,
    /// Aborted at the store.
    Aborted,
}

impl UploadStatus {
    /// Those in which something of the upload may be at the store that is no object.
    pub const UNSETTLED: [Self; 3] = [Self::Intent, Self::Open, Self::Superseded];

    /// Whether the object's attempt goes on.
    #[must_use]
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Intent | Self::Open)
    }
}

/// One multipart upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRow {
    /// Its key.
    pub key: UploadKey,
    /// Where it is in its life.
    pub status: UploadStatus,
    /// When the intent was written.
    pub intended: Timestamp,
    /// Uploads of the same object that were open before ours: never ours.
    pub strangers: Vec<String>,
    /// The store's token, once known.
    pub token: Option<String>,
    /// Number of parts of the object.
    pub parts_total: u32,
    /// Groups that finished all their parts of this object, with how many that are.
    pub slices: Vec<(GroupId, u32)>,
    /// The object's task as JSON, so that the completion needs no manifest.
    pub task: String,
    /// How the object ended, if it did. (An object that is begun anew ends in a later attempt's
    /// row.)
    pub result: Option<UploadResult>,
}

impl UploadRow {
    /// Parts that were recorded as done.
    #[must_use]
    pub fn parts_done(&self) -> u32 {
        self.slices.iter().map(|(_, parts)| parts).sum()
    }
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// What listing counted so far.
    pub listed: ListCounts,
    /// Whether every range is listed to its end.
    pub listing_done: bool,
    /// What finished chunks and ended uploads counted.
    pub done: Counts,
    /// Groups there are.
    pub groups: u64,
    /// Groups that are done.
    pub groups_done: u64,
    /// Chunks that are done.
    pub chunks_done: u64,
}

impl Progress {
    /// Whether all is listed, and every group is done.
    #[must_use]
    pub fn is_copied(&self) -> bool {
        self.listing_done && self.groups_done == self.groups
    }
}

/// What a gateway tells of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayRow {
    /// Its name in the dataplane; kept when it is started anew.
    pub name: String,
    /// Who it is on the wire, in hexadecimal digits; new at each start.
    pub gateway: String,
    /// Who holds its leases, if it claims groups.
    pub holder: Option<HolderId>,
    /// Where it is connected to (`host:port`), if it is.
    pub address: Option<String>,
    /// Raised with each announcement since its start.
    pub beat: u64,
    /// Connections to other gateways.
    pub connections: u64,
    /// Bytes of objects that it sent, before compression.
    pub logical_bytes: u64,
    /// Bytes that it sent for them over the network.
    pub wire_bytes: u64,
    /// Bytes that it passed on for others.
    pub passed_bytes: u64,
    /// Bytes that it wrote to a store.
    pub written_bytes: u64,
    /// What it is in the dataplane, as far as it knows by now.
    pub role: Option<GatewayRole>,
    /// Whether it takes no new work, and ends when it has finished what it has begun.
    pub draining: bool,
    /// Whether it claims groups, finds none, and has room for one.
    pub idle: bool,
    /// When it told this, by its own clock (shown, never compared between machines).
    pub told: Option<Timestamp>,
    /// Where it can be looked into, if it lets itself.
    pub control: Option<ControlAddress>,
}

/// What a gateway is in a dataplane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayRole {
    /// Claims groups, reads and sends.
    Source,
    /// Passes on.
    Relay,
    /// Writes.
    Destination,
}

/// Where a gateway's control API is, and how it is known. What it asks for is not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlAddress {
    /// `host:port`.
    pub address: String,
    /// SHA-256 of its certificate in DER, in hexadecimal digits.
    pub fingerprint: String,
}

/// A store of transfers' state.
///
/// Errors: `LeaseLost` when a fenced write finds another lease, `NotFound` for rows that do not
/// exist, `Unreachable`/`Service`/`Full` (control side) for the backend's own failures. All methods
/// may be repeated after a lost reply with the same arguments and give the same result, but for
/// those that say otherwise. Lists of a transfer that does not exist are empty.
///
/// A lease is known by its holder and fence; its counter only tells observers that the holder
/// lives. So fenced methods take any copy of the lease, while those that take over compare the
/// whole of what was seen. Exclusion is between holders: a process keeps its own tasks apart.
#[async_trait]
pub trait TransferState: Debug + Send + Sync {
    /// Adds a transfer and its first range (everything), or finds it. The same id with another
    /// specification is `Invalid`.
    async fn submit(&self, id: &TransferId, spec: &TransferSpec) -> Result<Submitted>;

    /// One transfer.
    async fn transfer(&self, id: &TransferId) -> Result<TransferRow>;

    /// All transfers, newest first.
    async fn transfers(&self) -> Result<Vec<TransferRow>>;

    /// Changes a transfer's row if its revision is still `revision`, else `LeaseLost`; so a
    /// repetition is `LeaseLost` too, and of two that make the same change one wins.
    async fn change(
        &self,
        id: &TransferId,
        revision: u64,
        change: TransferChange,
    ) -> Result<TransferRow>;

    /// Forgets a transfer and all its rows.
    async fn purge(&self, id: &TransferId) -> Result<()>;

    /// All ranges of a transfer, by id.
    async fn ranges(&self, id: &TransferId) -> Result<Vec<RangeRow>>;

    /// Leases a range that is not done. `seen` is the lease that the caller may take over (it saw
    /// it unchanged for a whole term, or proved its holder dead); `None` takes only a free one.
    /// `LeaseLost` if the row holds another lease, or the range is listed already.
    async fn lease_range(
        &self,
        id: &TransferId,
        range: RangeId,
        holder: &HolderId,
        seen: Option<&Lease>,
    ) -> Result<RangeRow>;

    /// Publishes what a slice found and moves the cursor: atomic, fenced. Raises the lease's
    /// counter; the end of the listing frees the range. `Invalid` if the cursor goes back or
    /// leaves the range.
    async fn publish(
        &self,
        id: &TransferId,
        range: RangeId,
        lease: &Lease,
        publication: Publication,
    ) -> Result<RangeRow>;

    /// Cuts a leased range at `at` (cursor < at < upto): it keeps (after, at], the new range gets
    /// (at, old upto], free or leased to the same holder (`lease_new`). Fenced. Returns the shrunken
    /// and the new range.
    async fn split_range(
        &self,
        id: &TransferId,
        range: RangeId,
        lease: &Lease,
        at: &str,
        lease_new: bool,
    ) -> Result<(RangeRow, RangeRow)>;

    /// Gives a range back. One that is free since then, or listed, is no error.
    async fn release_range(&self, id: &TransferId, range: RangeId, lease: &Lease) -> Result<()>;

    /// Segments that the listing wrote, of one kind. Once all is listed, in the same order each time; which,
    /// means nothing.
    async fn list_segments(&self, id: &TransferId, kind: ListSegmentKind) -> Result<Vec<String>>;

    /// How many shards a transfer's groups are spread over, two or more: the last one holds those that
    /// are claimed first, and no others.
    fn shards(&self) -> u32;

    /// Claims the first pending group of a shard whose sequence is greater than `after`. Groups may
    /// become pending, or be added, behind a cursor: `None` is final only for `after: None`.
    /// A repetition claims another group; the one whose reply was lost is never renewed and taken
    /// over in the end.
    async fn claim(
        &self,
        id: &TransferId,
        shard: u32,
        holder: &HolderId,
        after: Option<u64>,
    ) -> Result<Option<GroupRow>>;

    /// Takes over a leased group whose lease is still `seen`. `LeaseLost` if it moved on.
    async fn take_over(
        &self,
        id: &TransferId,
        group: GroupId,
        seen: &Lease,
        holder: &HolderId,
    ) -> Result<GroupRow>;

    /// Renews a lease: raises its counter, each time.
    async fn renew(&self, id: &TransferId, group: GroupId, lease: &Lease) -> Result<Lease>;

    /// Records finished chunks; all done ends the group, else the lease is renewed by it. Repeating
    /// a record (same chunks, same receipts) changes nothing. A bitmap that overlaps what is done
    /// without being a repetition is `Invalid`.
    async fn record(
        &self,
        id: &TransferId,
        group: GroupId,
        lease: &Lease,
        record: Record,
    ) -> Result<GroupRow>;

    /// Gives a group back: pending again, what is done stays done. One that is pending since then,
    /// or done, is no error.
    async fn release(&self, id: &TransferId, group: GroupId, lease: &Lease) -> Result<()>;

    /// One group.
    async fn group(&self, id: &TransferId, group: GroupId) -> Result<GroupRow>;

    /// The groups of a shard that are leased. One behind many that nobody ever leased may be missing until those are: they
    /// are leased in their order, but for those that were listed late. Costs no more than what may be leased.
    async fn leased(&self, id: &TransferId, shard: u32) -> Result<Vec<GroupRow>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let status = Some(GroupStatus::Leased);
            let page = self.groups(id, shard, status, after, PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|row| row.sequence);
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Whether each call is paid for: who asks the same again and again, while nothing happens, asks seldom.
    fn is_metered(&self) -> bool {
        false
    }

    /// Groups of a shard by sequence, after `after`, at most `limit`; with `status` only those.
    async fn groups(
        &self,
        id: &TransferId,
        shard: u32,
        status: Option<GroupStatus>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<GroupRow>>;

    /// Writes the intent to open an upload, if there is no row yet. An intent that is there takes the
    /// new time and strangers if its own time is the one that is to be replaced: of several who want
    /// it one gets it. Any other row is returned as it is; whose intent stands is known by its time.
    async fn upload_intent(&self, id: &TransferId, upload: NewUpload) -> Result<UploadRow>;

    /// Records an upload's token if none is recorded; the row returned names the one that counts.
    /// Also for an upload that ended meanwhile, so that it can be aborted.
    async fn upload_opened(
        &self,
        id: &TransferId,
        key: &UploadKey,
        token: &str,
    ) -> Result<UploadRow>;

    /// Records that a group finished its `parts` parts of the object. Counted once a group.
    async fn upload_slice(
        &self,
        id: &TransferId,
        key: &UploadKey,
        group: GroupId,
        parts: u32,
    ) -> Result<UploadRow>;

    /// Moves an upload from one of `from` to `to`; returns whether this call or an earlier one
    /// with the same `to` did it (false: the row is in another status). The first such call sets
    /// the result, if it gives one and the row has none. `Invalid`: a result for an upload that does
    /// not end, or an ended one that would go on.
    async fn upload_status(
        &self,
        id: &TransferId,
        key: &UploadKey,
        from: &[UploadStatus],
        to: UploadStatus,
        result: Option<&UploadResult>,
    ) -> Result<bool>;

    /// One upload.
    async fn upload(&self, id: &TransferId, key: &UploadKey) -> Result<Option<UploadRow>>;

    /// Uploads in one of these statuses by key, after `after`, at most `limit`.
    async fn uploads(
        &self,
        id: &TransferId,
        statuses: &[UploadStatus],
        after: Option<&UploadKey>,
        limit: usize,
    ) -> Result<Vec<UploadRow>>;

    /// A gateway tells of itself: its row takes the place of the one that has its name. Each time
    /// with another beat, so that those who look know that it lives.
    async fn announce(&self, id: &TransferId, gateway: &GatewayRow) -> Result<()>;

    /// The gateways that told of themselves, by name.
    async fn gateways(&self, id: &TransferId) -> Result<Vec<GatewayRow>>;

    /// How far a transfer is.
    async fn progress(&self, id: &TransferId) -> Result<Progress>;
}

/// An upload about to be opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUpload {
    /// Its key.
    pub key: UploadKey,
    /// When, by the writer's clock.
    pub intended: Timestamp,
    /// Time of the intent that it takes the place of, if any.
    #[serde(default)]
    pub replaces: Option<Timestamp>,
    /// Tokens of uploads of the same object that are open already.
    pub strangers: Vec<String>,
    /// Number of parts.
    pub parts_total: u32,
    /// The object's task as JSON.
    pub task: String,
}
