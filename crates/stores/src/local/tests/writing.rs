//! Writing, committing, uploading, deleting, sweeping.

use std::os::unix::fs::symlink;
use std::time::UNIX_EPOCH;

use skyhaul_model::TransferId;
use skyhaul_model::outcome::PartReceipt;

use super::*;
use crate::store::{Condition, PartWrite, UploadRequest, UploadToken};

const NANOS: i128 = 1_234_567_890_123_456_789;

fn mtime() -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(NANOS).unwrap()
}

async fn part(
    bench: &Bench,
    token: &UploadToken,
    number: u32,
    offset: u64,
    bytes: &'static [u8],
) -> Result<PartReceipt> {
    let payload = Payload::from(Bytes::from_static(bytes));
    bench
        .store
        .put_part(
            "d/f",
            token,
            PartWrite {
                number,
                offset,
                payload,
                checksum: None,
            },
        )
        .await
}

async fn open(bench: &Bench, size: u64) -> UploadToken {
    let request = UploadRequest {
        size,
        part_size: 4,
        mtime: Some(mtime()),
        ..UploadRequest::default()
    };
    bench.store.open_upload("d/f", request).await.unwrap()
}

#[tokio::test]
async fn keys_that_would_leave_the_root_write_nothing() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    let store = LocalStore::open(&root, Side::Destination, LocalOptions::default()).unwrap();
    let outside = outer.path().join("out");
    let absolute = outside.to_str().unwrap().to_owned();
    for key in [
        "../out",
        "a/../../out",
        "..",
        ".",
        "a//b",
        "/x",
        "",
        "a\0b",
        &absolute,
        "a/./b",
    ] {
        let error = store.put(key, whole("x")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{key:?}");
        let opened = store.open_upload(key, UploadRequest::default()).await;
        assert_eq!(kind(opened), ErrorKind::Refused, "{key:?}");
        let deleted = store.delete(&[key.to_owned()]).await.remove(0).result;
        assert_eq!(kind(deleted), ErrorKind::Refused, "{key:?}");
    }
    assert_eq!(names_on_disk(outer.path()), Vec::<String>::new());
}

#[tokio::test]
async fn links_do_not_lead_out_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("f"), "theirs").unwrap();
    for follow_symlinks in [false, true] {
        let options = LocalOptions {
            follow_symlinks,
            ..LocalOptions::default()
        };
        let bench = Bench::with(Side::Destination, options);
        symlink(outside.path(), bench.path("out")).unwrap();
        assert_eq!(
            kind(bench.put("out/f", whole("ours")).await),
            ErrorKind::Refused
        );
        assert_eq!(
            kind(bench.put("out/new/f", whole("ours")).await),
            ErrorKind::Refused
        );
        let deleted = bench
            .store
            .delete(&["out/f".to_owned()])
            .await
            .remove(0)
            .result;
        assert_eq!(kind(deleted), ErrorKind::Refused);
        let listed = bench.pages(ListRequest::default()).await;
        assert!(listed.iter().all(|page| page.entries.is_empty()));
        assert_eq!(
            listed.iter().map(|page| page.refused.len()).sum::<usize>(),
            1
        );
    }
    assert_eq!(names_on_disk(outside.path()), ["f"]);
    assert_eq!(std::fs::read(outside.path().join("f")).unwrap(), b"theirs");
}

#[tokio::test]
async fn links_inside_the_root_are_used_only_when_asked_for() {
    for follow_symlinks in [false, true] {
        let options = LocalOptions {
            follow_symlinks,
            ..LocalOptions::default()
        };
        let bench = Bench::with(Side::Destination, options);
        bench.write("real/x", "x");
        symlink("real", bench.path("dir")).unwrap();
        symlink("real/x", bench.path("file")).unwrap();
        let through = bench.put("dir/f", whole("y")).await;
        let over = bench.put("file", whole("z")).await;
        if follow_symlinks {
            through.unwrap();
            over.unwrap();
            assert_eq!(std::fs::read(bench.path("real/f")).unwrap(), b"y");
        } else {
            assert_eq!(kind(through), ErrorKind::Refused);
            assert_eq!(kind(over), ErrorKind::Refused);
        }
        assert_eq!(std::fs::read(bench.path("real/x")).unwrap(), b"x");
    }
}

