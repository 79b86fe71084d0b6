//! Segments in a folder: what is written is read; damage of any kind is told, never read as less.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use skyhaul_model::outcome::{Action, Outcome, PartReceipt, ReceiptRecord};
use skyhaul_model::segment::{Chunk, ObjectTask, SEGMENT_VERSION, Segment};
use skyhaul_model::{ErrorKind, Pin};
use skyhaul_state::{SegmentKind, SegmentStore, Segments};

fn outcome(number: u32) -> Outcome {
    Outcome {
        action: Action::Skipped,
        source_key: Some(format!("from/ä\n\"{number}")),
        destination_key: format!("to/ä\n\"{number}"),
        destination: 0,
        size: u64::MAX - u64::from(number),
        checksum: None,
        verified: None,
        etag: Some("e".to_owned()),
        version: None,
        attempts: 1,
        server_side: false,
        reason: None,
        error: None,
    }
}

fn manifest(objects: u32) -> Segment {
    let task = |number: u32| ObjectTask {
        source_key: format!("s/{number}"),
        destination_key: format!("d/{number}"),
        size: 1,
        pin: Pin {
            etag: Some("e".to_owned()),
            ..Pin::default()
        },
        mtime: jiff::Timestamp::UNIX_EPOCH,
        storage_class: None,
        part_size: None,
        reason: None,
        attempt: 1,
    };
    Segment {
        version: SEGMENT_VERSION,
        objects: (0..objects).map(task).collect(),
        chunks: vec![Chunk::Bundle {
            first: 0,
            count: objects,
        }],
    }
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(root).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            found.push(file.unwrap().path());
        }
    }
    found
}

#[tokio::test]
async fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for durable in [false, true] {
        let segments = Segments::open(dir.path().join("x/y"))
            .unwrap()
            .durable(durable);
        let written = manifest(700);
        let pointer = segments.write_manifest(&written).await.unwrap();
        assert_eq!(segments.read_manifest(&pointer).await.unwrap(), written);

        let receipts = vec![
            ReceiptRecord::Object(outcome(1)),
            ReceiptRecord::Part {
                destination_key: "k".to_owned(),
                destination: 0,
                attempt: 2,
                receipt: PartReceipt {
                    number: 3,
                    size: 4,
                    etag: None,
                    checksum: None,
                    verified: true,
                },
            },
        ];
        let pointer = segments.write_receipts(&receipts).await.unwrap();
        assert_eq!(segments.read_receipts(&pointer).await.unwrap(), receipts);

        let outcomes: Vec<_> = (0..1000).map(outcome).collect();
        let pointer = segments.write_outcomes(&outcomes).await.unwrap();
        assert_eq!(segments.read_outcomes(&pointer).await.unwrap(), outcomes);
        let streamed = segments
            .records::<Outcome>(SegmentKind::Outcomes, &pointer)
            .unwrap();
        assert_eq!(streamed.map(Result::unwrap).collect::<Vec<_>>(), outcomes);

        let keys = vec!["a".to_owned(), "b\nc".to_owned(), String::new()];
        let pointer = segments.write_deletes(&keys).await.unwrap();
        assert_eq!(segments.read_deletes(&pointer).await.unwrap(), keys);
        let none = segments.write_deletes(&[]).await.unwrap();
        assert!(none != pointer && segments.read_deletes(&none).await.unwrap().is_empty());
    }
    let left = std::fs::read_dir(dir.path().join("x/y/tmp"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "temporary files were left");
}

#[tokio::test]
async fn damage_is_told_and_never_read_as_less() {
    let dir = tempfile::tempdir().unwrap();
    let segments = Segments::open(dir.path()).unwrap();
    let keys: Vec<_> = (0..50).map(|number| format!("key-{number}")).collect();
    let pointer = segments.write_deletes(&keys).await.unwrap();
    let path = dir.path().join(&pointer);
    let whole = std::fs::read(&path).unwrap();

    let mut damaged: Vec<Vec<u8>> = (0..whole.len())
        .map(|length| whole[..length].into())
        .collect();
    for index in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[index] ^= 0x10;
        damaged.push(flipped);
    }
    let mut longer = whole.clone();
    longer.push(0);
    damaged.push(longer);
    let (mut told, total) = (0, damaged.len());
    for bytes in damaged {
        std::fs::write(&path, &bytes).unwrap();
        match segments.read_deletes(&pointer).await {
            // A frame has a few bits that change nothing.
            Ok(read) => assert_eq!(read, keys, "{} of {} bytes", bytes.len(), whole.len()),
            Err(error) => {
                told += 1;
                assert_eq!(
                    (error.kind, error.retryable),
                    (ErrorKind::Corrupt, false),
                    "{error}"
                );
                assert!(
                    error.to_string().contains(path.to_str().unwrap()),
                    "{error}"
                );
            }
        }
    }
    assert!(
        told + 4 >= total,
        "only {told} of {total} damages were told"
    );
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(segments.read_deletes(&pointer).await.unwrap(), keys);
}

#[tokio::test]
async fn pointers_lead_to_their_kind_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let segments = Segments::open(dir.path().join("in")).unwrap();
    let outcomes = segments.write_outcomes(&[outcome(1)]).await.unwrap();
    std::fs::write(dir.path().join("secret"), "x").unwrap();
    for pointer in [
        outcomes.as_str(),
        "",
        "deletes",
        "deletes/../../../secret",
        "../secret",
        "/etc/hostname",
        "deletes/a/b",
    ] {
        let error = segments.read_deletes(pointer).await.unwrap_err();
        assert_eq!(
            (error.kind, error.retryable),
            (ErrorKind::Corrupt, false),
            "{pointer}"
        );
    }
    // The header names the kind too.
    let moved = outcomes.replace("outcomes/", "deletes/");
    let root = segments.root();
    std::fs::copy(root.join(&outcomes), root.join(&moved)).unwrap();
    let error = segments.read_deletes(&moved).await.unwrap_err();
    assert!(error.to_string().contains("outcomes"), "{error}");

    let gone = segments.read_deletes("deletes/none.zst").await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NotFound);
    assert!(gone.to_string().contains("--fresh"), "{gone}");
}

#[tokio::test]
async fn a_manifest_is_checked_before_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let segments = Segments::open(dir.path()).unwrap();
    let mut wrong = manifest(3);
    wrong.chunks = vec![Chunk::Bundle { first: 1, count: 3 }];
    let pointer = segments.write_manifest(&wrong).await.unwrap();
    let error = segments.read_manifest(&pointer).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);

    let two = [manifest(1), manifest(1)];
    let pointer = segments.write(SegmentKind::Manifest, &two).await.unwrap();
    let error = segments.read_manifest(&pointer).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_or_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Segments::open(file.join("under")).unwrap_err();
    assert!(error.to_string().contains("under"), "{error}");

    let segments = Segments::open(dir.path().join("s")).unwrap();
    segments.remove().unwrap();
    segments.remove().unwrap();
    let error = segments.write_deletes(&[]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(!dir.path().join("s").exists() || files(&dir.path().join("s")).is_empty());
}
