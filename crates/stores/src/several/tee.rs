//! One stream of bytes for several readers, as fast as the slowest: bytes are shared, not copied, and
//! few frames are held.

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{Either, join_all, select};
use futures::stream::{self, BoxStream};
use skyhaul_model::{Fault, Result};
use tokio::sync::mpsc;

/// Frames that a reader may be behind the fastest.
const BEHIND: usize = 2;

/// Readers of one stream, and what feeds them, to be run beside them by [`fed`]. A reader that is
/// dropped holds the others up no more. An error of the stream reaches all.
pub fn tee(
    mut from: BoxStream<'static, Result<Bytes>>,
    readers: usize,
) -> (
    Vec<BoxStream<'static, Result<Bytes>>>,
    impl Future<Output = ()> + Send,
) {
    let (inlets, outlets): (Vec<_>, Vec<_>) = (0..readers).map(|_| mpsc::channel(BEHIND)).unzip();
    let outlet = |outlet: mpsc::Receiver<Result<Bytes, Fault>>| {
        let frames = stream::unfold(outlet, |mut outlet| async move {
            outlet.recv().await.map(|frame| (frame, outlet))
        });
        frames.map(|frame| frame.map_err(Into::into)).boxed()
    };
    let feed = async move {
        let mut inlets = inlets;
        while !inlets.is_empty()
            && let Some(frame) = from.next().await
        {
            let frame = frame.map_err(Fault::from);
            let sent = join_all(inlets.iter().map(|inlet| inlet.send(frame.clone()))).await;
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
