//! The S3 store against real servers: what only a server can tell.
#![allow(clippy::unwrap_used)] // helpers of tests

use bytes::Bytes;
use futures::TryStreamExt as _;
use skyhaul_model::spec::Connection;
use skyhaul_model::{Algorithm, Attributes, ErrorKind, Pin, Side};
use skyhaul_stores::Payload;
use skyhaul_stores::s3::{Credentials, S3Options, S3Store};
use skyhaul_stores::store::{
    Access, Condition, CopyRequest, CopySource, ListRequest, PartWrite, PutRequest, ReadRequest,
    Store, UploadRequest,
};
use skyhaul_tests::fault::{FaultProxy, Op, Plan};
use skyhaul_tests::oracle::{Bucket, ObjectSpec};
use skyhaul_tests::servers::{Endpoint, servers};

async fn open_as(endpoint: &Endpoint, bucket: &str, side: Side) -> S3Store {
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
    S3Store::open(
        &format!("s3://{bucket}").parse().unwrap(),
        &connection,
        side,
        options,
    )
    .await
    .unwrap()
}

async fn open(bucket: &Bucket) -> S3Store {
    open_as(&bucket.endpoint, &bucket.name, Side::Destination).await
}

fn both() -> [&'static Endpoint; 2] {
    [&servers().src, &servers().odd]
}

async fn bytes_of(store: &S3Store, key: &str, range: Option<(u64, u64)>) -> Vec<u8> {
    let reader = store
        .read(
            key,
            ReadRequest {
                range,
                ..ReadRequest::default()
            },
        )
        .await
        .unwrap();
    let frames: Vec<Bytes> = reader.body.try_collect().await.unwrap();
    frames.concat()
}

async fn keys_of(store: &S3Store, request: ListRequest) -> Vec<String> {
    let mut lister = store.list(request);
    let mut keys = Vec::new();
    while let Some(page) = lister.next_page().await.unwrap() {
        keys.extend(page.entries.into_iter().map(|entry| entry.key));
    }
    keys
}

fn laden() -> Attributes {
    let pair = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    Attributes {
        content_type: Some("text/x-test".into()),
        content_encoding: Some("gzip".into()),
        content_language: Some("de".into()),
        content_disposition: Some("attachment; filename=\"x\"".into()),
        cache_control: Some("max-age=60".into()),
        expires: Some("Wed, 21 Oct 2026 07:28:00 GMT".into()),
        metadata: pair("colour", "blue green"),
        tags: Some(pair("team", "a b+c")),
        storage_class: None,
    }
}

fn put(bytes: &'static [u8], algorithm: Option<Algorithm>) -> PutRequest {
    let payload = Payload::from(Bytes::from_static(bytes));
    PutRequest {
        checksum: algorithm.map(|algorithm| payload.checksum(algorithm)),
        payload,
        ..PutRequest::default()
    }
}

#[tokio::test]
async fn an_object_comes_back_with_all_it_carries() {
    for endpoint in both() {
        let bucket = Bucket::create(endpoint, "carries");
        let store = open(&bucket).await;
        for algorithm in Algorithm::ALL {
            let mut request = put(b"hello", Some(algorithm));
            request.attributes = laden();
            let receipt = store.put("a//b c+%ü", request).await.unwrap();
            if endpoint.kind == "seaweedfs" {
                assert!(receipt.verified, "{algorithm}");
            }
            let info = store
                .stat("a//b c+%ü", &Pin::default(), true)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(info.size, 5);
            assert_eq!(info.pin.etag, receipt.etag);
            assert_eq!(info.attributes, laden(), "{}", endpoint.kind);
        }
        assert_eq!(bytes_of(&store, "a//b c+%ü", None).await, b"hello");
        assert_eq!(bytes_of(&store, "a//b c+%ü", Some((1, 3))).await, b"ell");
        assert_eq!(bytes_of(&store, "a//b c+%ü", Some((2, 0))).await, b"");
        assert!(
            store
                .stat("absent", &Pin::default(), false)
                .await
                .unwrap()
                .is_none()
        );
        let error = store
            .read("absent", ReadRequest::default())
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn a_wrong_checksum_is_refused() {
    let bucket = Bucket::create(&servers().src, "wrongsum");
    let store = open(&bucket).await;
    let mut request = put(b"hello", None);
    request.checksum = Some(Payload::new().checksum(Algorithm::Crc64Nvme));
    let error = store.put("k", request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    assert!(bucket.list("").is_empty());
}

#[tokio::test]
async fn conditions_hold_on_writes_and_pins_on_reads() {
    for endpoint in both() {
        let bucket = Bucket::create(endpoint, "conditions");
        let store = open(&bucket).await;
        let absent = || PutRequest {
            condition: Condition::Absent,
            ..put(b"one", None)
        };
        let first = store.put("k", absent()).await.unwrap();
        let error = store.put("k", absent()).await.unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::PreconditionFailed,
            "{}: {error}",
            endpoint.kind
        );
        let pin = Pin {
            etag: first.etag,
            ..Pin::default()
        };
        store.put("k", put(b"two", None)).await.unwrap();
        let request = ReadRequest {
            pin: pin.clone(),
            ..ReadRequest::default()
        };
        let error = store.read("k", request).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Changed, "{}: {error}", endpoint.kind);
        let error = store.stat("k", &pin, false).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Changed, "{}: {error}", endpoint.kind);
    }
}

