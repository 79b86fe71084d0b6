//! Reads: exact bytes of one version.

use skyhaul_model::{ErrorKind, Pin};

use super::fixture::{Fixture, bytes};
use super::{Checked, Verdict, ensure, ensure_kind};
use crate::store::ReadRequest;

/// Larger than a frame, and no multiple of one.
const LARGE: usize = (3 << 20) + 77;

pub(super) async fn reading_what_is_absent(fixture: &Fixture) -> Checked {
    fixture.put(&fixture.key("d/there"), "x").await?;
    for name in ["none", "d", "d/ther", "d/there2", "none/none"] {
        let key = fixture.key(name);
        let found = fixture.store.stat(&key, &Pin::default(), true).await?;
        ensure!(found.is_none(), "{name} is described: {found:?}");
        ensure_kind!(fixture.whole(&key).await, ErrorKind::NotFound, name);
    }
    Ok(Verdict::Holds)
}

pub(super) async fn reading_whole_objects(fixture: &Fixture) -> Checked {
    for (name, len) in [
        ("one", 1),
        ("small", 1_000),
        ("frame", 1 << 20),
        ("large", LARGE),
    ] {
        let key = fixture.key(name);
        let content = bytes(7, len);
        fixture.put(&key, content.clone()).await?;
        let info = fixture.store.stat(&key, &Pin::default(), false).await?;
        ensure!(
            info.as_ref().is_some_and(|info| info.size == len as u64),
            "{name}: {info:?}"
        );
        let head = fixture.store.read(&key, ReadRequest::default()).await?.info;
        ensure!(
            head.size == len as u64,
            "{name}: the head says {}",
            head.size
        );
        ensure!(fixture.whole(&key).await? == content, "{name}: other bytes");
        ensure!(
            fixture.other.stat(&key, &head.pin, false).await?.is_some(),
            "{name}: not seen"
        );
    }
    Ok(Verdict::Holds)
}

pub(super) async fn reading_ranges(fixture: &Fixture) -> Checked {
    let key = fixture.key("object");
    let content = bytes(8, LARGE);
    let size = LARGE as u64;
    fixture.put(&key, content.clone()).await?;
    let pin = fixture.pin(&key).await?;
    let ranges = [
        (0, 1),
        (0, size),
        (size - 1, 1),
        (1, size - 1),
        ((1 << 20) - 1, 2),
        (5, 1 << 20),
        (0, 0),
        (9, 0),
    ];
    for (offset, len) in ranges {
        let range = Some((offset, len));
        let request = ReadRequest {
            range,
            pin: pin.clone(),
            tags: false,
        };
        let reader = fixture.store.read(&key, request.clone()).await?;
        ensure!(
            reader.info.size == size,
            "{range:?}: the head says {}",
            reader.info.size
        );
        let read = fixture.read(&key, request).await?;
        let expected = &content[offset as usize..][..len as usize];
        ensure!(
            read == expected,
            "{range:?}: {} bytes, or others",
            read.len()
        );
    }
    for range in [(size, 1), (size - 1, 2), (0, size + 1), (size + 100, 1)] {
        let request = ReadRequest {
            range: Some(range),
            ..ReadRequest::default()
        };
        let read = fixture.read(&key, request).await;
        ensure!(read.is_err(), "{range:?} of {size} bytes is delivered");
    }
    Ok(Verdict::Holds)
}

pub(super) async fn reading_is_pinned_to_one_version(fixture: &Fixture) -> Checked {
    for (name, len) in [("small", 100), ("large", LARGE)] {
        let key = fixture.key(name);
        fixture.put(&key, bytes(1, len)).await?;
        let pin = fixture.pin(&key).await?;
        fixture.put(&key, bytes(2, len)).await?;
        for range in [None, Some((0, 10)), Some((50, 50))] {
            let request = ReadRequest {
                range,
                pin: pin.clone(),
                tags: false,
            };
            let read = fixture.read(&key, request).await;
            if pin.version_id.is_some() {
                let old = bytes(1, len);
                let (at, count) = range.unwrap_or((0, len as u64));
                ensure!(
                    read? == old[at as usize..][..count as usize],
                    "{name}: another version"
                );
            } else {
                ensure_kind!(
                    read,
                    ErrorKind::Changed,
                    format!("{name} {range:?}, replaced")
                );
            }
        }
        let now = fixture.pin(&key).await?;
        ensure!(now != pin, "{name}: the pin of another version is the same");
        let request = ReadRequest {
            pin: now,
            ..ReadRequest::default()
        };
        ensure!(
            fixture.read(&key, request).await? == bytes(2, len),
            "{name}: other bytes"
        );
    }
    Ok(Verdict::Holds)
}
