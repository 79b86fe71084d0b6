//! What networks and services do wrong, at every step of a copy: it ends complete and equal, or
//! says by its exit code and by name what did not arrive. Nothing is ever damaged in silence.
#![allow(clippy::unwrap_used)] // helpers of tests stop at the first surprise, as tests do

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use skyhaul_tests::data::Body;
use skyhaul_tests::fault::{Fault, FaultProxy, Op, Plan, Rule};
use skyhaul_tests::oracle::ObjectSpec;
use skyhaul_tests::pair::{Kind, Pair, Place, Report, contents};
use skyhaul_tests::proxied::Proxied;

const MIB: u64 = 1 << 20;
const FLAGS: [&str; 5] = ["-r", "--part-size", "5M", "--multipart-threshold", "5M"];

/// Every size that takes a way of its own: nothing, one piece, parts.
fn objects() -> Vec<(String, Body)> {
    let small = (0..40).map(|n| (format!("small/{n:02}"), Body::new(n, 1 + n * 1500)));
    let mut objects: Vec<_> = small.collect();
    objects.push(("empty".into(), Body::new(1, 0)));
    objects.push(("large".into(), Body::new(100, 12 * MIB)));
    objects.push(("mid".into(), Body::new(101, 3 * MIB)));
    objects
}

/// A pair with [`objects`] at the source; on S3 with checksums that the service keeps.
fn bench(kind: Kind) -> Proxied {
    let pair = Pair::new(kind);
    let objects = objects();
    match &pair.source {
        Place::S3(bucket) => {
            let specs = objects.iter().map(|(key, body)| {
                let spec = ObjectSpec::new(key, body.seed, body.size).checksum("CRC32");
                spec.metadata("of", key)
                    .header("content_type", "text/x-test")
            });
            bucket.put(&specs.collect::<Vec<_>>());
        }
        Place::Disk(_) => {
            let named: Vec<_> = objects
                .iter()
                .map(|(key, body)| (key.as_str(), *body))
                .collect();
            pair.source.write(&named);
        }
    }
    Proxied::of(pair)
}

/// What may happen to each request, one in so many.
fn storm(seed: u64, rules: &[(&[Op], f64, Vec<Fault>)]) -> Plan {
    let mut plan = Plan::new(seed);
    for (ops, chance, faults) in rules {
        for fault in faults {
            plan = plan.rule(Rule::on_any(ops).chance(*chance).fault(fault.clone()));
        }
    }
    plan
}

/// Offsets into bodies differ by seed.
fn storm_at_source(seed: u64) -> Plan {
    let mut random = StdRng::seed_from_u64(seed);
    let mut at = || random.random_range(0..6 * MIB);
    let bodies = vec![
        Fault::ResetResponse { after: at() },
        Fault::ShortResponse { after: at() },
        Fault::TruncateResponse { by: 1 + at() % 100 },
        Fault::FlipResponse { at: at() },
        Fault::Throttle {
            bytes_per_s: 4 * MIB,
        },
        Fault::SlowDown {
            retry_after_s: None,
        },
        Fault::InternalError,
    ];
    let listing = vec![
        Fault::SlowDown {
            retry_after_s: Some(1),
        },
        Fault::ResetResponse { after: at() },
        Fault::LoseReply,
    ];
    let heads = vec![
        Fault::SlowDown {
            retry_after_s: None,
        },
        Fault::LoseReply,
    ];
    storm(
        seed,
        &[
            (&[Op::Get], 0.04, bodies),
            (&[Op::ListObjects], 0.1, listing),
            (&[Op::Head, Op::HeadBucket, Op::GetTagging], 0.05, heads),
        ],
    )
}

fn storm_at_destination(seed: u64) -> Plan {
    let mut random = StdRng::seed_from_u64(!seed);
    let mut at = || random.random_range(0..6 * MIB);
    let bodies = vec![
        Fault::ResetRequest { after: at() },
        Fault::FlipRequest { at: at() },
        Fault::LoseReply,
        Fault::SlowDown {
            retry_after_s: None,
        },
        Fault::InternalError,
    ];
    let completions = vec![
        Fault::LoseReply,
        Fault::ErrorIn200 { forward: true },
        Fault::ErrorIn200 { forward: false },
        Fault::SlowDown {
            retry_after_s: None,
        },
    ];
    let others = vec![
        Fault::SlowDown {
            retry_after_s: None,
        },
        Fault::LoseReply,
    ];
    let small = [
        Op::CreateUpload,
        Op::Head,
        Op::HeadBucket,
        Op::ListParts,
        Op::ListUploads,
    ];
    storm(
        seed,
        &[
            (&[Op::Put, Op::UploadPart], 0.05, bodies),
            (&[Op::Complete], 0.2, completions),
            (&small, 0.1, others),
        ],
    )
}