#[tokio::test]
async fn parts_make_an_object_and_a_lost_completion_is_found() {
    for endpoint in both() {
        let bucket = Bucket::create(endpoint, "parts");
        let store = open(&bucket).await;
        let parts: Vec<Bytes> = vec![
            vec![1; 5 << 20].into(),
            vec![2; 5 << 20].into(),
            b"x"[..].into(),
        ];
        let request = UploadRequest {
            size: parts.iter().map(|part| part.len() as u64).sum(),
            part_size: 5 << 20,
            attributes: laden(),
            algorithm: Some(Algorithm::Crc64Nvme),
            ..UploadRequest::default()
        };
        let token = store.open_upload("dir/big", request).await.unwrap();
        let open = store.uploads("dir/big").await.unwrap();
        assert_eq!(
            open.iter().map(|upload| &upload.token).collect::<Vec<_>>(),
            [&token]
        );
        assert!(store.uploads("dir/bi").await.unwrap().is_empty());
        let mut receipts = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let payload = Payload::from(part.clone());
            let checksum = Some(payload.checksum(Algorithm::Crc64Nvme));
            let number = u32::try_from(index).unwrap() + 1;
            let part = PartWrite {
                number,
                offset: 0,
                payload,
                checksum,
            };
            receipts.push(store.put_part("dir/big", &token, part).await.unwrap());
        }
        let listed = store.list_parts("dir/big", &token).await.unwrap();
        let shape = |parts: &[skyhaul_model::outcome::PartReceipt]| {
            parts
                .iter()
                .map(|part| (part.number, part.size, part.etag.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(shape(&listed), shape(&receipts));
        let whole = Payload::from(Bytes::from(parts.concat())).checksum(Algorithm::Crc64Nvme);
        let finish =
            || store.finish_upload("dir/big", &token, &receipts, Some(&whole), &Condition::None);
        let receipt = finish().await.unwrap();
        if endpoint.kind == "seaweedfs" {
            assert!(receipt.verified);
        }
        assert_eq!(
            bytes_of(&store, "dir/big", Some(((10 << 20) - 1, 2))).await,
            [2, b'x']
        );
        let again = finish().await.unwrap();
        assert_eq!(again.etag, receipt.etag, "{}", endpoint.kind);
        store.abort_upload("dir/big", &token).await.unwrap();
        bucket.delete(&["dir/big"]);
        if endpoint.kind == "seaweedfs" {
            // moto fails by itself here.
            assert_eq!(finish().await.unwrap_err().kind, ErrorKind::UploadGone);
        }
        let info = store.stat("dir/big", &Pin::default(), false).await.unwrap();
        assert!(info.is_none());
    }
}

#[tokio::test]
async fn listings_keep_to_their_bounds() {
    for endpoint in both() {
        let bucket = Bucket::create(endpoint, "bounds");
        let keys: Vec<String> = (0..25).map(|n| format!("p/{n:02} +%&<é")).collect();
        let objects: Vec<_> = keys.iter().map(|key| ObjectSpec::new(key, 1, 3)).collect();
        bucket.put(&objects);
        bucket.put(&[ObjectSpec::new("q", 1, 1)]);
        let store = open(&bucket).await;
        let request = ListRequest {
            prefix: "p/".into(),
            page_size: 4,
            ..ListRequest::default()
        };
        assert_eq!(
            keys_of(&store, request.clone()).await,
            keys,
            "{}",
            endpoint.kind
        );
        let bounded = ListRequest {
            after: Some(keys[3].clone()),
            upto: Some(keys[14].clone()),
            ..request.clone()
        };
        assert_eq!(
            keys_of(&store, bounded).await,
            keys[4..=14],
            "{}",
            endpoint.kind
        );
        let none = ListRequest {
            after: Some(keys[24].clone()),
            ..request
        };
        assert!(keys_of(&store, none).await.is_empty(), "{}", endpoint.kind);
        assert_eq!(keys_of(&store, ListRequest::default()).await.len(), 26);
        let outcomes = store.delete(&keys).await;
        assert!(outcomes.len() == 25 && outcomes.iter().all(|outcome| outcome.result.is_ok()));
        assert_eq!(keys_of(&store, ListRequest::default()).await, ["q"]);
    }
}

/// A plus alone says nothing about how the service encodes a space.
#[tokio::test]
async fn a_plus_is_a_plus() {
    for endpoint in both() {
        for key in ["a+b", "a b"] {
            let bucket = Bucket::create(endpoint, "plus");
            bucket.put(&[ObjectSpec::new(key, 1, 3)]);
            let store = open(&bucket).await;
            assert_eq!(
                keys_of(&store, ListRequest::default()).await,
                [key],
                "{}",
                endpoint.kind
            );
        }
    }
}

#[tokio::test]
async fn the_service_copies() {
    for endpoint in both() {
        let source = Bucket::create(endpoint, "from");
        let target = Bucket::create(endpoint, "to");
        let store = open(&target).await;
        let from = open(&source).await;
        assert_eq!(store.service(), from.service());
        let mut request = put(b"hello", None);
        request.attributes = laden();
        let receipt = from.put("a b+é", request).await.unwrap();
        let pin = Pin {
            etag: receipt.etag,
            ..Pin::default()
        };
        let copied = CopySource {
            container: source.name.clone(),
            key: "a b+é".into(),
            pin,
            bucket_owner: None,
        };
        store
            .copy("same", &copied, CopyRequest::default())
            .await
            .unwrap();
        let info = store
            .stat("same", &Pin::default(), true)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(info.attributes, laden(), "{}", endpoint.kind);
        let attributes = Attributes {
            content_type: Some("a/b".into()),
            ..Attributes::default()
        };
        let request = CopyRequest {
            attributes: Some(attributes),
            ..CopyRequest::default()
        };
        store.copy("other", &copied, request).await.unwrap();
        let info = store
            .stat("other", &Pin::default(), true)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(info.attributes.content_type.as_deref(), Some("a/b"));
        assert!(info.attributes.metadata.is_empty());
        let stale = CopySource {
            pin: Pin {
                etag: Some("0".repeat(32)),
                ..Pin::default()
            },
            ..copied
        };
        let error = store.copy("stale", &stale, CopyRequest::default()).await;
        let error = error.expect_err(&endpoint.kind);
        assert_eq!(error.kind, ErrorKind::Changed, "{}: {error}", endpoint.kind);
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_apart() {
    let server = &servers().src;
    let bucket = Bucket::create(server, "checks");
    let store = open(&bucket).await;
    store.check(Access::Read, "x/").await.unwrap();
    store.check(Access::Write, "x/").await.unwrap();
    assert!(bucket.list("").is_empty() && bucket.uploads().is_empty());
    for access in [Access::Read, Access::Write] {
        let absent = open_as(server, "no-such-bucket-here", Side::Source).await;
        let error = absent.check(access, "").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{access:?}: {error}");
        let mut wrong = servers().dst.clone();
        wrong.url.clone_from(&server.url);
        let error = open_as(&wrong, &bucket.name, Side::Source)
            .await
            .check(access, "")
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::AccessDenied, "{access:?}: {error}");
        assert!(error.to_string().contains("--src-profile"), "{error}");
    }
    let reader = open_as(&server.read_only(), &bucket.name, Side::Destination).await;
    reader.check(Access::Read, "").await.unwrap();
    let error = reader.check(Access::Write, "").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::AccessDenied, "{error}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nowhere = open_as(
        &server.at(format!("http://{closed}")),
        &bucket.name,
        Side::Source,
    )
    .await;
    let error = nowhere.check(Access::Read, "").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("--src-endpoint-url"), "{error}");
}

#[tokio::test]
async fn odd_keys_are_deleted_too() {
    let bucket = Bucket::create(&servers().odd, "oddkeys");
    let store = open(&bucket).await;
    let keys = ["a\u{1}b", "ü/é", "<&>", "sp ace"].map(ToOwned::to_owned);
    for key in &keys {
        store.put(key, put(b"x", None)).await.unwrap();
    }
    let mut found = keys_of(&store, ListRequest::default()).await;
    let mut wanted = keys.to_vec();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
    for outcome in store.delete(&keys).await {
        outcome.result.unwrap();
    }
    assert!(bucket.list("").is_empty());
}

#[test]
fn what_is_deleted_if_it_is_some_version_is_named_in_the_request() {
    let bucket = Bucket::create(&servers().src, "deleteif");
    let proxy = FaultProxy::start(&servers().src, Plan::new(0));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tag = runtime.block_on(async {
        let store = open_as(proxy.endpoint(), &bucket.name, Side::Destination).await;
        store.put("k", put(b"x", None)).await.unwrap();
        let seen = store.stat("k", &Pin::default(), false).await.unwrap();
        let pin = seen.unwrap().pin;
        store.delete_if("k", &pin).await.unwrap();
        pin.etag.unwrap()
    });
    assert!(bucket.list("").is_empty());
    let log = proxy.log();
    let asked: Vec<_> = log.of(Op::Delete).collect();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].request.if_match, Some(format!("\"{tag}\"")));
}
