//! Calls on the destination's store.

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::{self, BoxStream};
use skyhaul_model::{Error, ErrorKind, Fault, Result, Side};
use skyhaul_stores::payload::Payload;
use skyhaul_stores::{
    Access, PartStream, PartWrite, PutReceipt, PutRequest, Staged, Store, UploadRequest,
};

use crate::call::{Call, PutHead, Reply, listed};
use crate::serve::Destinations;

/// A list that follows a call is not longer than this, in bytes.
const MOST_LIST: u64 = 64 << 20;

/// Objects of one call that are written at the same time.
const PUTS: usize = 64;

type Body = BoxStream<'static, Result<Bytes>>;

/// Does what is asked.
pub(crate) async fn perform(
    store: &dyn Store,
    host: &dyn Destinations,
    call: Call,
    body: Body,
) -> Result<Reply> {
    match call {
        Call::Describe => Ok(Reply::Described {
            capabilities: Box::new(store.capabilities().clone()),
            uri: store.uri(""),
        }),
        Call::Check { prefix } => {
            store.check(Access::Write, &prefix).await?;
            Ok(Reply::Done)
        }
        Call::Stat { key, pin, tags } => {
            let found = store.stat(&key, &pin, tags).await?;
            Ok(Reply::Info(found.map(Box::new)))
        }
        Call::Put {
            key,
            attributes,
            mtime,
            checksum,
            condition,
            len,
        } => {
            let (payload, _room) = held(host, body, len).await?;
            let request = PutRequest {
                payload,
                attributes: *attributes,
                mtime,
                checksum,
                condition,
            };
            store.put(&key, request).await.map(Box::new).map(Reply::Put)
        }
        Call::PutMany { heads } => put_many(store, host, heads, body).await,
        Call::Commit => {
            let staged: Vec<Staged> = list(body).await?;
            let results = store.commit(staged).await;
            let each = |result: Result<_>| result.map_err(Into::into);
            Ok(Reply::Committed(results.into_iter().map(each).collect()))
        }
        Call::OpenUpload { .. } => open_upload(store, call).await,
        Call::PutPart {
            key,
            token,
            number,
            offset,
            len,
            checksum,
        } => {
            let (payload, _room) = held(host, body, len).await?;
            let part = PartWrite {
                number,
                offset,
                payload,
                checksum,
            };
            store.put_part(&key, &token, part).await.map(Reply::Part)
        }
        Call::StreamPart { .. } => stream_part(store, host, call, body).await,
        Call::FinishUpload {
            key,
            token,
            checksum,
            condition,
        } => {
            let parts = list(body).await?;
            let finished = store.finish_upload(&key, &token, &parts, checksum.as_ref(), &condition);
            finished.await.map(Box::new).map(Reply::Put)
        }
        Call::ListParts { key, token } => store.list_parts(&key, &token).await.map(Reply::Parts),
        Call::AbortUpload { key, token } => {
            store.abort_upload(&key, &token).await?;
            Ok(Reply::Done)
        }
        Call::Uploads { key } => store.uploads(&key).await.map(Reply::Uploads),
        Call::Delete => {
            let keys: Vec<String> = list(body).await?;
            let outcomes = store.delete(&keys).await;
            let each = |outcome: skyhaul_stores::DeleteOutcome| outcome.result.map_err(Into::into);
            Ok(Reply::Deleted(outcomes.into_iter().map(each).collect()))
        }
    }
}

/// Opens an upload.
async fn open_upload(store: &dyn Store, call: Call) -> Result<Reply> {
    let Call::OpenUpload {
        key,
        size,
        part_size,
        attributes,
        mtime,
        algorithm,
    } = call
    else {
        return Err(Error::invalid("no upload"));
    };
    let request = UploadRequest {
        size,
        part_size,
        attributes: *attributes,
        mtime,
        algorithm,
    };
    store.open_upload(&key, request).await.map(Reply::Upload)
}

