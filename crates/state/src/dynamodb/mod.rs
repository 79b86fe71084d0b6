//! Transfer state in one `DynamoDB` table: see `docs/adr/0001-state-layout.md`.
//!
//! Every transition is a conditional write, or a transaction of at most four. A request is sent
//! again until it is answered, and a call knows its own write, so that a lost reply changes
//! nothing. Everything that is decided on is read strongly consistent; no clock decides anything.

mod committed;
mod consumed;
mod contention;
mod control;
mod create;
mod expression;
mod failure;
mod gateways;
mod groups;
mod item;
mod key;
mod pack;
mod progress;
mod ranges;
mod records;
mod staging;
mod table;
mod transfers;
mod uploads;
mod versioned;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use skyhaul_model::group::{GroupId, GroupStatus, Lease, RangeId};
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{HolderId, Result, TransferId};

use crate::{
    GatewayRow, GroupRow, ListSegmentKind, NewUpload, Progress, Publication, RangeRow, Record,
    Submitted, TransferChange, TransferRow, TransferState, UploadKey, UploadResult, UploadRow,
    UploadStatus,
};
use table::Table;

pub use consumed::Consumed;
pub use control::DynamoDbControl;

/// Requests of one call that are under way at once.
const CONCURRENT: usize = 16;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One attempt; the service answers in milliseconds or not at all.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// State of transfers in one table.
#[derive(Debug)]
pub struct DynamoDbState {
    table: Table,
}

/// A handle to a table.
fn open(config: &SdkConfig, name: String) -> Table {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let client = Builder::from(config)
        // The loop around every request retries, without a quota that could end a call that a little
        // patience would have saved.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .build();
    Table {
        client: Client::from_conf(client),
        name,
        meter: Arc::default(),
    }
}

impl DynamoDbState {
    /// State in a table that is there; nothing is sent yet. Region, credentials and endpoint are
    /// those of `config`, retries and timeouts are not.
    #[must_use]
    pub fn new(config: &SdkConfig, table: impl Into<String>) -> Self {
        Self {
            table: open(config, table.into()),
        }
    }

    /// Makes the table if there is none, paid by request, and waits until it can be used.
    ///
    /// For deployments and tests: no other method does.
    pub async fn create_tables(&self) -> Result<()> {
        create::create(&self.table).await
    }

    /// What the calls of this handle consumed, as the service told; of writes that it refused, and
    /// of which it does not tell, what its documentation says.
    #[must_use]
    pub fn consumed(&self) -> Consumed {
        self.table.meter.read()
    }
}

impl Drop for DynamoDbState {
    fn drop(&mut self) {
        tracing::debug!(table = self.table.name, consumed = %self.consumed(), "state closed");
    }
}

#[async_trait]
impl TransferState for DynamoDbState {
    async fn submit(&self, id: &TransferId, spec: &TransferSpec) -> Result<Submitted> {
        transfers::submit(&self.table, id, spec).await
    }

    async fn transfer(&self, id: &TransferId) -> Result<TransferRow> {
        transfers::load(&self.table, id).await
    }

    async fn transfers(&self) -> Result<Vec<TransferRow>> {
        transfers::all(&self.table).await
    }

    async fn change(
        &self,
        id: &TransferId,
        revision: u64,
        change: TransferChange,
    ) -> Result<TransferRow> {
        transfers::change(&self.table, id, revision, change).await
    }

    async fn purge(&self, id: &TransferId) -> Result<()> {
        transfers::purge(&self.table, id).await
    }

    async fn ranges(&self, id: &TransferId) -> Result<Vec<RangeRow>> {
        let all = ranges::all(&self.table, id).await?;
        Ok(all.into_iter().map(|stored| stored.row).collect())
    }

    async fn lease_range(
        &self,
        id: &TransferId,
        range: RangeId,
        holder: &HolderId,
        seen: Option<&Lease>,
    ) -> Result<RangeRow> {
        ranges::lease(&self.table, id, range, holder, seen).await
    }

    async fn publish(
        &self,
        id: &TransferId,
        range: RangeId,
        lease: &Lease,
        publication: Publication,
    ) -> Result<RangeRow> {
        ranges::publish(&self.table, id, range, lease, publication).await
    }

