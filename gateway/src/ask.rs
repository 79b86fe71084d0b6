//! Making a call: a request is sealed, sent segment by segment, and its reply waited for.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, BytesMut};
use futures::future::join_all;
use skyhaul_engine::trace::{self, Stage};
use skyhaul_model::{Error, ErrorKind, Result, Side, TransferId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::GatewayId;
use crate::body::{self, Body, Compress, Gather};
use crate::call::{Call, End, Reply, Request, Target, internal};
use crate::link::Link;
use crate::node::{Event, Node, lock};
use crate::serve::{REPLY, WORKING};
use crate::wire::fault::WireError;
use crate::wire::header::{Cipher, SegmentHead, StreamId, Way};
use crate::wire::seal::{Direction, Opener, Sealer};
use crate::wire::tree::Tree;
use crate::wire::{SEGMENT, TAG};

/// Who is asked says every few seconds that it is at work. Silence for this long, while nothing could
/// be sent to it either, is its end.
const SILENCE: Duration = Duration::from_mins(1);

/// How long saying that a body breaks off may take.
const PARTING: Duration = Duration::from_secs(1);

/// Bodies up to this size go into the first segment.
const SMALL: u64 = 64 << 10;

/// A reply is not longer than this, in bytes.
const MOST_REPLY: usize = 64 << 20;

/// How calls are sent.
#[derive(Debug, Clone, Copy)]
pub struct Sealing {
    /// What they are sealed with.
    pub cipher: Cipher,
    /// What is done to make fewer bytes.
    pub compress: Compress,
}

/// A way to a destination gateway.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    /// The link to the first hop.
    pub(crate) link: Arc<Link>,
    /// All gateways to be passed; the last is the one that is asked.
    pub(crate) hops: Vec<GatewayId>,
}

impl Path {
    /// How many edges it has in common with another.
    pub(crate) fn shares(&self, other: &Self) -> usize {
        let both = self.hops.iter().zip(&other.hops);
        both.take_while(|(one, other)| one == other).count()
    }
}

/// A gateway that is asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Over which way.
    pub(crate) path: Path,
    /// For which destinations.
    pub(crate) targets: Vec<Target>,
    /// Held until the body is sent.
    pub(crate) slot: Option<Slot>,
}

/// A body's slot on a link.
#[derive(Debug)]
pub(crate) struct Slot {
    link: Arc<Link>,
    node: Arc<Node>,
}

