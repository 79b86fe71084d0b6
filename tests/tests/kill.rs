//! `kill -9` at any moment, then `resume`: everything arrives, little is sent twice, and nothing
//! of ours or of a stranger's is left or lost.
#![allow(clippy::unwrap_used)] // helpers of tests stop at the first surprise, as tests do

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use skyhaul_tests::cli::{Cli, Finished, PATIENCE};
use skyhaul_tests::data::Body;
use skyhaul_tests::fault::{Fault, Gate, Op, Plan, Rule};
use skyhaul_tests::oracle::OpenUpload;
use skyhaul_tests::pair::{Contents, Kind, Place};
use skyhaul_tests::proxied::Proxied;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// A data set and how often its copy is killed.
struct Scale {
    runs: u32,
    /// Bytes of the one large object.
    large: u64,
    /// How many small objects.
    small: u64,
    /// Bytes of each.
    small_size: u64,
    flags: &'static [&'static str],
    patience: Duration,
}

/// Small enough for every run of the tests. What is in flight, two parts of 5 MiB in 120 MiB, is
/// kept as small, in proportion, as it is in the whole test: at the most 32 of 16 MiB in 4 GiB.
const BRIEF: Scale = Scale {
    runs: 4,
    large: 100 * MIB,
    small: 1_000,
    small_size: 20 << 10,
    flags: &[
        "-r",
        "--part-size",
        "5M",
        "--multipart-threshold",
        "5M",
        "--transfers",
        "2",
    ],
    patience: PATIENCE,
};

/// 4 GiB at the defaults.
const WHOLE: Scale = Scale {
    runs: 50,
    large: 1 << 30,
    small: 5_000,
    small_size: (3 << 30) / 5_000,
    flags: &["-r"],
    patience: Duration::from_mins(10),
};

/// Of the bytes, the most that may be sent twice in the median.
const SENT_TWICE: f64 = 0.15;

#[test]
fn heavy_killed_s3_to_s3() {
    survives(Kind::S3ToS3, &BRIEF);
}

#[test]
fn heavy_killed_s3_to_disk() {
    survives(Kind::S3ToDisk, &BRIEF);
}

#[test]
fn heavy_killed_disk_to_s3() {
    survives(Kind::DiskToS3, &BRIEF);
}

#[test]
fn soak_killed_s3_to_s3() {
    survives(Kind::S3ToS3, &WHOLE);
}

#[test]
fn soak_killed_s3_to_disk() {
    survives(Kind::S3ToDisk, &WHOLE);
}

#[test]
fn soak_killed_disk_to_s3() {
    survives(Kind::DiskToS3, &WHOLE);
}

/// Kills copies at times uniform over an uninterrupted one's duration.
#[allow(clippy::print_stderr)] // the measured shares are what a soak is run for
fn survives(kind: Kind, scale: &Scale) {
    let mut random = StdRng::seed_from_u64(skyhaul_tests::seed());
    let mut bench = Proxied::new(kind);
    bench.pair.cli = Cli::new().patience(scale.patience);
    let names: Vec<_> = (0..scale.small).map(|n| format!("small/{n:05}")).collect();
    let mut objects = vec![("large", Body::new(1, scale.large))];
    let small = names.iter().zip(2_u64..);
    objects.extend(small.map(|(name, seed)| (name.as_str(), Body::new(seed, scale.small_size))));
    bench.pair.source.write(&objects);
    let wanted = bench.pair.source.contents();
    let size = scale.large + scale.small * scale.small_size;

    let whole = bench.pair.run("cp", "", "whole/", scale.flags);
    whole.assert_code(0);
    assert_arrived(&bench, "whole/", &wanted);
    let mut shares = Vec::new();
    for run in 0..scale.runs {
        let to = format!("run-{run}/");
        let stranger = stranger(&bench, &format!("{to}large"));
        bench.heal();
        let moment = whole.elapsed.mul_f64(random.random());
        let killed = bench.pair.start("cp", "", &to, scale.flags).kill_at(moment);
        if killed.code().is_none() {
            go_on(&bench, &to, scale.flags);
        }
        let share = (bench.moved() as f64 - size as f64) / size as f64;
        eprintln!("killed after {moment:?}: {:.1} % sent twice", share * 100.0);
        shares.push(share);
        assert_arrived(&bench, &to, &wanted);
        assert_only_stranger(&bench, stranger.as_ref());
    }
    shares.sort_unstable_by(f64::total_cmp);
    let median = f64::midpoint(shares[(shares.len() - 1) / 2], shares[shares.len() / 2]);
    assert!(median < SENT_TWICE, "{shares:?}");
}