    async fn split_range(
        &self,
        id: &TransferId,
        range: RangeId,
        lease: &Lease,
        at: &str,
        lease_new: bool,
    ) -> Result<(RangeRow, RangeRow)> {
        ranges::split(&self.table, id, range, lease, at, lease_new).await
    }

    async fn release_range(&self, id: &TransferId, range: RangeId, lease: &Lease) -> Result<()> {
        ranges::release(&self.table, id, range, lease).await
    }

    async fn list_segments(&self, id: &TransferId, kind: ListSegmentKind) -> Result<Vec<String>> {
        ranges::segments(&self.table, id, kind).await
    }

    fn shards(&self) -> u32 {
        key::GROUP_SHARDS
    }

    async fn claim(
        &self,
        id: &TransferId,
        shard: u32,
        holder: &HolderId,
        after: Option<u64>,
    ) -> Result<Option<GroupRow>> {
        key::check_shard(shard)?;
        groups::claim(&self.table, id, shard, holder, after).await
    }

    async fn take_over(
        &self,
        id: &TransferId,
        group: GroupId,
        seen: &Lease,
        holder: &HolderId,
    ) -> Result<GroupRow> {
        groups::take_over(&self.table, id, group, seen, holder).await
    }

    async fn renew(&self, id: &TransferId, group: GroupId, lease: &Lease) -> Result<Lease> {
        groups::renew(&self.table, id, group, lease).await
    }

    async fn record(
        &self,
        id: &TransferId,
        group: GroupId,
        lease: &Lease,
        record: Record,
    ) -> Result<GroupRow> {
        records::record(&self.table, id, group, lease, record).await
    }

    async fn release(&self, id: &TransferId, group: GroupId, lease: &Lease) -> Result<()> {
        groups::release(&self.table, id, group, lease).await
    }

    async fn group(&self, id: &TransferId, group: GroupId) -> Result<GroupRow> {
        Ok(groups::load(&self.table, id, group).await?.row)
    }

    async fn groups(
        &self,
        id: &TransferId,
        shard: u32,
        status: Option<GroupStatus>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<GroupRow>> {
        key::check_shard(shard)?;
        groups::list(&self.table, id, shard, status, after, limit).await
    }

    async fn leased(&self, id: &TransferId, shard: u32) -> Result<Vec<GroupRow>> {
        key::check_shard(shard)?;
        groups::leased(&self.table, id, shard).await
    }

    fn is_metered(&self) -> bool {
        true
    }

    async fn upload_intent(&self, id: &TransferId, upload: NewUpload) -> Result<UploadRow> {
        uploads::intend(&self.table, id, upload).await
    }

    async fn upload_opened(
        &self,
        id: &TransferId,
        key: &UploadKey,
        token: &str,
    ) -> Result<UploadRow> {
        uploads::open(&self.table, id, key, token).await
    }

    async fn upload_slice(
        &self,
        id: &TransferId,
        key: &UploadKey,
        group: GroupId,
        parts: u32,
    ) -> Result<UploadRow> {
        uploads::slice(&self.table, id, key, group, parts).await
    }

    async fn upload_status(
        &self,
        id: &TransferId,
        key: &UploadKey,
        from: &[UploadStatus],
        to: UploadStatus,
        result: Option<&UploadResult>,
    ) -> Result<bool> {
        uploads::advance(&self.table, id, key, from, to, result).await
    }

    async fn upload(&self, id: &TransferId, key: &UploadKey) -> Result<Option<UploadRow>> {
        uploads::find(&self.table, id, key).await
    }

    async fn uploads(
        &self,
        id: &TransferId,
        statuses: &[UploadStatus],
        after: Option<&UploadKey>,
        limit: usize,
    ) -> Result<Vec<UploadRow>> {
        uploads::list(&self.table, id, statuses, after, limit).await
    }

    async fn announce(&self, id: &TransferId, gateway: &GatewayRow) -> Result<()> {
        gateways::announce(&self.table, id, gateway).await
    }

    async fn gateways(&self, id: &TransferId) -> Result<Vec<GatewayRow>> {
        gateways::all(&self.table, id).await
    }

    async fn progress(&self, id: &TransferId) -> Result<Progress> {
        progress::load(&self.table, id).await
    }
}
