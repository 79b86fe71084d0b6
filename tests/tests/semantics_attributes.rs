//! What an object carries besides its bytes, and who copies them: the lines of docs/SEMANTICS.md
//! on attributes, modification times, service-side copies and access.
#![allow(clippy::unwrap_used)]

use skyhaul_tests::cli::Cli;
use skyhaul_tests::data::Body;
use skyhaul_tests::fault::{FaultProxy, Op, Plan};
use skyhaul_tests::oracle::{Bucket, Object, ObjectSpec};
use skyhaul_tests::pair::{Kind, Pair, Place, contents};
use skyhaul_tests::servers::{Endpoint, servers};
use skyhaul_tests::tree::{Entry, Tree};

const A: Body = Body {
    seed: 1,
    size: 1000,
};
/// Larger than a part.
const LARGE: u64 = 40 << 20;

/// An object with all that an object can carry.
fn laden(key: &str, size: u64) -> ObjectSpec {
    ObjectSpec::new(key, 5, size)
        .header("content_type", "text/x-test")
        .header("content_encoding", "x-test")
        .header("content_language", "de")
        .header("expires", "Wed, 21 Oct 2037 07:28:00 GMT")
        .header("content_disposition", "attachment; filename=\"x\"")
        .header("cache_control", "max-age=60")
        .metadata("colour", "blue green")
        .tag("team", "a b")
        .tag("x", "1")
}

/// Two buckets, on two servers or on one.
fn buckets(from: &Endpoint, to: &Endpoint) -> Pair {
    let place = |endpoint| Place::S3(Bucket::create(endpoint, "attributes"));
    Pair::of(Kind::S3ToS3, place(from), place(to))
}

#[test]
fn attributes_travel_with_the_bytes() {
    let (src, dst, odd) = (&servers().src, &servers().dst, &servers().odd);
    for (from, to, flags) in [
        (src, dst, &["-r"] as &[&str]),
        (src, src, &["-r"]),
        (src, src, &["-r", "--stream"]),
        (odd, odd, &["-r"]),
        (odd, dst, &["-r"]),
    ] {
        let pair = buckets(from, to);
        let objects = [
            laden("single", 1000),
            laden("parts", LARGE),
            ObjectSpec::new("bare", 5, 9),
        ];
        pair.source.bucket().put(&objects);
        pair.run("cp", "", "", flags).assert_code(0);
        let (from, to) = (
            pair.source.bucket().essence(""),
            pair.destination.bucket().essence(""),
        );
        assert_eq!(to, from, "{flags:?}");
        assert_eq!(to["parts"].tags.len(), 2);
    }
}

#[test]
fn attributes_can_be_set_or_left_out() {
    for flags in [&[] as &[&str], &["--stream"]] {
        let pair = buckets(&servers().src, &servers().src);
        pair.source
            .bucket()
            .put(&[laden("k", 1000), laden("parts", LARGE)]);
        let set = [
            "-r",
            "--content-type",
            "text/plain",
            "--cache-control",
            "off",
            "--metadata",
            "colour=red",
            "--tags",
            "off",
        ];
        pair.run("cp", "", "", &[&set, flags].concat())
            .assert_code(0);
        for (key, object) in pair.destination.bucket().snapshot("") {
            assert_eq!(object.content_type.as_deref(), Some("text/plain"), "{key}");
            assert_eq!(object.cache_control, None, "{key}");
            assert_eq!(object.content_language.as_deref(), Some("de"), "{key}");
            assert_eq!(object.metadata.len(), 1, "{key}: {:?}", object.metadata);
            assert_eq!(object.metadata["colour"], "red", "{key}");
            assert!(object.tags.is_empty(), "{key}");
        }
    }
}

/// What each header flag is given, and where the object shows it.
type HeaderFlag = (&'static str, &'static str, fn(&Object) -> Option<&String>);