#[tokio::test]
async fn what_is_in_the_way_is_named_and_left_alone() {
    let bench = Bench::new();
    bench.write("a", "file");
    bench.write("d/x", "x");
    rustix::fs::mkfifoat(rustix::fs::CWD, bench.path("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let before = names_on_disk(bench.directory.path());
    let error = bench.put("a/b/c", whole("x")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("`a` is no directory"), "{error}");
    for key in ["d", "pipe", "a/"] {
        assert_eq!(
            kind(bench.put(key, whole("")).await),
            ErrorKind::Refused,
            "{key}"
        );
    }
    assert_eq!(names_on_disk(bench.directory.path()), before);
}

#[tokio::test]
async fn a_file_appears_at_its_commit_whole_and_with_its_time() {
    let bench = Bench::new();
    let request = PutRequest {
        mtime: Some(mtime()),
        ..whole("new bytes")
    };
    bench.write("d/f", "old");
    let receipt = bench.store.put("d/f", request).await.unwrap();
    assert_eq!(std::fs::read(bench.path("d/f")).unwrap(), b"old");
    assert_eq!(bench.keys().await, ["d/f"]);
    let staged = receipt.staged.unwrap();
    for result in bench.store.commit(vec![staged.clone()]).await {
        result.unwrap();
    }
    assert_eq!(std::fs::read(bench.path("d/f")).unwrap(), b"new bytes");
    let modified = bench.path("d/f").metadata().unwrap().modified().unwrap();
    assert_eq!(
        modified.duration_since(UNIX_EPOCH).unwrap().as_nanos(),
        NANOS as u128
    );
    assert_eq!(names_on_disk(bench.directory.path()), ["d/", "d/f"]);
    // The reply was lost and the commit is made again.
    bench
        .store
        .commit(vec![staged.clone()])
        .await
        .remove(0)
        .unwrap();
    // Somebody else has replaced the file since.
    bench.write("d/f", "other");
    assert!(bench.store.commit(vec![staged]).await.remove(0).is_err());
    assert_eq!(std::fs::read(bench.path("d/f")).unwrap(), b"other");
}

#[tokio::test]
async fn conditions_hold_at_the_commit_too() {
    let bench = Bench::new();
    let absent = || PutRequest {
        condition: Condition::Absent,
        ..whole("mine")
    };
    let staged = bench
        .store
        .put("f", absent())
        .await
        .unwrap()
        .staged
        .unwrap();
    bench.write("f", "theirs");
    assert_eq!(
        kind(bench.store.commit(vec![staged]).await.remove(0)),
        ErrorKind::PreconditionFailed
    );
    assert_eq!(
        kind(bench.put("f", absent()).await),
        ErrorKind::PreconditionFailed
    );
    let is = |pin: &Pin| PutRequest {
        condition: Condition::Is(pin.clone()),
        ..whole("mine")
    };
    let pin = bench.pin("f").await;
    assert_eq!(
        kind(bench.put("g", is(&pin)).await),
        ErrorKind::PreconditionFailed
    );
    let staged = bench
        .store
        .put("f", is(&pin))
        .await
        .unwrap()
        .staged
        .unwrap();
    bench.write("f", "changed");
    assert_eq!(
        kind(bench.store.commit(vec![staged]).await.remove(0)),
        ErrorKind::PreconditionFailed
    );
    assert_eq!(std::fs::read(bench.path("f")).unwrap(), b"changed");
    let pin = bench.pin("f").await;
    bench.put("f", is(&pin)).await.unwrap();
    assert_eq!(names_on_disk(bench.directory.path()), ["f"]);
}

#[tokio::test]
async fn large_batches_commit_each_for_itself() {
    let bench = Bench::new();
    let mut staged = Vec::new();
    for at in 0..40 {
        let receipt = bench
            .store
            .put(&format!("d{}/f{at}", at % 3), whole(vec![at; 9]))
            .await;
        staged.push(receipt.unwrap().staged.unwrap());
    }
    std::fs::create_dir(bench.path("d0/f9")).unwrap();
    let results = bench.store.commit(staged).await;
    for (at, result) in results.into_iter().enumerate() {
        assert_eq!(result.is_err(), at == 9, "{at}");
    }
    std::fs::remove_dir(bench.path("d0/f9")).unwrap();
    assert_eq!(bench.keys().await.len(), 39);
    assert_eq!(names_on_disk(bench.directory.path()).len(), 39 + 3);
}

#[tokio::test]
async fn upload_parts_arrive_in_any_order_and_again() {
    let bench = Bench::new();
    let token = open(&bench, 10).await;
    let mut parts = vec![
        part(&bench, &token, 3, 8, b"89").await.unwrap(),
        part(&bench, &token, 1, 0, b"xxxx").await.unwrap(),
        part(&bench, &token, 2, 4, b"4567").await.unwrap(),
        part(&bench, &token, 1, 0, b"0123").await.unwrap(),
    ];
    parts.remove(1);
    parts.sort_by_key(|part| part.number);
    assert_eq!(
        kind(part(&bench, &token, 4, 9, b"12").await),
        ErrorKind::Invalid
    );
    assert_eq!(bench.keys().await, Vec::<String>::new());
    let finish = |parts: Vec<PartReceipt>, condition: Condition| {
        let (bench, token) = (&bench, &token);
        async move {
            bench
                .store
                .finish_upload("d/f", token, &parts, None, &condition)
                .await
        }
    };
    assert_eq!(
        kind(finish(parts[..2].to_vec(), Condition::None).await),
        ErrorKind::Invalid
    );
    assert_eq!(
        kind(finish(parts[1..].to_vec(), Condition::None).await),
        ErrorKind::Invalid
    );
    bench.write("d/f", "theirs");
    let refused = finish(parts.clone(), Condition::Absent).await;
    assert_eq!(kind(refused), ErrorKind::PreconditionFailed);
    assert_eq!(std::fs::read(bench.path("d/f")).unwrap(), b"theirs");
    finish(parts.clone(), Condition::None).await.unwrap();
    assert_eq!(std::fs::read(bench.path("d/f")).unwrap(), b"0123456789");
    assert_eq!(identity_mtime(&bench, "d/f").await, NANOS);
    // A lost reply: the same completion again, even with the condition that now fails.
    finish(parts.clone(), Condition::Absent).await.unwrap();
    bench.write("d/g", "0123456789");
    std::fs::rename(bench.path("d/g"), bench.path("d/f")).unwrap();
    assert_eq!(
        kind(finish(parts, Condition::None).await),
        ErrorKind::UploadGone
    );
}

async fn identity_mtime(bench: &Bench, key: &str) -> i128 {
    bench.pin(key).await.file.unwrap().mtime_ns
}

#[tokio::test]
async fn uploads_are_found_by_their_key_and_aborted() {
    let bench = Bench::new();
    let token = open(&bench, 4).await;
    bench.store.put("d/f", whole("staged")).await.unwrap();
    let other = UploadRequest {
        size: 1,
        ..UploadRequest::default()
    };
    bench.store.open_upload("d/g", other).await.unwrap();
    let found = bench.store.uploads("d/f").await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].initiated.is_some());
    let receipt = part(&bench, &found[0].token, 1, 0, b"abcd").await.unwrap();
    bench
        .store
        .abort_upload("d/f", &found[0].token)
        .await
        .unwrap();
    bench.store.abort_upload("d/f", &token).await.unwrap();
    assert!(bench.store.uploads("d/f").await.unwrap().is_empty());
    assert_eq!(bench.store.uploads("d/g").await.unwrap().len(), 1);
    assert!(bench.store.uploads("none/f").await.unwrap().is_empty());
    assert_eq!(
        kind(part(&bench, &token, 1, 0, b"abcd").await),
        ErrorKind::UploadGone
    );
    let finished = bench
        .store
        .finish_upload("d/f", &token, &[receipt], None, &Condition::None)
        .await;
    assert_eq!(kind(finished), ErrorKind::UploadGone);
    let forged = UploadToken(token.0.replace(".skyhaul", "../../x"));
    assert_eq!(
        kind(part(&bench, &forged, 1, 0, b"abcd").await),
        ErrorKind::Invalid
    );
}

