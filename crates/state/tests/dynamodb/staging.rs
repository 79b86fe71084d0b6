//! What is staged and not published, and who is late.

use std::sync::Arc;

use serde_json::Value;
use skyhaul_model::group::{Bitmap, GroupId, RangeId};
use skyhaul_model::{ErrorKind, Result};
use skyhaul_state::{ListSegmentKind, Publication, RangeRow, Record, TransferState};
use skyhaul_tests::servers::Endpoint;
use tokio::task::JoinSet;

use super::proxy::{Faults, Gate, Proxy};
use super::work::{claim, found, groups, listed_by, new_groups, publish, record, take};
use super::{Fresh, emulators};

/// The write of a range's row.
fn is_of_range(operation: &str, body: &Value) -> bool {
    let partition = body["Item"]["pk"]["S"].as_str().unwrap_or_default();
    operation == "PutItem" && partition.ends_with("#r")
}

/// The write of a group's row that stages it.
fn is_staging(operation: &str, body: &Value) -> bool {
    let partition = body["Item"]["pk"]["S"].as_str().unwrap_or_default();
    operation == "PutItem" && partition.contains("#g#")
}

fn held(which: fn(&str, &Value) -> bool) -> (Faults, Arc<Gate>) {
    let gate = Gate::closed();
    let faults = Faults {
        hold: Some((Arc::new(which), Arc::clone(&gate))),
        ..Faults::default()
    };
    (faults, gate)
}

#[tokio::test]
async fn what_a_dead_lister_staged_is_never_seen() {
    for endpoint in emulators() {
        let table = Fresh::at(endpoint).await;
        let state = table.open();
        let (id, ada) = listed_by(&state, "ada").await;
        let (faults, gate) = held(is_of_range);
        let proxy = Proxy::start(endpoint, 1, faults).await;
        let dying = table.through(&proxy.endpoint).open();
        let publication = Publication {
            first: new_groups(6, 4),
            ..found(Some("m"), new_groups(20, 4))
        };
        tokio::select! {
            published = publish(&dying, &id, 0, &ada, publication) => panic!("{published:?}"),
            () = gate.arrivals(1) => {}
        }
        drop((dying, proxy));
        // All is staged, nothing published.
        assert!(groups(&state, &id).await.is_empty() && claim(&state, &id, "bob").await.is_none());
        let first = GroupId {
            range: RangeId(0),
            ordinal: 0,
        };
        let missing = state.group(&id, first).await.unwrap_err();
        assert_eq!(missing.kind, ErrorKind::NotFound);
        assert_eq!(state.progress(&id).await.unwrap().groups, 0);

        // Groups that are claimed first have ordinals of their own: what is published of the
        // others shows none of them. The same holder does otherwise, in the same places.
        let others = new_groups(3, 4);
        let row = publish(&state, &id, 0, &ada, found(Some("c"), others.clone())).await;
        assert_eq!(row.unwrap().next_group, 3);
        // And another one after it.
        let seen = state.ranges(&id).await.unwrap()[0].lease.clone();
        let bob = take(&state, &id, "bob", &seen.unwrap()).await;
        let more = new_groups(2, 4);
        let last = Publication {
            first: new_groups(1, 4),
            ..found(None, more.clone())
        };
        let first = last.first.clone();
        publish(&state, &id, 0, &bob, last).await.unwrap();
        let mut rows = groups(&state, &id).await;
        rows.sort_by_key(|row| row.id);
        let segments: Vec<_> = rows.into_iter().map(|row| row.segment).collect();
        let expected = [others, more, first]
            .concat()
            .into_iter()
            .map(|new| new.segment);
        assert_eq!(segments, expected.collect::<Vec<_>>());
        let outcomes = state.list_segments(&id, ListSegmentKind::Outcomes).await;
        assert_eq!(outcomes.unwrap().len(), 2);
    }
}

/// A lister's requests arrive after another took its range over and published.
pub(super) async fn late_lister(
    endpoint: &Endpoint,
    way: Faults,
) -> std::result::Result<(), String> {
    let table = Fresh::at(endpoint).await;
    let state = table.open();
    let (id, ada) = listed_by(&state, "ada").await;
    let (faults, gate) = held(is_staging);
    let proxy = Proxy::start(
        endpoint,
        1,
        Faults {
            edit: way.edit,
            ..faults
        },
    )
    .await;
    let late = table.through(&proxy.endpoint).open();
    let late = {
        let (id, ada) = (id.clone(), ada.clone());
        tokio::spawn(
            async move { publish(&late, &id, 0, &ada, found(None, new_groups(6, 4))).await },
        )
    };
    gate.arrivals(6).await;
    let bob = take(&state, &id, "bob", &ada).await;
    let published = new_groups(4, 4);
    publish(&state, &id, 0, &bob, found(None, published.clone()))
        .await
        .unwrap();
    let (row, lease) = claim(&state, &id, "cleo").await.unwrap();
    state
        .record(&id, row.id, &lease, record(Bitmap(1), 1))
        .await
        .unwrap();
    let before = groups(&state, &id).await;
    gate.open();
    let refused: Result<RangeRow> = late.await.unwrap();
    match refused {
        Err(error) if error.kind == ErrorKind::LeaseLost => {}
        other => return Err(format!("a late publication gave {other:?}")),
    }
    let after = groups(&state, &id).await;
    if before == after && after.len() == published.len() {
        Ok(())
    } else {
        Err(format!("before {before:?}\nafter {after:?}"))
    }
}

#[tokio::test]
async fn a_late_lister_changes_nothing() {
    for endpoint in emulators() {
        late_lister(endpoint, Faults::default()).await.unwrap();
    }
}

