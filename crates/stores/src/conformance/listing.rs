//! Listings: every key once, in order, within its bounds.

use super::fixture::{Fixture, bytes, keys};
use super::{Checked, Verdict, ensure};
use crate::store::{ListRequest, ReadRequest};

/// Names whose order differs between bytes, characters' case and path components.
const NAMES: [&str; 12] = [
    "B",
    "a",
    "a b",
    "a-",
    "a.b",
    "a0",
    "b/1",
    "b/10",
    "b/2",
    "b0",
    "z\u{7a00}",
    "\u{e9}",
];

/// Beside `b/1` these tell the order of bytes from that of path components.
const BEFORE_SLASH: [&str; 3] = ["b ", "b-x", "b.x"];

async fn fill(fixture: &Fixture) -> Result<Vec<String>, super::Failure> {
    let mut all = Vec::new();
    let slash = if fixture.quirks.orders_by_component {
        [].iter()
    } else {
        BEFORE_SLASH.iter()
    };
    for name in NAMES.iter().chain(slash) {
        let key = fixture.key(name);
        fixture.put(&key, *name).await?;
        all.push(key);
    }
    all.sort();
    Ok(all)
}

pub(super) async fn listing_pages_in_order(fixture: &Fixture) -> Checked {
    let all = fill(fixture).await?;
    for page_size in [0, 1, 2, 5, 15, 1_000] {
        let prefix = fixture.prefix.clone();
        let request = ListRequest {
            prefix,
            page_size,
            ..ListRequest::default()
        };
        let found = keys(&fixture.list(request).await?);
        ensure!(found == all, "pages of {page_size}: {found:?}");
    }
    Ok(Verdict::Holds)
}

pub(super) async fn listing_within_bounds(fixture: &Fixture) -> Checked {
    let all = fill(fixture).await?;
    let bounds: Vec<Option<String>> = [
        None,
        Some(""),
        Some("a"),
        Some("b/"),
        Some("b/1"),
        Some("b/11"),
    ]
    .into_iter()
    .chain([Some("\u{e9}"), Some("\u{10ffff}")])
    .map(|bound| bound.map(|bound| fixture.key(bound)))
    .collect();
    for after in &bounds {
        for upto in &bounds {
            let request = ListRequest {
                prefix: fixture.prefix.clone(),
                after: after.clone(),
                upto: upto.clone(),
                page_size: 3,
                directories: false,
            };
            let found = keys(&fixture.list(request).await?);
            let mut expected = all.clone();
            expected.retain(|key| {
                after.as_ref().is_none_or(|after| key > after)
                    && upto.as_ref().is_none_or(|upto| key <= upto)
            });
            ensure!(
                found == expected,
                "after {after:?} up to {upto:?}: {found:?}"
            );
        }
    }
    Ok(Verdict::Holds)
}

pub(super) async fn listing_of_a_prefix(fixture: &Fixture) -> Checked {
    let all = fill(fixture).await?;
    for name in ["a", "a ", "b", "b/", "b/1", "c", "\u{e9}"] {
        let prefix = fixture.key(name);
        let request = ListRequest {
            prefix: prefix.clone(),
            page_size: 2,
            ..ListRequest::default()
        };
        let found = keys(&fixture.list(request).await?);
        let mut expected = all.clone();
        expected.retain(|key| key.starts_with(&prefix));
        ensure!(found == expected, "prefix {prefix}: {found:?}");
    }
    Ok(Verdict::Holds)
}

pub(super) async fn listing_describes_objects(fixture: &Fixture) -> Checked {
    let key = fixture.key("d/object");
    let content = bytes(1, 12_345);
    fixture.put(&key, content.clone()).await?;
    let request = ListRequest {
        prefix: key.clone(),
        ..ListRequest::default()
    };
    let entries = fixture.list(request).await?;
    ensure!(entries.len() == 1, "{entries:?}");
    for entry in entries {
        ensure!(entry.key == key && entry.size == 12_345, "{entry:?}");
        ensure!(entry.mtime.as_second() > 1_000_000_000, "{entry:?}");
        ensure!(!entry.archived, "{entry:?}");
        ensure!(
            entry.pin != skyhaul_model::Pin::default(),
            "no pin: {entry:?}"
        );
        let pin = entry.pin;
        let read = fixture
            .read(
                &key,
                ReadRequest {
                    pin,
                    ..ReadRequest::default()
                },
            )
            .await?;
        ensure!(read == content, "what was listed is not what is read");
    }
    Ok(Verdict::Holds)
}

pub(super) async fn listing_of_nothing(fixture: &Fixture) -> Checked {
    fixture.put(&fixture.key("here/x"), "x").await?;
    for name in ["none", "none/", "here/x/", "here/xx"] {
        let request = ListRequest {
            prefix: fixture.key(name),
            ..ListRequest::default()
        };
        let found = keys(&fixture.list(request).await?);
        ensure!(found.is_empty(), "prefix {name}: {found:?}");
    }
    Ok(Verdict::Holds)
}
