//! Segments over the store trait: on disk, whose writes are staged, and in the buckets of two servers.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use skyhaul_engine::staging::Staging;
use skyhaul_model::spec::Connection;
use skyhaul_model::{ErrorKind, Side};
use skyhaul_state::suite::segments::check;
use skyhaul_state::{SegmentKind, SegmentStore as _};
use skyhaul_stores::Store;
use skyhaul_stores::local::{LocalOptions, LocalStore};
use skyhaul_stores::s3::{Credentials, S3Options, S3Store};
use skyhaul_tests::oracle::Bucket;
use skyhaul_tests::servers::{Endpoint, servers};

fn disk(root: &std::path::Path) -> Arc<dyn Store> {
    let root = root.to_str().unwrap();
    Arc::new(LocalStore::open(root, Side::Control, LocalOptions::default()).unwrap())
}

async fn bucket(endpoint: &Endpoint, name: &str) -> Arc<dyn Store> {
    let connection = Connection {
        endpoint_url: Some(endpoint.url.clone()),
        region: Some(endpoint.region.clone()),
        ..Connection::default()
    };
    let credentials = Credentials {
        access_key_id: endpoint.access_key.clone(),
        secret_access_key: endpoint.secret_key.clone(),
        session_token: None,
    };
    let options = S3Options {
        credentials: Some(credentials),
        ..S3Options::default()
    };
    let location = format!("s3://{name}").parse().unwrap();
    Arc::new(
        S3Store::open(&location, &connection, Side::Control, options)
            .await
            .unwrap(),
    )
}

#[tokio::test]
async fn a_folder_under_the_store_trait_is_a_place_of_segments() {
    let dir = tempfile::tempdir().unwrap();
    check(&Staging::new(disk(dir.path()), "transfers/t"))
        .await
        .unwrap();
    assert!(dir.path().join("transfers/t/manifest").is_dir());
}

#[tokio::test]
async fn a_bucket_is_a_place_of_segments() {
    for endpoint in [&servers().src, &servers().odd] {
        let made = Bucket::create(endpoint, "staging");
        let store = bucket(endpoint, &made.name).await;
        let staging = Staging::new(Arc::clone(&store), "transfers/t/");
        check(&staging).await.unwrap();
        let name = staging.full_name("deletes/x");
        assert_eq!(name, format!("s3://{}/transfers/t/deletes/x", made.name));
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told() {
    // SeaweedFS would make one.
    let none = bucket(&servers().odd, "skyhaul-no-such-bucket").await;
    let error = Staging::new(none, "").write_deletes(&[]).await.unwrap_err();
    let told = (error.kind, error.side);
    assert_eq!(told, (ErrorKind::NotFound, Side::Control), "{error}");
}

#[tokio::test]
async fn what_is_no_segment_is_not_read_into_memory() {
    let dir = tempfile::tempdir().unwrap();
    let staging = Staging::new(disk(dir.path()), "");
    let pointer = staging.put(SegmentKind::Deletes, vec![0]).await.unwrap();
    let file = std::fs::File::options()
        .write(true)
        .open(dir.path().join(&pointer))
        .unwrap();
    file.set_len(1 << 40).unwrap();
    let error = staging
        .get(SegmentKind::Deletes, &pointer)
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
}
