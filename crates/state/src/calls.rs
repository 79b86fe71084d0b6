//! A state that is made of calls: whatever carries operations somewhere and brings their replies back
//! is one.

use async_trait::async_trait;
use skyhaul_model::group::{GroupId, GroupStatus, Lease, RangeId};
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{Error, HolderId, Result, TransferId};

use crate::operation::{Operation, Reply};
use crate::{
    GatewayRow, GroupRow, ListSegmentKind, NewUpload, Progress, Publication, RangeRow, Record,
    Submitted, TransferChange, TransferRow, TransferState, UploadKey, UploadResult, UploadRow,
    UploadStatus,
};

/// See the module documentation.
#[async_trait]
pub trait Calls: std::fmt::Debug + Send + Sync {
    /// How many shards the state at the other end has.
    fn shards(&self) -> u32;

    /// Makes a call and gives its reply.
    async fn call(&self, operation: Operation) -> Result<Reply>;

    /// The error of a reply that is not one to the call.
    fn strange(&self, what: &str) -> Error;
}

/// Makes a call of the trait, whose reply has one form.
macro_rules! call {
    ($state:ident, $operation:expr, $form:pat => $value:expr) => {
        match $state.call($operation).await? {
            $form => Ok($value),
            _ => Err($state.strange("a reply to something else")),
        }
    };
}

#[async_trait]
impl<C: Calls> TransferState for C {
    async fn submit(&self, id: &TransferId, spec: &TransferSpec) -> Result<Submitted> {
        let submit = Operation::Submit(id.clone(), Box::new(spec.clone()));
        call!(self, submit, Reply::Submitted(is_new, row) => if is_new {
            Submitted::Created(*row)
        } else {
            Submitted::Existing(*row)
        })
    }

    async fn transfer(&self, id: &TransferId) -> Result<TransferRow> {
        call!(self, Operation::Transfer(id.clone()), Reply::Transfer(row) => *row)
    }

    async fn transfers(&self) -> Result<Vec<TransferRow>> {
        call!(self, Operation::Transfers, Reply::Transfers(rows) => rows)
    }

    async fn change(
        &self,
        id: &TransferId,
        revision: u64,
        change: TransferChange,
    ) -> Result<TransferRow> {
        let change = Operation::Change(id.clone(), revision, change);
        call!(self, change, Reply::Transfer(row) => *row)
    }

    async fn purge(&self, id: &TransferId) -> Result<()> {
        call!(self, Operation::Purge(id.clone()), Reply::Nothing => ())
    }

    async fn ranges(&self, id: &TransferId) -> Result<Vec<RangeRow>> {
        call!(self, Operation::Ranges(id.clone()), Reply::Ranges(rows) => rows)
    }

    async fn lease_range(
        &self,
        id: &TransferId,
        range: RangeId,
        holder: &HolderId,
        seen: Option<&Lease>,
    ) -> Result<RangeRow> {
        let lease = Operation::LeaseRange(id.clone(), range, holder.clone(), seen.cloned());
        call!(self, lease, Reply::Range(row) => row)
    }

    async fn publish(
        &self,
        id: &TransferId,
        range: RangeId,
        lease: &Lease,
        publication: Publication,
    ) -> Result<RangeRow> {
        let publish = Operation::Publish(id.clone(), range, lease.clone(), publication);
        call!(self, publish, Reply::Range(row) => row)
    }

    async fn split_range(
        &self,
        id: &TransferId,
        range: RangeId,
        lease: &Lease,
        at: &str,
        lease_new: bool,
    ) -> Result<(RangeRow, RangeRow)> {
        let (lease, at) = (lease.clone(), at.to_owned());
        let split = Operation::SplitRange(id.clone(), range, lease, at, lease_new);
        call!(self, split, Reply::Split(rows) => *rows)
    }

    async fn release_range(&self, id: &TransferId, range: RangeId, lease: &Lease) -> Result<()> {
        let release = Operation::ReleaseRange(id.clone(), range, lease.clone());
        call!(self, release, Reply::Nothing => ())
    }

    async fn list_segments(&self, id: &TransferId, kind: ListSegmentKind) -> Result<Vec<String>> {
        let list = Operation::ListSegments(id.clone(), kind);
        call!(self, list, Reply::Pointers(pointers) => pointers)
    }

    fn shards(&self) -> u32 {
        Calls::shards(self)
    }

