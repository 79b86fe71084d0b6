//! The four pairs of stores over a tree with everything that has made a copy go wrong somewhere:
//! what arrives is equal by an independent client, and a second sync has nothing to do.
#![allow(clippy::unwrap_used)] // helpers of tests stop at the first surprise, as tests do

use skyhaul_tests::data::Body;
use skyhaul_tests::oracle::{Bucket, ObjectSpec};
use skyhaul_tests::pair::{Contents, Kind, Pair, Place};
use skyhaul_tests::servers::{Endpoint, servers};
use skyhaul_tests::tree::Tree;

const MIB: u64 = 1 << 20;
/// Parts of the smallest size that S3 takes.
const FLAGS: [&str; 4] = ["--part-size", "5M", "--multipart-threshold", "5M"];
/// Six of these parts.
const LARGE: Body = Body {
    seed: 1,
    size: 27 * MIB,
};
/// Three of them.
const LARGE_ENOUGH: Body = Body {
    seed: 1,
    size: 11 * MIB,
};
const SMALL: Body = Body {
    seed: 2,
    size: 1000,
};
const EMPTY: Body = Body { seed: 0, size: 0 };

/// A key of the greatest length, 1,024 bytes, in names that a disk can hold.
fn longest() -> String {
    let mut key = "longest/".to_owned();
    for _ in 0..5 {
        key += &"é".repeat(100);
        key.push('/');
    }
    key + &"k".repeat(11)
}

/// Keys that every store holds and lists in order. (SeaweedFS lists `foo/bar` before `foo-bar`.)
fn ordinary() -> Vec<(String, Body)> {
    let keys = [
        "empty",
        "foo0",
        "foobar",
        "foo/bar",
        "foo/empty",
        "ü/é ñ.txt",
        "日本語/漢字",
        "\u{1F600}",
        "p%2Fq",
        "p%20q",
        "100%",
        "sp ace/ lead",
        "trail ",
        "+a+b",
        "~",
        "a'b\"c",
        "(x)[y]{z}",
        "#h",
        "a&b=c;d",
        "star*",
        "-dash",
        ".hidden",
        "dot.",
    ];
    let body = |key: &str| if key.ends_with("empty") { EMPTY } else { SMALL };
    let mut objects: Vec<_> = keys.map(|key| (key.to_owned(), body(key))).into();
    objects.push((longest(), SMALL));
    objects.push(("large".into(), LARGE));
    objects
}

fn write(place: &Place, objects: &[(String, Body)]) {
    let named: Vec<_> = objects
        .iter()
        .map(|(key, body)| (key.as_str(), *body))
        .collect();
    place.write(&named);
}

fn contents(objects: &[(String, Body)]) -> Contents {
    objects
        .iter()
        .map(|(key, body)| (key.clone(), (body.size, body.sha256())))
        .collect()
}

/// Asserts equality key by key: thousands are not printed.
#[track_caller]
fn assert_holds(place: &Place, wanted: &Contents) {
    let found = place.contents();
    let keys = |contents: &Contents| contents.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&found), keys(wanted));
    for (key, object) in wanted {
        assert_eq!(&found[key], object, "{key}");
    }
}

#[test]
fn heavy_matrix_in_a_circle_with_thousands() {
    let mut objects = ordinary();
    let many = |n: u64| (format!("many/{:02}/{n:04}", n % 37), Body::new(n, n % 3000));
    objects.extend((0..5_000).map(many));
    let wanted = contents(&objects);
    let disk = || Place::Disk(Tree::new());
    let bucket = |endpoint: &Endpoint| Place::S3(Bucket::create(endpoint, "matrix"));
    let from = disk();
    write(&from, &objects);
    // Disk, S3, S3, disk, disk: each pair once, each by another client of the one before.
    let mut pair = Pair::of(Kind::DiskToS3, from, bucket(&servers().src));
    let copy_and_sync = |pair: &Pair| {
        let report = pair.report("cp", "", "", &[&["-r"], &FLAGS[..]].concat());
        report.finished.assert_code(0);
        assert_eq!(report.copied().len(), objects.len());
        assert_holds(&pair.destination, &wanted);
        assert_eq!(pair.sync(&FLAGS).copied(), [""; 0]);
    };
    copy_and_sync(&pair);
    pair = Pair::of(Kind::S3ToS3, pair.destination, bucket(&servers().dst));
    copy_and_sync(&pair);
    pair = Pair::of(Kind::S3ToDisk, pair.destination, disk());
    copy_and_sync(&pair);
    pair = Pair::of(Kind::DiskToDisk, pair.destination, disk());
    copy_and_sync(&pair);
    let end = pair.destination;
    // And back to where it came through: nothing has changed on the way.
    let back = Pair::of(Kind::DiskToS3, end, bucket(&servers().src));
    let first = back.sync(&FLAGS);
    assert_eq!(first.copied().len(), objects.len());
    assert_eq!(back.sync(&FLAGS).copied(), [""; 0]);
}

/// An object with all that an object can carry.
fn laden(key: &str, body: Body) -> ObjectSpec {
    ObjectSpec::new(key, body.seed, body.size)
        .header("content_type", "text/x-test; charset=utf-8")
        .header("content_encoding", "identity")
        .header("content_language", "de, en")
        .header("content_disposition", "attachment; filename=\"a b.txt\"")
        .header("cache_control", "max-age=60, private")
        .metadata("colour", "blue green")
        .metadata("key", "of-one-object")
        .tag("team", "a b")
        .tag("cost:centre", "42/x")
}

/// Keys that a disk does not hold under their names.
const REFUSED_BY_DISK: [&str; 7] = ["a//b", "//", "/abs", "..", "a/../b", "x/./y", "twice//"];