const HEADER_FLAGS: [HeaderFlag; 6] = [
    ("--content-type", "text/plain", |object| {
        object.content_type.as_ref()
    }),
    ("--content-encoding", "x-other", |object| {
        object.content_encoding.as_ref()
    }),
    ("--content-language", "fr", |object| {
        object.content_language.as_ref()
    }),
    ("--content-disposition", "inline", |object| {
        object.content_disposition.as_ref()
    }),
    ("--cache-control", "no-store", |object| {
        object.cache_control.as_ref()
    }),
    ("--expires", "Thu, 01 Jan 2037 00:00:00 GMT", |object| {
        object.expires.as_ref()
    }),
];

#[test]
fn each_header_can_be_set_or_left_out() {
    for stream in [false, true] {
        let pair = buckets(&servers().src, &servers().src);
        pair.source
            .bucket()
            .put(&[laden("k", 1000), laden("parts", LARGE)]);
        let run = |to: &str, value: fn(&HeaderFlag) -> &'static str| {
            let mut flags = vec!["-r"];
            flags.extend(HEADER_FLAGS.iter().flat_map(|flag| [flag.0, value(flag)]));
            flags.extend(stream.then_some("--stream"));
            pair.run("cp", "", to, &flags).assert_code(0);
            pair.destination.bucket().snapshot(to)
        };
        for (key, object) in run("set/", |flag| flag.1) {
            for (flag, value, shown) in HEADER_FLAGS {
                assert_eq!(
                    shown(&object).map(String::as_str),
                    Some(value),
                    "{flag} {key}"
                );
            }
        }
        for (key, object) in run("off/", |_| "off") {
            // A service gives an object without a type one of its own.
            for (flag, _, shown) in &HEADER_FLAGS[1..] {
                assert_eq!(shown(&object), None, "{flag} {key}");
            }
        }
    }
}

#[test]
fn storage_class_travels_between_buckets_and_can_be_set() {
    let pair = buckets(&servers().odd, &servers().odd);
    pair.source.bucket().put(&[
        ObjectSpec::new("cold", 1, 10).header("storage_class", "STANDARD_IA"),
        ObjectSpec::new("warm", 1, 10),
    ]);
    pair.run("cp", "", "kept/", &["-r"]).assert_code(0);
    pair.run("cp", "", "streamed/", &["-r", "--stream"])
        .assert_code(0);
    pair.run("cp", "", "set/", &["-r", "--storage-class", "ONEZONE_IA"])
        .assert_code(0);
    pair.run("cp", "", "off/", &["-r", "--storage-class", "off"])
        .assert_code(0);
    let found = pair.destination.bucket().snapshot("");
    let class = |key: &str| {
        found[key]
            .storage_class
            .clone()
            .unwrap_or("STANDARD".into())
    };
    for how in ["kept", "streamed"] {
        let classes = ["cold", "warm"].map(|key| class(&format!("{how}/{key}")));
        assert_eq!(classes, ["STANDARD_IA", "STANDARD"], "{how}");
    }
    assert_eq!(
        (class("set/cold"), class("set/warm")),
        ("ONEZONE_IA".into(), "ONEZONE_IA".into())
    );
    assert_eq!(
        (class("off/cold"), class("off/warm")),
        ("STANDARD".into(), "STANDARD".into())
    );
}

#[test]
fn files_get_a_content_type_by_their_name() {
    let pair = Pair::new(Kind::DiskToS3);
    pair.source.write(&[("page.html", A), ("d/image.png", A)]);
    pair.run("cp", "", "", &["-r"]).assert_code(0);
    let found = pair.destination.bucket().snapshot("");
    let kind = |key: &str| found[key].content_type.clone().unwrap_or_default();
    assert!(
        kind("page.html").starts_with("text/html"),
        "{}",
        kind("page.html")
    );
    assert_eq!(kind("d/image.png"), "image/png");
}

const MTIME: u64 = 1_600_000_000_123_456_789;