#[tokio::test]
async fn sweeping_removes_our_temporary_files_and_no_others() {
    let outer = tempfile::tempdir().unwrap();
    let open = |transfer: Option<TransferId>| {
        let options = LocalOptions {
            transfer,
            ..LocalOptions::default()
        };
        LocalStore::open(outer.path(), Side::Destination, options).unwrap()
    };
    let id = TransferId::generate();
    let (killed, stranger) = (open(Some(id.clone())), open(None));
    for key in ["f", "a/f", "a/b/f", "c/f"] {
        killed.put(key, whole("x")).await.unwrap();
        stranger.put(key, whole("x")).await.unwrap();
    }
    std::fs::write(outer.path().join("a/.skyhaul-mine.part"), "a user's").unwrap();
    let again = open(Some(id));
    let folders = [
        "a/".to_owned(),
        String::new(),
        "none/".to_owned(),
        "../".to_owned(),
    ];
    assert_eq!(again.sweep_temporaries(&folders).await.unwrap(), 2);
    assert_eq!(again.sweep_tree().await.unwrap(), 2);
    assert_eq!(again.sweep_tree().await.unwrap(), 0);
    let left = names_on_disk(outer.path());
    assert_eq!(
        left.iter()
            .filter(|name| name.contains(".skyhaul-"))
            .count(),
        5,
        "{left:?}"
    );
    let listed = again
        .list(ListRequest::default())
        .next_page()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(listed.entries.len(), 1, "only the user's file is visible");
}

