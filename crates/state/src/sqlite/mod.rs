//! Transfer state in one `SQLite` database of this machine.
//!
//! The log is written at each transaction and not flushed (`synchronous = NORMAL`): `kill -9` loses
//! nothing; a power failure may lose the last transactions, never a part of one and never the
//! order. What is then missing is done again. Several processes may open the same file.

mod column;
mod connection;
mod failure;
mod gateways;
mod groups;
mod ranges;
#[cfg(test)]
mod tests;
mod totals;
mod transfers;
mod uploads;

use std::path::Path;

use async_trait::async_trait;
use skyhaul_model::group::{GroupId, GroupStatus, Lease, RangeId};
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{Error, HolderId, Result, TransferId};

use crate::{
    GatewayRow, GroupRow, ListSegmentKind, NewUpload, Progress, Publication, RangeRow, Record,
    Submitted, TransferChange, TransferRow, TransferState, UploadKey, UploadResult, UploadRow,
    UploadStatus,
};
use connection::Worker;

/// State of this machine's transfers. Groups are in one shard: there is one writer at a time.
#[derive(Debug)]
pub struct SqliteState {
    worker: Worker,
}

impl SqliteState {
    /// Opens the database, which is made (with its folder) if there is none. Blocks for
    /// milliseconds.
    ///
    /// `Invalid` for another program's file, `Unsupported` for one that a newer build wrote,
    /// `Corrupt` for a damaged one.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self {
            worker: Worker::open(path.as_ref())?,
        })
    }

    fn check_shard(&self, shard: u32) -> Result<()> {
        if shard < self.shards() {
            Ok(())
        } else {
            Err(Error::invalid(format!(
                "no shard {shard}: there are {}",
                self.shards()
            )))
        }
    }
}

#[async_trait]
impl TransferState for SqliteState {
    async fn submit(&self, id: &TransferId, spec: &TransferSpec) -> Result<Submitted> {
        let (id, spec) = (id.clone(), spec.clone());
        self.worker
            .write(move |tx| transfers::submit(tx, id, spec))
            .await
    }

    async fn transfer(&self, id: &TransferId) -> Result<TransferRow> {
        let id = id.clone();
        self.worker.read(move |tx| transfers::load(tx, &id)).await
    }

    async fn transfers(&self) -> Result<Vec<TransferRow>> {
        self.worker.read(transfers::all).await
    }

    async fn change(
        &self,
        id: &TransferId,
        revision: u64,
        change: TransferChange,
    ) -> Result<TransferRow> {
        let id = id.clone();
        self.worker
            .write(move |tx| transfers::change(tx, &id, revision, change))
            .await
    }

    async fn purge(&self, id: &TransferId) -> Result<()> {
        let id = id.clone();
        self.worker.write(move |tx| transfers::purge(tx, &id)).await
    }

    async fn ranges(&self, id: &TransferId) -> Result<Vec<RangeRow>> {
        let id = id.clone();
        self.worker.read(move |tx| ranges::all(tx, &id)).await
    }

    async fn lease_range(
        &self,
        id: &TransferId,
        range: RangeId,
        holder: &HolderId,
        seen: Option<&Lease>,
    ) -> Result<RangeRow> {
        let (id, holder, seen) = (id.clone(), holder.clone(), seen.cloned());
        self.worker
            .write(move |tx| ranges::lease(tx, &id, range, holder, seen.as_ref()))
            .await
    }

    async fn publish(
        &self,
        id: &TransferId,
        range: RangeId,
        lease: &Lease,
        publication: Publication,
    ) -> Result<RangeRow> {
        let (id, lease) = (id.clone(), lease.clone());
        self.worker
            .write(move |tx| ranges::publish(tx, &id, range, &lease, publication))
            .await
    }

    async fn split_range(
        &self,
        id: &TransferId,
        range: RangeId,
        lease: &Lease,
        at: &str,
        lease_new: bool,
    ) -> Result<(RangeRow, RangeRow)> {
        let (id, lease, at) = (id.clone(), lease.clone(), at.to_owned());
        self.worker
            .write(move |tx| ranges::split(tx, &id, range, &lease, at, lease_new))
            .await
    }

    async fn release_range(&self, id: &TransferId, range: RangeId, lease: &Lease) -> Result<()> {
        let (id, lease) = (id.clone(), lease.clone());
        self.worker
            .write(move |tx| ranges::release(tx, &id, range, &lease))
            .await
    }

    async fn list_segments(&self, id: &TransferId, kind: ListSegmentKind) -> Result<Vec<String>> {
        let id = id.clone();
        self.worker
            .read(move |tx| ranges::segments(tx, &id, kind))
            .await
    }

    fn shards(&self) -> u32 {
        groups::SHARDS
    }