    async fn claim(
        &self,
        id: &TransferId,
        shard: u32,
        holder: &HolderId,
        after: Option<u64>,
    ) -> Result<Option<GroupRow>> {
        let claim = Operation::Claim(id.clone(), shard, holder.clone(), after);
        call!(self, claim, Reply::Group(row) => row)
    }

    async fn take_over(
        &self,
        id: &TransferId,
        group: GroupId,
        seen: &Lease,
        holder: &HolderId,
    ) -> Result<GroupRow> {
        let take = Operation::TakeOver(id.clone(), group, seen.clone(), holder.clone());
        call!(self, take, Reply::Group(Some(row)) => row)
    }

    async fn renew(&self, id: &TransferId, group: GroupId, lease: &Lease) -> Result<Lease> {
        let renew = Operation::Renew(id.clone(), group, lease.clone());
        call!(self, renew, Reply::Lease(lease) => lease)
    }

    async fn record(
        &self,
        id: &TransferId,
        group: GroupId,
        lease: &Lease,
        record: Record,
    ) -> Result<GroupRow> {
        let record = Operation::Record(id.clone(), group, lease.clone(), Box::new(record));
        call!(self, record, Reply::Group(Some(row)) => row)
    }

    async fn release(&self, id: &TransferId, group: GroupId, lease: &Lease) -> Result<()> {
        let release = Operation::Release(id.clone(), group, lease.clone());
        call!(self, release, Reply::Nothing => ())
    }

    async fn group(&self, id: &TransferId, group: GroupId) -> Result<GroupRow> {
        call!(self, Operation::Group(id.clone(), group), Reply::Group(Some(row)) => row)
    }

    async fn groups(
        &self,
        id: &TransferId,
        shard: u32,
        status: Option<GroupStatus>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<GroupRow>> {
        let page = Operation::Groups(id.clone(), shard, status, after, limit);
        call!(self, page, Reply::Groups(rows) => rows)
    }

    async fn upload_intent(&self, id: &TransferId, upload: NewUpload) -> Result<UploadRow> {
        let intent = Operation::UploadIntent(id.clone(), upload);
        call!(self, intent, Reply::Upload(Some(row)) => *row)
    }

    async fn upload_opened(
        &self,
        id: &TransferId,
        key: &UploadKey,
        token: &str,
    ) -> Result<UploadRow> {
        let opened = Operation::UploadOpened(id.clone(), key.clone(), token.to_owned());
        call!(self, opened, Reply::Upload(Some(row)) => *row)
    }

    async fn upload_slice(
        &self,
        id: &TransferId,
        key: &UploadKey,
        group: GroupId,
        parts: u32,
    ) -> Result<UploadRow> {
        let slice = Operation::UploadSlice(id.clone(), key.clone(), group, parts);
        call!(self, slice, Reply::Upload(Some(row)) => *row)
    }

    async fn upload_status(
        &self,
        id: &TransferId,
        key: &UploadKey,
        from: &[UploadStatus],
        to: UploadStatus,
        result: Option<&UploadResult>,
    ) -> Result<bool> {
        let result = result.cloned().map(Box::new);
        let status = Operation::UploadStatus(id.clone(), key.clone(), from.to_vec(), to, result);
        call!(self, status, Reply::Flag(did) => did)
    }

    async fn upload(&self, id: &TransferId, key: &UploadKey) -> Result<Option<UploadRow>> {
        let upload = Operation::Upload(id.clone(), key.clone());
        call!(self, upload, Reply::Upload(row) => row.map(|row| *row))
    }

    async fn uploads(
        &self,
        id: &TransferId,
        statuses: &[UploadStatus],
        after: Option<&UploadKey>,
        limit: usize,
    ) -> Result<Vec<UploadRow>> {
        let page = Operation::Uploads(id.clone(), statuses.to_vec(), after.cloned(), limit);
        call!(self, page, Reply::Uploads(rows) => rows)
    }

    async fn announce(&self, id: &TransferId, gateway: &GatewayRow) -> Result<()> {
        let announce = Operation::Announce(id.clone(), Box::new(gateway.clone()));
        call!(self, announce, Reply::Nothing => ())
    }

    async fn gateways(&self, id: &TransferId) -> Result<Vec<GatewayRow>> {
        call!(self, Operation::Gateways(id.clone()), Reply::Gateways(rows) => rows)
    }

    async fn progress(&self, id: &TransferId) -> Result<Progress> {
        call!(self, Operation::Progress(id.clone()), Reply::Progress(progress) => progress)
    }
}
