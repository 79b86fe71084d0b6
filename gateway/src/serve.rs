//! Doing what another gateway asks: a request is opened, refused if it was there before, done on the
//! destination's store, and its reply sealed. The reply is the acknowledgement.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::future::join_all;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use skyhaul_model::{Error, ErrorKind, Fault, Result, Side, TransferId};
use skyhaul_stores::Store;
use skyhaul_stores::several::{self, Stop, fed, tee};
use tokio::sync::mpsc;

use crate::GatewayId;
use crate::body;
use crate::call::{Call, End, Reply, Request, Target};
use crate::link::Link;
use crate::node::{Arrived, Node};
use crate::perform::perform;
use crate::wire::fault::WireError;
use crate::wire::header::{Header, Refusal, SegmentHead, StreamId, Way};
use crate::wire::seal::{Direction, Opener, Sealer};
use crate::wire::tree::Tree;
use crate::wire::{SEGMENT, TAG};

/// First byte of a reply's segment that says only that the work goes on.
pub(crate) const WORKING: u8 = 0;
/// First byte of a segment of the reply itself.
pub(crate) const REPLY: u8 = 1;

/// How often that is said: well within what the other side takes for silence.
const SIGN: Duration = Duration::from_secs(5);

/// A request of which nothing came for this long is given up: its turn on a slow link may be rare.
/// What ends with its connection is given up at once.
const SILENCE: Duration = Duration::from_mins(10);

/// Where requests are carried out.
#[async_trait]
pub trait Destinations: Send + Sync {
    /// The store of a transfer's destination, by its place among them.
    async fn open(&self, transfer: &TransferId, destination: u32) -> Result<Arc<dyn Store>>;

    /// Waits for room for an object that is held whole; the room is free again when what is
    /// returned is dropped.
    async fn room(&self, bytes: u64) -> Result<Box<dyn Send>>;

    /// Waits until one more object of a bundle may be written; another may when what is returned is
    /// dropped.
    async fn turn(&self) -> Box<dyn Send>;
}

/// The bytes that follow a request's first segment.
struct Rest {
    opener: Opener,
    inbox: mpsc::UnboundedReceiver<Arrived>,
}

impl Rest {
    /// Opens the next segment. Credit for it is given once it is read.
    async fn next(&mut self) -> Result<BytesMut> {
        let broken = |why: &str| {
            let message = format!("a request broke off: {why}");
            Error::new(Side::Relay, ErrorKind::Unreachable, message)
        };
        let arrived = tokio::time::timeout(SILENCE, self.inbox.recv()).await;
        let (head, mut segment, _owed) = arrived
            .map_err(|_| broken("nothing comes"))?
            .ok_or_else(|| broken("its connection ended"))?;
        let opened = self.opener.open(head.index, head.last, &mut segment);
        opened.map_err(|error| broken("a segment is not good").cause(error))?;
        Ok(segment)
    }

    /// A piece of the body; `None` at its end.
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        if self.opener.has_ended() {
            return Ok(None);
        }
        read(self.next().await?).map(Some)
    }
}

fn read(piece: BytesMut) -> Result<Bytes> {
    let relay = |message: &str| Error::new(Side::Relay, ErrorKind::Corrupt, message);
    let read = body::read(piece);
    let read = read.map_err(|error| relay("a piece cannot be read").cause(error))?;
    read.ok_or_else(|| {
        Error::new(
            Side::Source,
            ErrorKind::Service,
            "the sender could not read the rest",
        )
    })
}

/// A request's body as a stream. Ends with an error unless it came whole.
fn stream_of(first: Option<BytesMut>, rest: Rest) -> BoxStream<'static, Result<Bytes>> {
    let first = stream::iter(first.map(read));
    let rest = stream::try_unfold(rest, |mut rest| async move {
        Ok(rest.piece().await?.map(|piece| (piece, rest)))
    });
    first
        .chain(rest)
        .try_filter(|piece| std::future::ready(!piece.is_empty()))
        .boxed()
}

