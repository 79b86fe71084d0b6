//! One connection of two gateways: what is sent over it waits for the peer's credit, what is
//! received gives credit back once it is used up or passed on, and a silent peer is dropped.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_io_timeout::{TimeoutReader, TimeoutWriter};
use tokio_util::sync::CancellationToken;

use crate::GatewayId;
use crate::node::lock;
use crate::wire::fault::WireError;
use crate::wire::frame::{FrameReader, FrameWriter};
use crate::wire::handshake::Agreed;
use crate::wire::header::{Header, SegmentHead};

/// A side pings this often: it says that it is there when it has nothing else to say, and sees how
/// far the other one is.
const IDLE: Duration = Duration::from_secs(5);

/// A peer of which no byte came, or that took none, for this long is dropped.
const DEAD: Duration = Duration::from_secs(15);

/// Bytes of segments that a peer may have under way to us on one connection. At 80 ms there and
/// back that is 100 MB/s a connection.
pub(crate) const WINDOW: u32 = 8 << 20;

/// Credit that is gathered before it is given.
const GATHERED: u32 = 512 << 10;

/// What a segment costs beside its bytes, so that empty ones are not for nothing.
const HEAD_COST: u32 = 256;

/// More credit than any peer gives: it counts wrongly, or wants us to.
const MOST_CREDIT: usize = 1 << 30;

/// Short frames that wait to be written, at most: a peer that makes us answer and does not read.
const MOST_WAITING: usize = 4_096;

/// Segments of at least so many bytes tell how fast a link is.
const MEASURED: u32 = 64 << 10;

/// So many of them make up what it was lately.
const LATELY: f64 = 8.0;

/// Bodies that are sent over a link at the same time. More wait for whichever link has room first: what
/// is begun on a link stays there, however slow it is.
const MOST_SENDING: usize = 2;

/// The credit that a segment takes.
fn cost(len: u32) -> u32 {
    len + HEAD_COST
}

/// What comes over links. Called in the order of arrival, by the link's reader: must not wait.
pub(crate) trait Receive: Send + Sync {
    /// A segment.
    fn segment(&self, link: &Arc<Link>, head: SegmentHead, payload: BytesMut, owed: Owed);
    /// Anything else that is not the link's own business.
    fn notice(&self, link: &Arc<Link>, header: Header);
}

/// Credit that the peer gets back when this is dropped: by all to whom the segment goes.
#[derive(Debug)]
pub(crate) struct Owed {
    link: Arc<Link>,
    bytes: u32,
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.link.give_back(self.bytes);
    }
}

/// A segment that is passed on.
type Passing = (SegmentHead, Bytes, Arc<Owed>);

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// Who is at the other end.
    pub(crate) peer: GatewayId,
    /// Tells the links of this process apart.
    pub(crate) number: u64,
    segments: mpsc::Sender<(SegmentHead, Bytes)>,
    passing: mpsc::UnboundedSender<Passing>,
    notices: mpsc::Sender<Header>,
    credit: Semaphore,
    /// What the peer allowed to be under way to it.
    allowed: usize,
    waiting: AtomicUsize,
    sending: AtomicUsize,
    /// What a byte took lately to be taken, in seconds: the bits of an `f64`.
    pace: AtomicU64,
    gathered: AtomicU32,
    /// What the peer has sent and got no credit back for.
    under_way: AtomicU32,
    draining: AtomicBool,
    closed: CancellationToken,
    /// Whether this side made the connection.
    pub(crate) outgoing: bool,
    /// Bytes of segments that were sent.
    sent: AtomicU64,
    /// Bytes of segments that came.
    received: AtomicU64,
    pings: AtomicU64,
    /// The last ping, and when it was made.
    pinged: Mutex<Option<(u64, Instant)>>,
    /// The last ping that was answered, and how long that took.
    answered: watch::Sender<(u64, Option<Duration>)>,
}

/// What a link sends, until it runs.
pub(crate) struct Outbox {
    segments: mpsc::Receiver<(SegmentHead, Bytes)>,
    passing: mpsc::UnboundedReceiver<Passing>,
    notices: mpsc::Receiver<Header>,
}

