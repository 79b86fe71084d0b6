//! The fault proxy tests itself: each fault does what it says, seen by an independent client on
//! one side and the server's content on the other.
#![allow(clippy::unwrap_used)] // helpers of tests stop at the first surprise, as tests do

use skyhaul_tests::data::Body;
use skyhaul_tests::fault::{Fault, FaultProxy, Gate, Op, Plan, Rule};
use skyhaul_tests::oracle::{Bucket, ObjectSpec};
use skyhaul_tests::servers::{Endpoint, servers};
use std::time::Duration;

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// A bucket with the object `k`, a proxy with one rule, and the bucket as seen through it.
struct Bench {
    direct: Bucket,
    proxy: FaultProxy,
    through: Bucket,
}

fn object() -> ObjectSpec {
    ObjectSpec::new("k", 11, 3 * MIB + 5)
}

fn bench(endpoint: &Endpoint, plan: Plan) -> Bench {
    let direct = Bucket::create(endpoint, "faults");
    direct.put(&[object()]);
    let proxy = FaultProxy::start(endpoint, plan);
    let through = direct.via(proxy.endpoint());
    Bench {
        direct,
        proxy,
        through,
    }
}

fn one(rule: Rule, fault: Fault) -> Bench {
    bench(&servers().src, Plan::new(1).rule(rule.fault(fault)))
}

#[test]
fn without_rules_everything_passes_and_is_counted() {
    for endpoint in [&servers().src, &servers().odd] {
        let bench = bench(endpoint, Plan::new(1));
        let big = ObjectSpec::new("dir/ü b", 2, 12 * MIB)
            .part_size(5 * MIB)
            .metadata("a", "b");
        bench.through.put(std::slice::from_ref(&big));
        assert!(
            bench.direct.get("dir/ü b").unwrap().holds(big.body()),
            "{}",
            endpoint.kind
        );
        assert_eq!(
            bench.through.essence(""),
            bench.direct.essence(""),
            "{}",
            endpoint.kind
        );
        let log = bench.proxy.log();
        assert_eq!(
            (log.count(Op::UploadPart), log.sent(Op::UploadPart)),
            (3, 12 * MIB)
        );
        assert_eq!(log.received(Op::Get), 12 * MIB + object().body().size);
        assert_eq!(log.of(Op::Complete).next().unwrap().request.key, "dir/ü b");
        assert!(
            log.entries
                .iter()
                .all(|entry| entry.fault.is_none() && entry.status == 200)
        );
        bench.proxy.clear_log();
        assert_eq!(bench.proxy.log().entries, []);
    }
}

#[test]
fn refusals_are_answered_and_not_forwarded() {
    let bench = one(
        Rule::on(Op::Put),
        Fault::Refuse {
            status: 403,
            code: "AccessDenied",
        },
    );
    let spec = ObjectSpec::new("new", 1, 2 * MIB);
    let refused = bench
        .through
        .try_put(std::slice::from_ref(&spec))
        .unwrap_err();
    assert_eq!(refused.code, "AccessDenied");
    assert_eq!(bench.direct.list("new"), []);
    let slow = Fault::SlowDown {
        retry_after_s: Some(0),
    };
    bench.proxy.set_plan(
        Plan::new(1)
            .rule(Rule::on(Op::Put).nth(1).fault(slow))
            .rule(Rule::on(Op::Put).nth(1).fault(Fault::InternalError)),
    );
    bench.proxy.clear_log();
    bench.through.put(std::slice::from_ref(&spec));
    let statuses: Vec<_> = bench
        .proxy
        .log()
        .of(Op::Put)
        .map(|entry| entry.status)
        .collect();
    assert_eq!(statuses, [503, 500, 200]);
    assert!(bench.direct.get("new").unwrap().holds(spec.body()));
}

