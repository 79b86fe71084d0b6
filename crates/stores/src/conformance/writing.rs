//! Writes of whole objects.

use std::collections::BTreeMap;

use jiff::Timestamp;
use skyhaul_model::capabilities::MtimeSupport;
use skyhaul_model::{Attributes, ErrorKind, Pin};

use super::fixture::{Fixture, bytes};
use super::{Checked, Failure, Verdict, ensure, ensure_kind};
use crate::payload::Payload;
use crate::store::{Condition, ListRequest, PutRequest};

fn request(content: &bytes::Bytes) -> PutRequest {
    PutRequest {
        payload: Payload::from(content.clone()),
        ..PutRequest::default()
    }
}

pub(super) async fn writing_replaces_objects(fixture: &Fixture) -> Checked {
    let key = fixture.key("d/object");
    for (seed, len) in [(1, 2_000_000), (2, 10), (3, 0), (4, 700)] {
        let content = bytes(seed, len);
        // Frames of uneven lengths, as they come from the wire.
        let mut payload = Payload::new();
        let (mut at, mut step) = (0, 1);
        while at < len {
            let end = len.min(at + step);
            payload.push(content.slice(at..end));
            (at, step) = (end, step * 3);
        }
        fixture
            .put_with(
                &key,
                PutRequest {
                    payload,
                    ..PutRequest::default()
                },
            )
            .await?;
        ensure!(
            fixture.whole(&key).await? == content,
            "{len} bytes: others are read"
        );
    }
    ensure!(fixture.keys().await? == [key], "something else is listed");
    Ok(Verdict::Holds)
}

pub(super) async fn writing_under_conditions(fixture: &Fixture) -> Checked {
    if !fixture.store.capabilities().conditional_write {
        return Ok(Verdict::NotApplicable("no conditional writes"));
    }
    let key = fixture.key("object");
    let with = |seed, condition| PutRequest {
        condition,
        ..request(&bytes(seed, 99))
    };
    fixture.put_with(&key, with(1, Condition::Absent)).await?;
    let first = fixture.pin(&key).await?;
    let again = fixture.put_with(&key, with(2, Condition::Absent)).await;
    ensure_kind!(again, ErrorKind::PreconditionFailed, "absent, and there");
    fixture
        .put_with(&key, with(3, Condition::Is(first.clone())))
        .await?;
    let stale = fixture
        .put_with(&key, with(4, Condition::Is(first.clone())))
        .await;
    ensure_kind!(stale, ErrorKind::PreconditionFailed, "another version");
    let gone = fixture
        .put_with(&fixture.key("none"), with(5, Condition::Is(first)))
        .await;
    ensure_kind!(
        gone,
        ErrorKind::PreconditionFailed | ErrorKind::NotFound,
        "a version of nothing"
    );
    ensure!(
        fixture.whole(&key).await? == bytes(3, 99),
        "a refused write was carried out"
    );
    ensure!(
        fixture.keys().await? == [key],
        "a refused write left something"
    );
    Ok(Verdict::Holds)
}

pub(super) async fn writing_keeps_attributes(fixture: &Fixture) -> Checked {
    if !fixture.store.capabilities().attributes {
        return Ok(Verdict::NotApplicable("no attributes"));
    }
    let key = fixture.key("object");
    let text = |text: &str| Some(text.to_owned());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let attributes = Attributes {
        content_type: text("text/x-check; charset=utf-8"),
        content_encoding: text("gzip"),
        content_language: text("de, en"),
        content_disposition: text("attachment; filename=\"a b.txt\""),
        cache_control: text("max-age=60, private"),
        expires: text("Wed, 21 Oct 2026 07:28:00 GMT"),
        metadata: BTreeMap::from([pair("plain", "value"), pair("with-dash", "1, 2")]),
        ..Attributes::default()
    };
    let request = PutRequest {
        attributes: attributes.clone(),
        ..request(&bytes(1, 50))
    };
    fixture.put_with(&key, request).await?;
    let stat = fixture.store.stat(&key, &Pin::default(), false).await?;
    let stat = stat
        .ok_or_else(|| Failure::Broken("not there".into()))?
        .attributes;
    let read = fixture
        .store
        .read(&key, crate::store::ReadRequest::default())
        .await?;
    for (how, found) in [("stat", stat), ("read", read.info.attributes)] {
        // A default that the service names is no loss.
        let found = Attributes {
            storage_class: None,
            tags: None,
            ..found
        };
        ensure!(found == attributes, "{how}: {found:?}");
    }
    Ok(Verdict::Holds)
}