impl Link {
    pub(crate) fn new(agreed: &Agreed) -> (Arc<Self>, Outbox) {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let (segments, segments_out) = mpsc::channel(1);
        let (passing, passing_out) = mpsc::unbounded_channel();
        let (notices, notices_out) = mpsc::channel(MOST_WAITING);
        let allowed = (agreed.peer.credit as usize).min(MOST_CREDIT);
        let link = Self {
            peer: agreed.peer.gateway,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            segments,
            passing,
            notices,
            credit: Semaphore::new(allowed),
            allowed,
            waiting: AtomicUsize::new(0),
            sending: AtomicUsize::new(0),
            pace: AtomicU64::new(0),
            gathered: AtomicU32::new(0),
            under_way: AtomicU32::new(0),
            draining: AtomicBool::new(false),
            closed: CancellationToken::new(),
            outgoing: agreed.outgoing(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            pings: AtomicU64::new(0),
            pinged: Mutex::new(None),
            answered: watch::Sender::default(),
        };
        let outbox = Outbox {
            segments: segments_out,
            passing: passing_out,
            notices: notices_out,
        };
        (Arc::new(link), outbox)
    }

    /// Sends a segment once the peer has room for it.
    pub(crate) async fn send(&self, head: SegmentHead, payload: Bytes) -> Result<(), WireError> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Leaves(&self.waiting);
        let (began, len) = (Instant::now(), head.len);
        let sent = async {
            let credit = self.credit.acquire_many(cost(head.len)).await;
            let credit = credit.map_err(|_| gone())?;
            let place = self.segments.reserve().await.map_err(|_| gone())?;
            // Spent when it is certain to be sent: who is dropped while it waits has spent nothing.
            credit.forget();
            place.send((head, payload));
            Ok(())
        };
        let sent = self.closed.run_until_cancelled(sent);
        let sent = sent.await.unwrap_or_else(|| Err(gone()));
        if len >= MEASURED {
            let took = began.elapsed().as_secs_f64() / f64::from(len);
            let pace = self.seconds_a_byte();
            let pace = pace + (took - pace) / LATELY;
            self.pace.store(pace.to_bits(), Ordering::Relaxed);
        }
        sent
    }

    /// What a byte takes to be taken, in seconds, as it was lately.
    pub(crate) fn seconds_a_byte(&self) -> f64 {
        f64::from_bits(self.pace.load(Ordering::Relaxed))
    }

    /// Passes a segment on, in order, as soon as the peer has room for it.
    pub(crate) fn pass(&self, head: SegmentHead, payload: Bytes, owed: Arc<Owed>) {
        // A link that closed loses it, and tells so.
        let _ = self.passing.send((head, payload, owed));
    }

    /// Sends a short frame. A peer that lets thousands of them wait is dropped.
    pub(crate) fn notify(&self, header: Header) {
        if self.notices.try_send(header).is_err() {
            self.close();
        }
    }

    /// Takes a body's slot, if there is one.
    pub(crate) fn begin_sending(&self) -> bool {
        let more = |sending: usize| (sending < MOST_SENDING).then_some(sending + 1);
        let began = (self.sending).fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        began.is_ok()
    }

    /// Gives it back.
    pub(crate) fn end_sending(&self) {
        self.sending.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether another body may be sent.
    pub(crate) fn has_slot(&self) -> bool {
        self.sending.load(Ordering::Acquire) < MOST_SENDING
    }

    /// How much there is to be sent before something new: first bodies, then who waits, then bytes under
    /// way.
    pub(crate) fn load(&self) -> (usize, usize, usize) {
        let room = self.credit.available_permits();
        let sending = self.sending.load(Ordering::Acquire);
        let waiting = self.waiting.load(Ordering::Relaxed);
        (sending, waiting, MOST_CREDIT - room)
    }

    /// Bytes of segments that were sent and that came.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let read = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        (read(&self.sent), read(&self.received))
    }

    /// Bytes that were sent and for which no credit came back.
    pub(crate) fn under_way_to_peer(&self) -> usize {
        self.allowed.saturating_sub(self.credit.available_permits())
    }

