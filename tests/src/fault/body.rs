//! A body on its way through the proxy: counted, and harmed if the plan says so.

use super::gate::Gate;
use super::log::Record;
use super::stream::Cut;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Why a body stops short.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The plan wants it so.
    #[error("cut by the fault plan")]
    Planned,
    /// The other side stopped.
    #[error(transparent)]
    Peer(#[from] hyper::Error),
}

/// What happens to a body. At most one thing.
#[derive(Debug, Default)]
pub(super) enum Harm {
    #[default]
    None,
    /// Fails after this many bytes; the connection is reset if there is a cut to set.
    EndAfter(u64, Option<Cut>),
    /// Ends, without error, after this many bytes.
    Truncate(u64),
    /// Flips the lowest bit of this byte.
    Flip(u64),
    /// Flips the lowest bit of this byte of the first chunk of an aws-chunked body.
    FlipChunked(u64),
    /// Bytes a second.
    Throttle(u64),
    /// Waits at the gate after this many bytes.
    Hold(u64, Gate),
}

/// Which number of the record a body adds to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// The body itself. `pending` is what a gate or limit has held back of a frame.
pub(super) struct Tapped {
    inner: Incoming,
    harm: Harm,
    record: Arc<Record>,
    direction: Direction,
    passed: u64,
    pending: Option<Bytes>,
    wait: Option<Wait>,
    ended: bool,
}

impl Tapped {
    pub(super) fn new(
        inner: Incoming,
        harm: Harm,
        record: Arc<Record>,
        direction: Direction,
    ) -> Self {
        let (passed, pending, wait, ended) = (0, None, None, false);
        Self {
            inner,
            harm,
            record,
            direction,
            passed,
            pending,
            wait,
            ended,
        }
    }

    fn counter(&self) -> &AtomicU64 {
        match self.direction {
            Direction::ToServer => &self.record.sent,
            Direction::ToClient => &self.record.received,
        }
    }

    fn pass(&mut self, data: Bytes) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let length = data.len() as u64;
        self.passed += length;
        self.counter().fetch_add(length, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    /// Splits off what may pass before `limit`; the rest stays pending.
    fn up_to(&mut self, limit: u64, mut data: Bytes) -> Bytes {
        let room = (limit - self.passed).min(data.len() as u64) as usize;
        let rest = data.split_off(room);
        self.pending = (!rest.is_empty()).then_some(rest);
        data
    }

    /// Does to a frame's data what the plan says.
    fn harm(
        &mut self,
        context: &mut Context<'_>,
        data: Bytes,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &self.harm {
            Harm::None => self.pass(data),
            Harm::EndAfter(after, cut) if self.passed >= *after => {
                if let Some(cut) = cut {
                    cut.set();
                }
                self.ended = true;
                Poll::Ready(Some(Err(BodyError::Planned)))
            }
            Harm::Truncate(after) if self.passed >= *after => {
                self.ended = true;
                Poll::Ready(None)
            }
            Harm::Hold(after, gate) if self.passed >= *after => {
                let gate = gate.clone();
                self.harm = Harm::None;
                self.pending = Some(data);
                self.hold(context, Box::pin(async move { gate.pass().await }))
            }
            &(Harm::EndAfter(limit, _) | Harm::Truncate(limit) | Harm::Hold(limit, _)) => {
                let data = self.up_to(limit, data);
                self.pass(data)
            }
            &Harm::Flip(at) => {
                let within = self.passed..self.passed + data.len() as u64;
                let data = if within.contains(&at) {
                    flip(data, (at - self.passed) as usize)
                } else {
                    data
                };
                self.pass(data)
            }
            &Harm::FlipChunked(at) => {
                // The payload begins behind the first line, the chunk's size.
                if let Some(line) = data.iter().position(|byte| *byte == b'\n') {
                    self.harm = Harm::Flip(self.passed + line as u64 + 1 + at);
                    return self.harm(context, data);
                }
                self.pass(data)
            }
            &Harm::Throttle(bytes_per_s) => {
                let slice = (bytes_per_s / 20).max(1);
                let data = self.up_to(self.passed + slice, data);
                let pause = Duration::from_secs_f64(data.len() as f64 / bytes_per_s as f64);
                self.wait = Some(Box::pin(tokio::time::sleep(pause)));
                self.pass(data)
            }
        }
    }

    fn hold(
        &mut self,
        context: &mut Context<'_>,
        wait: Wait,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.wait = Some(wait);
        self.poll(context)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(context));
            self.wait = None;
        }
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(data) = self.pending.take() {
            return self.harm(context, data);
        }
        match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            None => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.harm(context, data),
                Err(trailers) => Poll::Ready(Some(Ok(trailers))),
            },
        }
    }
}

impl Body for Tapped {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.get_mut().poll(context)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.pending.is_none() && self.wait.is_none() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        // The Content-Length header is passed on as it is; only without one does this matter.
        match self.harm {
            Harm::Truncate(after) => SizeHint::with_exact(after.saturating_sub(self.passed)),
            _ if self.pending.is_none() => self.inner.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

fn flip(data: Bytes, place: usize) -> Bytes {
    let mut data = BytesMut::from(data);
    data[place] ^= 1;
    data.freeze()
}
