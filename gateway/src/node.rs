//! A gateway on the wire: its links, the streams that begin or end here, and those it passes on.
//! It keeps nothing of what it passes on: a frame says where it goes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::GatewayId;
use crate::link::{Link, Owed, Receive, WINDOW};
use crate::secret::{DataSecret, MembershipSecret};
use crate::serve::{self, Destinations};
use crate::wire::fault::WireError;
use crate::wire::handshake::{Agreed, Hello, Member};
use crate::wire::header::{Header, Refusal, SegmentHead, StreamId, Way};
use crate::wire::replay::Seen;
use crate::wire::tree::MOST_GATEWAYS;

/// Requests that are worked on at the same time; more are refused.
const MOST_REQUESTS: usize = 16_384;

/// Gateways that the news of a lost connection passes at most.
const NEWS: u8 = 3;

/// A stream under way shows a segment every five seconds, if only to say that the work goes on: a
/// relay that passed none for this long has none.
const QUIET: Duration = Duration::from_secs(11);

/// What a gateway is.
#[derive(Clone)]
pub struct Identity {
    /// The name of its dataplane.
    pub dataplane: String,
    /// What all gateways of the dataplane know.
    pub membership: MembershipSecret,
    /// What sources and destinations know, and relays do not.
    pub data: Option<DataSecret>,
}

/// A segment for a stream that begins or ends here.
pub(crate) type Arrived = (SegmentHead, BytesMut, Arc<Owed>);

/// What happens to a call.
pub(crate) enum Event {
    /// A segment of its reply.
    Segment(Arrived),
    /// It is to be made again, over another way.
    Lost(&'static str),
}

/// A call whose reply is waited for, by the number of the reply's stream.
struct Waiting {
    events: mpsc::UnboundedSender<Event>,
    /// The number of the request's stream.
    request: u64,
    link: u64,
    hops: Vec<GatewayId>,
}

impl Waiting {
    /// Whether the call went to this neighbour: nobody else may say what becomes of it.
    fn is_asked_over(&self, link: &Link) -> bool {
        self.hops.first() == Some(&link.peer)
    }
}

/// A request that is still being received.
struct Receiving {
    segments: mpsc::UnboundedSender<Arrived>,
    link: u64,
}

/// A stream by the link that it arrives on: what comes on another is not of it, whoever sent it.
type Arriving = (u64, StreamId);

/// A request that is worked on.
struct Working {
    /// Ends the work: who asked will ask again, or is gone.
    given_up: CancellationToken,
    link: u64,
}

/// Bytes of objects, and what they were on the wire.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes of bodies that were sent, before compression.
    pub logical: AtomicU64,
    /// Bytes of segments that were sent, without what was passed on.
    pub wire: AtomicU64,
    /// Bytes of segments that were passed on.
    pub passed: AtomicU64,
    /// Bytes that were written to a store.
    pub written: AtomicU64,
}

/// See the module documentation.
pub struct Node {
    me: Weak<Self>,
    /// Who this is on the wire.
    pub id: GatewayId,
    member: Member,
    pub(crate) secret: Option<DataSecret>,
    pub(crate) destinations: Option<Arc<dyn Destinations>>,
    links: Mutex<HashMap<GatewayId, Vec<Arc<Link>>>>,
    changes: watch::Sender<u64>,
    calls: Mutex<HashMap<u64, Waiting>>,
    numbers: AtomicU64,
    #[cfg(mutant)]
    lost: Mutex<Vec<u64>>,
    requests: Mutex<HashMap<Arriving, Receiving>>,
    working: Mutex<HashMap<Arriving, Working>>,
    serving: Arc<Semaphore>,
    seen: Mutex<HashMap<GatewayId, Seen>>,
    draining: AtomicBool,
    /// When a segment was passed on last, or the gateway began.
    passed: Mutex<Instant>,
    /// What it has sent.
    pub traffic: Traffic,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.id)
    }
}

