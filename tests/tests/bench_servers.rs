//! The test bench tests itself: the servers serve, the oracle sees what is there.

use skyhaul_tests::data::Body;
use skyhaul_tests::oracle::{Bucket, ObjectSpec};
use skyhaul_tests::servers::servers;

/// An object with all that an object can carry.
fn laden(key: &str) -> ObjectSpec {
    ObjectSpec::new(key, 5, 1000)
        .header("content_type", "text/x-test")
        .header("content_language", "de")
        .header("content_disposition", "attachment; filename=\"x\"")
        .header("cache_control", "max-age=60")
        .metadata("colour", "blue green")
        .tag("team", "a b")
}

#[test]
fn both_languages_generate_the_same_bodies() {
    let bucket = Bucket::create(&servers().src, "bodies");
    let block = 1 << 20;
    let sizes = [
        0,
        1,
        31,
        32,
        33,
        block - 1,
        block,
        block + 1,
        2 * block + 5,
        9 * block + 7,
    ];
    let specs: Vec<_> = sizes
        .iter()
        .map(|&size| ObjectSpec::new(format!("{size}"), size + 77, size))
        .collect();
    bucket.put(&specs);
    let found = bucket.snapshot("");
    for spec in &specs {
        assert!(
            found[spec.key()].holds(spec.body()),
            "{spec:?} is {:?}",
            found[spec.key()]
        );
    }
    let parted = ObjectSpec::new("parted", 3, 13 * block + 11).part_size(5 * block);
    bucket.put(std::slice::from_ref(&parted));
    assert!(bucket.get("parted").unwrap().holds(parted.body()));
    assert!(
        !bucket
            .get("parted")
            .unwrap()
            .holds(Body::new(4, 13 * block + 11))
    );
}

#[test]
fn what_an_object_carries_is_seen() {
    for endpoint in [&servers().src, &servers().odd] {
        let bucket = Bucket::create(endpoint, "laden");
        bucket.put(&[laden("a"), laden("b"), ObjectSpec::new("c", 5, 1000)]);
        let found = bucket.essence("");
        assert_eq!(
            found["a"].metadata["colour"], "blue green",
            "{}",
            endpoint.kind
        );
        assert_eq!(found["a"].tags["team"], "a b", "{}", endpoint.kind);
        assert_eq!(
            found["a"].content_language.as_deref(),
            Some("de"),
            "{}",
            endpoint.kind
        );
        let renamed = skyhaul_tests::oracle::Object {
            key: "b".into(),
            ..found["a"].clone()
        };
        assert_eq!(renamed, found["b"], "{}", endpoint.kind);
        assert_eq!(found["a"].sha256, found["c"].sha256);
        assert!(found["c"].tags.is_empty() && found["c"].metadata.is_empty());
        bucket.delete(&["a", "b"]);
        assert_eq!(bucket.list("").len(), 1);
        assert_eq!(bucket.get("a").unwrap_err().code, "NoSuchKey");
    }
}

#[test]
fn the_odd_server_keeps_odd_keys() {
    let bucket = Bucket::create(&servers().odd, "keys");
    let keys = [
        "a//b",
        "foo",
        "foo/",
        "foo/bar",
        "p%2Fq",
        "sp ace",
        "ü/é",
        "back\\slash",
        "+",
        "a/../b",
    ];
    let specs: Vec<_> = keys
        .iter()
        .map(|key| ObjectSpec::new(*key, 1, 10))
        .collect();
    bucket.put(&specs);
    let mut wanted: Vec<_> = keys.iter().map(ToString::to_string).collect();
    wanted.sort();
    let found: Vec<_> = bucket
        .list("")
        .into_iter()
        .map(|listed| listed.key)
        .collect();
    assert_eq!(found, wanted);
    assert_eq!(bucket.snapshot("foo").len(), 3);
}

#[test]
fn each_side_takes_only_its_own_credentials() {
    let bucket = Bucket::create(&servers().src, "own");
    bucket.put(&[ObjectSpec::new("k", 1, 10)]);
    let mut wrong = servers().dst.clone();
    wrong.url.clone_from(&servers().src.url);
    assert_eq!(
        bucket.via(&wrong).get("k").unwrap_err().code,
        "InvalidAccessKeyId"
    );
    let reader = bucket.via(&servers().src.read_only());
    assert_eq!(reader.get("k").unwrap().size, 10);
    let refused = reader.try_put(&[ObjectSpec::new("l", 1, 10)]).unwrap_err();
    assert_eq!(refused.code, "AccessDenied");
}

#[test]
fn open_uploads_are_seen() {
    let bucket = Bucket::create(&servers().dst, "uploads");
    assert_eq!(bucket.uploads(), []);
    let upload = bucket.open_upload("dir/big", Body::new(1, 6 << 20));
    assert_eq!(bucket.uploads(), std::slice::from_ref(&upload));
    let parts = bucket.parts(&upload).unwrap();
    assert_eq!(
        (parts.len(), parts[0].number, parts[0].size),
        (1, 1, 6 << 20)
    );
    bucket.abort(&upload).unwrap();
    assert_eq!(bucket.uploads(), []);
    assert_eq!(bucket.list("").len(), 0);
}

#[test]
fn the_store_keeps_a_checksum_when_asked() {
    let bucket = Bucket::create(&servers().src, "sums");
    let spec = ObjectSpec::new("k", 9, 100_000).checksum("CRC32");
    bucket.put(std::slice::from_ref(&spec));
    assert!(bucket.get("k").unwrap().holds(spec.body()));
}
