//! What the operating system refuses: permissions, missing roots.

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::*;
use crate::store::Access;

/// Runs a test without the superuser's right to ignore permissions, which threads inherit.
fn as_ordinary_user(test: impl Future<Output = ()>) {
    let mut sets = capabilities(None).unwrap();
    sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, sets).unwrap();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

fn permit(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_may_not_be_read_or_written_is_denied() {
    as_ordinary_user(async {
        let bench = Bench::new();
        bench.write("a/f", "x");
        bench.write("secret/f", "x");
        bench.write("z", "x");
        permit(&bench.path("secret"), 0);
        permit(&bench.path("z"), 0);
        let pages = bench.pages(ListRequest::default()).await;
        let refused: Vec<_> = pages.iter().flat_map(|page| &page.refused).collect();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].kind, ErrorKind::AccessDenied);
        assert!(refused[0].object.as_deref().unwrap().ends_with("/secret/"));
        assert!(pages.iter().any(|page| !page.is_complete()));
        assert_eq!(
            kind(bench.read("z", ReadRequest::default()).await),
            ErrorKind::AccessDenied
        );
        assert_eq!(
            kind(bench.put("secret/g", whole("x")).await),
            ErrorKind::AccessDenied
        );
        bench.store.check(Access::Write, "").await.unwrap();
        permit(bench.directory.path(), 0o500);
        assert_eq!(
            kind(bench.store.check(Access::Write, "").await),
            ErrorKind::AccessDenied
        );
        bench.store.check(Access::Read, "").await.unwrap();
        permit(bench.directory.path(), 0o700);
        permit(&bench.path("secret"), 0o700);
    });
}

#[tokio::test]
async fn roots_that_are_absent_or_files() {
    let outer = tempfile::tempdir().unwrap();
    let open = |name: &str, side| {
        LocalStore::open(outer.path().join(name), side, LocalOptions::default()).unwrap()
    };
    let absent = open("x/y", Side::Source);
    assert_eq!(
        kind(absent.check(Access::Read, "").await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(absent.list(ListRequest::default()).next_page().await),
        ErrorKind::NotFound
    );
    let fresh = open("x/y", Side::Destination);
    fresh.check(Access::Write, "").await.unwrap();
    assert!(
        fresh
            .list(ListRequest::default())
            .next_page()
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        fresh
            .stat("f", &Pin::default(), false)
            .await
            .unwrap()
            .is_none()
    );
    std::fs::write(outer.path().join("file"), "x").unwrap();
    for name in ["file", "file/below"] {
        let file = open(name, Side::Destination);
        assert_eq!(
            kind(file.check(Access::Write, "").await),
            ErrorKind::Invalid,
            "{name}"
        );
        assert!(file.put("f", whole("x")).await.is_err());
    }
    assert_eq!(
        kind(open("file", Side::Source).check(Access::Read, "").await),
        ErrorKind::Invalid
    );
    // The first write makes the root.
    let staged = fresh.put("d/f", whole("x")).await.unwrap().staged.unwrap();
    fresh.commit(vec![staged]).await.remove(0).unwrap();
    assert_eq!(std::fs::read(outer.path().join("x/y/d/f")).unwrap(), b"x");
}

#[tokio::test]
async fn a_file_larger_than_the_disk_is_full_before_its_first_byte() {
    let bench = Bench::new();
    let request = crate::store::UploadRequest {
        size: 1 << 50,
        ..Default::default()
    };
    let error = bench.store.open_upload("f", request).await.unwrap_err();
    // Full where the disk could hold such a file, refused where no file may be so large.
    assert!(
        matches!(error.kind, ErrorKind::Full | ErrorKind::Refused),
        "{error}"
    );
    assert_eq!(names_on_disk(bench.directory.path()), Vec::<String>::new());
}