pub(super) async fn writing_keeps_tags(fixture: &Fixture) -> Checked {
    if !fixture.store.capabilities().tags {
        return Ok(Verdict::NotApplicable("no tags"));
    }
    let key = fixture.key("object");
    let tags: BTreeMap<String, String> =
        [("team", "a b+c"), ("empty", ""), ("x:/@_.y", "=/:@+-. _")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let attributes = Attributes {
        tags: Some(tags.clone()),
        ..Attributes::default()
    };
    fixture
        .put_with(
            &key,
            PutRequest {
                attributes,
                ..request(&bytes(1, 50))
            },
        )
        .await?;
    let found = fixture.store.stat(&key, &Pin::default(), true).await?;
    let found = found.and_then(|info| info.attributes.tags);
    ensure!(found.as_ref() == Some(&tags), "{found:?}");
    fixture.put(&key, "untagged").await?;
    let found = fixture.store.stat(&key, &Pin::default(), true).await?;
    let found = found
        .and_then(|info| info.attributes.tags)
        .unwrap_or_default();
    ensure!(found.is_empty(), "tags of the version before: {found:?}");
    Ok(Verdict::Holds)
}

pub(super) async fn writing_keeps_modification_times(fixture: &Fixture) -> Checked {
    let key = fixture.key("object");
    for ns in [1_234_567_890_123_456_789_i128, 1_700_000_000_000_000_000, 1] {
        let mtime =
            Timestamp::from_nanosecond(ns).map_err(|error| Failure::Broken(error.to_string()))?;
        let request = PutRequest {
            mtime: Some(mtime),
            ..request(&bytes(1, 50))
        };
        fixture.put_with(&key, request).await?;
        let found = fixture.store.stat(&key, &Pin::default(), false).await?;
        let found = found.ok_or_else(|| Failure::Broken("not there".into()))?;
        match fixture.store.capabilities().mtime {
            MtimeSupport::Native | MtimeSupport::Both => {
                ensure!(found.mtime == mtime, "{} for {mtime}", found.mtime);
            }
            MtimeSupport::Metadata => {
                let kept = skyhaul_model::mtime::of(&found.attributes);
                ensure!(
                    kept == Some(mtime),
                    "{:?} for {mtime}",
                    found.attributes.metadata
                );
            }
        }
    }
    Ok(Verdict::Holds)
}

pub(super) async fn writing_verifies_checksums(fixture: &Fixture) -> Checked {
    let algorithms = fixture.store.capabilities().checksums.clone();
    if algorithms.is_empty() {
        return Ok(Verdict::NotApplicable("no native checksums"));
    }
    for algorithm in algorithms {
        let (good, bad) = (bytes(1, 5_000), bytes(2, 5_000));
        let key = fixture.key(&format!("object-{algorithm}"));
        let checksum = Payload::from(good.clone()).checksum(algorithm);
        let with = |content| PutRequest {
            checksum: Some(checksum.clone()),
            ..request(content)
        };
        let receipt = fixture.put_with(&key, with(&good)).await?;
        if !fixture.quirks.accepts_wrong_checksums {
            ensure!(
                receipt.verified,
                "{algorithm}: right, and not confirmed: {receipt:?}"
            );
            let wrong = fixture.put_with(&key, with(&bad)).await;
            ensure_kind!(
                wrong,
                ErrorKind::Corrupt,
                format!("{algorithm}: a wrong checksum")
            );
        }
        ensure!(
            fixture.whole(&key).await? == good,
            "{algorithm}: other bytes"
        );
    }
    Ok(Verdict::Holds)
}

pub(super) async fn writing_empty_objects(fixture: &Fixture) -> Checked {
    let key = fixture.key("empty");
    let checksum = fixture.store.capabilities().checksums.first().copied();
    let checksum = checksum.map(|algorithm| Payload::new().checksum(algorithm));
    fixture
        .put_with(
            &key,
            PutRequest {
                checksum,
                ..PutRequest::default()
            },
        )
        .await?;
    let request = ListRequest {
        prefix: key.clone(),
        ..ListRequest::default()
    };
    let entries = fixture.list(request).await?;
    ensure!(
        entries.len() == 1 && entries.iter().all(|entry| entry.size == 0),
        "{entries:?}"
    );
    ensure!(
        fixture.whole(&key).await?.is_empty(),
        "an empty object has bytes"
    );
    let info = fixture.store.stat(&key, &Pin::default(), false).await?;
    ensure!(
        info.is_some_and(|info| info.size == 0),
        "an empty object is not described"
    );
    Ok(Verdict::Holds)
}

pub(super) async fn writing_appears_at_commit(fixture: &Fixture) -> Checked {
    let mut staged = Vec::new();
    let mut expected = Vec::new();
    for at in 0..30_u64 {
        let key = fixture.key(&format!("d{}/{at:02}", at % 3));
        let receipt = fixture.store.put(&key, request(&bytes(at, 100))).await?;
        ensure!(
            receipt.staged.is_some() == fixture.store.capabilities().staged_writes,
            "staged against the capability: {receipt:?}"
        );
        staged.extend(receipt.staged);
        expected.push(key);
    }
    expected.sort();
    if !staged.is_empty() {
        ensure!(
            fixture.keys().await?.is_empty(),
            "visible before the commit"
        );
        let count = staged.len();
        // By another process than the writer.
        let results = fixture.other.commit(staged).await;
        ensure!(
            results.len() == count,
            "{} results for {count}",
            results.len()
        );
        for result in results {
            result?;
        }
    }
    let found = fixture.keys().await?;
    ensure!(found == expected, "{found:?}");
    Ok(Verdict::Holds)
}

pub(super) async fn writing_folder_markers(fixture: &Fixture) -> Checked {
    let (marker, file) = (fixture.key("folder/"), fixture.key("folder/file"));
    fixture.put(&marker, "").await?;
    ensure!(
        fixture.keys().await? == [marker.clone()],
        "a marker alone is not listed"
    );
    fixture.put(&file, "x").await?;
    ensure!(
        fixture.keys().await? == [marker.clone(), file.clone()],
        "not beside its file"
    );
    let info = fixture.store.stat(&marker, &Pin::default(), false).await?;
    ensure!(
        info.is_some_and(|info| info.size == 0),
        "a marker is not described"
    );
    ensure!(
        fixture.whole(&marker).await?.is_empty(),
        "a marker has bytes"
    );
    for outcome in fixture.store.delete(std::slice::from_ref(&file)).await {
        outcome.result?;
    }
    ensure!(
        fixture.keys().await? == [marker.clone()],
        "a marker went with its file"
    );
    for outcome in fixture.store.delete(std::slice::from_ref(&marker)).await {
        outcome.result?;
    }
    ensure!(fixture.keys().await?.is_empty(), "a marker is still there");
    Ok(Verdict::Holds)
}