impl Slot {
    /// A slot of a link, if it has one.
    pub(crate) fn take(node: &Arc<Node>, link: &Arc<Link>) -> Option<Self> {
        link.begin_sending().then(|| Self {
            link: Arc::clone(link),
            node: Arc::clone(node),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.link.end_sending();
        self.node.changed();
    }
}

/// The error of a call that did not get through, or whose reply did not.
fn lost(why: &str) -> Error {
    let message = format!("no reply came over the network: {why}");
    Error::new(Side::Relay, ErrorKind::Unreachable, message)
}

fn broken(error: WireError) -> Error {
    lost("the connection cannot be used").cause(error)
}

impl Node {
    /// Makes a call at several gateways at once, once: what is for all is sent once over each edge of
    /// their ways. For each gateway what it replies for each of its targets; errors of side
    /// [`Side::Relay`]: it is not known whether the call was made. Fails if the body does.
    pub(crate) async fn ask(
        &self,
        mut asked: Vec<Asked>,
        mut sealing: Sealing,
        (transfer, call): (TransferId, Call),
        body: Option<Body>,
    ) -> Result<Vec<Result<Vec<Reply>>>> {
        if sealing.cipher == Cipher::None && call.has_list() {
            sealing.cipher = Cipher::Aes256Gcm;
        }
        let secret = self.secret.as_ref();
        let secret = secret.ok_or_else(|| Error::invalid("a relay asks for nothing"))?;
        let targets: usize = asked.iter().map(|one| one.targets.len()).sum();
        let branches = branches_of(&mut asked)?;
        let ways = asked.iter().map(|one| (&one.path.link, &one.path.hops));
        let (began, inboxes) = self.begin(&ways.collect::<Vec<_>>());
        let stream = |number| StreamId {
            from: self.id,
            number,
        };
        let sent = Mutex::new(None);
        let mut slots = Vec::new();
        let mut ends = Vec::with_capacity(asked.len());
        let mut receiving = Vec::with_capacity(asked.len());
        for ((number, one), inbox) in (began.first..).zip(asked).zip(inboxes) {
            let Some((gateway, passed)) = one.path.hops.split_last() else {
                return Err(lost("there is no way"));
            };
            let back = Direction::reply(stream(number), *gateway, sealing.cipher);
            let opener = Opener::new(secret, back).map_err(broken)?;
            receiving.push(receive(opener, inbox, &sent));
            slots.extend(one.slot);
            ends.push(End {
                gateway: *gateway,
                number,
                back: passed.iter().rev().copied().chain([self.id]).collect(),
                targets: one.targets,
            });
        }
        let request = Request {
            transfer,
            ends,
            call,
        };
        let direction = Direction::request(stream(began.first), sealing.cipher);
        let mut out = Out {
            node: self,
            branches,
            targets: targets as u64,
            sent: &sent,
            sealer: Sealer::new(secret, direction).map_err(broken)?,
            head: SegmentHead {
                tree: Tree::default(),
                stream: stream(began.first),
                way: Way::Request,
                cipher: sealing.cipher,
                index: 0,
                last: false,
                len: 0,
            },
        };
        let (replies, is_sent) = {
            let receiving = join_all(receiving);
            let sending = async {
                let _slots = slots;
                out.send_all(&request, body, sealing.compress).await
            };
            tokio::pin!(receiving, sending);
            tokio::select! {
                biased;
                replies = &mut receiving => (replies, false),
                sent = &mut sending => match sent {
                    // All connections ended: whoever has not replied before is told so.
                    Err(error) if error.side == Side::Relay => (receiving.await, true),
                    sent => {
                        sent?;
                        (receiving.await, true)
                    }
                }
            }
        };
        if !is_sent && replies.iter().any(Result::is_err) {
            // Whoever is taken for lost and is not would wait for the rest.
            let broken = out.send(body::broken(), true);
            let _ = tokio::time::timeout(PARTING, broken).await;
        }
        Ok(replies)
    }
}

/// An edge that a request leaves by, and where it goes from there.
struct Branch {
    link: Arc<Link>,
    tree: Tree,
}

/// The edges that a request leaves by: ways that begin with the same gateway take the link of the first.
fn branches_of(asked: &mut [Asked]) -> Result<Vec<Branch>> {
    let mut branches: Vec<Branch> = Vec::new();
    for one in asked {
        let (next, rest) = one
            .path
            .hops
            .split_first()
            .ok_or_else(|| lost("there is no way"))?;
        let known = branches.iter_mut().find(|branch| branch.link.peer == *next);
        match known {
            Some(branch) => {
                branch.tree.add(rest);
                one.path.link = Arc::clone(&branch.link);
            }
            None => branches.push(Branch {
                link: Arc::clone(&one.path.link),
                tree: Tree::along(rest),
            }),
        }
    }
    if branches.iter().all(|branch| branch.tree.is_sound()) {
        Ok(branches)
    } else {
        let message = "the ways to the destinations are too many or too long";
        Err(Error::invalid(message))
    }
}

/// Where a request's segments go.
struct Out<'a> {
    node: &'a Node,
    /// Those of which none was lost.
    branches: Vec<Branch>,
    /// How many destinations get each byte.
    targets: u64,
    /// When the last segment was on its way; `None` while one waits for the link.
    sent: &'a Mutex<Option<Instant>>,
    sealer: Sealer,
    head: SegmentHead,
}

impl Out<'_> {
    /// Sends a segment over all branches. One whose connection ended is left out from now on: whoever
    /// waits for what is behind it is told by the node. Fails when there is none left.
    async fn send(&mut self, mut segment: BytesMut, last: bool) -> Result<(), WireError> {
        let index = self.sealer.seal(&mut segment, last)?;
        let segment = segment.freeze();
        let len = segment.len() as u32;
        *lock(self.sent) = None;
        let head = &self.head;
        let sends = self.branches.iter().map(|branch| {
            let head = SegmentHead {
                tree: branch.tree.clone(),
                index,
                last,
                len,
                ..head.clone()
            };
            branch.link.send(head, segment.clone())
        });
        let mut ended = None;
        let mut sent = join_all(sends).await.into_iter();
        self.branches.retain(|_| match sent.next() {
            Some(Err(error)) => {
                ended = Some(error);
                false
            }
            _ => true,
        });
        if let (true, Some(error)) = (self.branches.is_empty(), ended) {
            *lock(self.sent) = Some(Instant::now());
            return Err(error);
        }
        let wire = u64::from(len) * self.branches.len() as u64;
        self.node.traffic.wire.fetch_add(wire, Ordering::Relaxed);
        *lock(self.sent) = Some(Instant::now());
        Ok(())
    }