#[test]
fn resets_cut_requests_and_answers() {
    let bench = one(
        Rule::on(Op::Put).first(1),
        Fault::ResetRequest { after: MIB },
    );
    let spec = ObjectSpec::new("new", 1, 2 * MIB);
    bench.through.put(std::slice::from_ref(&spec));
    let log = bench.proxy.log();
    let puts: Vec<_> = log
        .of(Op::Put)
        .map(|entry| (entry.status, entry.sent))
        .collect();
    assert_eq!(puts, [(0, MIB), (200, 2 * MIB)]);
    for fault in [
        Fault::ResetResponse { after: MIB },
        Fault::ShortResponse { after: MIB },
    ] {
        bench
            .proxy
            .set_plan(Plan::new(1).rule(Rule::on(Op::Get).fault(fault.clone())));
        bench.proxy.clear_log();
        let error = bench.through.get("k").unwrap_err();
        assert_ne!(error.code, "NoSuchKey", "{fault:?}: {error}");
        assert!(
            bench
                .proxy
                .log()
                .of(Op::Get)
                .all(|entry| entry.received == MIB),
            "{fault:?}"
        );
    }
}

#[test]
fn truncation_and_flips_arrive_unannounced() {
    let bench = one(Rule::on(Op::Get), Fault::TruncateResponse { by: 7 });
    let whole = object().body();
    let short = bench.through.get("k").unwrap();
    assert!(short.holds(Body::new(whole.seed, whole.size - 7)));
    bench
        .proxy
        .set_plan(Plan::new(1).rule(Rule::on(Op::Get).fault(Fault::FlipResponse { at: 2 * MIB })));
    let flipped = bench.through.get("k").unwrap();
    assert_eq!(flipped.size, whole.size);
    assert_ne!(flipped.sha256, whole.sha256());
    bench.proxy.set_plan(Plan::new(1));
    assert!(bench.through.get("k").unwrap().holds(whole));
}

#[test]
fn a_flipped_byte_reaches_the_server() {
    // moto believes every digest, so that the flip is seen in what it stores.
    let plan = Plan::new(1).rule(Rule::on(Op::Put).fault(Fault::FlipRequest { at: 5000 }));
    let bench = bench(&servers().odd, plan);
    let bare = ObjectSpec::new("bare", 1, MIB);
    let framed = ObjectSpec::new("framed", 1, MIB).checksum("CRC32");
    bench.through.put(&[bare.clone(), framed]);
    for key in ["bare", "framed"] {
        let found = bench.direct.get(key).unwrap();
        assert_eq!(found.size, MIB, "{key}");
        assert_ne!(found.sha256, bare.body().sha256(), "{key}");
    }
}

#[test]
fn an_honest_server_refuses_a_flipped_byte() {
    let bench = one(Rule::on(Op::Put), Fault::FlipRequest { at: 1 });
    let spec = ObjectSpec::new("new", 1, MIB).checksum("CRC32");
    bench.through.try_put(&[spec]).unwrap_err();
    assert_eq!(bench.direct.list("new"), []);
}

#[test]
fn a_lost_reply_leaves_the_work_done() {
    let bench = one(Rule::on_any(&[Op::Put, Op::Complete]), Fault::LoseReply);
    let spec = ObjectSpec::new("new", 1, MIB);
    bench
        .through
        .try_put(std::slice::from_ref(&spec))
        .unwrap_err();
    assert!(bench.direct.get("new").unwrap().holds(spec.body()));
    let parted = ObjectSpec::new("parted", 1, 6 * MIB).part_size(5 * MIB);
    bench
        .through
        .try_put(std::slice::from_ref(&parted))
        .unwrap_err();
    assert!(bench.direct.get("parted").unwrap().holds(parted.body()));
    assert!(bench.proxy.log().faults("lose-reply") >= 2);
}

