//! What a transfer costs, against the budget (two write units a chunk, a hundredth an object) and
//! the arithmetic of `docs/adr/0001-state-layout.md`.

use std::sync::Arc;

use jiff::Timestamp;
use skyhaul_model::TransferId;
use skyhaul_model::group::{Bitmap, Counts, GroupId, RangeId};
use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_state::{
    DynamoDbState, GatewayRow, NewUpload, Phase, TransferChange, TransferState as _, UploadKey,
    UploadResult, UploadStatus,
};
use skyhaul_tests::servers::tables;
use tokio::task::JoinSet;
use ulid::Ulid;

use super::Fresh;
use super::work::{claim, found, holder, listed_by, new_groups, publish, record};

const GATEWAYS: u32 = 4;
const PUBLICATIONS: u32 = 3;
const GROUPS_EACH: u32 = 8;
const CHUNKS: u32 = 64;
/// Small objects in a chunk.
const BUNDLE: u64 = 256;
/// Chunks that are recorded at once.
const BATCH: u32 = 8;

/// A gateway: claims, records, renews, tells of itself, until there is nothing left.
async fn gateway(state: Arc<DynamoDbState>, id: TransferId, number: u32) -> u64 {
    let name = Ulid::generate().to_string();
    let mut chunks = 0;
    let mut shard = number * state.shards() / GATEWAYS;
    let (mut idle, mut after) = (0, None);
    while idle < state.shards() {
        let claimed = state
            .claim(&id, shard, &holder(&name), after)
            .await
            .unwrap();
        let Some(row) = claimed else {
            (idle, after) = (idle + 1, None);
            shard = (shard + 1) % state.shards();
            continue;
        };
        (idle, after) = (0, Some(row.sequence));
        let lease = row.lease.unwrap();
        let beat = GatewayRow {
            name: format!("source-{number}"),
            gateway: name.clone(),
            beat: chunks,
            ..GatewayRow::default()
        };
        state.announce(&id, &beat).await.unwrap();
        let full = Bitmap::full(row.chunks);
        for batch in 0..row.chunks.div_ceil(BATCH) {
            let done = Bitmap(0xff << (batch * BATCH)).intersection(full);
            let mut record = record(done, BUNDLE);
            // One object of the first groups is tried again.
            if batch == 7 && row.id.ordinal == 0 && row.id.range != GroupId::RETRY_RANGE {
                record.follow_up = new_groups(1, 1);
            }
            state.record(&id, row.id, &lease, record).await.unwrap();
            if batch == 4 {
                state.renew(&id, row.id, &lease).await.unwrap();
            }
            chunks += u64::from(done.count());
        }
    }
    chunks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_transfer_of_bundles_costs_less_than_the_budget() {
    let table = Fresh::at(&tables().dynamodb_local).await;
    let command = table.open();
    let (id, mut lease) = listed_by(&command, "lister").await;
    let cut = command
        .split_range(&id, RangeId(0), &lease, "m", true)
        .await;
    let mut other = cut.unwrap().1.lease.unwrap();
    for number in 0..PUBLICATIONS {
        let last = number + 1 == PUBLICATIONS;
        for (range, lease, at) in [(0, &mut lease, "c"), (1, &mut other, "p")] {
            let mut publication = found(Some(at), new_groups(GROUPS_EACH, CHUNKS));
            publication.done = last;
            let row = publish(&command, &id, range, lease, publication)
                .await
                .unwrap();
            *lease = row.lease.unwrap_or_else(|| lease.clone());
        }
    }
    let listing = command.consumed().writes;

    let (mut tasks, mut gateways) = (JoinSet::new(), Vec::new());
    for number in 0..GATEWAYS {
        let state = Arc::new(table.open());
        gateways.push(Arc::clone(&state));
        tasks.spawn(gateway(state, id.clone(), number));
    }
    let mut chunks = 0;
    while let Some(done) = tasks.join_next().await {
        chunks += done.unwrap();
        // Somebody looks on.
        command.progress(&id).await.unwrap();
    }
    for (revision, phase) in [Phase::Complete, Phase::Verify, Phase::Ended]
        .into_iter()
        .enumerate()
    {
        let change = TransferChange {
            phase: Some(phase),
            ..TransferChange::default()
        };
        command.change(&id, revision as u64, change).await.unwrap();
    }

    let groups = u64::from(2 * PUBLICATIONS * GROUPS_EACH);
    assert_eq!(chunks, groups * u64::from(CHUNKS) + 2);
    let progress = command.progress(&id).await.unwrap();
    assert_eq!(
        (progress.groups, progress.groups_done),
        (groups + 2, groups + 2)
    );
    assert_eq!(progress.done.objects, chunks * BUNDLE);
    // What was marked is not read again.
    let before = command.consumed();
    assert_eq!(command.progress(&id).await.unwrap(), progress);
    let looking = command.consumed();
    assert!(looking.writes <= before.writes);

    let copying: f64 = gateways.iter().map(|state| state.consumed().writes).sum();
    let total = command.consumed().writes + copying;
    let (a_chunk, an_object) = (total / chunks as f64, total / (chunks * BUNDLE) as f64);
    println!(
        "{chunks} chunks of {BUNDLE}: {total} write units ({listing} listing, {copying} copying): \
         {a_chunk:.3} a chunk, {an_object:.5} an object; {} read units to look on",
        looking.reads - before.reads
    );
    assert!(a_chunk <= 2.0 && an_object <= 0.01);
    // The table of ADR 0001, with what is once a transfer shared by so few groups.
    assert!(a_chunk <= 0.25, "{a_chunk}");
}

#[tokio::test]
async fn the_worst_case_of_a_record_a_chunk_keeps_the_budget() {
    let table = Fresh::at(&tables().dynamodb_local).await;
    let state = table.open();
    let (id, lease) = listed_by(&state, "lister").await;
    let before = state.consumed().writes;
    publish(&state, &id, 0, &lease, found(None, new_groups(1, CHUNKS)))
        .await
        .unwrap();
    let (row, lease) = claim(&state, &id, "ada").await.unwrap();
    for chunk in 0..CHUNKS {
        let record = record(Bitmap(1 << chunk), 1);
        state.record(&id, row.id, &lease, record).await.unwrap();
    }
    let cost = state.consumed().writes - before;
    println!("{cost} write units for a group of {CHUNKS} chunks with a record each");
    assert!(cost <= 2.0 * f64::from(CHUNKS));
}

#[tokio::test]
async fn an_object_in_parts_costs_what_the_arithmetic_says() {
    let table = Fresh::at(&tables().dynamodb_local).await;
    let state = table.open();
    let (id, _) = listed_by(&state, "lister").await;
    let name = format!("datasets/{}/part-00017.parquet", "2026-11-24/".repeat(20));
    let key = UploadKey {
        destination: 0,
        key: name.clone(),
        attempt: 1,
    };
    let outcome = Outcome {
        action: Action::Copied,
        source_key: Some(name.clone()),
        destination_key: name.clone(),
        destination: 0,
        size: 40 << 20,
        checksum: None,
        verified: None,
        etag: Some(format!("\"{}-3\"", "d41d8cd98f00b204e9800998ecf8427e")),
        version: None,
        attempts: 1,
        server_side: false,
        reason: None,
        error: None,
    };
    let result = UploadResult {
        outcome,
        counts: Counts {
            objects: 1,
            bytes: 40 << 20,
            ..Counts::default()
        },
    };
    let intent = NewUpload {
        key: key.clone(),
        intended: Timestamp::now(),
        replaces: None,
        strangers: Vec::new(),
        parts_total: 3,
        task: format!(
            "{{\"source\":\"{name}\",\"destination\":\"{name}\",\"etag\":\"{}\",\"size\":41943040}}",
            Ulid::generate()
        ),
    };
    let group = GroupId {
        range: RangeId(0),
        ordinal: 7,
    };
    let mut at = state.consumed().writes;
    let mut spent = || {
        let (now, before) = (state.consumed().writes, at);
        at = now;
        now - before
    };
    state.upload_intent(&id, intent).await.unwrap();
    let mut costs = vec![spent()];
    state
        .upload_opened(&id, &key, &"token".repeat(20))
        .await
        .unwrap();
    costs.push(spent());
    state.upload_slice(&id, &key, group, 3).await.unwrap();
    costs.push(spent());
    let (from, to) = ([UploadStatus::Open], UploadStatus::Done);
    assert!(
        state
            .upload_status(&id, &key, &from, to, Some(&result))
            .await
            .unwrap()
    );
    costs.push(spent());
    println!("intent, opened, slice, end: {costs:?} write units");
    assert_eq!(costs, [1.0, 1.0, 1.0, 4.0]);
    // A repetition is free.
    assert!(
        state
            .upload_status(&id, &key, &from, to, Some(&result))
            .await
            .unwrap()
    );
    assert_eq!(state.progress(&id).await.unwrap().done.objects, 1);
}
