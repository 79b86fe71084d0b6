//! The steps run in slices, because a function lives only minutes: a transfer whose every slice is
//! one page and one chunk does what the same transfer does in one go.

use serde_json::Value;
use skyhaul_tests::data::Body;
use skyhaul_tests::fault::{Fault, Gate, Op, Plan, Rule};
use skyhaul_tests::pair::{Kind, Pair};
use skyhaul_tests::proxied::Proxied;

const MIB: u64 = 1 << 20;
const SLICES: [&str; 4] = ["--slice-pages", "1", "--slice-chunks", "1"];
const PARTS: [&str; 4] = ["--part-size", "5M", "--multipart-threshold", "5M"];

/// More objects than a page of a listing holds, more than a bundle does, and two of several parts.
fn objects() -> Vec<(String, Body)> {
    let mut objects: Vec<_> = (0..1_100)
        .map(|n| (format!("d{}/k{n:05}", n % 7), Body::new(n, n % 50)))
        .collect();
    objects.push(("d3/large".into(), Body::new(7, 17 * MIB)));
    objects.push(("large".into(), Body::new(8, 11 * MIB)));
    objects
}

/// A pair with [`objects`] at the source.
fn pair(kind: Kind) -> Pair {
    let pair = Pair::new(kind);
    let objects = objects();
    let named: Vec<_> = objects
        .iter()
        .map(|(key, body)| (key.as_str(), *body))
        .collect();
    pair.source.write(&named);
    pair
}

/// What a report says that does not depend on the run, in the order of keys.
fn said(lines: &[Value], prefix: &str) -> Vec<String> {
    let say = |line: &Value| {
        let key = line["destination_key"].as_str().unwrap_or_default();
        let key = key.strip_prefix(prefix).unwrap_or(key);
        let fields = [
            "action", "size", "checksum", "verified", "error", "attempts",
        ];
        let rest = fields.map(|field| line[field].to_string());
        format!("{key} {}", rest.join(" "))
    };
    let mut said: Vec<_> = lines.iter().map(say).collect();
    said.sort();
    said
}

/// Copies, and syncs with deletion, into two places: in one go and in slices.
fn same_in_slices(kind: Kind) {
    let pair = pair(kind);
    let steps: [(&str, &[&str]); 3] = [
        ("cp", &["-r"]),
        ("sync", &["--delete", "-y"]),
        ("sync", &["--delete", "-y", "--exclude", "/d1/**"]),
    ];
    for (number, (command, flags)) in steps.into_iter().enumerate() {
        let flags = [flags, &PARTS].concat();
        let whole = pair.report(command, "", "whole/", &flags);
        let sliced = pair.report(command, "", "sliced/", &[&flags[..], &SLICES].concat());
        whole.finished.assert_code(0);
        sliced.finished.assert_code(0);
        assert_eq!(said(&sliced.lines, "sliced/"), said(&whole.lines, "whole/"));
        let found = pair.destination.contents_under("sliced/");
        assert!(
            found == pair.destination.contents_under("whole/"),
            "step {number}"
        );
        if number < 2 {
            assert!(found == pair.source.contents(), "step {number}");
        }
        // Something for the next step to copy and to delete.
        pair.source.remove("d3/large");
        for at in ["whole/", "sliced/"] {
            pair.destination.write(&[
                (&format!("{at}d1/extra-{number}"), Body::new(1, 1)),
                (&format!("{at}extra-{number}"), Body::new(1, 1)),
            ]);
        }
        pair.source.write(&[(
            "d3/large",
            Body::new(20 + number as u64, (12 + number as u64) * MIB),
        )]);
        pair.source
            .write(&[(&format!("d2/new-{number}"), Body::new(1, 100))]);
    }
}

#[test]
fn slices_from_s3_to_s3() {
    same_in_slices(Kind::S3ToS3);
}

#[test]
fn slices_from_s3_to_disk() {
    same_in_slices(Kind::S3ToDisk);
}

#[test]
fn slices_from_disk_to_s3() {
    same_in_slices(Kind::DiskToS3);
}

#[test]
fn slices_between_disks() {
    same_in_slices(Kind::DiskToDisk);
}

#[test]
fn slices_are_resumed() {
    let bench = Proxied::of(pair(Kind::S3ToS3));
    let gate = Gate::new();
    let hold = Rule::on(Op::UploadPart).key("d3/large").nth(3);
    let plan = Plan::new(1).rule(hold.fault(Fault::HoldRequest(gate.clone())));
    bench.destination().set_plan(plan);
    let flags = [&["-r"], &PARTS[..], &SLICES].concat();
    let running = bench.pair.start("cp", "", "", &flags).held_at(&gate);
    let killed = running.kill();
    assert_eq!(killed.code(), None);
    bench.heal();
    bench
        .pair
        .cli
        .run(&[&["resume"], &SLICES[..]].concat())
        .assert_code(0);
    assert!(bench.pair.destination.contents() == bench.pair.source.contents());
    assert_eq!(bench.pair.destination.bucket().uploads(), []);
    // One chunk at a time: what was written before the kill is not written again.
    let log = bench.destination().log();
    let again = log
        .of(Op::UploadPart)
        .filter(|entry| entry.request.key == "d3/large");
    assert_eq!(again.count(), 2);
}
