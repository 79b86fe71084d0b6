//! Segments in a folder of this machine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use skyhaul_model::ErrorKind;
use skyhaul_state::suite::segments::check;
use skyhaul_state::{SegmentStore, Segments};

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
async fn a_folder_is_a_place_of_segments() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "x").unwrap();
    for durable in [false, true] {
        let segments = Segments::open(dir.path().join("x/y")).unwrap();
        check(&segments.durable(durable)).await.unwrap();
    }
    let left = std::fs::read_dir(dir.path().join("x/y/tmp"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "temporary files were left");
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