/// Asserts that what is at the destination is what it should be, and that what is not there was
/// told.
#[track_caller]
fn assert_no_silent_damage(bench: &Proxied, report: &Report) {
    let (source, destination) = (
        bench.pair.source.contents(),
        bench.pair.destination.contents(),
    );
    let finished = &report.finished;
    for (key, found) in &destination {
        assert_eq!(Some(found), source.get(key), "{key}: {finished}");
    }
    let missing: Vec<_> = source
        .keys()
        .filter(|key| !destination.contains_key(*key))
        .collect();
    assert_eq!(report.failed(), missing, "{finished}");
    finished.assert_code(i32::from(!missing.is_empty()));
    for key in missing {
        let said = finished.stdout.contains(key) || finished.stderr.contains(key);
        assert!(said, "{key} is named: {finished}");
    }
    if let (Place::S3(from), Place::S3(to)) = (&bench.pair.source, &bench.pair.destination) {
        let from = from.essence("");
        for (key, object) in to.essence("") {
            assert_eq!(object, from[&key], "metadata of {key}");
        }
    }
    if let Place::S3(bucket) = &bench.pair.destination {
        assert_eq!(bucket.uploads(), [], "no upload is left: {finished}");
    }
}

/// How many seeds for each pair; all together 20.
const SEEDS: u64 = 5;

#[allow(clippy::print_stderr)] // a failed run must show the seed
fn weather(kind: Kind, first: u64) {
    let base = skyhaul_tests::seed();
    for number in first..first + SEEDS {
        let seed = base.wrapping_add(number);
        eprintln!("{kind:?}: seed {seed} (SKYHAUL_TEST_SEED={base}, number {number})");
        let bench = bench(kind);
        if let Place::S3(_) = bench.pair.source {
            bench.source().set_plan(storm_at_source(seed));
        }
        if let Place::S3(_) = bench.pair.destination {
            bench.destination().set_plan(storm_at_destination(seed));
        }
        let report = bench.pair.report("cp", "", "", &FLAGS);
        assert_no_silent_damage(&bench, &report);
    }
}

#[test]
fn faults_from_s3_to_s3() {
    weather(Kind::S3ToS3, 0);
}

#[test]
fn faults_from_s3_to_s3_again() {
    weather(Kind::S3ToS3, SEEDS);
}

#[test]
fn faults_from_s3_to_disk() {
    weather(Kind::S3ToDisk, 2 * SEEDS);
}

#[test]
fn faults_from_disk_to_s3() {
    weather(Kind::DiskToS3, 3 * SEEDS);
}

/// One object in one piece and one in parts, both with kept checksums.
fn two(kind: Kind) -> Proxied {
    let pair = Pair::new(kind);
    if let Place::S3(bucket) = &pair.source {
        let spec = |key: &str, size| ObjectSpec::new(key, 1, size).checksum("CRC32");
        bucket.put(&[spec("piece", MIB), spec("parts", 12 * MIB)]);
    } else {
        pair.source.write(&[
            ("piece", Body::new(1, MIB)),
            ("parts", Body::new(1, 12 * MIB)),
        ]);
    }
    Proxied::of(pair)
}

/// Copies [`two`] objects while every request of these operations meets this fault.
fn hopeless(kind: Kind, at_source: bool, ops: &[Op], fault: &Fault) {
    let bench = two(kind);
    let proxy = if at_source {
        bench.source()
    } else {
        bench.destination()
    };
    proxy.set_plan(Plan::new(1).rule(Rule::on_any(ops).fault(fault.clone())));
    let report = bench.pair.report("cp", "", "", &FLAGS);
    assert!(proxy.log().faults(fault.name()) > 0);
    assert_eq!(report.failed(), ["parts", "piece"], "{}", report.finished);
    assert_no_silent_damage(&bench, &report);
}

