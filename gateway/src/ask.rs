//! Making a call: a request is sealed, sent segment by segment, and its reply waited for.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, BytesMut};
use skyhaul_engine::trace::{self, Stage};
use skyhaul_model::{Error, ErrorKind, Result, Side};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::GatewayId;
use crate::body::{self, Body, Compress, Gather};
use crate::call::{Reply, Request, internal};
use crate::link::Link;
use crate::node::{Event, Node, lock};
use crate::serve::{REPLY, WORKING};
use crate::wire::fault::WireError;
use crate::wire::header::{Cipher, SegmentHead, StreamId, Way};
use crate::wire::seal::{Direction, Opener, Sealer};
use crate::wire::{SEGMENT, TAG};

/// Who is asked says every few seconds that it is at work. Silence for this long, while nothing could
/// be sent to it either, is its end.
const SILENCE: Duration = Duration::from_mins(1);

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

/// The error of a call that did not get through, or whose reply did not.
fn lost(why: &str) -> Error {
    let message = format!("no reply came over the network: {why}");
    Error::new(Side::Relay, ErrorKind::Unreachable, message)
}

fn broken(error: WireError) -> Error {
    lost("the connection cannot be used").cause(error)
}

impl Node {
    /// Makes a call over one way, once. Errors of side [`Side::Relay`]: it is not known whether it
    /// was made.
    pub(crate) async fn ask(
        &self,
        way: Path,
        mut sealing: Sealing,
        mut request: Request,
        body: Option<Body>,
    ) -> Result<Reply> {
        if sealing.cipher == Cipher::None && request.call.has_list() {
            sealing.cipher = Cipher::Aes256Gcm;
        }
        let Path { link, hops } = way;
        let secret = self.secret.as_ref();
        let secret = secret.ok_or_else(|| Error::invalid("a relay asks for nothing"))?;
        let to = *hops.last().ok_or_else(|| lost("there is no way"))?;
        let mut passed = hops[..hops.len() - 1].to_vec();
        passed.reverse();
        passed.push(self.id);
        request.back = passed;
        let route = hops[1..].to_vec();
        let (began, inbox) = self.begin(&link, hops);
        let stream = StreamId {
            from: self.id,
            number: began.number,
        };
        let direction = Direction {
            stream,
            to,
            way: Way::Request,
            cipher: sealing.cipher,
        };
        let sent = Mutex::new(None);
        let mut out = Out {
            node: self,
            link: &link,
            sent: &sent,
            sealer: Sealer::new(secret, direction).map_err(broken)?,
            head: SegmentHead {
                route,
                stream,
                way: Way::Request,
                cipher: sealing.cipher,
                index: 0,
                last: false,
                len: 0,
            },
        };
        let back = Direction {
            way: Way::Reply,
            ..direction
        };
        let opener = Opener::new(secret, back).map_err(broken)?;
        let receiving = receive(opener, inbox, &sent);
        let sending = out.send_all(&request, body, sealing.compress);
        tokio::pin!(receiving, sending);
        tokio::select! {
            biased;
            reply = &mut receiving => reply,
            sent = &mut sending => {
                sent?;
                receiving.await
            }
        }
    }
}

/// Where a request's segments go.
struct Out<'a> {
    node: &'a Node,
    link: &'a Link,
    /// When the last segment was on its way; `None` while one waits for the link.
    sent: &'a Mutex<Option<Instant>>,
    sealer: Sealer,
    head: SegmentHead,
}

impl Out<'_> {
    async fn send(&mut self, mut segment: BytesMut, last: bool) -> Result<(), WireError> {
        let index = self.sealer.seal(&mut segment, last)?;
        let head = SegmentHead {
            index,
            last,
            len: segment.len() as u32,
            ..self.head.clone()
        };
        let wire = &self.node.traffic.wire;
        wire.fetch_add(segment.len() as u64, Ordering::Relaxed);
        *lock(self.sent) = None;
        self.link.send(head, segment.freeze()).await?;
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
        let mut plain = BytesMut::with_capacity(if small { SMALL as usize } else { body::MOST });
        if !small {
            self.send(first, false).await.map_err(broken)?;
            first = BytesMut::new();
        }
        loop {
            let last = match gather.next(&mut plain).await {
                Ok(last) => last,
                Err(error) => {
                    // Else who is asked would wait for the rest.
                    self.send(body::broken(), true).await.map_err(broken)?;
                    return Err(error);
                }
            };
            let logical = &self.node.traffic.logical;
            logical.fetch_add(plain.len() as u64, Ordering::Relaxed);
            let mut segment = std::mem::take(&mut first);
            segment.reserve(plain.len() + 1 + TAG);
            writer.write(&plain, &mut segment);
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
) -> Result<Reply> {
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
