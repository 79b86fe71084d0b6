//! The commands beside `cp` and `sync`: `verify`, `ls`, `status`, and Ctrl-C.
#![allow(clippy::unwrap_used)]

use skyhaul_tests::data::Body;
use skyhaul_tests::fault::{Fault, Gate, Op, Plan, Rule};
use skyhaul_tests::pair::{Kind, Pair, Place};
use skyhaul_tests::proxied::Proxied;

const A: Body = Body {
    seed: 1,
    size: 1000,
};
const B: Body = Body {
    seed: 2,
    size: 1000,
};
const LONGER: Body = Body {
    seed: 1,
    size: 1001,
};

#[test]
fn verify_tells_equal_from_different_and_writes_nothing() {
    Pair::each(|pair| {
        pair.source.write(&[("d/same", A), ("same", A)]);
        pair.destination.write(&[("d/same", A), ("same", A)]);
        let equal = pair.run("verify", "", "", &["--checksum"]);
        assert!(
            equal.assert_code(0).stdout.contains("2 objects equal"),
            "{equal}"
        );

        pair.source
            .write(&[("missing", A), ("size", A), ("bytes", A)]);
        pair.destination
            .write(&[("extra", A), ("size", LONGER), ("bytes", B)]);
        let before = pair.destination.contents();
        let found = pair.run("verify", "", "", &["--checksum", "--json"]);
        let mut told: Vec<_> = found
            .assert_code(5)
            .events()
            .iter()
            .filter(|event| event["event"] == "difference")
            .map(|event| {
                let text = |field: &str| event[field].as_str().unwrap().to_owned();
                (text("key"), text("difference"))
            })
            .collect();
        told.sort_unstable();
        let wanted = [
            ("bytes", "checksum"),
            ("extra", "extra"),
            ("missing", "missing"),
            ("size", "size"),
        ];
        assert_eq!(
            told,
            wanted.map(|(key, what)| (key.to_owned(), what.to_owned()))
        );
        assert_eq!(pair.destination.contents(), before);
        // What has no checksum to compare is equal by size only.
        let by_size = pair.run("verify", "", "", &["--size-only", "--json"]);
        let differences = by_size.assert_code(5).events();
        assert!(
            differences.iter().all(|event| event["key"] != "bytes"),
            "{by_size}"
        );
    });
}

#[test]
fn verify_needs_no_right_to_write() {
    let pair = Pair::new(Kind::DiskToS3);
    pair.source.write(&[("x", A)]);
    pair.destination.write(&[("x", A)]);
    let reader = pair.destination.bucket().endpoint.read_only();
    let run = |command: &str| {
        let mut arguments = vec![
            command.to_owned(),
            pair.source.uri(""),
            pair.destination.uri(""),
        ];
        arguments.extend(pair.cli.dst(&reader));
        pair.cli.run(&arguments)
    };
    run("verify").assert_code(0);
    // The same credentials do not write.
    run("sync").assert_code(4);
}

#[test]
fn verify_does_not_pass_over_what_it_cannot_see() {
    let pair = Pair::new(Kind::DiskToS3);
    pair.source.write(&[("x", A)]);
    pair.destination.write(&[("x", A)]);
    pair.run("verify", "", "", &[]).assert_code(0);
    pair.source.tree().link("link", "x");
    let found = pair.run("verify", "", "", &["--json"]);
    let events = found.assert_code(5).events();
    let told: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "difference")
        .collect();
    assert_eq!(told.len(), 1, "{found}");
    assert!(
        told[0]["key"].as_str().unwrap().ends_with("link"),
        "{found}"
    );
    assert!(told[0]["difference"]["unknown"].is_string(), "{found}");
}

#[test]
fn verify_names_the_side_that_is_not_there() {
    let pair = Pair::new(Kind::DiskToDisk);
    pair.source.write(&[("x", A)]);
    pair.run("verify", "", "nowhere/", &[]).assert_code(4);
    pair.run("verify", "nowhere/", "", &[]).assert_code(3);
}

#[test]
fn ls_shows_what_is_there() {
    for kind in [Kind::DiskToDisk, Kind::S3ToS3] {
        let pair = Pair::new(kind);
        pair.source
            .write(&[("a", A), ("d/e/f", LONGER), ("d/g", A), ("h", A)]);
        let flags = match &pair.source {
            Place::Disk(_) => Vec::new(),
            Place::S3(bucket) => pair.cli.both(&bucket.endpoint),
        };
        let ls = |further: &[&str]| {
            let mut arguments = vec!["ls".to_owned(), pair.source.uri(""), "--json".to_owned()];
            arguments.extend(flags.clone());
            arguments.extend(further.iter().map(ToString::to_string));
            let listed = pair.cli.run(&arguments);
            listed.assert_code(0).events()
        };
        let keys = |further: &[&str]| -> Vec<String> {
            let events = ls(further);
            let named = events.iter().filter_map(|event| event["key"].as_str());
            named
                .map(|key| key.rsplit("//").next().unwrap().to_owned())
                .collect()
        };
        let ends = |found: &[String], wanted: &[&str]| {
            assert_eq!(found.len(), wanted.len(), "{found:?}");
            for (found, wanted) in found.iter().zip(wanted) {
                assert!(found.ends_with(wanted), "{found} {wanted}");
            }
        };
        ends(&keys(&["-r"]), &["a", "d/e/f", "d/g", "h"]);
        ends(&keys(&[]), &["a", "d/", "h"]);
        let total = ls(&["-r", "--summarize"]);
        let total = total.last().unwrap();
        assert_eq!(
            (&total["objects"], &total["bytes"]),
            (&4.into(), &4001.into())
        );
    }
}

#[test]
fn interrupted_it_stops_cleanly_and_goes_on() {
    let bench = Proxied::new(Kind::S3ToS3);
    bench.pair.source.write(&[("a", A), ("b", B)]);
    let gate = Gate::new();
    let hold = Rule::on(Op::Put).key("b");
    let plan = Plan::new(0).rule(hold.fault(Fault::HoldRequest(gate.clone())));
    bench.destination().set_plan(plan);
    let running = bench.pair.start("cp", "", "", &["-r"]).held_at(&gate);
    running.interrupt();
    let stopped = running.wait();
    stopped.assert_code(130);
    assert!(stopped.stderr.contains("skyhaul resume"), "{stopped}");
    bench.heal();
    let status = bench.pair.cli.run(&["status"]);
    assert!(status.stdout.contains("interrupted"), "{status}");
    bench.pair.cli.run(&["resume"]).assert_code(0);
    bench.pair.assert_equal();
}