#[test]
fn faults_flipped_while_read() {
    for kind in [Kind::S3ToS3, Kind::S3ToDisk] {
        hopeless(kind, true, &[Op::Get], &Fault::FlipResponse { at: 5000 });
    }
}

#[test]
fn faults_flipped_while_written() {
    for kind in [Kind::S3ToS3, Kind::DiskToS3] {
        hopeless(
            kind,
            false,
            &[Op::Put, Op::UploadPart],
            &Fault::FlipRequest { at: 5000 },
        );
    }
}

#[test]
fn faults_truncated_while_read() {
    for kind in [Kind::S3ToS3, Kind::S3ToDisk] {
        hopeless(kind, true, &[Op::Get], &Fault::TruncateResponse { by: 10 });
    }
}

#[test]
fn faults_truncated_while_read_without_kept_checksums() {
    for kind in [Kind::S3ToS3, Kind::S3ToDisk] {
        let bench = Proxied::new(kind);
        bench.pair.source.write(&[("k", Body::new(1, MIB))]);
        let plan = Plan::new(1).rule(Rule::on(Op::Get).fault(Fault::TruncateResponse { by: 10 }));
        bench.source().set_plan(plan);
        let report = bench.pair.report("cp", "", "", &FLAGS);
        assert_eq!(report.failed(), ["k"], "{}", report.finished);
        assert_no_silent_damage(&bench, &report);
    }
}

/// A pair whose one object is in parts; every completion meets this fault.
fn completion(fault: Fault) -> (Proxied, Report) {
    let bench = Proxied::new(Kind::S3ToS3);
    bench
        .pair
        .source
        .write(&[("parts", Body::new(1, 12 * MIB))]);
    bench
        .destination()
        .set_plan(Plan::new(1).rule(Rule::on(Op::Complete).fault(fault)));
    let report = bench.pair.report("cp", "", "", &FLAGS);
    (bench, report)
}

#[test]
fn faults_completion_never_answered_but_done() {
    for fault in [Fault::LoseReply, Fault::ErrorIn200 { forward: true }] {
        let (bench, report) = completion(fault);
        assert_eq!(report.copied(), ["parts"], "{}", report.finished);
        assert_no_silent_damage(&bench, &report);
        // What was written once is not written again.
        let log = bench.destination().log();
        let parts = log
            .of(Op::UploadPart)
            .filter(|entry| entry.request.key == "parts");
        assert_eq!(parts.count(), 3);
    }
}

#[test]
fn faults_completion_refused_in_a_200() {
    let (bench, report) = completion(Fault::ErrorIn200 { forward: false });
    assert_eq!(report.failed(), ["parts"], "{}", report.finished);
    assert_no_silent_damage(&bench, &report);
}

#[test]
fn faults_creation_unanswered_leaves_no_upload() {
    let bench = Proxied::new(Kind::S3ToS3);
    bench
        .pair
        .source
        .write(&[("parts", Body::new(1, 12 * MIB))]);
    let lost = Rule::on(Op::CreateUpload).first(2).fault(Fault::LoseReply);
    bench.destination().set_plan(Plan::new(1).rule(lost));
    let stranger = bench
        .pair
        .destination
        .bucket()
        .open_upload("parts", Body::new(2, 1000));
    let report = bench.pair.report("cp", "", "", &FLAGS);
    report.finished.assert_code(0);
    let bucket = bench.pair.destination.bucket();
    assert_eq!(bucket.uploads(), [stranger], "ours are gone, and only ours");
    bench.pair.assert_equal();
}

/// An object in parts and one in one piece, where the service copies by itself.
fn in_one_service() -> Proxied {
    let pair = Pair::in_one_service();
    pair.source.write(&[
        ("parts", Body::new(1, 12 * MIB)),
        ("piece", Body::new(2, MIB)),
    ]);
    Proxied::of(pair)
}

#[test]
fn faults_service_copy_refused_in_a_200() {
    for forward in [true, false] {
        let bench = in_one_service();
        let copies = Rule::on_any(&[Op::Copy, Op::UploadPartCopy]).first(3);
        let plan = Plan::new(1).rule(copies.fault(Fault::ErrorIn200 { forward }));
        bench.source().set_plan(plan);
        let report = bench.pair.report("cp", "", "", &FLAGS);
        report.finished.assert_code(0);
        assert_no_silent_damage(&bench, &report);
    }
}