/// Tasks of one holder record chunks of one group at once.
pub(super) async fn records_at_once(table: &Fresh) -> std::result::Result<(), String> {
    const CHUNKS: u32 = 8;
    let state = table.shared();
    let (id, lister) = listed_by(state.as_ref(), "lister").await;
    publish(
        state.as_ref(),
        &id,
        0,
        &lister,
        found(None, new_groups(1, CHUNKS)),
    )
    .await
    .unwrap();
    let (row, lease) = claim(state.as_ref(), &id, "ada").await.unwrap();
    let mut tasks = JoinSet::new();
    for chunk in 0..CHUNKS {
        let (state, id, lease) = (Arc::clone(&state), id.clone(), lease.clone());
        let record = record(Bitmap(1 << chunk), 1);
        tasks.spawn(async move { state.record(&id, row.id, &lease, record).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().map_err(|error| error.to_string())?;
    }
    let row = state.group(&id, row.id).await.unwrap();
    let counted = (row.done, row.counts.objects, row.receipts.len());
    if counted == (Bitmap::full(CHUNKS), u64::from(CHUNKS), CHUNKS as usize) {
        Ok(())
    } else {
        Err(format!("recorded {counted:?}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn records_at_once_are_each_counted_once() {
    for endpoint in emulators() {
        records_at_once(&Fresh::at(endpoint).await).await.unwrap();
    }
}

/// Holders record groups at once, each with groups to follow: more than a transaction holds.
async fn follow_ups_at_once(table: &Fresh, each: u32) -> std::result::Result<(), String> {
    const HOLDERS: u32 = 4;
    let state = table.shared();
    let (id, lister) = listed_by(state.as_ref(), "lister").await;
    publish(
        state.as_ref(),
        &id,
        0,
        &lister,
        found(None, new_groups(HOLDERS, 1)),
    )
    .await
    .unwrap();
    let (mut tasks, mut expected) = (JoinSet::new(), Vec::new());
    for number in 0..HOLDERS {
        let (row, lease) = claim(state.as_ref(), &id, &format!("holder-{number}"))
            .await
            .unwrap();
        let mut record = record(Bitmap(1), 1);
        record.follow_up = new_groups(each, 1);
        expected.extend(record.follow_up.iter().map(|new| new.segment.clone()));
        let (state, id) = (Arc::clone(&state), id.clone());
        tasks.spawn(async move { state.record(&id, row.id, &lease, record).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().map_err(|error| error.to_string())?;
    }
    let rows = groups(state.as_ref(), &id).await.into_iter();
    let mut rows: Vec<_> = rows
        .filter(|row| row.id.range == GroupId::RETRY_RANGE)
        .collect();
    rows.sort_by_key(|row| row.id);
    let dense = rows
        .iter()
        .zip(0..)
        .all(|(row, ordinal)| row.id.ordinal == ordinal);
    let mut found: Vec<_> = rows.into_iter().map(|row| row.segment).collect();
    let groups = state.progress(&id).await.unwrap().groups;
    found.sort();
    expected.sort();
    if dense && found == expected && groups == u64::from(HOLDERS * (each + 1)) {
        Ok(())
    } else {
        Err(format!(
            "{groups} groups, {} of {} follow",
            found.len(),
            expected.len()
        ))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn follow_ups_at_once_are_all_there() {
    for endpoint in emulators() {
        follow_ups_at_once(&Fresh::at(endpoint).await, 30)
            .await
            .unwrap();
    }
}

/// A record's transaction arrives after another one added groups in the places that it staged.
pub(super) async fn late_record(
    endpoint: &Endpoint,
    way: Faults,
) -> std::result::Result<(), String> {
    let table = Fresh::at(endpoint).await;
    let state = table.open();
    let (id, lister) = listed_by(&state, "lister").await;
    publish(&state, &id, 0, &lister, found(None, new_groups(3, 1)))
        .await
        .unwrap();
    // So that there are retries to be counted on.
    let (row, lease) = claim(&state, &id, "ada").await.unwrap();
    let following = |count| {
        let mut record = record(Bitmap(1), 1);
        record.follow_up = new_groups(count, 1);
        record
    };
    let mut expected = Vec::new();
    let mut expect = |record: &Record| {
        expected.extend(record.follow_up.iter().map(|new| new.segment.clone()));
    };
    let first = following(1);
    expect(&first);
    state.record(&id, row.id, &lease, first).await.unwrap();

    let (faults, gate) = held(|operation, _| operation == "TransactWriteItems");
    let edit = way.edit;
    let proxy = Proxy::start(endpoint, 1, Faults { edit, ..faults }).await;
    let (row, lease) = claim(&state, &id, "ada").await.unwrap();
    let (late, record) = (table.through(&proxy.endpoint).open(), following(2));
    expect(&record);
    let late = {
        let id = id.clone();
        tokio::spawn(async move { late.record(&id, row.id, &lease, record).await })
    };
    gate.arrivals(1).await;
    let (row, lease) = claim(&state, &id, "bob").await.unwrap();
    let record = following(2);
    expect(&record);
    state.record(&id, row.id, &lease, record).await.unwrap();
    gate.open();
    late.await.unwrap().map_err(|error| error.to_string())?;

    let rows = groups(&state, &id).await.into_iter();
    let rows = rows.filter(|row| row.id.range == GroupId::RETRY_RANGE);
    let mut found: Vec<_> = rows.map(|row| row.segment).collect();
    found.sort();
    expected.sort();
    if found == expected {
        Ok(())
    } else {
        Err(format!("{found:?} follow, not {expected:?}"))
    }
}

#[tokio::test]
async fn a_late_record_takes_no_place() {
    for endpoint in emulators() {
        late_record(endpoint, Faults::default()).await.unwrap();
    }
}
