//! What needs a hand on the connection.

use skyhaul_model::{ErrorKind, TransferId};

use super::SqliteState;
use crate::TransferState;
use crate::suite::plain_spec;

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let state = SqliteState::open(dir.path().join("state.db")).unwrap();
    // A database at its limit answers as one on a full disk.
    state
        .worker
        .read(|tx| Ok(tx.pragma_update_and_check(None, "max_page_count", 40, |_| Ok(()))?))
        .await
        .unwrap();
    let spec = plain_spec();
    let mut made = Vec::new();
    let full = loop {
        let id = TransferId::generate();
        match state.submit(&id, &spec).await {
            Ok(_) => made.push(id),
            Err(error) => break error,
        }
        assert!(made.len() < 10_000);
    };
    assert_eq!(full.kind, ErrorKind::Full, "{full}");
    assert!(
        !full.retryable && full.to_string().contains("free some space"),
        "{full}"
    );
    made.sort_by(|a, b| b.cmp(a));
    let listed: Vec<_> = state
        .transfers()
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.id)
        .collect();
    assert!(!made.is_empty() && listed == made);
}

#[tokio::test]
async fn a_call_that_was_given_up_still_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let state = SqliteState::open(&path).unwrap();
    let (id, spec) = (TransferId::generate(), plain_spec());
    {
        let mut call = std::pin::pin!(state.submit(&id, &spec));
        let polled = poll_once(call.as_mut()).await;
        assert!(polled.is_none_or(|result| result.is_ok()));
    }
    // The queue is in order: what was given up is before this.
    assert_eq!(state.transfer(&id).await.unwrap().id, id);
}

/// Polls once and gives up.
async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(value) => std::task::Poll::Ready(Some(value)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}