#[test]
fn modification_times_are_kept_to_the_nanosecond() {
    for size in [A.size, LARGE] {
        let up = Pair::new(Kind::DiskToS3);
        up.source.write(&[("k", Body::new(1, size))]);
        up.source.tree().set_mtime("k", MTIME);
        up.run("cp", "", "", &["-r"]).assert_code(0);
        let object = up.destination.bucket().get("k").unwrap();
        assert_eq!(object.metadata["mtime"], "1600000000.123456789");
        let down = Place::Disk(Tree::new());
        let down = Pair::of(Kind::S3ToDisk, up.destination, down);
        down.run("cp", "", "", &["-r"]).assert_code(0);
        let there = Pair::of(Kind::DiskToDisk, down.destination, Place::Disk(Tree::new()));
        there.run("cp", "", "", &["-r"]).assert_code(0);
        for tree in [there.source.tree(), there.destination.tree()] {
            assert!(
                matches!(tree.snapshot()["k"], Entry::File { mtime_ns, .. } if mtime_ns == u128::from(MTIME)),
                "{:?}",
                tree.snapshot()
            );
        }
    }
}

#[test]
fn files_from_objects_without_a_time_get_the_upload_time() {
    let pair = Pair::new(Kind::S3ToDisk);
    pair.source.write(&[("k", A)]);
    let uploaded = pair.source.bucket().get("k").unwrap().last_modified_ms;
    pair.run("cp", "", "", &["-r"]).assert_code(0);
    let Entry::File { mtime_ns, .. } = pair.destination.tree().snapshot()["k"] else {
        panic!("no file");
    };
    assert_eq!(
        mtime_ns / 1_000_000_000,
        u128::try_from(uploaded / 1000).unwrap()
    );
}

/// Copies over one server through a proxy that counts; the flags of both sides name the proxy.
fn counted(pair: &Pair, flags: &[&str]) -> (skyhaul_tests::cli::Finished, FaultProxy) {
    let proxy = FaultProxy::start(&pair.source.bucket().endpoint, Plan::new(1));
    let mut arguments = vec!["cp".into(), pair.source.uri(""), pair.destination.uri("")];
    arguments.extend(pair.cli.both(proxy.endpoint()));
    arguments.extend(flags.iter().map(ToString::to_string));
    (pair.cli.run(&arguments), proxy)
}

#[test]
fn the_service_copies_by_itself_unless_streaming_is_asked_for() {
    for endpoint in [&servers().src, &servers().odd] {
        let pair = buckets(endpoint, endpoint);
        let objects = [("small", A), ("d/small", A), ("large", Body::new(2, LARGE))];
        pair.source.write(&objects);
        let (finished, proxy) = counted(&pair, &["-r"]);
        finished.assert_code(0);
        assert_eq!(pair.destination.contents(), contents(&objects));
        let log = proxy.log();
        assert_eq!(
            log.received(Op::Get),
            0,
            "{}: no byte passes",
            endpoint.kind
        );
        assert_eq!(
            log.sent(Op::Put) + log.sent(Op::UploadPart),
            0,
            "{}",
            endpoint.kind
        );

        let (finished, proxy) = counted(&pair, &["-r", "--stream", "--fresh"]);
        finished.assert_code(0);
        assert!(proxy.log().received(Op::Get) >= LARGE);
        assert_eq!(pair.destination.contents(), contents(&objects));
    }
}

#[test]
fn public_buckets_are_read_without_signing() {
    let name = skyhaul_tests::unique_name("open");
    let public = Bucket::create(&servers().src, "open");
    let pair = Pair::of(Kind::S3ToDisk, Place::S3(public), Place::Disk(Tree::new()));
    pair.source.write(&[("k", A)]);
    let (from, to) = (pair.source.uri(""), pair.destination.uri(""));
    let url = &servers().src.url;
    let flags = [
        "--src-endpoint-url",
        url,
        "--src-region",
        "us-east-1",
        "--src-no-sign-request",
    ];
    let run = |from: &str| {
        pair.cli
            .run(&[&["cp", "-r", from, &to], &flags[..]].concat())
    };
    run(&from).assert_code(0);
    assert_eq!(pair.destination.contents(), contents(&[("k", A)]));
    let private = Bucket::create(&servers().src, "private");
    private.put(&[ObjectSpec::new("k", 1, 10)]);
    run(&private.uri("")).assert_code(3);
    run(&format!("s3://{name}/")).assert_code(3);
}

