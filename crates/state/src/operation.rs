//! The trait's methods as values: what the service carries, and what the suite generates, gives to
//! model and backend, and repeats.

use serde::{Deserialize, Serialize};
use skyhaul_model::group::{GroupId, GroupStatus, Lease, RangeId};
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{HolderId, Result, TransferId};

use crate::{
    GatewayRow, GroupRow, ListSegmentKind, NewUpload, Progress, Publication, RangeRow, Record,
    Submitted, TransferChange, TransferRow, TransferState, UploadKey, UploadResult, UploadRow,
    UploadStatus,
};

/// A call of [`TransferState`], with its arguments in the trait's order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is the trait's method of its name")]
pub enum Operation {
    Submit(TransferId, Box<TransferSpec>),
    Transfer(TransferId),
    Transfers,
    Change(TransferId, u64, TransferChange),
    Purge(TransferId),
    Ranges(TransferId),
    LeaseRange(TransferId, RangeId, HolderId, Option<Lease>),
    Publish(TransferId, RangeId, Lease, Publication),
    SplitRange(TransferId, RangeId, Lease, String, bool),
    ReleaseRange(TransferId, RangeId, Lease),
    ListSegments(TransferId, ListSegmentKind),
    Claim(TransferId, u32, HolderId, Option<u64>),
    TakeOver(TransferId, GroupId, Lease, HolderId),
    Renew(TransferId, GroupId, Lease),
    Record(TransferId, GroupId, Lease, Box<Record>),
    Release(TransferId, GroupId, Lease),
    Group(TransferId, GroupId),
    Groups(TransferId, u32, Option<GroupStatus>, Option<u64>, usize),
    UploadIntent(TransferId, NewUpload),
    UploadOpened(TransferId, UploadKey, String),
    UploadSlice(TransferId, UploadKey, GroupId, u32),
    UploadStatus(
        TransferId,
        UploadKey,
        Vec<UploadStatus>,
        UploadStatus,
        Option<Box<UploadResult>>,
    ),
    Upload(TransferId, UploadKey),
    Uploads(TransferId, Vec<UploadStatus>, Option<UploadKey>, usize),
    Announce(TransferId, Box<GatewayRow>),
    Gateways(TransferId),
    Progress(TransferId),
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It was done.
    Nothing,
    /// Of `upload_status`.
    Flag(bool),
    /// Whether the transfer is new, and its row.
    Submitted(bool, Box<TransferRow>),
    /// A transfer.
    Transfer(Box<TransferRow>),
    /// Transfers.
    Transfers(Vec<TransferRow>),
    /// A range.
    Range(RangeRow),
    /// The shrunken and the new range.
    Split(Box<(RangeRow, RangeRow)>),
    /// Ranges.
    Ranges(Vec<RangeRow>),
    /// Pointers to segments.
    Pointers(Vec<String>),
    /// A renewed lease.
    Lease(Lease),
    /// A group, if there is one to claim.
    Group(Option<GroupRow>),
    /// Groups.
    Groups(Vec<GroupRow>),
    /// An upload, if there is one.
    Upload(Option<Box<UploadRow>>),
    /// Uploads.
    Uploads(Vec<UploadRow>),
    /// Gateways.
    Gateways(Vec<GatewayRow>),
    /// How far a transfer is.
    Progress(Progress),
}