/// Locks; what a panicked holder left is whole, for nothing is done by halves under a lock here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// A gateway that has no links yet. It serves requests if it knows the data secret and has
    /// `destinations`.
    #[must_use]
    pub fn new(identity: Identity, destinations: Option<Arc<dyn Destinations>>) -> Arc<Self> {
        let id = GatewayId::generate();
        let hello = Hello {
            gateway: id,
            credit: WINDOW,
        };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            id,
            member: Member::new(identity.membership, identity.dataplane, hello),
            secret: identity.data,
            destinations,
            links: Mutex::default(),
            changes: watch::Sender::new(0),
            calls: Mutex::default(),
            numbers: AtomicU64::new(0),
            #[cfg(mutant)]
            lost: Mutex::default(),
            requests: Mutex::default(),
            working: Mutex::default(),
            serving: Arc::new(Semaphore::new(MOST_REQUESTS)),
            seen: Mutex::default(),
            draining: AtomicBool::new(false),
            passed: Mutex::new(Instant::now()),
            traffic: Traffic::default(),
        })
    }

    /// What it brings to handshakes.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// Is part of a connection until it ends; why it ended.
    pub async fn join<R, W>(&self, agreed: Agreed, stream: (R, W)) -> WireError
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if agreed.peer.gateway == self.id {
            return WireError::Malformed("a connection to itself");
        }
        let (link, outbox) = Link::new(&agreed);
        lock(&self.links)
            .entry(link.peer)
            .or_default()
            .push(Arc::clone(&link));
        let _leaves = Leaves {
            node: self,
            link: &link,
        };
        self.changed();
        link.run(&agreed, stream, outbox, self).await
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Tells of links that come and go.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The link to a neighbour that has the least to do.
    pub(crate) fn idlest(&self, peer: &GatewayId) -> Option<Arc<Link>> {
        self.idlest_of(peer, Link::takes_calls)
    }

    fn idlest_of(&self, peer: &GatewayId, which: impl Fn(&Link) -> bool) -> Option<Arc<Link>> {
        let links = lock(&self.links);
        let some = links.get(peer)?.iter().filter(|link| which(link));
        some.min_by_key(|link| link.load()).cloned()
    }

    /// How many links there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.links).values().map(Vec::len).sum()
    }

    /// The link that all segments of a stream in one direction take to a neighbour.
    fn link_of(&self, peer: &GatewayId, stream: StreamId, way: Way) -> Option<Arc<Link>> {
        let links = lock(&self.links);
        let links = links.get(peer)?;
        let mut hasher = DefaultHasher::new();
        (stream, way).hash(&mut hasher);
        links
            .get((hasher.finish() % links.len().max(1) as u64) as usize)
            .cloned()
    }

    /// The link by which a reply goes: that by which the request came, as long as it is there.
    pub(crate) fn link_back(&self, came: &Arc<Link>, to: &GatewayId) -> Option<Arc<Link>> {
        if came.peer == *to && !came.is_closed() {
            return Some(Arc::clone(came));
        }
        self.open_link(to)
    }

    /// A link to a neighbour, for what ends there: also to one that takes nothing new.
    fn open_link(&self, peer: &GatewayId) -> Option<Arc<Link>> {
        self.idlest_of(peer, |link| !link.is_closed())
    }

    /// Takes nothing new from now on, and tells all neighbours so.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        for link in self.links() {
            link.notify(Header::Bye);
        }
    }

    /// Whether it takes nothing new.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Waits until no request is worked on, and who asked has the replies.
    pub async fn drained(&self) {
        // Never closed: waiting does not fail.
        let _all = self.serving.acquire_many(MOST_REQUESTS as u32).await;
        for link in self.links() {
            link.settled().await;
        }
    }

    /// Waits until nothing that is passed on is under way.
    pub async fn passed_all(&self) {
        while !self.links().is_empty() {
            let quiet = *lock(&self.passed) + QUIET;
            if quiet <= Instant::now() {
                return;
            }
            let mut changes = self.changes();
            tokio::select! {
                () = tokio::time::sleep_until(quiet) => {}
                _ = changes.changed() => {}
            }
        }
    }

    /// How many requests are worked on.
    pub(crate) fn requests(&self) -> usize {
        lock(&self.working).len()
    }

    /// All links, as they are now.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).values().flatten().cloned().collect()
    }

    /// Ends all links.
    pub fn close(&self) {
        for link in self.links() {
            link.close();
        }
    }

    /// Begins a call at each end of these ways: its number, and what happens at each of them.
    pub(crate) fn begin(
        &self,
        ways: &[(&Arc<Link>, &Vec<GatewayId>)],
    ) -> (Began<'_>, Vec<mpsc::UnboundedReceiver<Event>>) {
        let count = ways.len() as u64;
        let first = self.numbers.fetch_add(count, Ordering::Relaxed);
        #[cfg(mutant)]
        let first = lock(&self.lost).pop().unwrap_or(first);
        let began = Began {
            node: self,
            first,
            count,
        };
        let mut inboxes = Vec::with_capacity(ways.len());
        for (number, (link, hops)) in (first..).zip(ways) {
            let (events, inbox) = mpsc::unbounded_channel();
            let waiting = Waiting {
                events,
                request: first,
                link: link.number,
                hops: (*hops).clone(),
            };
            lock(&self.calls).insert(number, waiting);
            inboxes.push(inbox);
        }
        for (link, _) in ways {
            if link.is_closed() {
                // It may have closed before the call was there to be told.
                self.lose(
                    |waiting| waiting.link == link.number,
                    "the connection ended",
                );
            }
        }
        (began, inboxes)
    }

    /// Tells calls that they are to be made again.
    fn lose(&self, which: impl Fn(&Waiting) -> bool, why: &'static str) {
        let calls = lock(&self.calls);
        for (_number, waiting) in calls.iter().filter(|(_, waiting)| which(waiting)) {
            let _ = waiting.events.send(Event::Lost(why));
            #[cfg(mutant)]
            if skyhaul_model::mutant::Mutant::ReuseNonce.is_chosen() {
                lock(&self.lost).push(*_number);
            }
        }
    }

    /// Whether a stream is new. Only for streams whose first segment opened.
    pub(crate) fn is_new(&self, stream: StreamId) -> bool {
        lock(&self.seen)
            .entry(stream.from)
            .or_default()
            .is_new(stream.number)
    }

    /// Ends the work on requests whose replies would not arrive. What they would still do could
    /// come after what is done in their place.
    fn give_up(&self, which: impl Fn(&StreamId, &Working) -> bool) {
        for ((_, stream), working) in lock(&self.working).iter() {
            if which(stream, working) {
                working.given_up.cancel();
            }
        }
    }

    fn broadcast(&self, header: &Header, but: GatewayId) {
        for (peer, links) in lock(&self.links).iter() {
            if let Some(link) = links.first()
                && *peer != but
            {
                link.notify(header.clone());
            }
        }
    }

    fn left(&self, link: &Arc<Link>) {
        {
            let mut links = lock(&self.links);
            if let Some(of_peer) = links.get_mut(&link.peer) {
                of_peer.retain(|other| other.number != link.number);
                if of_peer.is_empty() {
                    links.remove(&link.peer);
                }
            }
        }
        lock(&self.requests).retain(|_, receiving| receiving.link != link.number);
        self.lose(
            |waiting| waiting.link == link.number,
            "the connection ended",
        );
        self.give_up(|_, working| working.link == link.number);
        self.broadcast(&Header::Lost(link.peer, NEWS), link.peer);
        self.changed();
    }

    fn pass_on(&self, from: &Link, head: &SegmentHead, payload: &Bytes, owed: &Arc<Owed>) {
        let refuse = |why, who| {
            from.notify(Header::Refused(head.stream, head.way, why, who));
        };
        if self.is_draining() && head.way == Way::Request && head.index == 0 {
            return refuse(Refusal::Draining, self.id);
        }
        *lock(&self.passed) = Instant::now();
        for (next, tree) in &head.tree.on {
            let Some(link) = self.link_of(next, head.stream, head.way) else {
                refuse(Refusal::NoRoute, *next);
                continue;
            };
            let bytes = payload.len() as u64;
            self.traffic.passed.fetch_add(bytes, Ordering::Relaxed);
            let head = SegmentHead {
                tree: tree.clone(),
                ..head.clone()
            };
            link.pass(head, payload.clone(), Arc::clone(owed));
        }
    }

    fn request(&self, link: &Arc<Link>, (head, payload, owed): Arrived) {
        let (stream, last) = (head.stream, head.last);
        let arriving = (link.number, stream);
        let refuse = |why| link.notify(Header::Refused(stream, Way::Request, why, self.id));
        let (Some(node), true) = (self.me.upgrade(), self.secret.is_some()) else {
            return refuse(Refusal::NotOpened);
        };
        let mut requests = lock(&self.requests);
        if head.index > 0 {
            let Some(receiving) = requests.get(&arriving) else {
                drop(requests);
                return refuse(Refusal::NotOpened);
            };
            let sent = receiving.segments.send((head, payload, owed));
            if last || sent.is_err() {
                requests.remove(&arriving);
            }
            return;
        }
        if lock(&self.working).contains_key(&arriving) {
            drop(requests);
            return refuse(Refusal::NotOpened);
        }
        let permit = match Arc::clone(&self.serving).try_acquire_owned() {
            Ok(permit) if !self.is_draining() => permit,
            _ => {
                drop(requests);
                return refuse(Refusal::Draining);
            }
        };
        let (segments, inbox) = mpsc::unbounded_channel();
        let _ = segments.send((head, payload, owed));
        if !last {
            let link = link.number;
            requests.insert(arriving, Receiving { segments, link });
        }
        drop(requests);
        let link = Arc::clone(link);
        let given_up = CancellationToken::new();
        let working = Working {
            given_up: given_up.clone(),
            link: link.number,
        };
        lock(&self.working).insert(arriving, working);
        tokio::spawn(async move {
            let served = serve::serve(&node, &link, inbox);
            given_up.run_until_cancelled(served).await;
            lock(&node.working).remove(&arriving);
            drop(permit);
        });
    }

    /// A request does not reach a gateway: who waits for what it does is told, and for what those behind
    /// it do, unless it passes on and only does not open.
    fn refused(&self, link: &Link, request: u64, who: GatewayId, why: Refusal) {
        let (text, passes) = match why {
            Refusal::NoRoute => ("a gateway on the way has no connection to the next", false),
            Refusal::Draining => ("a gateway on the way is about to stop", false),
            Refusal::NotOpened => ("the other end cannot open what it got", true),
        };
        let calls = lock(&self.calls);
        let ends = request..request.saturating_add(MOST_GATEWAYS as u64);
        for waiting in ends.filter_map(|number| calls.get(&number)) {
            let concerns = match waiting.hops.split_last() {
                Some((end, on_the_way)) => *end == who || (!passes && on_the_way.contains(&who)),
                None => false,
            };
            if waiting.request == request && waiting.is_asked_over(link) && concerns {
                let _ = waiting.events.send(Event::Lost(text));
            }
        }
    }

    fn reply(&self, link: &Link, arrived: Arrived) {
        let number = arrived.0.stream.number;
        if let Some(waiting) = lock(&self.calls).get(&number)
            && waiting.is_asked_over(link)
        {
            let _ = waiting.events.send(Event::Segment(arrived));
        }
    }
}

