//! The destination as a source gateway sees it: a store whose writer is at the other end of the
//! network. What is lost on the way is asked again, over another way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use skyhaul_engine::trace::{self, Stage};
use skyhaul_model::capabilities::Capabilities;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{
    Algorithm, Checksum, Error, ErrorKind, Fault, Hasher, ObjectInfo, Pin, Result, Side, TransferId,
};
use skyhaul_stores::payload::Payload;
use skyhaul_stores::store::no_listing;
use skyhaul_stores::{
    Access, Condition, CopyRequest, CopySource, DeleteOutcome, ListRequest, Lister, ObjectReader,
    OpenUpload, PartStream, PartWrite, PutReceipt, PutRequest, ReadRequest, Staged, Store,
    UploadRequest, UploadToken,
};
use tokio::time::Instant;

use crate::ask::{Asked, Sealing};
use crate::body::Body;
use crate::call::{Call, Each, PutHead, Reply, Target, list};
use crate::node::lock;
use crate::routes::{Chosen, Routes};
use crate::wire::SEGMENT;

/// How long a way is waited for, and calls are made again: gateways are started anew meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_mins(10);

/// Between two attempts at a call, so that one that is refused at once is not repeated at once.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// How long a transfer waits for more ways once there is one.
const GATHER: Duration = Duration::from_secs(2);

/// Objects that are looked at at the same time, after a reply to a call of many was lost.
const LOOKS: usize = 16;

/// Bytes of what is known of the objects of one [`Call::PutMany`], so that it fits into a segment.
const HEADS: usize = SEGMENT / 2;

/// See the module documentation.
#[derive(Debug)]
pub struct RemoteStore {
    routes: Arc<Routes>,
    transfer: TransferId,
    destination: u32,
    sealing: Sealing,
    patience: Duration,
    capabilities: Capabilities,
    uri: String,
}

/// The error of a reply to another call: the other end breaks the protocol.
pub(crate) fn confused() -> Error {
    Error::new(
        Side::Relay,
        ErrorKind::Internal,
        "a reply answers something else",
    )
}

/// What a call gave, if its reply is the one to it.
macro_rules! reply {
    ($asked:expr, $reply:pat $(if $holds:expr)? => $value:expr) => {
        match $asked? {
            $reply $(if $holds)? => Ok($value),
            _ => Err(confused()),
        }
    };
}

impl RemoteStore {
    /// Asks a destination gateway, as soon as one is there, what its store is.
    pub async fn open(
        routes: Arc<Routes>,
        transfer: TransferId,
        destination: u32,
        sealing: Sealing,
    ) -> Result<Self> {
        let mut store = Self {
            routes,
            transfer,
            destination,
            sealing,
            patience: PATIENCE,
            capabilities: Capabilities::posix(),
            uri: String::new(),
        };
        match store.ask(Call::Describe, None).await? {
            Reply::Described { capabilities, uri } => {
                store.capabilities = *capabilities;
                store.uri = uri;
            }
            _ => return Err(confused()),
        }
        store.gather().await;
        Ok(store)
    }