/// Resumes; where the kill came before anything was recorded, or between the end of the transfer and
/// that of its process, there is nothing to resume.
fn go_on(bench: &Proxied, to: &str, flags: &[&str]) {
    let resumed = bench.pair.cli.run(&["resume"]);
    if resumed.code() == Some(2) {
        if bench.moved() == 0 {
            bench.pair.run("cp", "", to, flags).assert_code(0);
        } else {
            let status = bench.pair.cli.run(&["status", "--json"]);
            let latest = &status.events()[0]["info"]["status"];
            assert_eq!(latest, "succeeded", "{resumed}");
        }
    } else {
        resumed.assert_code(0);
    }
}

/// Asserts that what was wanted is there and nothing else, and makes room for the next run.
#[track_caller]
fn assert_arrived(bench: &Proxied, to: &str, wanted: &Contents) {
    let found = bench.pair.destination.contents_under(to);
    let keys = |contents: &Contents| contents.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&found), keys(wanted));
    for (key, object) in wanted {
        assert_eq!(&found[key], object, "{key}");
    }
    match &bench.pair.destination {
        Place::Disk(tree) => std::fs::remove_dir_all(tree.path(to)).unwrap(),
        Place::S3(bucket) => {
            let keys: Vec<_> = found.keys().map(|key| format!("{to}{key}")).collect();
            bucket.delete(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

/// Somebody else's upload of a key that is about to be written, where uploads can be open.
fn stranger(bench: &Proxied, key: &str) -> Option<OpenUpload> {
    match &bench.pair.destination {
        Place::Disk(_) => None,
        Place::S3(bucket) => Some(bucket.open_upload(key, Body::new(7, 1000))),
    }
}

/// Asserts that the stranger's upload is the only one that is open, with its part, and ends it.
#[track_caller]
fn assert_only_stranger(bench: &Proxied, stranger: Option<&OpenUpload>) {
    if let (Place::S3(bucket), Some(stranger)) = (&bench.pair.destination, stranger) {
        assert_eq!(bucket.uploads(), std::slice::from_ref(stranger));
        assert_eq!(bucket.parts(stranger).unwrap().len(), 1);
        bucket.abort(stranger).unwrap();
    }
}

/// An object of three parts of the smallest size, and some small ones.
const OBJECTS: [(&str, Body); 4] = [
    (
        "a",
        Body {
            seed: 1,
            size: 1000,
        },
    ),
    ("b", Body { seed: 2, size: 0 }),
    (
        "large",
        Body {
            seed: 3,
            size: 12 * MIB,
        },
    ),
    (
        "z",
        Body {
            seed: 4,
            size: 70_000,
        },
    ),
];
const FLAGS: [&str; 5] = ["-r", "--part-size", "5M", "--multipart-threshold", "5M"];

/// A pair with [`OBJECTS`] at the source.
fn small(kind: Kind) -> Proxied {
    let bench = Proxied::new(kind);
    bench.pair.source.write(&OBJECTS);
    bench
}

/// Copies until a request of `rule` stands at its gate, and kills there.
fn killed_at(bench: &Proxied, rule: Rule, fault: fn(Gate) -> Fault) -> Finished {
    command_killed_at(bench, "cp", &FLAGS, rule, fault)
}

/// The same for any command.
fn command_killed_at(
    bench: &Proxied,
    command: &str,
    flags: &[&str],
    rule: Rule,
    fault: fn(Gate) -> Fault,
) -> Finished {
    let gate = Gate::new();
    let proxy = match bench.pair.destination {
        Place::S3(_) => bench.destination(),
        Place::Disk(_) => bench.source(),
    };
    proxy.set_plan(Plan::new(0).rule(rule.fault(fault(gate.clone()))));
    let running = bench.pair.start(command, "", "to/", flags).held_at(&gate);
    let killed = running.kill();
    bench.heal();
    killed
}

/// How many parts of the large object were sent since the logs were cleared. (The check whether
/// parts may be written at all is one of another key.)
fn parts_sent(bench: &Proxied) -> usize {
    let log = bench.destination().log();
    log.of(Op::UploadPart)
        .filter(|entry| entry.request.key == "to/large")
        .count()
}

fn wanted() -> Contents {
    skyhaul_tests::pair::contents(&OBJECTS)
}

const TO_S3: [Kind; 2] = [Kind::S3ToS3, Kind::DiskToS3];

/// Creation is answered, and the answer held back: the upload is there, its record is not.
fn killed_after_creation(bench: &Proxied) -> OpenUpload {
    let stranger = stranger(bench, "to/large").unwrap();
    killed_at(bench, Rule::on(Op::CreateUpload), Fault::HoldReply);
    assert_eq!(bench.pair.destination.bucket().uploads().len(), 2);
    stranger
}

#[test]
fn killed_between_creation_and_its_record_then_resumed() {
    for kind in TO_S3 {
        let bench = small(kind);
        let stranger = killed_after_creation(&bench);
        bench.pair.cli.run(&["resume"]).assert_code(0);
        assert_arrived(&bench, "to/", &wanted());
        assert_only_stranger(&bench, Some(&stranger));
    }
}

#[test]
fn killed_between_creation_and_its_record_again_and_again() {
    let bench = small(Kind::S3ToS3);
    let stranger = killed_after_creation(&bench);
    for _ in 0..2 {
        // The same command finds the unfinished transfer.
        killed_at(&bench, Rule::on(Op::CreateUpload), Fault::HoldReply);
        assert_eq!(bench.pair.destination.bucket().uploads().len(), 2);
    }
    bench.pair.cli.run(&["resume"]).assert_code(0);
    assert_arrived(&bench, "to/", &wanted());
    assert_only_stranger(&bench, Some(&stranger));
}

#[test]
fn killed_between_creation_and_its_record_then_cleaned_up() {
    for kind in TO_S3 {
        let bench = small(kind);
        let stranger = killed_after_creation(&bench);
        bench.pair.cli.run(&["cleanup", "--all"]).assert_code(0);
        assert_only_stranger(&bench, Some(&stranger));
    }
}

#[test]
fn killed_before_creation_leaves_a_later_stranger_alone() {
    for command in [&["resume"] as &[&str], &["cleanup", "--all"]] {
        let bench = small(Kind::S3ToS3);
        killed_at(&bench, Rule::on(Op::CreateUpload), Fault::HoldRequest);
        // Begun after our intent: only that it has a part shows that it is not ours.
        let stranger = stranger(&bench, "to/large").unwrap();
        bench.pair.cli.run(command).assert_code(0);
        assert_only_stranger(&bench, Some(&stranger));
    }
}

#[test]
fn killed_with_parts_written_then_cleaned_up() {
    for kind in TO_S3 {
        let bench = small(kind);
        let stranger = stranger(&bench, "to/large").unwrap();
        killed_at(
            &bench,
            Rule::on(Op::UploadPart).key("large").from(3),
            Fault::HoldReply,
        );
        let bucket = bench.pair.destination.bucket();
        assert_eq!(bucket.uploads().len(), 2);
        // Young leftovers are kept for a resume ...
        bench.pair.cli.run(&["cleanup"]).assert_code(0);
        assert_eq!(bucket.uploads().len(), 2);
        // ... unless one says otherwise.
        bench.pair.cli.run(&["cleanup", "--all"]).assert_code(0);
        assert_only_stranger(&bench, Some(&stranger));
        bench.pair.cli.run(&["resume"]).assert_code(2);
    }
}

#[test]
fn killed_with_parts_written_sends_none_of_them_again() {
    for kind in TO_S3 {
        let bench = Proxied::new(kind);
        bench.pair.source.write(&OBJECTS[2..3]);
        let gate = Gate::new();
        let hold = Rule::on(Op::UploadPart).key("large").nth(3);
        let plan = Plan::new(0).rule(hold.fault(Fault::HoldRequest(gate.clone())));
        bench.destination().set_plan(plan);
        let one_by_one = [&FLAGS[..], &["--transfers", "1"]].concat();
        let running = bench
            .pair
            .start("cp", "", "to/", &one_by_one)
            .held_at(&gate);
        // One at a time: when the third is sent the others are written.
        skyhaul_tests::eventually("two parts recorded", PATIENCE, || {
            let status = bench.pair.cli.run(&["status", "--json"]);
            let done = &status.events()[0]["info"]["progress"]["chunks_done"];
            (done.as_u64().expect("a number") == 2).then_some(())
        });
        let _ = running.kill();
        bench.heal();
        bench.pair.cli.run(&["resume"]).assert_code(0);
        assert_eq!(parts_sent(&bench), 1, "{kind:?}");
        assert_arrived(
            &bench,
            "to/",
            &skyhaul_tests::pair::contents(&OBJECTS[2..3]),
        );
    }
}

#[test]
fn killed_when_the_completion_was_done_but_not_answered() {
    for kind in TO_S3 {
        let bench = small(kind);
        let stranger = stranger(&bench, "to/large").unwrap();
        killed_at(&bench, Rule::on(Op::Complete), Fault::HoldReply);
        bench.pair.cli.run(&["resume"]).assert_code(0);
        assert_eq!(parts_sent(&bench), 0, "{kind:?}");
        assert_arrived(&bench, "to/", &wanted());
        assert_only_stranger(&bench, Some(&stranger));
    }
}

#[test]
fn killed_before_the_completion() {
    for kind in TO_S3 {
        let bench = small(kind);
        let stranger = stranger(&bench, "to/large").unwrap();
        killed_at(&bench, Rule::on(Op::Complete), Fault::HoldRequest);
        assert!(bench.pair.destination.contents_under("to/large").is_empty());
        bench.pair.cli.run(&["resume"]).assert_code(0);
        assert_eq!(parts_sent(&bench), 0, "{kind:?}");
        assert_arrived(&bench, "to/", &wanted());
        assert_only_stranger(&bench, Some(&stranger));
    }
}

#[test]
fn killed_while_parts_come_to_disk() {
    let bench = small(Kind::S3ToDisk);
    let tree = bench.pair.destination.tree();
    let kill = || {
        let rule = Rule::on(Op::Get).key("large").from(2);
        killed_at(&bench, rule, |gate| Fault::HoldResponse {
            after: MIB,
            gate,
        });
        assert!(
            !tree.has("to/large"),
            "not under its name before it is whole"
        );
    };
    kill();
    bench.pair.cli.run(&["resume"]).assert_code(0);
    assert_arrived(&bench, "to/", &wanted());
    kill();
    bench.pair.cli.run(&["cleanup", "--all"]).assert_code(0);
    let left: Vec<_> = bench.pair.destination.contents().into_keys().collect();
    assert!(
        left.iter().all(|key| !key.contains(".skyhaul-")),
        "{left:?}"
    );
}

#[test]
fn killed_while_a_bundle_comes_to_disk() {
    let bench = small(Kind::S3ToDisk);
    killed_at(&bench, Rule::on(Op::Get).key("z"), |gate| {
        Fault::HoldResponse { after: 100, gate }
    });
    assert!(!bench.pair.destination.tree().has("to/z"));
    bench.pair.cli.run(&["resume"]).assert_code(0);
    assert_arrived(&bench, "to/", &wanted());
}

#[test]
fn killed_between_disks() {
    // Nothing can be held between disks: the rate is limited, and the kill comes when the first
    // bytes have.
    let bench = small(Kind::DiskToDisk);
    let flags = [&FLAGS[..], &["--bwlimit", "4M"]].concat();
    let running = bench.pair.start("cp", "", "to/", &flags);
    let tree = bench.pair.destination.tree();
    let begun = || {
        let keys = tree.snapshot().into_keys();
        keys.into_iter()
            .any(|key| key.contains(".skyhaul-"))
            .then_some(())
    };
    skyhaul_tests::eventually("a temporary file", PATIENCE, begun);
    assert_eq!(running.kill().code(), None);
    assert!(!tree.has("to/large"));
    bench.pair.cli.run(&["resume"]).assert_code(0);
    assert_arrived(&bench, "to/", &wanted());
}

#[test]
fn killed_while_deleting() {
    for kind in [Kind::DiskToS3, Kind::S3ToS3] {
        let bench = small(kind);
        let kept = [("extra/excluded", Body::new(1, 10))];
        let extra = [
            ("extra/x", Body::new(1, 10)),
            ("to-be-back", Body::new(2, 10)),
        ];
        bench.pair.destination.write(&kept);
        bench.pair.destination.write(&extra);
        let gate = Gate::new();
        let hold = Rule::on_any(&[Op::DeleteMany, Op::Delete]);
        let plan = Plan::new(0).rule(hold.fault(Fault::HoldRequest(gate.clone())));
        bench.destination().set_plan(plan);
        let flags = ["--delete", "-y", "--exclude", "/extra/excluded"];
        let running = bench.pair.start("sync", "", "", &flags).held_at(&gate);
        let _ = running.kill();
        bench.heal();
        // What the source has by now is not deleted any more.
        bench.pair.source.write(&[("to-be-back", Body::new(3, 10))]);
        bench.pair.cli.run(&["resume", "-y"]).assert_code(0);
        let keys = bench.pair.destination.keys();
        assert_eq!(
            keys,
            ["a", "b", "extra/excluded", "large", "to-be-back", "z"],
            "{kind:?}"
        );
    }
}

#[test]
fn killed_and_the_source_gone_since_deletes_nothing() {
    let bench = small(Kind::DiskToS3);
    let extra = [("to/extra/x", Body::new(1, 10))];
    bench.pair.destination.write(&extra);
    let deletion = Rule::on_any(&[Op::DeleteMany, Op::Delete]);
    let flags = ["--delete", "-y"];
    command_killed_at(&bench, "sync", &flags, deletion, Fault::HoldRequest);
    let before = bench.pair.destination.contents();
    // As a disk is that was not mounted again.
    for (key, _) in OBJECTS {
        bench.pair.source.remove(key);
    }
    let refused = bench.pair.cli.run(&["resume", "-y"]);
    assert_ne!(refused.code(), Some(0), "{refused}");
    assert!(refused.stderr.contains("nothing was deleted"), "{refused}");
    assert_eq!(bench.pair.destination.contents(), before);
}

#[test]
fn killed_sync_is_finished_and_what_came_since_is_synced() {
    let bench = small(Kind::S3ToS3);
    let flags = ["--part-size", "5M", "--multipart-threshold", "5M"];
    let completion = Rule::on(Op::Complete);
    command_killed_at(&bench, "sync", &flags, completion, Fault::HoldRequest);
    let since = [("a", Body::new(9, 2000)), ("since", Body::new(10, 3000))];
    bench.pair.source.write(&since);
    let report = bench.pair.report("sync", "", "to/", &flags);
    report.finished.assert_code(0);
    assert_eq!(parts_sent(&bench), 0, "the parts of the killed run count");
    // `a` may still have been under way: then the interrupted transfer took its new version.
    let mut copied = report.copied();
    copied.retain(|key| *key != "to/a");
    assert_eq!(copied, ["to/since"], "{}", report.finished);
    assert_arrived(&bench, "to/", &bench.pair.source.contents());
}

#[test]
fn killed_and_gone_on_with_by_the_same_command() {
    let bench = small(Kind::S3ToS3);
    killed_at(&bench, Rule::on(Op::Complete), Fault::HoldRequest);
    bench.pair.run("cp", "", "to/", &FLAGS).assert_code(0);
    assert_eq!(parts_sent(&bench), 0);
    assert_arrived(&bench, "to/", &wanted());
    assert!(bench.pair.destination.bucket().uploads().is_empty());
}