/// Serves one request, from its first segment to the reply's last.
pub(crate) async fn serve(
    node: &Arc<Node>,
    link: &Arc<Link>,
    inbox: mpsc::UnboundedReceiver<Arrived>,
) {
    let mut inbox = inbox;
    let Some(first) = inbox.recv().await else {
        return;
    };
    let stream = first.0.stream;
    if let Err(error) = answer(node, link, first, inbox).await {
        tracing::warn!(peer = %link.peer, from = %stream.from, "a request is refused: {error}");
        link.notify(Header::Refused(
            stream,
            Way::Request,
            Refusal::NotOpened,
            node.id,
        ));
    }
}

async fn answer(
    node: &Arc<Node>,
    link: &Arc<Link>,
    (head, mut segment, owed): Arrived,
    inbox: mpsc::UnboundedReceiver<Arrived>,
) -> Result<(), WireError> {
    let (Some(secret), Some(destinations)) = (&node.secret, &node.destinations) else {
        return Err(WireError::Malformed("this gateway writes nothing"));
    };
    let direction = Direction::request(head.stream, head.cipher);
    let mut opener = Opener::new(secret, direction)?;
    opener.open(head.index, head.last, &mut segment)?;
    drop(owed);
    let len = segment.try_get_u32().unwrap_or(u32::MAX) as usize;
    if len > segment.len() {
        return Err(WireError::Malformed("a request is longer than its segment"));
    }
    let json = segment.split_to(len);
    let request: Request = serde_json::from_slice(&json)
        .map_err(|_| WireError::Malformed("a request cannot be read"))?;
    let end = own_end(request.ends, node.id, link.peer)?;
    if !node.is_new(head.stream) {
        return Err(WireError::Malformed("a stream that was there before"));
    }
    let first = (!segment.is_empty()).then_some(segment);
    let body = stream_of(first, Rest { opener, inbox });
    let stream = StreamId {
        number: end.number,
        ..head.stream
    };
    let back = Direction::reply(stream, node.id, head.cipher);
    let mut out = Out {
        node,
        link,
        back: end.back,
        sealer: Sealer::new(secret, back)?,
        head: SegmentHead {
            tree: Tree::default(),
            stream,
            way: Way::Reply,
            ..head
        },
    };
    let (transfer, call) = (request.transfer, request.call);
    let work = async {
        let lens = call.lens();
        let replies = at_each(destinations, &transfer, &end.targets, call, body).await;
        let written = replies.iter().map(|reply| reply.written(&lens)).sum();
        node.traffic.written.fetch_add(written, Ordering::Relaxed);
        replies
    };
    tokio::pin!(work);
    let mut signs = tokio::time::interval(SIGN);
    signs.tick().await;
    let replies: Vec<Reply> = loop {
        tokio::select! {
            biased;
            done = &mut work => break done,
            _ = signs.tick() => out.send(&[WORKING], false).await,
        }
    };
    let json = serde_json::to_vec(&replies).map_err(|_| WireError::Malformed("a reply"))?;
    let mut pieces = json.chunks(SEGMENT - 1).peekable();
    while let Some(piece) = pieces.next() {
        let segment = [&[REPLY], piece].concat();
        out.send(&segment, pieces.peek().is_none()).await;
    }
    Ok(())
}

/// What a request asks of this gateway, if it came over its way.
fn own_end(ends: Vec<End>, me: GatewayId, from: GatewayId) -> Result<End, WireError> {
    let end = ends.into_iter().find(|end| end.gateway == me);
    let end = end.ok_or(WireError::Malformed("a request is for others"))?;
    if end.back.first() != Some(&from) {
        return Err(WireError::Malformed("a request came another way"));
    }
    if end.targets.is_empty() || end.targets.len() > several::MOST {
        let message = "a request names no destinations, or too many";
        return Err(WireError::Malformed(message));
    }
    Ok(end)
}