/// Writes a part while it arrives, or holds it where the store does not take it so.
async fn stream_part(
    store: &dyn Store,
    host: &dyn Destinations,
    call: Call,
    body: Body,
) -> Result<Reply> {
    let Call::StreamPart {
        key,
        token,
        number,
        offset,
        len,
        algorithm,
    } = call
    else {
        return Err(Error::invalid("no part"));
    };
    if store.streams_parts(algorithm) {
        let part = PartStream {
            number,
            offset,
            len,
            body,
            algorithm,
        };
        let written = store.stream_part(&key, &token, part).await;
        return written.map(Reply::Part);
    }
    let (payload, _room) = held(host, body, len).await?;
    let checksum = algorithm.map(|algorithm| payload.checksum(algorithm));
    let part = PartWrite {
        number,
        offset,
        payload,
        checksum: checksum.clone(),
    };
    let mut receipt = store.put_part(&key, &token, part).await?;
    if receipt.checksum.is_none() {
        receipt.checksum = checksum;
    }
    Ok(Reply::Part(receipt))
}

/// Writes objects while the next ones arrive. One that cannot be written holds none of the others
/// back.
async fn put_many(
    store: &dyn Store,
    host: &dyn Destinations,
    heads: Vec<PutHead>,
    body: Body,
) -> Result<Reply> {
    let lens = heads.iter().map(|head| head.len);
    let _room = host.room(lens.fold(0, u64::saturating_add)).await?;
    let arriving = stream::try_unfold(
        (heads.into_iter().enumerate(), Exact::new(body)),
        |(mut heads, mut body)| async move {
            let Some((place, head)) = heads.next() else {
                body.end().await?;
                return Ok(None);
            };
            let payload = body.take(head.len).await?;
            Ok::<_, Error>(Some(((place, head, payload), (heads, body))))
        },
    );
    let written = arriving
        .map_ok(|(place, head, payload)| async move {
            let request = PutRequest {
                payload,
                attributes: head.attributes,
                mtime: head.mtime,
                checksum: head.checksum,
                condition: head.condition,
            };
            let _turn = host.turn().await;
            let written = store.put(&head.key, request).await;
            Ok((place, written.map_err(Fault::from)))
        })
        .try_buffer_unordered(PUTS);
    let mut each: Vec<(usize, Result<PutReceipt, Fault>)> = written.try_collect().await?;
    each.sort_unstable_by_key(|(place, _)| *place);
    let each = each.into_iter().map(|(_, written)| written);
    Ok(Reply::PutEach(each.collect()))
}

/// A body that is cut where it is known to be cut.
struct Exact {
    body: Body,
    /// What came with the last piece and was not taken yet.
    rest: Bytes,
}

impl Exact {
    fn new(body: Body) -> Self {
        let rest = Bytes::new();
        Self { body, rest }
    }

    /// The next `len` bytes.
    async fn take(&mut self, len: u64) -> Result<Payload> {
        let mut payload = Payload::new();
        while payload.len() < len {
            if self.rest.is_empty() {
                let piece = self.body.try_next().await?;
                self.rest = piece.ok_or_else(|| miscounted(payload.len(), len))?;
            }
            let wanted = usize::try_from(len - payload.len()).unwrap_or(usize::MAX);
            payload.push(self.rest.split_to(wanted.min(self.rest.len())));
        }
        Ok(payload)
    }

    /// That nothing is left.
    async fn end(&mut self) -> Result<()> {
        while self.rest.is_empty() {
            match self.body.try_next().await? {
                Some(piece) => self.rest = piece,
                None => return Ok(()),
            }
        }
        Err(Error::new(
            Side::Relay,
            ErrorKind::Corrupt,
            "more bytes arrived than were announced",
        ))
    }
}

fn miscounted(got: u64, len: u64) -> Error {
    let message = format!("{got} bytes arrived of {len}");
    Error::new(Side::Relay, ErrorKind::Corrupt, message)
}

/// Receives a body of `len` bytes into memory, once there is room for it.
async fn held(host: &dyn Destinations, body: Body, len: u64) -> Result<(Payload, Box<dyn Send>)> {
    let room = host.room(len).await?;
    let mut body = Exact::new(body);
    let payload = body.take(len).await?;
    body.end().await?;
    Ok((payload, room))
}

async fn list<T: for<'a> serde::Deserialize<'a>>(mut body: Body) -> Result<Vec<T>> {
    let mut json = Vec::new();
    while let Some(piece) = body.try_next().await? {
        if (json.len() + piece.len()) as u64 > MOST_LIST {
            return Err(Error::invalid("a call's list is too long"));
        }
        json.extend_from_slice(&piece);
    }
    listed(&json)
}
