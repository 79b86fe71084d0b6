//! `SqliteState` against the suite, and what is its own: files, versions, processes, full disks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use skyhaul_model::{ErrorKind, TransferId};
use skyhaul_state::suite::{self, Coverage};
use skyhaul_state::{SqliteState, TransferState};

fn open(path: &Path) -> Arc<dyn TransferState> {
    Arc::new(SqliteState::open(path).unwrap())
}

async fn run(seeds: std::ops::Range<u64>, steps: u32) -> Coverage {
    let mut coverage = Coverage::default();
    for seed in seeds {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let run = suite::run(|| async { open(&path) }, seed, steps).await;
        match run {
            Ok(run) => coverage.merge(run),
            Err(violation) => panic!("{violation}"),
        }
    }
    coverage
}

#[tokio::test]
async fn random_operations_do_what_the_model_does() {
    let coverage = run(0..40, 600).await;
    println!("{coverage:#?}");
    // Every refusal was met, or the run shows nothing.
    for (operation, results) in [
        ("submit", &["ok", "Invalid"][..]),
        ("change", &["ok", "LeaseLost", "NotFound"]),
        ("purge", &["ok"]),
        ("lease_range", &["ok", "LeaseLost", "NotFound"]),
        ("publish", &["ok", "LeaseLost", "Invalid", "NotFound"]),
        ("split_range", &["ok", "LeaseLost", "Invalid", "NotFound"]),
        ("release_range", &["ok", "LeaseLost", "NotFound"]),
        ("claim", &["ok", "Invalid"]),
        ("take_over", &["ok", "LeaseLost", "NotFound"]),
        ("renew", &["ok", "LeaseLost", "NotFound"]),
        ("record", &["ok", "LeaseLost", "Invalid", "NotFound"]),
        ("release", &["ok", "LeaseLost", "NotFound"]),
        ("groups", &["ok", "Invalid"]),
        ("upload_intent", &["ok", "NotFound"]),
        ("upload_opened", &["ok", "NotFound"]),
        ("upload_slice", &["ok", "NotFound"]),
        ("upload_status", &["ok", "Invalid", "NotFound"]),
    ] {
        for result in results {
            let count = coverage.count(operation, result);
            assert!(count >= 4, "{operation} gave {result} only {count} times");
        }
    }
    assert!(coverage.repeated > 1000 && coverage.reopened > 100);
}

#[tokio::test]
async fn soak_random_operations_at_length() {
    run(1000..1100, 4000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn holders_at_once_get_each_thing_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    suite::race(|| async { open(&path) }, 6).await.unwrap();
}

#[tokio::test]
async fn a_database_is_made_by_several_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/state.db");
    let opened = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| SqliteState::open(&path).map(drop)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    for result in opened {
        result.unwrap();
    }
    assert!(open(&path).transfers().await.unwrap().is_empty());
}

fn refused(path: &Path) -> (ErrorKind, String) {
    let error = SqliteState::open(path).unwrap_err();
    assert!(!error.retryable, "{error}");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    (error.kind, text)
}

#[test]
fn files_of_others_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    std::fs::write(
        &text,
        "not a database, and longer than a header of sixteen bytes".repeat(9),
    )
    .unwrap();
    let before = std::fs::read(&text).unwrap();
    assert_eq!(refused(&text).0, ErrorKind::Invalid);
    assert_eq!(std::fs::read(&text).unwrap(), before);

    let other = dir.path().join("other.db");
    let connection = Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(connection);
    let before = std::fs::read(&other).unwrap();
    let (kind, told) = refused(&other);
    assert!(
        kind == ErrorKind::Invalid && told.contains("another program"),
        "{told}"
    );
    assert_eq!(std::fs::read(&other).unwrap(), before);
}

#[test]
fn a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    drop(SqliteState::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let (kind, told) = refused(&path);
    assert!(
        kind == ErrorKind::Unsupported && told.contains("99"),
        "{told}"
    );
}

#[tokio::test]
async fn damage_is_told_and_not_retried() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    drop(SqliteState::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    let id = TransferId::generate();
    connection
        .execute(
            "INSERT INTO transfers VALUES (?1, '{', '', 'running', 'copy', 1, '', '', NULL, 0)",
            [id.as_str()],
        )
        .unwrap();
    drop(connection);
    let error = open(&path).transfer(&id).await.unwrap_err();
    assert_eq!(
        (error.kind, error.retryable),
        (ErrorKind::Corrupt, false),
        "{error}"
    );

    let mut bytes = std::fs::read(&path).unwrap();
    for byte in &mut bytes[100..] {
        *byte = 0xa5;
    }
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(refused(&path).0, ErrorKind::Corrupt);
}

#[test]
fn a_folder_that_cannot_be_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = SqliteState::open(file.join("state.db")).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
}