    async fn send_all(
        &mut self,
        request: &Request,
        body: Option<Body>,
        compress: Compress,
    ) -> Result<()> {
        let json = serde_json::to_vec(request);
        let json = json.map_err(|error| internal("a call cannot be written", error))?;
        let small = body.as_ref().and_then(Body::len).unwrap_or(u64::MAX) <= SMALL;
        let room = 4 + json.len() + if small { 2 * SMALL as usize } else { 0 };
        if room > SEGMENT {
            return Err(Error::invalid(
                "what is known of the object is too long for a call",
            ));
        }
        let mut first = BytesMut::with_capacity(room + TAG);
        first.put_u32(json.len() as u32);
        first.put_slice(&json);
        let Some(body) = body else {
            return self.send(first, true).await.map_err(broken);
        };
        let mut gather = Gather::new(body);
        let mut writer = body::Writer::new(compress);
        let mut piece = BytesMut::new();
        if !small {
            self.send(first, false).await.map_err(broken)?;
            first = BytesMut::new();
        }
        loop {
            let last = match gather.next(&mut piece).await {
                Ok(last) => last,
                Err(error) => {
                    // Else who is asked would wait for the rest.
                    self.send(body::broken(), true).await.map_err(broken)?;
                    return Err(error);
                }
            };
            let logical = &self.node.traffic.logical;
            let bytes = body::plain(&piece).len() as u64;
            logical.fetch_add(bytes * self.targets, Ordering::Relaxed);
            let mut segment = std::mem::take(&mut first);
            let links = self.branches.iter();
            let link = links.map(|branch| branch.link.seconds_a_byte());
            writer.write(&mut piece, link.fold(0.0, f64::max), &mut segment);
            self.send(segment, last).await.map_err(broken)?;
            if last {
                trace::reached(Stage::Sent);
                return Ok(());
            }
        }
    }
}

/// Whether nothing was heard since `sign`, nor anything sent or about to be.
fn is_silent(sign: Instant, sent: &Mutex<Option<Instant>>) -> bool {
    lock(sent).is_some_and(|sent| sent.max(sign).elapsed() >= SILENCE)
}

async fn receive(
    mut opener: Opener,
    mut inbox: mpsc::UnboundedReceiver<Event>,
    sent: &Mutex<Option<Instant>>,
) -> Result<Vec<Reply>> {
    let mut json = BytesMut::new();
    let mut sign = Instant::now();
    loop {
        let event = loop {
            match tokio::time::timeout(SILENCE, inbox.recv()).await {
                Err(_) if !is_silent(sign, sent) => {}
                event => break event,
            }
        };
        sign = Instant::now();
        let (head, mut segment, _owed) = match event {
            Ok(Some(Event::Segment(arrived))) => arrived,
            Ok(Some(Event::Lost(why))) => return Err(lost(why)),
            Ok(None) => return Err(lost("this gateway stops")),
            Err(_) => return Err(lost("who was asked is silent")),
        };
        opener
            .open(head.index, head.last, &mut segment)
            .map_err(broken)?;
        if segment.is_empty() {
            return Err(broken(WireError::Malformed("an empty reply")));
        }
        match segment.get_u8() {
            WORKING => {}
            REPLY if json.len() + segment.len() <= MOST_REPLY => json.put_slice(&segment),
            _ => return Err(broken(WireError::Malformed("a reply"))),
        }
        if opener.has_ended() {
            let reply = serde_json::from_slice(&json);
            return reply.map_err(|error| lost("a reply cannot be read").cause(error));
        }
    }
}