    async fn claim(
        &self,
        id: &TransferId,
        shard: u32,
        holder: &HolderId,
        after: Option<u64>,
    ) -> Result<Option<GroupRow>> {
        self.check_shard(shard)?;
        let (id, holder) = (id.clone(), holder.clone());
        self.worker
            .write(move |tx| groups::claim(tx, &id, shard, holder, after))
            .await
    }

    async fn take_over(
        &self,
        id: &TransferId,
        group: GroupId,
        seen: &Lease,
        holder: &HolderId,
    ) -> Result<GroupRow> {
        let (id, seen, holder) = (id.clone(), seen.clone(), holder.clone());
        self.worker
            .write(move |tx| groups::take_over(tx, &id, group, &seen, holder))
            .await
    }

    async fn renew(&self, id: &TransferId, group: GroupId, lease: &Lease) -> Result<Lease> {
        let (id, lease) = (id.clone(), lease.clone());
        self.worker
            .write(move |tx| groups::renew(tx, &id, group, &lease))
            .await
    }

    async fn record(
        &self,
        id: &TransferId,
        group: GroupId,
        lease: &Lease,
        record: Record,
    ) -> Result<GroupRow> {
        let (id, lease) = (id.clone(), lease.clone());
        self.worker
            .write(move |tx| groups::record(tx, &id, group, &lease, record))
            .await
    }

    async fn release(&self, id: &TransferId, group: GroupId, lease: &Lease) -> Result<()> {
        let (id, lease) = (id.clone(), lease.clone());
        self.worker
            .write(move |tx| groups::release(tx, &id, group, &lease))
            .await
    }

    async fn group(&self, id: &TransferId, group: GroupId) -> Result<GroupRow> {
        let id = id.clone();
        self.worker
            .read(move |tx| groups::load(tx, &id, group))
            .await
    }

    async fn groups(
        &self,
        id: &TransferId,
        shard: u32,
        status: Option<GroupStatus>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<GroupRow>> {
        self.check_shard(shard)?;
        let id = id.clone();
        self.worker
            .read(move |tx| groups::list(tx, &id, shard, status, after, limit))
            .await
    }

    async fn upload_intent(&self, id: &TransferId, upload: NewUpload) -> Result<UploadRow> {
        let id = id.clone();
        self.worker
            .write(move |tx| uploads::intend(tx, &id, upload))
            .await
    }

    async fn upload_opened(
        &self,
        id: &TransferId,
        key: &UploadKey,
        token: &str,
    ) -> Result<UploadRow> {
        let (id, key, token) = (id.clone(), key.clone(), token.to_owned());
        self.worker
            .write(move |tx| uploads::open(tx, &id, &key, &token))
            .await
    }

    async fn upload_slice(
        &self,
        id: &TransferId,
        key: &UploadKey,
        group: GroupId,
        parts: u32,
    ) -> Result<UploadRow> {
        let (id, key) = (id.clone(), key.clone());
        self.worker
            .write(move |tx| uploads::slice(tx, &id, &key, group, parts))
            .await
    }

    async fn upload_status(
        &self,
        id: &TransferId,
        key: &UploadKey,
        from: &[UploadStatus],
        to: UploadStatus,
        result: Option<&UploadResult>,
    ) -> Result<bool> {
        let (id, key, from, result) = (id.clone(), key.clone(), from.to_vec(), result.cloned());
        self.worker
            .write(move |tx| uploads::advance(tx, &id, &key, &from, to, result.as_ref()))
            .await
    }

    async fn upload(&self, id: &TransferId, key: &UploadKey) -> Result<Option<UploadRow>> {
        let (id, key) = (id.clone(), key.clone());
        self.worker
            .read(move |tx| uploads::find(tx, &id, &key))
            .await
    }

    async fn uploads(
        &self,
        id: &TransferId,
        statuses: &[UploadStatus],
        after: Option<&UploadKey>,
        limit: usize,
    ) -> Result<Vec<UploadRow>> {
        let (id, statuses, after) = (id.clone(), statuses.to_vec(), after.cloned());
        self.worker
            .read(move |tx| uploads::list(tx, &id, &statuses, after.as_ref(), limit))
            .await
    }

    async fn announce(&self, id: &TransferId, gateway: &GatewayRow) -> Result<()> {
        let (id, gateway) = (id.clone(), gateway.clone());
        self.worker
            .write(move |tx| gateways::announce(tx, &id, &gateway))
            .await
    }

    async fn gateways(&self, id: &TransferId) -> Result<Vec<GatewayRow>> {
        let id = id.clone();
        self.worker.read(move |tx| gateways::all(tx, &id)).await
    }

    async fn progress(&self, id: &TransferId) -> Result<Progress> {
        let id = id.clone();
        self.worker
            .read(move |tx| transfers::progress(tx, &id))
            .await
    }
}