impl Receive for Node {
    fn segment(&self, link: &Arc<Link>, head: SegmentHead, payload: BytesMut, owed: Owed) {
        let owed = Arc::new(owed);
        let ends_here = head.tree.here;
        let payload = if head.tree.on.is_empty() {
            payload
        } else {
            // Who opens it does so in its place: what is for both is there twice.
            let own = BytesMut::from(if ends_here { &payload[..] } else { &[] });
            self.pass_on(link, &head, &payload.freeze(), &owed);
            own
        };
        if !ends_here {
            return;
        }
        if head.way == Way::Request {
            self.request(link, (head, payload, owed));
        } else if head.stream.from == self.id {
            self.reply(link, (head, payload, owed));
        }
    }

    fn notice(&self, link: &Arc<Link>, header: Header) {
        match header {
            Header::Refused(stream, Way::Request, why, who) if stream.from == self.id => {
                self.refused(link, stream.number, who, why);
            }
            Header::Refused(stream, Way::Request, ..) if stream.from != link.peer => {
                if let Some(back) = self.open_link(&stream.from) {
                    back.notify(header);
                }
            }
            Header::Lost(gateway, hops) => {
                let passes = |waiting: &Waiting| {
                    waiting.is_asked_over(link) && waiting.hops.contains(&gateway)
                };
                self.lose(passes, "a connection on the way ended");
                self.give_up(|stream, _| stream.from == gateway);
                if let Some(hops) = hops.min(NEWS).checked_sub(1) {
                    self.broadcast(&Header::Lost(gateway, hops), link.peer);
                }
            }
            Header::Bye => {
                link.take_no_calls();
                self.changed();
            }
            _ => {}
        }
    }
}

/// Takes a link out when its connection ends, however that is.
struct Leaves<'a> {
    node: &'a Node,
    link: &'a Arc<Link>,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.link.close();
        self.node.left(self.link);
    }
}

/// A call that is under way; forgotten when this is dropped.
pub(crate) struct Began<'a> {
    node: &'a Node,
    /// The number of its request, and of the first of its replies.
    pub(crate) first: u64,
    count: u64,
}

impl Drop for Began<'_> {
    fn drop(&mut self) {
        let mut calls = lock(&self.node.calls);
        for number in self.first..self.first + self.count {
            calls.remove(&number);
        }
    }
}