#[test]
fn a_completion_may_fail_with_200() {
    let bench = one(Rule::on(Op::Complete), Fault::ErrorIn200 { forward: false });
    let parted = ObjectSpec::new("parted", 1, 6 * MIB).part_size(5 * MIB);
    let error = bench
        .through
        .try_put(std::slice::from_ref(&parted))
        .unwrap_err();
    assert_eq!(error.code, "InternalError");
    assert_eq!(
        (
            bench.direct.list("parted").len(),
            bench.direct.uploads().len()
        ),
        (0, 1)
    );
    bench.proxy.set_plan(
        Plan::new(1).rule(
            Rule::on(Op::Complete)
                .first(1)
                .fault(Fault::ErrorIn200 { forward: true }),
        ),
    );
    let _ = bench.through.try_put(std::slice::from_ref(&parted)); // what a client makes of it is its own affair
    assert!(bench.direct.get("parted").unwrap().holds(parted.body()));
    assert_eq!(
        bench.proxy.log().of(Op::Complete).next().unwrap().status,
        200
    );
}

#[test]
fn pages_can_be_misordered() {
    let bench = one(Rule::on(Op::ListObjects), Fault::Misorder);
    bench
        .direct
        .put(&[ObjectSpec::new("a", 1, 1), ObjectSpec::new("z", 1, 1)]);
    let keys = |bucket: &Bucket| -> Vec<_> {
        bucket
            .list("")
            .into_iter()
            .map(|listed| listed.key)
            .collect()
    };
    assert_eq!(keys(&bench.direct), ["a", "k", "z"]);
    assert_eq!(keys(&bench.through), ["z", "k", "a"]);
}

#[test]
fn slow_answers_arrive_whole() {
    let bench = one(
        Rule::on(Op::Get),
        Fault::Throttle {
            bytes_per_s: 16 * MIB,
        },
    );
    assert!(bench.through.get("k").unwrap().holds(object().body()));
    assert_eq!(bench.proxy.log().faults("throttle"), 1);
}

#[test]
fn a_gate_holds_until_it_is_opened() {
    let (request, answer) = (Gate::new(), Gate::new());
    let plan = Plan::new(1)
        .rule(
            Rule::on(Op::Get)
                .nth(1)
                .fault(Fault::HoldRequest(request.clone())),
        )
        .rule(Rule::on(Op::Get).nth(1).fault(Fault::HoldResponse {
            after: MIB,
            gate: answer.clone(),
        }));
    let bench = bench(&servers().src, plan);
    // The oracle answers one question at a time, so the held client is a bare one.
    let url = bench.proxy.endpoint().authority().to_owned();
    let path = format!("/{}/k", bench.direct.name);
    let held = std::thread::spawn(move || bare_get(&url, &path));
    request.wait_for_arrival(PATIENCE);
    assert!(!held.is_finished());
    request.open();
    assert_eq!(held.join().unwrap(), 403, "unsigned");

    bench.direct.put(&[object()]);
    let reader = std::thread::spawn({
        let bucket = bench.through.clone();
        move || bucket.get("k").unwrap()
    });
    answer.wait_for_arrival(PATIENCE);
    let held = bench.proxy.log();
    assert_eq!(held.of(Op::Get).last().unwrap().received, MIB);
    assert!(!reader.is_finished());
    answer.open();
    assert!(reader.join().unwrap().holds(object().body()));
}

#[test]
fn a_reply_can_be_held_while_the_work_is_done() {
    let gate = Gate::new();
    let bench = one(Rule::on(Op::Put), Fault::HoldReply(gate.clone()));
    let spec = ObjectSpec::new("new", 1, MIB);
    let writer = std::thread::spawn({
        let (bucket, spec) = (bench.through.clone(), spec.clone());
        move || bucket.put(&[spec])
    });
    gate.wait_for_arrival(PATIENCE);
    assert!(!writer.is_finished());
    assert_eq!(
        bench
            .proxy
            .log()
            .of(Op::Put)
            .next()
            .map(|put| (put.sent, put.status)),
        Some((MIB, 0))
    );
    gate.open();
    writer.join().unwrap();
    assert!(bench.direct.get("new").unwrap().holds(spec.body()));
}

/// The status of an unsigned GET.
fn bare_get(authority: &str, path: &str) -> u16 {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(authority).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