#[tokio::test]
async fn deletion_takes_the_directories_that_it_empties() {
    let bench = Bench::new();
    for key in ["a/b/c/f", "a/b/c/g", "a/x/f", "top"] {
        bench.write(key, "x");
    }
    std::fs::create_dir(bench.path("a/empty")).unwrap();
    let delete = |keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
        let store = &bench.store;
        async move {
            for outcome in store.delete(&keys).await {
                outcome.result.unwrap();
            }
        }
    };
    delete(&["a/b/c/f", "none", "none/x", "top/x", "a/b"]).await;
    assert!(bench.path("a/b/c/g").exists());
    delete(&["a/b/c/g", "a/x/f", "top"]).await;
    assert_eq!(names_on_disk(bench.directory.path()), ["a/", "a/empty/"]);
}

#[tokio::test]
async fn folder_markers_are_directories_that_are_told_apart() {
    let bench = Bench::new();
    bench.write("plain/f", "x");
    assert_eq!(
        kind(bench.put("m/", whole("bytes")).await),
        ErrorKind::Refused
    );
    let marker = PutRequest {
        mtime: Some(mtime()),
        ..PutRequest::default()
    };
    bench.put("m/n/", marker.clone()).await.unwrap();
    bench.put("plain/", marker).await.unwrap();
    bench.write("m/n/f", "x");
    assert_eq!(bench.keys().await, ["m/n/", "m/n/f", "plain/", "plain/f"]);
    let listed = bench
        .list(ListRequest {
            prefix: "m/n/".into(),
            ..ListRequest::default()
        })
        .await;
    assert_eq!((listed[0].size, listed[0].mtime), (0, mtime()));
    let all = ListRequest {
        directories: true,
        ..ListRequest::default()
    };
    let all: Vec<_> = bench
        .list(all)
        .await
        .into_iter()
        .map(|entry| entry.key)
        .collect();
    assert_eq!(all, ["m/", "m/n/", "m/n/f", "plain/", "plain/f"]);
    let info = bench
        .store
        .stat("m/n/", &Pin::default(), false)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((info.size, info.mtime), (0, mtime()));
    assert!(
        bench
            .read("m/n/", ReadRequest::default())
            .await
            .unwrap()
            .is_empty()
    );
    let absent = PutRequest {
        condition: Condition::Absent,
        ..PutRequest::default()
    };
    assert_eq!(
        kind(bench.put("m/n/", absent).await),
        ErrorKind::PreconditionFailed
    );
    // Files go, the marker stays; the marker goes, files stay; both go, and the directories too.
    bench
        .store
        .delete(&["m/n/f".to_owned()])
        .await
        .remove(0)
        .result
        .unwrap();
    bench
        .store
        .delete(&["plain/".to_owned(), "m/".to_owned()])
        .await;
    assert_eq!(bench.keys().await, ["m/n/", "plain/f"]);
    bench
        .store
        .delete(&["m/n/".to_owned()])
        .await
        .remove(0)
        .result
        .unwrap();
    assert_eq!(names_on_disk(bench.directory.path()), ["plain/", "plain/f"]);
}

#[tokio::test]
async fn a_directory_that_is_moved_or_deleted_is_not_written_to_again() {
    let bench = Bench::new();
    bench.put("d/a", whole("a")).await.unwrap();
    // Moved: what is staged next is lost with it, which its commit finds, and asks for again.
    std::fs::rename(bench.path("d"), bench.path("elsewhere")).unwrap();
    let error = bench.put("d/b", whole("b")).await.unwrap_err();
    assert!(error.retryable, "{error}");
    bench.put("d/b", whole("b")).await.unwrap();
    assert_eq!(std::fs::read(bench.path("d/b")).unwrap(), b"b");
    // Deleted: a new one is made at once.
    std::fs::remove_dir_all(bench.path("d")).unwrap();
    bench.put("d/c", whole("c")).await.unwrap();
    assert_eq!(bench.keys().await, ["d/c", "elsewhere/a"]);
}