#[test]
fn credentials_come_from_the_environment_of_the_sdk_too() {
    let pair = Pair::new(Kind::S3ToDisk);
    pair.source.write(&[("k", A)]);
    let endpoint = &servers().src;
    let cli = Cli::new()
        .env("AWS_ACCESS_KEY_ID", &endpoint.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &endpoint.secret_key)
        .env("RUST_LOG", "trace")
        .env("AWS_REGION", &endpoint.region)
        .env("AWS_ENDPOINT_URL_S3", &endpoint.url);
    let (from, to) = (pair.source.uri("k"), pair.destination.uri(""));
    cli.run(&["cp", &from, &to]).assert_code(0);
    assert_eq!(pair.destination.contents(), contents(&[("k", A)]));
    let state = cli.state_directory();
    assert_no_secret(&state, &[endpoint.secret_key.as_str()]);
}

/// Asserts that no file below holds one of the secrets.
fn assert_no_secret(directory: &std::path::Path, secrets: &[&str]) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_secret(&path, secrets);
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        if path.extension().is_some_and(|name| name == "zst") {
            bytes = zstd::decode_all(&bytes[..]).unwrap();
        }
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            secrets.iter().all(|secret| !text.contains(secret)),
            "{}",
            path.display()
        );
    }
}

#[test]
fn archived_objects_are_reported_and_the_others_copied() {
    let pair = buckets(&servers().odd, &servers().dst);
    pair.source.bucket().put(&[
        ObjectSpec::new("frozen", 1, 10).header("storage_class", "GLACIER"),
        ObjectSpec::new("warm", 1, 10),
    ]);
    let report = pair.report("cp", "", "", &["-r"]);
    report.finished.assert_code(1);
    assert_eq!(
        (report.copied(), report.failed()),
        (vec!["warm"], vec!["frozen"])
    );
    assert_eq!(report.line("frozen")["error"]["kind"], "archived");
    assert_eq!(report.line("frozen")["attempts"], 1);
    assert_eq!(pair.destination.keys(), ["warm"]);
}

#[test]
fn checksums_prove_what_was_copied() {
    let pair = Pair::new(Kind::S3ToS3);
    pair.source.bucket().put(&[
        ObjectSpec::new("kept", 1, 1000).checksum("CRC32"),
        ObjectSpec::new("plain", 1, 1000),
    ]);
    let report = pair.report("cp", "", "auto/", &["-r"]);
    report.finished.assert_code(0);
    for (key, how) in [
        ("auto/kept", "source-verified"),
        ("auto/plain", "transport-verified"),
    ] {
        let verified = &report.line(key)["verified"];
        assert_eq!(verified, how, "{key}: {:#?}", report.lines);
    }
    for (name, algorithm) in [
        ("md5", "md5:"),
        ("sha256", "sha256:"),
        ("crc32", "crc32:"),
        ("crc64nvme", "crc64nvme:"),
    ] {
        let flags = ["-r", "--checksum-algorithm", name];
        let report = pair.report("cp", "", &format!("{name}/"), &flags);
        report.finished.assert_code(0);
        let line = report.line(&format!("{name}/plain"));
        assert!(
            line["checksum"].as_str().unwrap().starts_with(algorithm),
            "{line}"
        );
    }
    let report = pair.report("cp", "", "none/", &["-r", "--checksum-algorithm", "none"]);
    report.finished.assert_code(0);
    assert!(
        report.line("none/plain")["checksum"].is_null(),
        "{:#?}",
        report.lines
    );
    assert_eq!(report.line("none/plain")["verified"], "size-only");
}

#[test]
fn checksums_prove_what_a_disk_can() {
    let up = Pair::new(Kind::DiskToS3);
    up.source.write(&[("x", Body::new(1, 1000))]);
    let report = up.report("cp", "", "", &["-r"]);
    report.finished.assert_code(0);
    assert_eq!(report.line("x")["verified"], "transport-verified");
    let down = Pair::new(Kind::S3ToDisk);
    down.source.bucket().put(&[
        ObjectSpec::new("kept", 1, 1000).checksum("CRC32"),
        ObjectSpec::new("plain", 1, 1000),
    ]);
    let report = down.report("cp", "", "", &["-r"]);
    report.finished.assert_code(0);
    assert_eq!(report.line("kept")["verified"], "source-verified");
    assert_eq!(report.line("plain")["verified"], "size-only");
}