/// Keys that collide on a disk: one of the two is refused.
const COLLIDING: [&str; 2] = ["foo", "foo/bar"];

/// Folder markers.
const MARKERS: [&str; 3] = ["dir/", "dir/sub/", "ü m/"];

/// Everything, for a server that keeps keys as they are, with everything that objects carry.
fn odd() -> Vec<ObjectSpec> {
    let ordinary = ordinary();
    let ordinary = ordinary
        .iter()
        .filter(|(key, _)| key != "large" && key != "foo/bar");
    let mut objects: Vec<_> = ordinary
        .map(|(key, body)| ObjectSpec::new(key, body.seed, body.size))
        .collect();
    objects.extend(REFUSED_BY_DISK.map(|key| laden(key, SMALL)));
    objects.extend(COLLIDING.map(|key| laden(key, SMALL)));
    objects.extend(MARKERS.map(|key| laden(key, EMPTY)));
    objects.push(laden("foo-bar", SMALL));
    objects.push(laden("foo.txt", SMALL));
    objects.push(laden("back\\slash", SMALL));
    objects.push(laden("tab\tand\u{7f}", SMALL));
    objects.push(laden("laden/empty", EMPTY));
    objects.push(laden("large", LARGE_ENOUGH));
    objects.push(laden(&format!("{}/x", "n".repeat(256)), SMALL));
    objects
}

fn odd_bucket() -> Bucket {
    Bucket::create(&servers().odd, "matrix")
}

/// A bucket that holds [`odd`].
fn odd_source() -> Bucket {
    let bucket = odd_bucket();
    bucket.put(&odd());
    bucket
}

/// Asserts that two buckets hold the same, with all that their objects carry.
#[track_caller]
fn assert_same(to: &Bucket, from: &Bucket) {
    let (found, wanted) = (to.essence(""), from.essence(""));
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        wanted.keys().collect::<Vec<_>>()
    );
    for (key, object) in &wanted {
        assert_eq!(&found[key], object, "{key}");
    }
}

#[test]
fn matrix_of_odd_keys_between_buckets() {
    let from = odd_source();
    for further in [&[] as &[&str], &["--stream"]] {
        let to = odd_bucket();
        let pair = Pair::of(Kind::S3ToS3, Place::S3(from.clone()), Place::S3(to.clone()));
        let flags = [&FLAGS[..], further].concat();
        pair.run("cp", "", "", &[&["-r"], &flags[..]].concat())
            .assert_code(0);
        assert_same(&to, &from);
        assert_eq!(pair.sync(&flags).copied(), [""; 0]);
    }
}

#[test]
fn matrix_of_what_objects_carry() {
    // SeaweedFS reads and writes it otherwise than moto; in one service and between two.
    let from = Bucket::create(&servers().src, "laden");
    from.put(&[
        laden("piece", SMALL),
        laden("empty", EMPTY),
        laden("parts", LARGE_ENOUGH),
        laden("d/uploaded in parts", LARGE_ENOUGH).part_size(6 * MIB),
        ObjectSpec::new("bare", 3, 1000),
    ]);
    for (endpoint, further) in [
        (&servers().dst, &[] as &[&str]),
        (&servers().src, &[]),
        (&servers().src, &["--stream"]),
    ] {
        let to = Bucket::create(endpoint, "laden");
        let pair = Pair::of(Kind::S3ToS3, Place::S3(from.clone()), Place::S3(to.clone()));
        let flags = [&FLAGS[..], further].concat();
        pair.run("cp", "", "", &[&["-r"], &flags[..]].concat())
            .assert_code(0);
        assert_same(&to, &from);
        assert_eq!(pair.sync(&flags).copied(), [""; 0]);
    }
}

#[test]
fn matrix_of_odd_keys_to_disk_and_back() {
    let from = odd_source();
    let pair = Pair::of(Kind::S3ToDisk, Place::S3(from), Place::Disk(Tree::new()));
    let report = pair.report("cp", "", "", &[&["-r"], &FLAGS[..]].concat());
    report.finished.assert_code(1);
    // What a disk cannot hold is refused by its name, with the reason.
    let too_long = format!("{}/x", "n".repeat(256));
    let failed = report.failed();
    for key in REFUSED_BY_DISK.into_iter().chain([too_long.as_str()]) {
        assert!(failed.contains(&key), "{key}: {failed:?}");
        let message = report.line(key)["error"]["message"].as_str().unwrap();
        assert!(!message.is_empty(), "{key}");
    }
    let collided: Vec<_> = COLLIDING
        .into_iter()
        .filter(|key| failed.contains(key))
        .collect();
    assert_eq!(collided.len(), 1, "{failed:?}");
    assert_eq!(failed.len(), REFUSED_BY_DISK.len() + 2, "{failed:?}");
    // All else is there.
    let held: Vec<_> = odd()
        .into_iter()
        .filter(|spec| !failed.contains(&spec.key()))
        .map(|spec| (spec.key().to_owned(), spec.body()))
        // A marker with something under it is the directory that this is in.
        .filter(|(key, _)| key != "dir/")
        .collect();
    assert_holds(&pair.destination, &contents(&held));
    let again = pair.report("sync", "", "", &FLAGS);
    again.finished.assert_code(1);
    assert_eq!(again.copied(), [""; 0]);
    assert_eq!(again.failed(), failed);
    // And back: all that the disk held, markers too.
    let back = Pair::of(Kind::DiskToS3, pair.destination, Place::S3(odd_bucket()));
    assert_eq!(back.sync(&FLAGS).failed(), [""; 0]);
    let mut held = contents(&held);
    held.insert("dir/".into(), (0, EMPTY.sha256()));
    assert_holds(&back.destination, &held);
    assert_eq!(back.sync(&FLAGS).copied(), [""; 0]);
}
