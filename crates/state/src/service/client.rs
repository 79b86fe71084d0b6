//! The client: a [`TransferState`] whose rows are kept by a server.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use skyhaul_model::group::{GroupId, GroupStatus, Lease, RangeId};
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{Error, ErrorKind, HolderId, Result, TransferId};

use super::{Answer, Call, MOST, NUMBER, PATH, Token};
use crate::operation::{Operation, Reply};
use crate::{
    GatewayRow, GroupRow, ListSegmentKind, NewUpload, Progress, Publication, RangeRow, Record,
    Submitted, TransferChange, TransferRow, TransferState, UploadKey, UploadResult, UploadRow,
    UploadStatus,
};

/// How long a client tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For one reply.
    pub reply: Duration,
    /// Altogether, while the service cannot be reached or its replies are lost: as long as it may
    /// take to be started anew.
    pub outage: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            reply: Duration::from_secs(30),
            outage: Duration::from_mins(2),
        }
    }
}

/// The state behind a service.
pub struct RemoteState {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    authorization: HeaderValue,
    patience: Patience,
    shards: u32,
}

impl fmt::Debug for RemoteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteState")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

/// Why a call has no reply.
enum Failure {
    /// The service was not reached, or what it answered was lost: the same call may be made again.
    Lost(Error),
    /// It answered.
    Answered(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(error) | Failure::Answered(error) => error,
        }
    }
}

impl RemoteState {
    /// Connects to the service at `address` (`host:port`) and asks what it is.
    pub async fn connect(address: &str, token: &Token, patience: Patience) -> Result<Self> {
        let uri: Uri = format!("http://{address}{PATH}").parse().map_err(|error| {
            Error::invalid("not an address")
                .object(address)
                .cause(error)
        })?;
        let mut authorization = HeaderValue::from_str(&token.header())
            .map_err(|_| Error::invalid("the token does not fit a header"))?;
        authorization.set_sensitive(true);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(patience.reply));
        let mut state = Self {
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(connector),
            uri,
            authorization,
            patience,
            shards: 0,
        };
        match state.ask(&Call::Describe).await? {
            Answer::Described { shards } => state.shards = shards,
            _ => return Err(state.strange("it does not say what it is")),
        }
        Ok(state)
    }

    fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::control(kind, message).object(self.uri.to_string())
    }

    fn strange(&self, what: &str) -> Error {
        let message = format!("what answers is no state service of this version: {what}");
        self.error(ErrorKind::Invalid, message)
    }

    /// Makes a call until it is answered, under one number.
    async fn ask(&self, call: &Call) -> Result<Answer> {
        let body = serde_json::to_vec(call)
            .map_err(|error| crate::fault::internal("writing a call", error))?;
        let (body, number) = (Bytes::from(body), ulid::Ulid::generate().to_string());
        let delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(20))
            .with_max_delay(Duration::from_secs(2))
            .with_total_delay(Some(self.patience.outage))
            .without_max_times()
            .with_jitter();
        let answer = (|| self.send(&number, body.clone()))
            .retry(delays)
            .when(|failure| matches!(failure, Failure::Lost(_)))
            .notify(|failure, _| {
                if let Failure::Lost(error) = failure {
                    tracing::debug!("calling again: {error}");
                }
            })
            .await?;
        match answer {
            Answer::Error(fault) => Err(fault.into()),
            answer => Ok(answer),
        }
    }

    async fn send(&self, number: &str, body: Bytes) -> Result<Answer, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(NUMBER, number)
            .body(Full::new(body))
            .map_err(|error| Failure::Answered(crate::fault::internal("a call", error)))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                let message = "the state service cannot be reached";
                self.error(ErrorKind::Unreachable, message).cause(error)
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST).collect().await;
            let body = body.map_err(|error| {
                let message = "the answer of the state service broke off";
                self.error(ErrorKind::Unreachable, message).cause(error)
            })?;
            Ok::<_, Error>((status, body.to_bytes()))
        };
        let exchanged = tokio::time::timeout(self.patience.reply, exchange).await;
        let (status, body) = exchanged
            .unwrap_or_else(|_| {
                let message = "the state service does not answer";
                Err(self.error(ErrorKind::Timeout, message))
            })
            .map_err(Failure::Lost)?;
        serde_json::from_slice(&body).map_err(|error| {
            // Something on the way that does not reach it.
            if status.is_server_error() {
                let message = format!("instead of the state service something answers {status}");
                return Failure::Lost(self.error(ErrorKind::Unreachable, message));
            }
            Failure::Answered(self.strange(&format!("status {status}")).cause(error))
        })
    }

    async fn call(&self, operation: Operation) -> Result<Reply> {
        match self.ask(&Call::State(Box::new(operation))).await? {
            Answer::Reply(reply) => Ok(reply),
            _ => Err(self.strange("not a reply")),
        }
    }
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
impl TransferState for RemoteState {
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
        self.shards
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