/// Makes a call at each of the destinations, which share the body. What is held of it is there once.
async fn at_each(
    host: &Arc<dyn Destinations>,
    transfer: &TransferId,
    targets: &[Target],
    call: Call,
    body: BoxStream<'static, Result<Bytes>>,
) -> Vec<Reply> {
    let opened = targets
        .iter()
        .map(|target| host.open(transfer, target.destination));
    let stores = join_all(opened).await;
    if let [target] = targets {
        let reply = match stores.into_iter().next() {
            Some(Ok(store)) => at_one(&store, host, call.at(target), body).await,
            Some(Err(error)) => Err(error),
            None => Err(Error::invalid("no destination")),
        };
        return vec![reply.unwrap_or_else(failed)];
    }
    let open = stores.iter().flatten();
    let room = if call.is_held(open) {
        host.room(call.len()).await
    } else {
        Ok(Box::new(()) as Box<dyn Send>)
    };
    let _room = match room {
        Ok(room) => room,
        Err(error) => {
            let fault = Fault::from(error);
            return targets
                .iter()
                .map(|_| Reply::Failed(fault.clone()))
                .collect();
        }
    };
    let shared = Arc::new(Shared(Arc::clone(host))) as Arc<dyn Destinations>;
    let stop = &Stop::default();
    let (bodies, feed) = tee(body, targets.len(), stop);
    let is_streamed = matches!(call, Call::StreamPart { .. });
    let each = targets.iter().zip(stores).zip(bodies);
    let calls = each.map(|((target, store), body)| {
        let (call, shared) = (call.clone().at(target), &shared);
        async move {
            let done = match store {
                Ok(store) => at_one(&store, shared, call, body).await,
                Err(error) => Err(error),
            };
            if is_streamed && done.is_err() {
                // All are asked again then.
                stop.stop();
            }
            done
        }
    });
    let replies = fed(join_all(calls), feed).await;
    let replies = replies.into_iter();
    replies.map(|reply| reply.unwrap_or_else(failed)).collect()
}

fn failed(error: Error) -> Reply {
    Reply::Failed(error.into())
}

async fn at_one(
    store: &Arc<dyn Store>,
    host: &Arc<dyn Destinations>,
    call: Call,
    body: BoxStream<'static, Result<Bytes>>,
) -> Result<Reply> {
    #[cfg(mutant)]
    if let Some(reply) = early(&call) {
        let (store, host) = (Arc::clone(store), Arc::clone(host));
        tokio::spawn(async move { perform(&*store, &*host, call, body).await });
        return Ok(reply);
    }
    perform(&**store, &**host, call, body).await
}

/// Where a body that several share is written: what is held of it has room already. Else one could
/// wait for room that those hold who wait for its reading.
struct Shared(Arc<dyn Destinations>);

#[async_trait]
impl Destinations for Shared {
    async fn open(&self, transfer: &TransferId, destination: u32) -> Result<Arc<dyn Store>> {
        self.0.open(transfer, destination).await
    }

    async fn room(&self, _bytes: u64) -> Result<Box<dyn Send>> {
        Ok(Box::new(()))
    }

    async fn turn(&self) -> Box<dyn Send> {
        self.0.turn().await
    }
}

/// What would be acknowledged if it was written.
#[cfg(mutant)]
fn early(call: &Call) -> Option<Reply> {
    if !skyhaul_model::mutant::Mutant::AcknowledgeBeforeWrite.is_chosen() {
        return None;
    }
    let receipt = |checksum: &Option<skyhaul_model::Checksum>| skyhaul_stores::PutReceipt {
        verified: true,
        checksum: checksum.clone(),
        ..skyhaul_stores::PutReceipt::default()
    };
    match call {
        Call::Put { checksum, .. } => Some(Reply::Put(Box::new(receipt(checksum)))),
        Call::PutMany { heads } => {
            let each = heads.iter().map(|head| Ok(receipt(&head.checksum)));
            Some(Reply::PutEach(each.collect()))
        }
        _ => None,
    }
}

/// Where a reply's segments go.
struct Out<'a> {
    node: &'a Node,
    link: &'a Arc<Link>,
    back: Vec<GatewayId>,
    sealer: Sealer,
    head: SegmentHead,
}