impl Operation {
    /// The trait's name of the method.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Submit(..) => "submit",
            Self::Transfer(..) => "transfer",
            Self::Transfers => "transfers",
            Self::Change(..) => "change",
            Self::Purge(..) => "purge",
            Self::Ranges(..) => "ranges",
            Self::LeaseRange(..) => "lease_range",
            Self::Publish(..) => "publish",
            Self::SplitRange(..) => "split_range",
            Self::ReleaseRange(..) => "release_range",
            Self::ListSegments(..) => "list_segments",
            Self::Claim(..) => "claim",
            Self::TakeOver(..) => "take_over",
            Self::Renew(..) => "renew",
            Self::Record(..) => "record",
            Self::Release(..) => "release",
            Self::Group(..) => "group",
            Self::Groups(..) => "groups",
            Self::UploadIntent(..) => "upload_intent",
            Self::UploadOpened(..) => "upload_opened",
            Self::UploadSlice(..) => "upload_slice",
            Self::UploadStatus(..) => "upload_status",
            Self::Upload(..) => "upload",
            Self::Uploads(..) => "uploads",
            Self::Announce(..) => "announce",
            Self::Gateways(..) => "gateways",
            Self::Progress(..) => "progress",
        }
    }

    /// Whether it changes anything.
    #[must_use]
    pub fn writes(&self) -> bool {
        !matches!(
            self,
            Self::Transfer(..)
                | Self::Transfers
                | Self::Ranges(..)
                | Self::ListSegments(..)
                | Self::Group(..)
                | Self::Groups(..)
                | Self::Upload(..)
                | Self::Uploads(..)
                | Self::Gateways(..)
                | Self::Progress(..)
        )
    }

    /// Whether doing it twice in a row gives the same reply twice. The others are harmless when
    /// repeated, but their replies tell the difference; the trait says how.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        !matches!(
            self,
            Self::Submit(..) | Self::Change(..) | Self::Claim(..) | Self::Renew(..)
        )
    }

    /// Makes the call.
    pub async fn perform(self, state: &dyn TransferState) -> Result<Reply> {
        let group = |row| Reply::Group(Some(row));
        let upload = |row| Reply::Upload(Some(Box::new(row)));
        let transfer = |row| Reply::Transfer(Box::new(row));
        let nothing = |()| Reply::Nothing;
        match self {
            Self::Submit(id, spec) => state.submit(&id, &spec).await.map(|found| match found {
                Submitted::Created(row) => Reply::Submitted(true, Box::new(row)),
                Submitted::Existing(row) => Reply::Submitted(false, Box::new(row)),
            }),
            Self::Transfer(id) => state.transfer(&id).await.map(transfer),
            Self::Transfers => state.transfers().await.map(Reply::Transfers),
            Self::Change(id, revision, change) => {
                state.change(&id, revision, change).await.map(transfer)
            }
            Self::Purge(id) => state.purge(&id).await.map(nothing),
            Self::Ranges(id) => state.ranges(&id).await.map(Reply::Ranges),
            Self::LeaseRange(id, of, holder, seen) => {
                let leased = state.lease_range(&id, of, &holder, seen.as_ref()).await;
                leased.map(Reply::Range)
            }
            Self::Publish(id, of, lease, publication) => {
                let published = state.publish(&id, of, &lease, publication).await;
                published.map(Reply::Range)
            }
            Self::SplitRange(id, of, lease, at, lease_new) => {
                let split = state.split_range(&id, of, &lease, &at, lease_new).await;
                split.map(|rows| Reply::Split(Box::new(rows)))
            }
            Self::ReleaseRange(id, of, lease) => {
                state.release_range(&id, of, &lease).await.map(nothing)
            }
            Self::ListSegments(id, kind) => {
                state.list_segments(&id, kind).await.map(Reply::Pointers)
            }
            Self::Claim(id, shard, holder, after) => state
                .claim(&id, shard, &holder, after)
                .await
                .map(Reply::Group),
            Self::TakeOver(id, of, seen, holder) => {
                state.take_over(&id, of, &seen, &holder).await.map(group)
            }
            Self::Renew(id, of, lease) => state.renew(&id, of, &lease).await.map(Reply::Lease),
            Self::Record(id, of, lease, record) => {
                state.record(&id, of, &lease, *record).await.map(group)
            }
            Self::Release(id, of, lease) => state.release(&id, of, &lease).await.map(nothing),
            Self::Group(id, of) => state.group(&id, of).await.map(group),
            Self::Groups(id, shard, status, after, limit) => {
                let rows = state.groups(&id, shard, status, after, limit).await;
                rows.map(Reply::Groups)
            }
            Self::UploadIntent(id, new) => state.upload_intent(&id, new).await.map(upload),
            Self::UploadOpened(id, key, token) => {
                state.upload_opened(&id, &key, &token).await.map(upload)
            }
            Self::UploadSlice(id, key, of, parts) => {
                state.upload_slice(&id, &key, of, parts).await.map(upload)
            }
            Self::UploadStatus(id, key, from, to, result) => {
                let result = result.as_deref();
                let changed = state.upload_status(&id, &key, &from, to, result).await;
                changed.map(Reply::Flag)
            }
            Self::Upload(id, key) => {
                let row = state.upload(&id, &key).await;
                row.map(|row| Reply::Upload(row.map(Box::new)))
            }
            Self::Uploads(id, statuses, after, limit) => {
                let rows = state.uploads(&id, &statuses, after.as_ref(), limit).await;
                rows.map(Reply::Uploads)
            }
            Self::Announce(id, row) => state.announce(&id, &row).await.map(nothing),
            Self::Gateways(id) => state.gateways(&id).await.map(Reply::Gateways),
            Self::Progress(id) => state.progress(&id).await.map(Reply::Progress),
        }
    }
}
