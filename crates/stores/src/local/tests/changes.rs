//! One version of a file or an error: whatever is done to it while or before it is read.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use futures::StreamExt as _;

use super::*;

const LARGE: usize = 3 << 20;

type Change = fn(&Path);

/// What can happen to a file.
const CHANGES: [(&str, Change); 6] = [
    ("rewritten in place", |path| {
        OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .write_all_at(b"new", 0)
            .unwrap();
    }),
    ("truncated", |path| {
        OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(7)
            .unwrap();
    }),
    ("appended", |path| {
        let len = path.metadata().unwrap().len();
        OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .write_all_at(b"more", len)
            .unwrap();
    }),
    ("rewritten with its time restored", |path| {
        let modified = path.metadata().unwrap().modified().unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"new", 0).unwrap();
        file.set_modified(modified).unwrap();
    }),
    ("touched", |path| {
        File::open(path)
            .unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
    }),
    ("truncated and filled again", |path| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(0).unwrap();
        file.set_len(LARGE as u64).unwrap();
    }),
];

/// Kernels stamp changes by a clock that ticks every few milliseconds: waits for its next tick.
fn wait_for_tick(path: &Path) {
    let probe = path.with_extension("tick");
    let stamp = || {
        std::fs::write(&probe, b"x").unwrap();
        probe.metadata().unwrap().modified().unwrap()
    };
    let first = stamp();
    while stamp() == first {}
    std::fs::remove_file(&probe).unwrap();
}

#[tokio::test]
async fn a_file_that_changed_since_its_pin_is_not_read() {
    for (what, change) in CHANGES {
        let bench = Bench::new();
        bench.write("f", vec![1; LARGE]);
        let pin = bench.pin("f").await;
        assert_eq!(
            bench.read("f", pinned(pin.clone())).await.unwrap().len(),
            LARGE
        );
        wait_for_tick(&bench.path("f"));
        change(&bench.path("f"));
        assert_eq!(
            kind(bench.read("f", pinned(pin.clone())).await),
            ErrorKind::Changed,
            "{what}"
        );
        assert_eq!(
            kind(bench.store.stat("f", &pin, false).await),
            ErrorKind::Changed,
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_replaced_file_is_another_version() {
    let bench = Bench::new();
    bench.write("f", "same");
    let pin = bench.pin("f").await;
    let modified = bench.path("f").metadata().unwrap().modified().unwrap();
    bench.write("g", "same");
    File::open(bench.path("g"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    std::fs::rename(bench.path("g"), bench.path("f")).unwrap();
    assert_eq!(kind(bench.read("f", pinned(pin)).await), ErrorKind::Changed);
}

#[tokio::test]
async fn a_file_that_changes_under_the_read_ends_in_an_error() {
    for (what, change) in CHANGES {
        for pin_first in [false, true] {
            let bench = Bench::new();
            bench.write("f", vec![1; 2 * LARGE]);
            let pin = if pin_first {
                bench.pin("f").await
            } else {
                Pin::default()
            };
            wait_for_tick(&bench.path("f"));
            let mut reader = bench.store.read("f", pinned(pin)).await.unwrap();
            let first = reader.body.next().await.unwrap().unwrap();
            assert!(first.len() < LARGE);
            change(&bench.path("f"));
            let rest: Result<Vec<Bytes>> = reader.body.try_collect().await;
            assert_eq!(kind(rest), ErrorKind::Changed, "{what}");
        }
    }
}

#[tokio::test]
async fn a_file_replaced_under_the_read_is_read_to_its_old_end() {
    let bench = Bench::new();
    bench.write("f", vec![1; LARGE]);
    bench.write("g", vec![2; LARGE]);
    let mut reader = bench.store.read("f", ReadRequest::default()).await.unwrap();
    reader.body.next().await.unwrap().unwrap();
    std::fs::rename(bench.path("g"), bench.path("f")).unwrap();
    // The old file lost its last name, which its change time tells: reported, not mixed.
    let rest: Result<Vec<Bytes>> = reader.body.try_collect().await;
    match rest {
        Ok(frames) => assert!(frames.concat().iter().all(|byte| *byte == 1)),
        Err(error) => assert_eq!(error.kind, ErrorKind::Changed),
    }
}

#[tokio::test]
async fn ranges_outside_the_file_are_refused_and_edges_are_exact() {
    let bench = Bench::new();
    let bytes: Vec<u8> = (0..LARGE).map(|at| (at % 251) as u8).collect();
    bench.write("f", &bytes);
    let size = LARGE as u64;
    for range in [(size, 1), (0, size + 1), (u64::MAX, 2), (size + 1, 0)] {
        let request = ReadRequest {
            range: Some(range),
            ..ReadRequest::default()
        };
        assert_eq!(
            kind(bench.read("f", request).await),
            ErrorKind::Invalid,
            "{range:?}"
        );
    }
    for (offset, len) in [
        (0, 0),
        (size, 0),
        (0, 1),
        (size - 1, 1),
        (5, (1 << 20) + 1),
        (0, size),
    ] {
        let request = ReadRequest {
            range: Some((offset, len)),
            ..ReadRequest::default()
        };
        let read = bench.read("f", request).await.unwrap();
        assert!(
            read == bytes[offset as usize..][..len as usize],
            "{offset} {len}"
        );
    }
}

#[tokio::test]
async fn absent_and_special_files_are_told_apart() {
    let bench = Bench::new();
    bench.write("d/f", "x");
    for key in ["none", "none/f", "d", "d/", "d/f/g"] {
        let stat = bench.store.stat(key, &Pin::default(), false).await.unwrap();
        assert!(stat.is_none(), "{key}");
        assert_eq!(
            kind(bench.read(key, ReadRequest::default()).await),
            ErrorKind::NotFound,
            "{key}"
        );
    }
    rustix::fs::mkfifoat(rustix::fs::CWD, bench.path("pipe"), rustix::fs::Mode::RUSR).unwrap();
    std::os::unix::fs::symlink("d/f", bench.path("link")).unwrap();
    for key in ["pipe", "link"] {
        let stat = bench.store.stat(key, &Pin::default(), false).await;
        assert_eq!(kind(stat), ErrorKind::Refused, "{key}");
        assert_eq!(
            kind(bench.read(key, ReadRequest::default()).await),
            ErrorKind::Refused,
            "{key}"
        );
    }
}
