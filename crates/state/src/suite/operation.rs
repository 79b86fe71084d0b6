//! The trait's methods as values: what is generated, given to model and backend, and repeated.

use jiff::Timestamp;
use skyhaul_model::group::{GroupId, GroupStatus, Lease, RangeId};
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{ErrorKind, HolderId, Result, TransferId};

use crate::{
    GroupRow, ListSegmentKind, NewUpload, Progress, Publication, RangeRow, Record, Submitted,
    TransferChange, TransferRow, TransferState, UploadKey, UploadResult, UploadRow, UploadStatus,
};

/// A call of the trait.
#[derive(Debug, Clone)]
pub(super) enum Operation {
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
    Progress(TransferId),
}

/// What a call gave. Times of the backend's clock are blanked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    Nothing,
    Flag(bool),
    Submitted(bool, Box<TransferRow>),
    Transfer(Box<TransferRow>),
    Transfers(Vec<TransferRow>),
    Range(RangeRow),
    Split(Box<(RangeRow, RangeRow)>),
    Ranges(Vec<RangeRow>),
    Pointers(Vec<String>),
    Lease(Lease),
    Group(Option<GroupRow>),
    Groups(Vec<GroupRow>),
    Upload(Option<Box<UploadRow>>),
    Uploads(Vec<UploadRow>),
    Progress(Progress),
    Error(ErrorKind),
}

impl Reply {
    pub(super) fn is_ok(&self) -> bool {
        !matches!(self, Self::Error(_))
    }

    pub(super) fn from<T>(result: Result<T>, reply: impl FnOnce(T) -> Self) -> Self {
        match result {
            Ok(value) => reply(value),
            Err(error) => Self::Error(error.kind),
        }
    }
}

/// The row without times.
fn timeless(row: TransferRow) -> TransferRow {
    TransferRow {
        created: Timestamp::UNIX_EPOCH,
        updated: Timestamp::UNIX_EPOCH,
        ..row
    }
}

impl Operation {
    pub(super) fn name(&self) -> &'static str {
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
            Self::Progress(..) => "progress",
        }
    }

    pub(super) fn writes(&self) -> bool {
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
                | Self::Progress(..)
        )
    }

    /// Whether doing it twice in a row gives the same reply twice. The others are harmless when
    /// repeated, but their replies tell the difference; the trait says how.
    pub(super) fn is_repeatable(&self) -> bool {
        !matches!(
            self,
            Self::Submit(..) | Self::Change(..) | Self::Claim(..) | Self::Renew(..)
        )
    }

    pub(super) async fn perform(&self, state: &dyn TransferState) -> Reply {
        let range = |result| Reply::from(result, Reply::Range);
        let group = |result| Reply::from(result, |row| Reply::Group(Some(row)));
        let nothing = |result| Reply::from(result, |()| Reply::Nothing);
        let upload = |result| Reply::from(result, |row| Reply::Upload(Some(Box::new(row))));
        match self.clone() {
            Self::Submit(id, spec) => {
                Reply::from(
                    state.submit(&id, &spec).await,
                    |submitted| match submitted {
                        Submitted::Created(row) => Reply::Submitted(true, Box::new(timeless(row))),
                        Submitted::Existing(row) => {
                            Reply::Submitted(false, Box::new(timeless(row)))
                        }
                    },
                )
            }
            Self::Transfer(id) => Reply::from(state.transfer(&id).await, |row| {
                Reply::Transfer(Box::new(timeless(row)))
            }),
            Self::Transfers => Reply::from(state.transfers().await, |rows| {
                Reply::Transfers(rows.into_iter().map(timeless).collect())
            }),
            Self::Change(id, revision, change) => {
                Reply::from(state.change(&id, revision, change).await, |row| {
                    Reply::Transfer(Box::new(timeless(row)))
                })
            }
            Self::Purge(id) => nothing(state.purge(&id).await),
            Self::Ranges(id) => Reply::from(state.ranges(&id).await, Reply::Ranges),
            Self::LeaseRange(id, of, holder, seen) => {
                range(state.lease_range(&id, of, &holder, seen.as_ref()).await)
            }
            Self::Publish(id, of, lease, publication) => {
                range(state.publish(&id, of, &lease, publication).await)
            }
            Self::SplitRange(id, of, lease, at, lease_new) => Reply::from(
                state.split_range(&id, of, &lease, &at, lease_new).await,
                |rows| Reply::Split(Box::new(rows)),
            ),
            Self::ReleaseRange(id, of, lease) => {
                nothing(state.release_range(&id, of, &lease).await)
            }
            Self::ListSegments(id, kind) => {
                Reply::from(state.list_segments(&id, kind).await, Reply::Pointers)
            }
            Self::Claim(id, shard, holder, after) => {
                Reply::from(state.claim(&id, shard, &holder, after).await, Reply::Group)
            }
            Self::TakeOver(id, of, seen, holder) => {
                group(state.take_over(&id, of, &seen, &holder).await)
            }
            Self::Renew(id, of, lease) => {
                Reply::from(state.renew(&id, of, &lease).await, Reply::Lease)
            }
            Self::Record(id, of, lease, record) => {
                group(state.record(&id, of, &lease, *record).await)
            }
            Self::Release(id, of, lease) => nothing(state.release(&id, of, &lease).await),
            Self::Group(id, of) => group(state.group(&id, of).await),
            Self::Groups(id, shard, status, after, limit) => Reply::from(
                state.groups(&id, shard, status, after, limit).await,
                Reply::Groups,
            ),
            Self::UploadIntent(id, new) => upload(state.upload_intent(&id, new).await),
            Self::UploadOpened(id, key, token) => {
                upload(state.upload_opened(&id, &key, &token).await)
            }
            Self::UploadSlice(id, key, of, parts) => {
                upload(state.upload_slice(&id, &key, of, parts).await)
            }
            Self::UploadStatus(id, key, from, to, result) => Reply::from(
                state
                    .upload_status(&id, &key, &from, to, result.as_deref())
                    .await,
                Reply::Flag,
            ),
            Self::Upload(id, key) => Reply::from(state.upload(&id, &key).await, |row| {
                Reply::Upload(row.map(Box::new))
            }),
            Self::Uploads(id, statuses, after, limit) => Reply::from(
                state.uploads(&id, &statuses, after.as_ref(), limit).await,
                Reply::Uploads,
            ),
            Self::Progress(id) => Reply::from(state.progress(&id).await, Reply::Progress),
        }
    }
}