    /// How long the last answered ping was under way, there and back.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.answered.borrow().1
    }

    /// A new ping: its number.
    fn ping(&self) -> u64 {
        let number = self.pings.fetch_add(1, Ordering::Relaxed) + 1;
        *lock(&self.pinged) = Some((number, Instant::now()));
        number
    }

    fn pong(&self, number: u64) {
        let pinged = *lock(&self.pinged);
        let took = pinged.filter(|(last, _)| *last == number);
        let took = took.map(|(_, at)| at.elapsed());
        self.answered.send_modify(|answered| {
            *answered = (answered.0.max(number), took.or(answered.1));
        });
    }

    /// Waits until the peer has all that was sent to it so far, or is gone.
    pub(crate) async fn settled(&self) {
        let settled = async {
            // What was in that place is being written, and what is written arrives in order.
            if self.segments.reserve().await.is_err() {
                return;
            }
            let mut answered = self.answered.subscribe();
            let number = self.ping();
            self.notify(Header::Ping(number));
            let _ = answered.wait_for(|(last, _)| *last >= number).await;
        };
        self.closed.run_until_cancelled(settled).await;
    }

    /// Whether the peer may be asked something new.
    pub(crate) fn takes_calls(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && !self.is_closed()
    }

    pub(crate) fn take_no_calls(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    fn give_back(&self, bytes: u32) {
        let gathered = self.gathered.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if gathered >= GATHERED {
            let all = self.gathered.swap(0, Ordering::AcqRel);
            if all > 0 {
                self.under_way.fetch_sub(all, Ordering::AcqRel);
                self.notify(Header::Credit(all));
            }
        }
    }

    /// Sends and receives until the connection ends; why it ended.
    pub(crate) async fn run<R, W>(
        self: &Arc<Self>,
        agreed: &Agreed,
        (input, out): (R, W),
        outbox: Outbox,
        to: &dyn Receive,
    ) -> WireError
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut input = TimeoutReader::new(input);
        input.set_timeout(Some(DEAD));
        let mut out = TimeoutWriter::new(out);
        out.set_timeout(Some(DEAD));
        let input = BufReader::with_capacity(64 << 10, Box::pin(input));
        let (reader, writer) = agreed.frames(input, Box::pin(out));
        let Outbox {
            segments,
            passing,
            notices,
        } = outbox;
        let ended = tokio::select! {
            error = self.read(reader, to) => error,
            error = self.write(writer, segments, notices) => error,
            error = self.pass_on(passing) => error,
            () = self.closed.cancelled() => gone(),
        };
        self.close();
        self.credit.close();
        ended
    }

    async fn read<R: AsyncRead + Unpin>(
        self: &Arc<Self>,
        mut reader: FrameReader<R>,
        to: &dyn Receive,
    ) -> WireError {
        loop {
            let (header, payload) = match reader.read().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return gone(),
                Err(error) => return error,
            };
            match header {
                Header::Segment(head) => {
                    let bytes = cost(head.len);
                    if self.under_way.fetch_add(bytes, Ordering::AcqRel) + bytes > WINDOW {
                        return WireError::Malformed("more than it had credit for");
                    }
                    let len = u64::from(head.len);
                    self.received.fetch_add(len, Ordering::Relaxed);
                    let link = Arc::clone(self);
                    to.segment(self, head, payload, Owed { link, bytes });
                }
                Header::Credit(bytes) => {
                    let room = self.credit.available_permits() + bytes as usize;
                    if room > MOST_CREDIT {
                        return WireError::Malformed("more credit than there can be");
                    }
                    self.credit.add_permits(bytes as usize);
                }
                Header::Ping(number) => self.notify(Header::Pong(number)),
                Header::Pong(number) => self.pong(number),
                header => to.notice(self, header),
            }
        }
    }

    async fn write<W: AsyncWrite + Unpin>(
        &self,
        mut writer: FrameWriter<W>,
        mut segments: mpsc::Receiver<(SegmentHead, Bytes)>,
        mut notices: mpsc::Receiver<Header>,
    ) -> WireError {
        let mut last = Instant::now();
        loop {
            let (header, payload) = tokio::select! {
                biased;
                Some(header) = notices.recv() => (header, Bytes::new()),
                () = tokio::time::sleep_until(last + IDLE) => {
                    last = Instant::now();
                    (Header::Ping(self.ping()), Bytes::new())
                }
                Some((head, payload)) = segments.recv() => (Header::Segment(head), payload),
            };
            if let Err(error) = writer.write(&header, &payload).await {
                return error;
            }
            self.sent.fetch_add(payload.len() as u64, Ordering::Relaxed);
        }
    }

    async fn pass_on(&self, mut passing: mpsc::UnboundedReceiver<Passing>) -> WireError {
        while let Some((head, payload, owed)) = passing.recv().await {
            if let Err(error) = self.send(head, payload).await {
                return error;
            }
            drop(owed);
        }
        gone()
    }
}

/// The error of a connection that is no more.
pub(crate) fn gone() -> WireError {
    WireError::Io(std::io::ErrorKind::ConnectionAborted.into())
}

/// Takes one off a counter when it is dropped.
struct Leaves<'a>(&'a AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
