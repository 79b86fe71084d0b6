//! Several objects written by one call.

use skyhaul_model::{Error, ErrorKind, Result};

use super::fixture::{Fixture, bytes};
use super::{Checked, Verdict, ensure, ensure_kind};
use crate::payload::Payload;
use crate::store::{Condition, PutReceipt, PutRequest};

/// Puts objects by one call and commits what was staged by another: one result for each.
async fn put_many(fixture: &Fixture, puts: Vec<(String, PutRequest)>) -> Vec<Result<PutReceipt>> {
    let mut each = fixture.store.put_many(puts).await;
    let (mut places, mut staged) = (Vec::new(), Vec::new());
    for (place, receipt) in each.iter_mut().enumerate() {
        if let Ok(receipt) = receipt
            && let Some(token) = receipt.staged.take()
        {
            places.push(place);
            staged.push(token);
        }
    }
    if !staged.is_empty() {
        let committed = fixture.store.commit(staged).await;
        for (place, receipt) in places.into_iter().zip(committed) {
            each[place] = receipt;
        }
    }
    each
}

/// What one object holds: none, few and many bytes, in any order.
fn content(number: u64) -> bytes::Bytes {
    let len = match number % 7 {
        0 => 0,
        5 => 150_000,
        some => some as usize * 97,
    };
    bytes(number, len)
}

pub(super) async fn together_each_is_written(fixture: &Fixture) -> Checked {
    const COUNT: u64 = 60;
    let key = |number: u64| fixture.key(&format!("d{}/{number:03}", number % 3));
    let metadata = fixture.store.capabilities().attributes;
    let puts = (0..COUNT).map(|number| {
        let mut payload = Payload::new();
        for frame in content(number).chunks(40_000) {
            payload.push(bytes::Bytes::copy_from_slice(frame));
        }
        let mut request = PutRequest {
            payload,
            ..PutRequest::default()
        };
        if metadata {
            let long = format!("{number}-{}", "x".repeat(1_500));
            request
                .attributes
                .metadata
                .insert("number".to_owned(), long);
        }
        (key(number), request)
    });
    let each = put_many(fixture, puts.collect()).await;
    ensure!(each.len() as u64 == COUNT, "{} results", each.len());
    each.into_iter().collect::<Result<Vec<_>>>()?;
    for number in 0..COUNT {
        let found = fixture.whole(&key(number)).await?;
        ensure!(found == content(number), "object {number}: other bytes");
        if metadata {
            let pin = fixture.pin(&key(number)).await?;
            let info = fixture.store.stat(&key(number), &pin, false).await?;
            let kept = info.and_then(|info| info.attributes.metadata.get("number").cloned());
            ensure!(
                kept.is_some_and(|kept| kept.starts_with(&format!("{number}-x"))),
                "object {number}: other metadata"
            );
        }
    }
    let listed = fixture.keys().await?.len() as u64;
    ensure!(listed == COUNT, "{listed} objects are listed");
    Ok(Verdict::Holds)
}

pub(super) async fn together_one_fails_alone(fixture: &Fixture) -> Checked {
    if !fixture.store.capabilities().conditional_write {
        return Ok(Verdict::NotApplicable("no conditional writes"));
    }
    let key = |number: u64| fixture.key(&format!("object-{number}"));
    fixture.put(&key(1), bytes(99, 99)).await?;
    let puts = (0..3).map(|number| {
        let request = PutRequest {
            payload: Payload::from(bytes(number, 500)),
            condition: Condition::Absent,
            ..PutRequest::default()
        };
        (key(number), request)
    });
    let mut each = put_many(fixture, puts.collect()).await;
    ensure!(each.len() == 3, "{} results", each.len());
    let second: Result<PutReceipt, Error> = each.remove(1);
    ensure_kind!(
        second,
        ErrorKind::PreconditionFailed,
        "what exists is written over"
    );
    each.into_iter().collect::<Result<Vec<_>>>()?;
    for (number, seed, len) in [(0, 0, 500), (1, 99, 99), (2, 2, 500)] {
        let found = fixture.whole(&key(number)).await?;
        ensure!(found == bytes(seed, len), "object {number}: other bytes");
    }
    Ok(Verdict::Holds)
}
