//! Listings: order, bounds, pages, what is refused.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Keys that can be in one tree: none is a directory of another.
fn tree() -> impl Strategy<Value = BTreeSet<String>> {
    let name = "[ab.!/é0-]{1,6}";
    prop::collection::btree_set(prop::collection::vec(name, 1..4), 0..40).prop_map(|keys| {
        let mut tree = BTreeSet::new();
        for key in keys {
            let key = key.join("/");
            let fits = super::super::key::KeyPath::parse(&key, 100).is_ok_and(|key| !key.is_marker);
            let clash = |other: &String| {
                other.starts_with(&format!("{key}/")) || key.starts_with(&format!("{other}/"))
            };
            if fits && !tree.iter().any(clash) {
                tree.insert(key);
            }
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn listings_are_the_sorted_keys_within_the_bounds(
        keys in tree(),
        prefix in prop_oneof![Just(String::new()), "[ab./é]{0,4}"],
        after in prop::option::of("[ab.!/é0-]{0,8}"),
        upto in prop::option::of("[ab.!/é0-]{0,8}"),
        page_size in 1..9_usize,
        held_names in 2..30_usize,
    ) {
        let mut bench = Bench::new();
        bench.store.held_names = held_names;
        for key in &keys {
            bench.write(key, key);
        }
        let expected: Vec<&String> = keys
            .iter()
            .filter(|key| key.starts_with(&prefix))
            .filter(|key| after.as_ref().is_none_or(|after| *key > after))
            .filter(|key| upto.as_ref().is_none_or(|upto| *key <= upto))
            .collect();
        let request = ListRequest { prefix, after, upto, page_size, directories: false };
        let pages = runtime().block_on(bench.pages(request));
        prop_assert!(pages.iter().all(|page| page.entries.len() <= page_size));
        prop_assert!(pages.iter().all(ListPage::is_complete));
        let entries: Vec<ObjectEntry> = pages.into_iter().flat_map(|page| page.entries).collect();
        prop_assert_eq!(entries.iter().map(|entry| &entry.key).collect::<Vec<_>>(), expected);
        prop_assert!(entries.iter().all(|entry| entry.size == entry.key.len() as u64));
    }
}

#[tokio::test]
async fn the_slash_sorts_where_it_is_in_the_key() {
    let bench = Bench::new();
    for key in ["a/x", "a.b", "a0", "a-", "a/x.y", "b"] {
        bench.write(key, "");
    }
    assert_eq!(bench.keys().await, ["a-", "a.b", "a/x", "a/x.y", "a0", "b"]);
}

#[tokio::test]
async fn prefixes_that_are_no_paths_have_no_keys() {
    let bench = Bench::new();
    bench.write("a/a", "");
    for prefix in [
        "a//", "a//a", "/", "/a", "../", "./a", "a/./", "a/../a/", "a\0/", "b/", "a/a/",
    ] {
        let request = ListRequest {
            prefix: prefix.into(),
            ..ListRequest::default()
        };
        assert!(bench.list(request).await.is_empty(), "{prefix:?}");
    }
}

#[tokio::test]
async fn a_directory_beyond_the_limit_is_sorted_on_disk() {
    let mut bench = Bench::new();
    bench.store.held_names = 64;
    let mut expected: Vec<String> = (0..2_000)
        .map(|at| format!("d/{}", at * 7919 % 2_003))
        .collect();
    for key in &expected {
        bench.write(key, "");
    }
    expected.sort();
    assert_eq!(bench.keys().await, expected);
}

#[tokio::test]
async fn names_that_cannot_be_objects_are_refused_one_by_one() {
    let bench = Bench::new();
    bench.write("f", "x");
    let odd = bench
        .directory
        .path()
        .join(std::ffi::OsStr::from_bytes(b"bad\xff"));
    std::fs::write(odd, "x").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, bench.path("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("socket")).unwrap();
    symlink("f", bench.path("link")).unwrap();
    symlink("none", bench.path("dangling")).unwrap();
    let pages = bench
        .pages(ListRequest {
            page_size: 2,
            ..ListRequest::default()
        })
        .await;
    let refused: Vec<_> = pages.iter().flat_map(|page| &page.refused).collect();
    assert_eq!(refused.len(), 5, "{refused:?}");
    let mut kinds: Vec<(&str, ErrorKind)> = refused
        .iter()
        .map(|error| {
            let object = error.object.as_deref().unwrap();
            (object.rsplit('/').next().unwrap(), error.kind)
        })
        .collect();
    kinds.sort_by_key(|(name, _)| *name);
    // Links, pipes and sockets are passed over by rule; the others should have been copied.
    let expected = [
        ("bad\u{fffd}", ErrorKind::Refused),
        ("dangling", ErrorKind::Unsupported),
        ("link", ErrorKind::Unsupported),
        ("pipe", ErrorKind::Unsupported),
        ("socket", ErrorKind::Unsupported),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(
        pages.iter().map(|page| page.entries.len()).sum::<usize>(),
        1
    );
    let elsewhere = ListRequest {
        prefix: "f".into(),
        ..ListRequest::default()
    };
    assert_eq!(
        bench.list(elsewhere).await.len(),
        1,
        "only the prefix's refusals count"
    );
}

#[tokio::test]
async fn followed_links_are_files_and_circles_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("far"), "12345").unwrap();
    let options = LocalOptions {
        follow_symlinks: true,
        ..LocalOptions::default()
    };
    let bench = Bench::with(Side::Source, options);
    bench.write("d/f", "x");
    symlink("d", bench.path("e")).unwrap();
    symlink("..", bench.path("d/up")).unwrap();
    symlink("self", bench.path("self")).unwrap();
    symlink(outside.path(), bench.path("out")).unwrap();
    symlink("d/f", bench.path("file")).unwrap();
    let pages = bench.pages(ListRequest::default()).await;
    let refused: Vec<_> = pages
        .iter()
        .flat_map(|page| &page.refused)
        .filter_map(|error| error.object.as_deref())
        .collect();
    assert_eq!(refused.len(), 3, "{refused:?}");
    let found: Vec<_> = pages.iter().flat_map(|page| &page.entries).collect();
    let keys: Vec<_> = found.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["d/f", "e/f", "file", "out/far"]);
    for entry in found {
        let read = bench
            .read(&entry.key, pinned(entry.pin.clone()))
            .await
            .unwrap();
        assert_eq!(read.len() as u64, entry.size);
    }
}

#[tokio::test]
async fn an_entry_is_pinned_to_what_it_was() {
    let bench = Bench::new();
    bench.write("f", "x");
    let entry = bench.list(ListRequest::default()).await.remove(0);
    assert_eq!(entry.pin, bench.pin("f").await);
    assert_eq!(
        entry.mtime.as_nanosecond(),
        entry.pin.file.unwrap().mtime_ns
    );
}