#[test]
fn faults_service_copy_not_permitted_is_streamed() {
    for (status, code) in [(403, "AccessDenied"), (501, "NotImplemented")] {
        for op in [Op::Copy, Op::UploadPartCopy] {
            let bench = in_one_service();
            let refuse = Rule::on(op).fault(Fault::Refuse { status, code });
            bench.source().set_plan(Plan::new(1).rule(refuse));
            let report = bench.pair.report("cp", "", "", &FLAGS);
            report.finished.assert_code(0);
            assert_no_silent_damage(&bench, &report);
            let log = bench.source().log();
            assert!(log.of(op).count() > 0, "{op:?} was tried");
            assert!(log.of(Op::Get).count() > 0, "bytes passed after {code}");
        }
    }
}

#[test]
fn faults_throttling_in_bursts_is_waited_out() {
    let bench = bench(Kind::S3ToS3);
    let moves = [
        Op::Get,
        Op::Put,
        Op::UploadPart,
        Op::CreateUpload,
        Op::Complete,
    ];
    // Not the check before the start: one caller would meet all of them, one after the other.
    let check = Rule::on(Op::UploadPart).key("skyhaul-permission-check");
    waited_out(&bench, &[check, throttled(&moves, 40)], 40);
}

/// Refuses the first so many of these operations, for being too many.
fn throttled(ops: &[Op], first: u32) -> Rule {
    Rule::on_any(ops).first(first).fault(Fault::SlowDown {
        retry_after_s: None,
    })
}

/// Copies while both services go by these rules, and refuse so many requests.
fn waited_out(bench: &Proxied, rules: &[Rule], refusals: usize) {
    let proxies: [&FaultProxy; 2] = [bench.source(), bench.destination()];
    for proxy in proxies {
        proxy.set_plan(rules.iter().cloned().fold(Plan::new(1), Plan::rule));
    }
    let report = bench.pair.report("cp", "", "", &FLAGS);
    report.finished.assert_code(0);
    assert_no_silent_damage(bench, &report);
    assert!(
        proxies
            .iter()
            .all(|proxy| proxy.log().faults("slow-down") == refusals)
    );
}

#[test]
fn faults_throttled_from_the_very_first_request() {
    waited_out(&two(Kind::S3ToS3), &[throttled(&[], 9)], 9);
}

/// Every connection breaks before a part or an object has come whole.
#[test]
fn faults_reads_that_always_break_go_on_where_they_broke() {
    for kind in [Kind::S3ToS3, Kind::S3ToDisk] {
        let bench = two(kind);
        let size = 13 * MIB;
        let fault = Fault::ShortLongResponse { after: 700_000 };
        let name = fault.name();
        bench
            .source()
            .set_plan(Plan::new(1).rule(Rule::on(Op::Get).fault(fault)));
        let report = bench.pair.report("cp", "", "", &FLAGS);
        report.finished.assert_code(0);
        assert_no_silent_damage(&bench, &report);
        let log = bench.source().log();
        assert!(log.faults(name) > 15, "{kind:?}");
        // Read from the start each time, it would never end. Sent again is only what was in the
        // proxy's and the kernel's buffers when a connection broke.
        let sent = log.received(Op::Get);
        assert!(sent < 2 * size, "{kind:?}: {sent} bytes of {size}");
    }
}

#[test]
fn faults_reads_that_break_at_once_are_given_up() {
    for kind in [Kind::S3ToS3, Kind::S3ToDisk] {
        let fault = Fault::ResetResponse { after: 5_000 };
        hopeless(kind, true, &[Op::Get], &fault);
    }
}

#[test]
fn faults_slow_reads_arrive_whole() {
    let bench = two(Kind::S3ToS3);
    let slow = Fault::Throttle {
        bytes_per_s: 8 * MIB,
    };
    bench
        .source()
        .set_plan(Plan::new(1).rule(Rule::on(Op::Get).fault(slow)));
    let report = bench.pair.report("cp", "", "", &FLAGS);
    report.finished.assert_code(0);
    let body = Body::new(1, MIB);
    let parts = Body::new(1, 12 * MIB);
    assert_eq!(
        bench.pair.destination.contents(),
        contents(&[("piece", body), ("parts", parts)])
    );
}