    /// Waits until all ways can be used, for a moment: what begins before that goes over those that
    /// can, and the parts of an object may begin all at once.
    async fn gather(&self) {
        let deadline = Instant::now() + GATHER;
        let gathered = (0..self.routes.to_gather()).map(|way| async move {
            loop {
                if let Some(chosen) = self.routes.one(way)
                    && self.ask_over(chosen, Call::Describe, None).await.is_ok()
                {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        let all = futures::future::join_all(gathered);
        if tokio::time::timeout_at(deadline, all).await.is_err() {
            tracing::info!("not all destination gateways can be reached yet");
        }
    }

    /// Makes a call until its reply comes. For calls that may be made twice.
    async fn ask(&self, call: Call, body: Option<Payload>) -> Result<Reply> {
        let deadline = Instant::now() + self.patience;
        loop {
            let body = body.clone().map(Body::Whole);
            match self.ask_once(call.clone(), body, deadline).await {
                Err(error) if error.side == Side::Relay && error.retryable => {
                    if Instant::now() + PAUSE > deadline {
                        return Err(error);
                    }
                    tracing::debug!("a call is made again: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    /// What stands where a put found something: if it is what was to be put, the first reply was
    /// lost, or it makes no difference. Else the error.
    async fn written_before(
        &self,
        key: &str,
        len: u64,
        checksum: Option<Checksum>,
        error: Error,
    ) -> Result<PutReceipt> {
        match self.stat(key, &Pin::default(), false).await? {
            Some(found)
                if found.size == len && checksum.is_some() && found.checksum == checksum =>
            {
                Ok(PutReceipt {
                    etag: found.pin.etag,
                    version: found.pin.version_id,
                    verified: true,
                    checksum: found.checksum,
                    staged: None,
                })
            }
            _ => Err(error),
        }
    }

    /// One call of [`Store::put_many`].
    async fn put_some(&self, heads: Vec<PutHead>, objects: Payload) -> Vec<Result<PutReceipt>> {
        let call = Call::PutMany {
            heads: heads.clone(),
        };
        let asked = self.ask(call, Some(objects)).await;
        let each = stream::iter(puts_of(asked, heads.len())).zip(stream::iter(heads));
        let each = each.map(|(result, head)| async move {
            match result {
                Err(error) if error.kind == ErrorKind::PreconditionFailed => {
                    self.written_before(&head.key, head.len, head.checksum, error)
                        .await
                }
                other => other,
            }
        });
        each.buffered(LOOKS).collect().await
    }

    async fn ask_once(&self, call: Call, body: Option<Body>, deadline: Instant) -> Result<Reply> {
        let chosen = self.routes.find(call.len(), &[], deadline).await;
        let chosen = chosen.ok_or_else(unreachable)?;
        self.ask_over(chosen, call, body).await
    }

    async fn ask_over(
        &self,
        mut chosen: Chosen<'_>,
        call: Call,
        body: Option<Body>,
    ) -> Result<Reply> {
        let node = self.routes.node();
        trace::takes(chosen.hops());
        let asked = Asked {
            path: chosen.path.clone(),
            targets: vec![Target::only(self.destination)],
            slot: chosen.slot.take(),
        };
        let call = (self.transfer.clone(), call);
        let asked = node.ask(vec![asked], self.sealing, call, body).await;
        let reply = asked.and_then(|mut each| each.pop().unwrap_or_else(|| Err(confused())));
        match reply {
            Ok(mut replies) => {
                chosen.works();
                let reply = replies
                    .pop()
                    .unwrap_or_else(|| Reply::Failed(confused().into()));
                accepted(reply)
            }
            Err(error) => {
                if error.side == Side::Relay {
                    chosen.rest();
                }
                Err(error)
            }
        }
    }

    /// The ways to it.
    pub(crate) fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }
}

/// What came of each of so many objects.
pub(crate) fn puts_of(asked: Result<Reply>, count: usize) -> Vec<Result<PutReceipt>> {
    let each = asked.and_then(|reply| match reply {
        Reply::PutEach(each) if each.len() == count => Ok(each),
        _ => Err(confused()),
    });
    each_of(each, count)
}

/// That no way was found.
pub(crate) fn unreachable() -> Error {
    let message = "no gateway of the destination can be reached";
    Error::new(Side::Relay, ErrorKind::Unreachable, message)
}

/// What was replied, if that is not a failure.
pub(crate) fn accepted(reply: Reply) -> Result<Reply> {
    match reply {
        Reply::Failed(fault) => Err(fault.into()),
        reply => {
            if let Reply::Put(_) | Reply::PutEach(_) | Reply::Part(_) = reply {
                trace::reached(Stage::Acknowledged);
            }
            Ok(reply)
        }
    }
}

fn unsupported(what: &str) -> Error {
    let message = format!("gateways {what} nothing at the destination");
    Error::new(Side::Destination, ErrorKind::Unsupported, message)
}

#[async_trait]
impl Store for RemoteStore {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn side(&self) -> Side {
        Side::Destination
    }

    fn uri(&self, key: &str) -> String {
        format!("{}{key}", self.uri)
    }

    async fn check(&self, _access: Access, prefix: &str) -> Result<()> {
        let prefix = prefix.to_owned();
        reply!(self.ask(Call::Check { prefix }, None).await, Reply::Done => ())
    }

    /// Whoever lists asks the store itself.
    fn list(&self, _request: ListRequest) -> Box<dyn Lister> {
        no_listing(unsupported("list"))
    }

    async fn stat(&self, key: &str, pin: &Pin, tags: bool) -> Result<Option<ObjectInfo>> {
        let call = Call::Stat {
            key: key.to_owned(),
            pin: pin.clone(),
            tags,
        };
        reply!(self.ask(call, None).await, Reply::Info(found) => found.map(|found| *found))
    }

    /// Whoever reads asks the store itself.
    async fn read(&self, key: &str, _request: ReadRequest) -> Result<ObjectReader> {
        Err(unsupported("read").object(self.uri(key)))
    }

    async fn put(&self, key: &str, request: PutRequest) -> Result<PutReceipt> {
        let (len, checksum) = (request.payload.len(), request.checksum.clone());
        let (call, object) = Call::put(key, request);
        match self.ask(call, Some(object)).await.and_then(put_of) {
            Err(error) if error.kind == ErrorKind::PreconditionFailed => {
                self.written_before(key, len, checksum, error).await
            }
            written => written,
        }
    }

    fn writes_together(&self) -> bool {
        true
    }

    async fn put_many(&self, puts: Vec<(String, PutRequest)>) -> Vec<Result<PutReceipt>> {
        let calls = calls_of(puts).into_iter();
        let calls = calls.map(|(heads, objects)| self.put_some(heads, objects));
        let each = futures::future::join_all(calls).await;
        each.into_iter().flatten().collect()
    }

    async fn commit(&self, staged: Vec<Staged>) -> Vec<Result<PutReceipt>> {
        let asked = async {
            let body = list(&staged)?;
            let asked = self.ask(Call::Commit, Some(body.into())).await;
            reply!(asked, Reply::Committed(each) if each.len() == staged.len() => each)
        };
        each_of(asked.await, staged.len())
    }

    /// Tried once: whoever asks again has to look for what the first may have opened.
    async fn open_upload(&self, key: &str, request: UploadRequest) -> Result<UploadToken> {
        let call = Call::OpenUpload {
            key: key.to_owned(),
            size: request.size,
            part_size: request.part_size,
            attributes: Box::new(request.attributes),
            mtime: request.mtime,
            algorithm: request.algorithm,
        };
        let deadline = Instant::now() + self.patience;
        reply!(self.ask_once(call, None, deadline).await, Reply::Upload(token) => token)
    }

    async fn put_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartWrite,
    ) -> Result<PartReceipt> {
        let (call, part) = Call::put_part(key, token, part);
        self.ask(call, Some(part)).await.and_then(part_of)
    }

    /// Who is asked holds a part that its store does not take so.
    fn streams_parts(&self, _algorithm: Option<Algorithm>) -> bool {
        true
    }

    async fn stream_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartStream,
    ) -> Result<PartReceipt> {
        let call = Call::stream_part(key, token, &part);
        let hasher = part.algorithm.map(Hasher::new);
        let hasher = Arc::new(Mutex::new(hasher));
        let body = Body::Stream(hashed(part.body, Arc::clone(&hasher)));
        let deadline = Instant::now() + self.patience;
        let receipt = part_of(self.ask_once(call, Some(body), deadline).await?)?;
        let sent = lock(&hasher).take().map(Hasher::finish);
        is_of(&receipt, sent.as_ref()).map_err(|error| error.object(self.uri(key)))?;
        Ok(receipt)
    }

    async fn finish_upload(
        &self,
        key: &str,
        token: &UploadToken,
        parts: &[PartReceipt],
        checksum: Option<&Checksum>,
        condition: &Condition,
    ) -> Result<PutReceipt> {
        let call = Call::FinishUpload {
            key: key.to_owned(),
            token: token.clone(),
            checksum: checksum.cloned(),
            condition: condition.clone(),
        };
        let body = list(parts)?.into();
        reply!(self.ask(call, Some(body)).await, Reply::Put(receipt) => *receipt)
    }

    async fn list_parts(&self, key: &str, token: &UploadToken) -> Result<Vec<PartReceipt>> {
        let call = Call::ListParts {
            key: key.to_owned(),
            token: token.clone(),
        };
        reply!(self.ask(call, None).await, Reply::Parts(parts) => parts)
    }

    async fn abort_upload(&self, key: &str, token: &UploadToken) -> Result<()> {
        let call = Call::AbortUpload {
            key: key.to_owned(),
            token: token.clone(),
        };
        reply!(self.ask(call, None).await, Reply::Done => ())
    }

    async fn uploads(&self, key: &str) -> Result<Vec<OpenUpload>> {
        let call = Call::Uploads {
            key: key.to_owned(),
        };
        reply!(self.ask(call, None).await, Reply::Uploads(uploads) => uploads)
    }

    async fn delete(&self, keys: &[String]) -> Vec<DeleteOutcome> {
        let asked = async {
            let body = list(keys)?;
            let asked = self.ask(Call::Delete, Some(body.into())).await;
            reply!(asked, Reply::Deleted(each) if each.len() == keys.len() => each)
        };
        let each = each_of(asked.await, keys.len());
        let outcome = |(key, result): (&String, Result<()>)| DeleteOutcome {
            key: key.clone(),
            result,
        };
        keys.iter().zip(each).map(outcome).collect()
    }

    async fn copy(
        &self,
        key: &str,
        _source: &CopySource,
        _request: CopyRequest,
    ) -> Result<PutReceipt> {
        Err(unsupported("copy").object(self.uri(key)))
    }

    async fn copy_part(
        &self,
        key: &str,
        _token: &UploadToken,
        _source: &CopySource,
        _number: u32,
        _range: (u64, u64),
    ) -> Result<PartReceipt> {
        Err(unsupported("copy").object(self.uri(key)))
    }
}

/// What was confirmed of an object that was put.
pub(crate) fn put_of(reply: Reply) -> Result<PutReceipt> {
    match reply {
        Reply::Put(receipt) => Ok(*receipt),
        _ => Err(confused()),
    }
}

/// What was confirmed of a part.
pub(crate) fn part_of(reply: Reply) -> Result<PartReceipt> {
    match reply {
        Reply::Part(receipt) => Ok(receipt),
        _ => Err(confused()),
    }
}

/// That a part that was written while it was read is the one that was sent.
pub(crate) fn is_of(receipt: &PartReceipt, sent: Option<&Checksum>) -> Result<()> {
    if sent.is_some() && receipt.checksum.is_some() && receipt.checksum.as_ref() != sent {
        let message = "the part that was written is not the one that was sent";
        return Err(Error::new(Side::Relay, ErrorKind::Corrupt, message));
    }
    Ok(())
}

/// Cuts puts into calls, so that what is known of the objects fits into one.
pub(crate) fn calls_of(puts: Vec<(String, PutRequest)>) -> Vec<(Vec<PutHead>, Payload)> {
    let mut calls: Vec<(Vec<PutHead>, Payload)> = Vec::new();
    let mut room = 0;
    for (key, request) in puts {
        let head = PutHead {
            key,
            attributes: request.attributes,
            mtime: request.mtime,
            checksum: request.checksum,
            condition: request.condition,
            len: request.payload.len(),
        };
        // What cannot be written is refused where the call is.
        let len = serde_json::to_vec(&head).map_or(0, |json| json.len());
        if len > room || calls.is_empty() {
            calls.push((Vec::new(), Payload::new()));
            room = HEADS;
        }
        room = room.saturating_sub(len + 1);
        if let Some((heads, objects)) = calls.last_mut() {
            heads.push(head);
            for frame in request.payload.frames() {
                objects.push(frame.clone());
            }
        }
    }
    calls
}

/// What came of each of `count`; the error of the call is that of each.
fn each_of<T>(asked: Result<Each<T>>, count: usize) -> Vec<Result<T>> {
    match asked {
        Ok(each) => {
            let each = each.into_iter();
            each.map(|result| result.map_err(Error::from)).collect()
        }
        Err(error) => Fault::from(error).copies(count).map(Err).collect(),
    }
}

/// Frames as they are, hashed on the way.
pub(crate) fn hashed(
    frames: BoxStream<'static, Result<Bytes>>,
    hasher: Arc<Mutex<Option<Hasher>>>,
) -> BoxStream<'static, Result<Bytes>> {
    frames
        .inspect(move |frame| {
            let mut hasher = lock(&hasher);
            if let (Some(hasher), Ok(frame)) = (hasher.as_mut(), frame) {
                hasher.update(frame);
            }
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_many_objects_is_cut_to_fit() {
        let puts: Vec<_> = (0..600)
            .map(|number: u32| {
                let mut request = PutRequest::default();
                request.payload.push(Bytes::from(number.to_string()));
                let long = "x".repeat(2_000);
                request.attributes.metadata.insert("a".to_owned(), long);
                (number.to_string(), request)
            })
            .collect();
        let calls = calls_of(puts);
        assert!(calls.len() > 1);
        let mut expected = 0..600;
        for (heads, objects) in calls {
            let call = Call::PutMany {
                heads: heads.clone(),
            };
            assert!(serde_json::to_vec(&call).unwrap().len() < SEGMENT * 2 / 3);
            let mut frames = objects.frames().iter();
            for head in heads {
                assert_eq!(head.key, expected.next().unwrap().to_string());
                assert_eq!(head.key.as_bytes(), frames.next().unwrap());
                assert_eq!(head.len, head.key.len() as u64);
            }
        }
        assert!(expected.next().is_none());
        assert!(calls_of(Vec::new()).is_empty());
    }
}
