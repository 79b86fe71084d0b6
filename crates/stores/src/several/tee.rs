//! One stream of bytes for several readers, as fast as the slowest: bytes are shared, not copied, and
//! few frames are held.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{Either, join_all, select};
use futures::stream::{self, BoxStream};
use skyhaul_model::{Error, ErrorKind, Fault, Result, Side};
use tokio::sync::{Notify, mpsc};

/// Frames that a reader may be behind the fastest.
const BEHIND: usize = 2;

/// Ends a stream that is shared: its readers get an error.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// One reader failed, and what the others do is for nothing.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

/// The error of who could have gone on.
fn stopped() -> Error {
    let message = "another destination did not take it";
    Error::new(Side::Destination, ErrorKind::Interrupted, message)
}

/// Whether an error only says that there is another one.
pub(super) fn is_stopped(error: &Error) -> bool {
    error.kind == ErrorKind::Interrupted && error.side == Side::Destination
}

/// Readers of one stream, and what feeds them until `stop`, to be run beside them by [`fed`]. A reader
/// that is dropped holds the others up no more. An error of the stream reaches all.
pub fn tee(
    mut from: BoxStream<'static, Result<Bytes>>,
    readers: usize,
    stop: &Stop,
) -> (
    Vec<BoxStream<'static, Result<Bytes>>>,
    impl Future<Output = ()> + Send + use<>,
) {
    let (inlets, outlets): (Vec<_>, Vec<_>) = (0..readers).map(|_| mpsc::channel(BEHIND)).unzip();
    let outlet = |outlet: mpsc::Receiver<Result<Bytes, Fault>>| {
        let frames = stream::unfold(outlet, |mut outlet| async move {
            outlet.recv().await.map(|frame| (frame, outlet))
        });
        frames.map(|frame| frame.map_err(Into::into)).boxed()
    };
    let stop = Arc::clone(&stop.0);
    let feed = async move {
        let mut inlets = inlets;
        let mut stop = std::pin::pin!(stop.notified());
        while !inlets.is_empty() {
            let frame = match select(stop.as_mut(), from.next()).await {
                Either::Left(_) => Err(stopped()),
                Either::Right((Some(frame), _)) => frame,
                Either::Right((None, _)) => return,
            };
            let frame = frame.map_err(Fault::from);
            let sent = join_all(inlets.iter().map(|inlet| inlet.send(frame.clone()))).await;
            if frame.is_err() {
                return;
            }
            let mut sent = sent.into_iter();
            inlets.retain(|_| sent.next().is_some_and(|sent| sent.is_ok()));
        }
    };
    (outlets.into_iter().map(outlet).collect(), feed)
}

/// Does `work` that reads what `feed` brings.
pub async fn fed<T>(work: impl Future<Output = T>, feed: impl Future<Output = ()>) -> T {
    let (work, feed) = (std::pin::pin!(work), std::pin::pin!(feed));
    match select(work, feed).await {
        Either::Left((done, _)) => done,
        Either::Right(((), work)) => work.await,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    fn frames(count: u8) -> BoxStream<'static, Result<Bytes>> {
        stream::iter((0..count).map(|n| Ok(Bytes::from(vec![n])))).boxed()
    }

    #[tokio::test]
    async fn all_readers_get_all_even_if_one_leaves() {
        let (bodies, feed) = tee(frames(100), 3, &Stop::default());
        let reads = bodies
            .into_iter()
            .enumerate()
            .map(|(number, body)| async move {
                let most = if number == 1 { 3 } else { usize::MAX };
                let read: Vec<Bytes> = body.take(most).try_collect().await.unwrap();
                read.concat()
            });
        let read = fed(join_all(reads), feed).await;
        let all: Vec<u8> = (0..100).collect();
        assert_eq!(read, [all.clone(), all[..3].to_vec(), all]);
    }

    #[tokio::test]
    async fn an_error_and_a_stop_reach_all() {
        let broken = stream::iter([Err(Error::new(Side::Source, ErrorKind::Service, "x"))]);
        let endless = stream::pending();
        let stop = Stop::default();
        for (from, side) in [
            (broken.boxed(), Side::Source),
            (endless.boxed(), Side::Destination),
        ] {
            let (bodies, feed) = tee(frames(2).chain(from).boxed(), 2, &stop);
            let reads = bodies.into_iter().map(BoxStream::try_collect::<Vec<_>>);
            if side == Side::Destination {
                stop.stop();
            }
            for read in fed(join_all(reads), feed).await {
                let error = read.unwrap_err();
                assert_eq!(error.side, side);
                assert_eq!(is_stopped(&error), side == Side::Destination);
            }
        }
    }
}
