//! Bodies: a payload's frames on the way out, frames as they come from the wire on the way in.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use futures::Stream;
use http_body::{Body, Frame, SizeHint};
use skyhaul_model::{Error, ErrorKind, Result, Side};
use tokio::time::{Instant, Sleep};

use crate::payload::Payload;

/// How many bytes of a body the connection took so far.
pub(super) type Progress = Arc<AtomicU64>;

/// The body of one attempt to send a payload. Nothing is copied; frames are counted references.
pub(super) fn outgoing(payload: &Arc<Payload>, progress: &Progress) -> SdkBody {
    match payload.frames() {
        [] => SdkBody::empty(),
        [frame] if frame.len() <= 64 << 10 => SdkBody::from(frame.clone()),
        _ => SdkBody::from_body_1_x(Outgoing {
            payload: Arc::clone(payload),
            next: 0,
            left: payload.len(),
            progress: Arc::clone(progress),
        }),
    }
}

struct Outgoing {
    payload: Arc<Payload>,
    next: usize,
    left: u64,
    progress: Progress,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = self.payload.frames().get(self.next).cloned() else {
            return Poll::Ready(None);
        };
        self.next += 1;
        self.left -= frame.len() as u64;
        self.progress
            .fetch_add(frame.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The bytes of a GET. Fewer or more than announced, a broken connection and a stalled one are
/// errors, all retryable: the caller reads again.
pub(super) struct Incoming {
    body: SdkBody,
    left: u64,
    ended: bool,
    stall: Stall,
    side: Side,
    object: String,
}

impl Incoming {
    /// A body that must hold exactly `len` bytes.
    pub(super) fn new(
        body: SdkBody,
        len: u64,
        patience: Duration,
        side: Side,
        object: String,
    ) -> Self {
        Self {
            body,
            left: len,
            ended: false,
            stall: Stall::new(patience),
            side,
            object,
        }
    }

    fn fail(&mut self, kind: ErrorKind, message: impl Into<String>) -> Error {
        self.ended = true;
        Error::new(self.side, kind, message).object(std::mem::take(&mut self.object))
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            let frame = match Pin::new(&mut this.body).poll_frame(task) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(this.stall.poll(task));
                    let seconds = this.stall.patience.as_secs();
                    let message = format!("the object's bytes stopped for {seconds} s");
                    return Poll::Ready(Some(Err(this.fail(ErrorKind::Timeout, message))));
                }
            };
            this.stall.progress();
            match frame {
                None if this.left == 0 => {
                    this.ended = true;
                    return Poll::Ready(None);
                }
                None => {
                    let message = format!("the object's bytes ended {} bytes early", this.left);
                    return Poll::Ready(Some(Err(this.fail(ErrorKind::Corrupt, message))));
                }
                Some(Err(cause)) => {
                    let error = this
                        .fail(ErrorKind::Unreachable, "the connection broke while reading")
                        .cause(cause);
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    if data.is_empty() {
                        continue;
                    }
                    let Some(left) = this.left.checked_sub(data.len() as u64) else {
                        let error = this.fail(ErrorKind::Corrupt, "more bytes than announced");
                        return Poll::Ready(Some(Err(error)));
                    };
                    this.left = left;
                    return Poll::Ready(Some(Ok(data)));
                }
            }
        }
    }
}

/// Notices that nothing happens for too long. Costs a timer only while something is awaited.
struct Stall {
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Stall {
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            timer: None,
            waiting: false,
        }
    }

    fn progress(&mut self) {
        self.waiting = false;
    }

    /// Ready when `patience` passed since the first call without progress.
    fn poll(&mut self, task: &mut Task<'_>) -> Poll<()> {
        let patience = self.patience;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + patience);
        }
        timer.as_mut().poll(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;
    use http_body_util::{BodyExt as _, StreamBody};

    fn incoming(frames: Vec<&'static [u8]>, len: u64) -> Incoming {
        let frames = frames
            .into_iter()
            .map(|frame| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(frame))));
        let body = SdkBody::from_body_1_x(StreamBody::new(futures::stream::iter(frames)));
        Incoming::new(
            body,
            len,
            Duration::from_mins(1),
            Side::Source,
            "s3://b/k".into(),
        )
    }

    #[tokio::test]
    async fn lengths_are_enforced() {
        let whole: Vec<_> = incoming(vec![b"ab", b"", b"c"], 3).collect().await;
        assert_eq!(
            whole
                .into_iter()
                .map(Result::unwrap)
                .collect::<Vec<_>>()
                .concat(),
            b"abc"
        );
        for (len, what) in [(4, "1 bytes early"), (2, "more bytes")] {
            let read: Vec<_> = incoming(vec![b"ab", b"c"], len).collect().await;
            let error = read.into_iter().find_map(Result::err).unwrap();
            assert!(error.retryable && error.kind == ErrorKind::Corrupt);
            assert!(error.to_string().contains(what), "{error}");
        }
    }

    #[tokio::test]
    async fn a_stalled_body_times_out() {
        let body = SdkBody::from_body_1_x(StreamBody::new(futures::stream::pending::<
            Result<Frame<Bytes>, std::io::Error>,
        >()));
        let mut stream = Incoming::new(
            body,
            1,
            Duration::from_millis(20),
            Side::Source,
            "s3://b/k".into(),
        );
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn frames_go_out_as_they_are() {
        let mut payload = Payload::new();
        payload.push(Bytes::from(vec![1; 100_000]));
        payload.push(Bytes::from(vec![2; 5]));
        let payload = Arc::new(payload);
        let progress = Progress::default();
        for attempt in 1..=2 {
            let mut body = outgoing(&payload, &progress);
            assert_eq!(body.content_length(), Some(100_005));
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(first.as_ptr(), payload.frames()[0].as_ptr());
            assert_eq!(body.collect().await.unwrap().to_bytes().len(), 5);
            assert_eq!(progress.load(Ordering::Relaxed), attempt * 100_005);
        }
    }
}