impl Out<'_> {
    /// Sends a segment. One that does not get through is as a reply that is lost: who asked finds
    /// out.
    async fn send(&mut self, plain: &[u8], last: bool) {
        let mut segment = BytesMut::with_capacity(plain.len() + TAG);
        segment.put_slice(plain);
        let Ok(index) = self.sealer.seal(&mut segment, last) else {
            return;
        };
        let Some((next, route)) = self.back.split_first() else {
            return;
        };
        let Some(link) = self.node.link_back(self.link, next) else {
            tracing::debug!(%next, "a reply has no way back");
            return;
        };
        let head = SegmentHead {
            tree: Tree::along(route),
            index,
            last,
            len: segment.len() as u32,
            ..self.head.clone()
        };
        if let Err(error) = link.send(head, segment.freeze()).await {
            tracing::debug!(%next, "a reply is lost: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::ask::{Asked, Path, Sealing};
    use crate::body::Compress;
    use crate::node::Identity;
    use crate::secret::{DataSecret, MembershipSecret};
    use crate::wire::header::Cipher;

    /// Tells whether anything was asked of it.
    #[derive(Default)]
    struct Asks(AtomicBool);

    #[async_trait]
    impl Destinations for Asks {
        async fn open(&self, _: &TransferId, _: u32) -> Result<Arc<dyn Store>> {
            self.0.store(true, Ordering::Relaxed);
            Err(Error::invalid("asked"))
        }

        async fn room(&self, _: u64) -> Result<Box<dyn Send>> {
            Ok(Box::new(()))
        }

        async fn turn(&self) -> Box<dyn Send> {
            Box::new(())
        }
    }

    /// Both know the data secret, so what comes does open.
    #[tokio::test(start_paused = true)]
    async fn what_is_for_others_is_refused() {
        let (membership, data) = (MembershipSecret::generate(), DataSecret::generate());
        let identity = || Identity {
            dataplane: "net".to_owned(),
            membership: membership.clone(),
            data: Some(data.clone()),
        };
        let asks = Arc::new(Asks::default());
        let near = Node::new(identity(), None);
        let far = Node::new(identity(), Some(Arc::clone(&asks) as Arc<dyn Destinations>));
        let (mut a, mut b) = tokio::io::duplex(1 << 20);
        let (left, right) =
            tokio::join!(near.member().connect(&mut a), far.member().accept(&mut b));
        for (node, agreed, stream) in [(&near, left, a), (&far, right, b)] {
            let node = Arc::clone(node);
            let stream = tokio::io::split(stream);
            tokio::spawn(async move { node.join(agreed.unwrap(), stream).await });
        }
        tokio::task::yield_now().await;
        let other = GatewayId::generate();
        let ask = async |hops: Vec<GatewayId>| {
            let path = Path {
                link: near.idlest(&far.id).unwrap(),
                hops,
            };
            let asked = Asked {
                path,
                targets: vec![Target::only(0)],
                slot: None,
            };
            let sealing = Sealing {
                cipher: Cipher::Aes256Gcm,
                compress: Compress::None,
            };
            let call = (TransferId::generate(), Call::Describe);
            let replies = near.ask(vec![asked], sealing, call, None).await.unwrap();
            (
                replies.into_iter().all(|reply| reply.is_ok()),
                asks.0.swap(false, Ordering::Relaxed),
            )
        };
        // As when who passes on brings it to another than it is for.
        assert_eq!(ask(vec![other]).await, (false, false));
        assert_eq!(ask(vec![far.id]).await, (true, true));
    }

    #[test]
    fn an_end_is_told_by_who_it_is_and_whence_it_came() {
        let [me, relay, other, asks] = std::array::from_fn(|_| GatewayId::generate());
        let end = |gateway, targets: usize| End {
            gateway,
            number: 1,
            back: vec![relay, asks],
            targets: vec![Target::only(0); targets],
        };
        let ends = |targets| vec![end(other, 1), end(me, targets)];
        assert_eq!(own_end(ends(2), me, relay).unwrap().targets.len(), 2);
        for wrong in [other, asks, me] {
            assert!(own_end(ends(2), me, wrong).is_err());
        }
        for wrong in [0, several::MOST + 1] {
            assert!(own_end(ends(wrong), me, relay).is_err());
        }
        assert!(own_end(vec![end(other, 1)], me, relay).is_err());
    }
}
