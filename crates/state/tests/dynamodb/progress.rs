//! Progress while marks move over what is done, and groups are added behind what is done.

use std::sync::Arc;

use skyhaul_model::TransferId;
use skyhaul_model::group::{Bitmap, RangeId};
use skyhaul_state::{DynamoDbState, TransferState as _};
use skyhaul_tests::servers::tables;
use tokio::task::JoinSet;

use super::Fresh;
use super::work::{found, holder, listed_by, new_groups, publish, record};

/// Claims and finishes all there is; how many groups.
async fn finish(state: &Arc<DynamoDbState>, id: &TransferId) -> u64 {
    let mut shards = JoinSet::new();
    for shard in 0..state.shards() {
        let (state, id) = (Arc::clone(state), id.clone());
        shards.spawn(async move {
            let mut finished = 0;
            let ada = holder("ada");
            while let Some(row) = state.claim(&id, shard, &ada, None).await.unwrap() {
                let record = record(Bitmap::full(row.chunks), 5);
                let lease = row.lease.unwrap();
                state.record(&id, row.id, &lease, record).await.unwrap();
                finished += 1;
            }
            finished
        });
    }
    shards.join_all().await.into_iter().sum()
}

/// Looks twice; what groups, done groups and objects are told, and what the second look read.
async fn look(state: &DynamoDbState, id: &TransferId) -> ((u64, u64, u64), f64) {
    let first = state.progress(id).await.unwrap();
    let before = state.consumed();
    let again = state.progress(id).await.unwrap();
    assert_eq!(first, again);
    let told = (again.groups, again.groups_done, again.done.objects);
    (told, state.consumed().reads - before.reads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn progress_is_exact_while_marks_move() {
    let table = Fresh::at(&tables().dynamodb_local).await;
    let state = Arc::new(table.open());
    let (id, low) = listed_by(state.as_ref(), "lister").await;
    let cut = state.split_range(&id, RangeId(0), &low, "m", true).await;
    let high = cut.unwrap().1.lease.unwrap();
    publish(
        state.as_ref(),
        &id,
        0,
        &low,
        found(Some("c"), new_groups(160, 1)),
    )
    .await
    .unwrap();
    publish(
        state.as_ref(),
        &id,
        1,
        &high,
        found(None, new_groups(160, 1)),
    )
    .await
    .unwrap();
    assert_eq!(finish(&state, &id).await, 320);
    let before = state.consumed().writes;
    let (told, with_half_marked) = look(&state, &id).await;
    assert_eq!(told, (320, 320, 1600));
    // A mark in each shard, and none when nothing is new.
    assert!((state.consumed().writes - before - 16.0).abs() < 0.1);

    // Before the groups of the other range, which are done: no mark may have passed them.
    let mut last = found(Some("d"), new_groups(32, 2));
    last.done = true;
    publish(state.as_ref(), &id, 0, &low, last).await.unwrap();
    assert_eq!(look(&state, &id).await.0, (352, 320, 1600));
    assert_eq!(finish(&state, &id).await, 32);
    let (told, with_all_marked) = look(&table.open(), &id).await;
    assert_eq!(told, (352, 352, 1600 + 320));
    assert!(
        with_all_marked < with_half_marked,
        "{with_all_marked} {with_half_marked}"
    );
}
