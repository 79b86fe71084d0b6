//! Objects that are overwritten while they are copied, at each moment that could mix two versions:
//! what arrives is wholly one of them, bytes, metadata and tags, or the object is reported and
//! nothing stands under its name.
#![allow(clippy::unwrap_used)] // helpers of tests stop at the first surprise, as tests do

use skyhaul_tests::cli::{Finished, PATIENCE, Running};
use skyhaul_tests::data::Body;
use skyhaul_tests::fault::{Fault, Gate, Op, Plan, Rule};
use skyhaul_tests::oracle::{Object, ObjectSpec};
use skyhaul_tests::pair::{Kind, Pair, Place};
use skyhaul_tests::proxied::Proxied;
use skyhaul_tests::tree::{Entry, Tree};
use std::fs::{self, File};
use std::io::Write as _;

const MIB: u64 = 1 << 20;
/// Three parts.
const LARGE: u64 = 12 * MIB;
/// One piece.
const SMALL: u64 = 3 * MIB;
/// The object that changes.
const KEY: &str = "obj";
/// One thing at a time, in key order: what is held at a gate holds all that comes after it.
const FLAGS: [&str; 7] = [
    "-r",
    "--part-size",
    "5M",
    "--multipart-threshold",
    "5M",
    "--transfers",
    "1",
];

/// A version of an object on S3, to be told by everything that it is.
fn version(key: &str, number: u64, size: u64) -> ObjectSpec {
    ObjectSpec::new(key, number, size)
        .metadata("version", number.to_string())
        .tag("version", number.to_string())
        .header("content_type", format!("text/x-{number}"))
}

/// Whether an object is wholly this version of [`KEY`].
fn is_version(found: &Object, number: u64, size: u64) -> bool {
    let text = number.to_string();
    found.holds(version(KEY, number, size).body())
        && found.metadata.get("version") == Some(&text)
        && found.tags.get("version") == Some(&text)
        && found.content_type.as_deref() == Some(&format!("text/x-{number}"))
}

/// Neighbours of the object in its bundle, before and after it.
const NEIGHBOURS: [&str; 2] = ["a", "z"];

/// Where an object of S3 goes.
#[derive(Clone, Copy, Debug)]
enum To {
    OtherServer,
    SameService,
    Disk,
}

const EVERYWHERE: [To; 3] = [To::OtherServer, To::SameService, To::Disk];
const STREAMED: [To; 2] = [To::OtherServer, To::Disk];

impl To {
    /// A pair whose source has version 1 of the object, of `size` bytes, and its neighbours.
    fn bench(self, size: u64) -> Proxied {
        let pair = match self {
            Self::OtherServer => Pair::new(Kind::S3ToS3),
            Self::Disk => Pair::new(Kind::S3ToDisk),
            Self::SameService => Pair::in_one_service(),
        };
        let neighbours = NEIGHBOURS.map(|key| version(key, 1, 1000));
        pair.source.bucket().put(&neighbours);
        pair.source.bucket().put(&[version(KEY, 1, size)]);
        Proxied::of(pair)
    }

    /// The request that takes the bytes of a whole object, and of a part.
    fn takes(self, size: u64) -> Op {
        match self {
            Self::OtherServer | Self::Disk => Op::Get,
            Self::SameService if size == LARGE => Op::UploadPartCopy,
            Self::SameService => Op::Copy,
        }
    }
}

/// Copies, and overwrites the object with version 2 while a request of `rule` is held.
fn changed_at(bench: &Proxied, rule: Rule, fault: fn(Gate) -> Fault, size: u64) -> Finished {
    let gate = Gate::new();
    bench
        .source()
        .set_plan(Plan::new(0).rule(rule.key(KEY).fault(fault(gate.clone()))));
    let running = bench.pair.start("cp", "", "", &FLAGS).held_at(&gate);
    bench.pair.source.bucket().put(&[version(KEY, 2, size)]);
    gate.open();
    running.wait()
}

/// Which version, of these sizes, is wholly at the destination; panics if none is.
#[track_caller]
fn arrived(bench: &Proxied, sizes: [u64; 2]) -> u64 {
    let (one, two) = (sizes[0], sizes[1]);
    let found = match &bench.pair.destination {
        Place::S3(bucket) => {
            assert!(bucket.uploads().is_empty(), "no upload is left");
            let found = bucket.get(KEY).unwrap();
            let versions = [(1, one), (2, two)];
            let is = versions
                .into_iter()
                .find(|(number, size)| is_version(&found, *number, *size));
            is.unwrap_or_else(|| panic!("neither version: {found:?}")).0
        }
        Place::Disk(tree) => {
            let found = &tree.digests()[KEY];
            let versions = [(1, one), (2, two)];
            let is = versions
                .into_iter()
                .find(|(number, size)| *found == (*size, Body::new(*number, *size).sha256()));
            is.unwrap_or_else(|| panic!("neither version: {found:?}")).0
        }
    };
    let keys = bench.pair.destination.keys();
    assert_eq!(
        keys,
        [NEIGHBOURS[0], KEY, NEIGHBOURS[1]],
        "and nothing else"
    );
    found
}

/// Asserts that the object is reported and not there, and its neighbours are.
#[track_caller]
fn assert_reported(bench: &Proxied, finished: &Finished) {
    finished.assert_code(1);
    let named = finished.stdout.contains(KEY) || finished.stderr.contains(KEY);
    assert!(named, "{finished}");
    assert_eq!(bench.pair.destination.keys(), NEIGHBOURS, "{finished}");
    if let Place::S3(bucket) = &bench.pair.destination {
        assert!(bucket.uploads().is_empty(), "no upload is left");
    }
}

#[test]
fn changed_before_it_is_read() {
    for to in EVERYWHERE {
        let bench = to.bench(SMALL);
        let rule = Rule::on(to.takes(SMALL)).nth(1);
        changed_at(&bench, rule, Fault::HoldRequest, SMALL).assert_code(0);
        assert_eq!(arrived(&bench, [SMALL; 2]), 2, "{to:?}");
    }
}

#[test]
fn changed_while_its_bytes_come() {
    for to in STREAMED {
        let bench = to.bench(SMALL);
        let hold = |gate| Fault::HoldResponse { after: MIB, gate };
        changed_at(&bench, Rule::on(Op::Get).nth(1), hold, SMALL).assert_code(0);
        let _ = arrived(&bench, [SMALL; 2]);
    }
}

#[test]
fn changed_after_the_service_copied_it() {
    let bench = To::SameService.bench(SMALL);
    let rule = Rule::on(Op::Copy).nth(1);
    changed_at(&bench, rule, Fault::HoldReply, SMALL).assert_code(0);
    let _ = arrived(&bench, [SMALL; 2]);
}

#[test]
fn changed_between_its_parts() {
    for to in EVERYWHERE {
        let bench = to.bench(LARGE);
        let rule = Rule::on(to.takes(LARGE)).nth(2);
        changed_at(&bench, rule, Fault::HoldRequest, LARGE).assert_code(0);
        assert_eq!(arrived(&bench, [LARGE; 2]), 2, "{to:?}");
    }
}

#[test]
fn changed_and_the_old_upload_cannot_be_aborted_until_cleanup() {
    let bench = To::OtherServer.bench(LARGE);
    let refuse = Fault::Refuse {
        status: 403,
        code: "AccessDenied",
    };
    bench
        .destination()
        .set_plan(Plan::new(0).rule(Rule::on(Op::Abort).fault(refuse)));
    let rule = Rule::on(Op::Get).nth(2);
    let finished = changed_at(&bench, rule, Fault::HoldRequest, LARGE);
    finished.assert_code(0);
    assert!(
        finished.to_string().contains("skyhaul cleanup"),
        "{finished}"
    );
    assert_eq!(bench.pair.destination.bucket().uploads().len(), 1);
    // Refused again: nothing is forgotten that is still open.
    let cleanup = |code| {
        let cleaned = bench.pair.cli.run(&["cleanup", "--all"]);
        cleaned.assert_code(code);
    };
    cleanup(1);
    assert_eq!(bench.pair.destination.bucket().uploads().len(), 1);
    bench.heal();
    cleanup(0);
    assert_eq!(arrived(&bench, [LARGE; 2]), 2);
}

#[test]
fn changed_between_its_head_and_its_first_part() {
    for to in EVERYWHERE {
        let bench = to.bench(LARGE);
        let rule = Rule::on(to.takes(LARGE)).nth(1);
        changed_at(&bench, rule, Fault::HoldRequest, LARGE).assert_code(0);
        assert_eq!(arrived(&bench, [LARGE; 2]), 2, "{to:?}");
    }
}

#[test]
fn changed_from_parts_to_one_piece_and_back() {
    for to in EVERYWHERE {
        for sizes in [[LARGE, SMALL], [SMALL, LARGE], [LARGE, 0], [0, LARGE]] {
            let bench = to.bench(sizes[0]);
            let rule = Rule::on(to.takes(sizes[0])).nth(1);
            changed_at(&bench, rule, Fault::HoldRequest, sizes[1]).assert_code(0);
            assert_eq!(arrived(&bench, sizes), 2, "{to:?} {sizes:?}");
        }
    }
}

#[test]
fn changed_between_its_bytes_and_its_tags() {
    for size in [SMALL, LARGE] {
        let bench = To::OtherServer.bench(size);
        let rule = Rule::on(Op::GetTagging).nth(1);
        changed_at(&bench, rule, Fault::HoldRequest, size).assert_code(0);
        let _ = arrived(&bench, [size; 2]);
    }
}

#[test]
fn changed_before_its_completion() {
    for size in [SMALL, LARGE] {
        let bench = To::OtherServer.bench(size);
        let gate = Gate::new();
        let rule = Rule::on_any(&[Op::Put, Op::Complete]).key(KEY);
        let plan = Plan::new(0).rule(rule.fault(Fault::HoldRequest(gate.clone())));
        bench.destination().set_plan(plan);
        let running = bench.pair.start("cp", "", "", &FLAGS).held_at(&gate);
        bench.pair.source.bucket().put(&[version(KEY, 2, size)]);
        gate.open();
        running.wait().assert_code(0);
        assert_eq!(arrived(&bench, [size; 2]), 1, "all of it was read before");
    }
}

/// A plan that holds each request of `rule` at a gate of its own.
fn hold_each(rule: &Rule) -> (Plan, Vec<Gate>) {
    let gates: Vec<_> = (0..20).map(|_| Gate::new()).collect();
    let plan = gates.iter().fold(Plan::new(0), |plan, gate| {
        plan.rule(rule.clone().nth(1).fault(Fault::HoldRequest(gate.clone())))
    });
    (plan, gates)
}

/// Makes a change whenever a request comes to a gate, until the command ends.
fn keep_changing(mut running: Running, gates: &[Gate], change: impl Fn(u64)) -> Finished {
    for (gate, number) in gates.iter().zip(2..) {
        skyhaul_tests::eventually("a request at the gate, or the end", PATIENCE, || {
            (gate.arrivals() > 0 || !running.runs()).then_some(())
        });
        if !running.runs() {
            break;
        }
        change(number);
        gate.open();
    }
    running.wait()
}

#[test]
fn changed_each_time_it_is_read() {
    for to in EVERYWHERE {
        for size in [SMALL, LARGE] {
            let bench = to.bench(size);
            let (plan, gates) = hold_each(&Rule::on(to.takes(size)).key(KEY));
            bench.source().set_plan(plan);
            let running = bench.pair.start("cp", "", "", &FLAGS);
            let source = bench.pair.source.bucket();
            let change = |number| source.put(&[version(KEY, number, size)]);
            let finished = keep_changing(running, &gates, change);
            assert_reported(&bench, &finished);
        }
    }
}

#[test]
fn deleted_before_it_is_read() {
    for to in EVERYWHERE {
        for size in [SMALL, LARGE] {
            let bench = to.bench(size);
            let gate = Gate::new();
            let rule = Rule::on(to.takes(size)).key(KEY).nth(1);
            let hold = rule.fault(Fault::HoldRequest(gate.clone()));
            bench.source().set_plan(Plan::new(0).rule(hold));
            let running = bench.pair.start("cp", "", "", &FLAGS).held_at(&gate);
            bench.pair.source.bucket().delete(&[KEY]);
            gate.open();
            assert_reported(&bench, &running.wait());
        }
    }
}

/// Kills the copy while a request is held, overwrites the object, goes on.
fn changed_while_nobody_works(bench: &Proxied, held: Rule, at_source: bool, size: u64) -> Finished {
    let gate = Gate::new();
    let proxy = if at_source {
        bench.source()
    } else {
        bench.destination()
    };
    let plan = Plan::new(0).rule(held.key(KEY).fault(Fault::HoldRequest(gate.clone())));
    proxy.set_plan(plan);
    let running = bench.pair.start("cp", "", "", &FLAGS).held_at(&gate);
    let _ = running.kill();
    bench.heal();
    bench.pair.source.bucket().put(&[version(KEY, 2, size)]);
    bench.pair.cli.run(&["resume", "--transfers", "1"])
}

#[test]
fn changed_between_kill_and_resume() {
    for to in EVERYWHERE {
        for size in [SMALL, LARGE] {
            let bench = to.bench(size);
            let nth = if size == LARGE { 2 } else { 1 };
            let rule = Rule::on(to.takes(size)).nth(nth);
            changed_while_nobody_works(&bench, rule, true, size).assert_code(0);
            assert_eq!(arrived(&bench, [size; 2]), 2, "{to:?} {size}");
        }
    }
}

#[test]
fn changed_between_kill_and_resume_when_all_parts_are_written() {
    for to in [To::OtherServer, To::SameService] {
        let bench = to.bench(LARGE);
        let resumed = changed_while_nobody_works(&bench, Rule::on(Op::Complete), false, LARGE);
        resumed.assert_code(0);
        let _ = arrived(&bench, [LARGE; 2]);
    }
}

/// A way to change a local file; gives what it holds afterwards.
type Way = (&'static str, fn(&Tree, u64) -> Body);

/// Writes over a file of the same size by one call: emptied first, it would be an empty file for a
/// moment, which is a version like any other.
fn rewrite(tree: &Tree, body: Body) {
    let bytes = body.bytes();
    let mut file = File::options().write(true).open(tree.path(KEY)).unwrap();
    file.write_all(&bytes).unwrap();
}

const WAYS: [Way; 6] = [
    ("rewritten in place", |tree, size| {
        rewrite(tree, Body::new(2, size));
        Body::new(2, size)
    }),
    ("rewritten in place, the time put back", |tree, size| {
        let Entry::File { mtime_ns, .. } = tree.snapshot()[KEY] else {
            panic!("a file");
        };
        rewrite(tree, Body::new(2, size));
        tree.set_mtime(KEY, mtime_ns.try_into().unwrap());
        Body::new(2, size)
    }),
    ("truncated", |tree, size| {
        let file = File::options().write(true).open(tree.path(KEY)).unwrap();
        file.set_len(size - 1000).unwrap();
        Body::new(1, size - 1000)
    }),
    ("emptied", |tree, _| {
        tree.write(KEY, Body::new(1, 0));
        Body::new(1, 0)
    }),
    ("appended to", |tree, size| {
        let longer = Body::new(1, size + 1000);
        let mut file = File::options().append(true).open(tree.path(KEY)).unwrap();
        file.write_all(&longer.bytes()[size as usize..]).unwrap();
        longer
    }),
    ("replaced", |tree, size| {
        let other = Tree::new();
        other.write(KEY, Body::new(2, size));
        fs::copy(other.path(KEY), tree.path("..new")).unwrap();
        fs::rename(tree.path("..new"), tree.path(KEY)).unwrap();
        Body::new(2, size)
    }),
];

/// A pair whose source tree has version 1 of the object, and its neighbours.
fn from_disk(kind: Kind, size: u64) -> Proxied {
    let bench = Proxied::new(kind);
    let one = Body::new(1, size);
    let small = Body::new(1, 1000);
    bench
        .pair
        .source
        .write(&[(NEIGHBOURS[0], small), (KEY, one), (NEIGHBOURS[1], small)]);
    bench
}

/// Asserts that the file arrived as it is now, and that nothing is left to be done.
#[track_caller]
fn assert_as_it_is_now(bench: &Proxied, now: Body, how: &str) {
    let found = bench.pair.destination.contents();
    assert_eq!(found[KEY], (now.size, now.sha256()), "{how}");
    bench.pair.assert_equal();
    if let Place::S3(bucket) = &bench.pair.destination {
        assert!(bucket.uploads().is_empty(), "{how}: no upload is left");
    }
    // The time that was stored belongs to these bytes.
    assert!(bench.pair.sync(&[]).copied().is_empty(), "{how}");
}

#[test]
fn changed_file_before_it_is_read() {
    for (how, change) in WAYS {
        let bench = from_disk(Kind::DiskToS3, SMALL);
        let gate = Gate::new();
        // Its neighbour is being written, the file was listed and waits.
        let rule = Rule::on(Op::Put).key(NEIGHBOURS[0]);
        let plan = Plan::new(0).rule(rule.nth(1).fault(Fault::HoldRequest(gate.clone())));
        bench.destination().set_plan(plan);
        let running = bench.pair.start("cp", "", "", &FLAGS).held_at(&gate);
        let now = change(bench.pair.source.tree(), SMALL);
        gate.open();
        running.wait().assert_code(0);
        assert_as_it_is_now(&bench, now, how);
    }
}

#[test]
fn changed_file_between_its_parts() {
    for (how, change) in WAYS {
        let bench = from_disk(Kind::DiskToS3, LARGE);
        let gate = Gate::new();
        let rule = Rule::on(Op::UploadPart).key(KEY).nth(1);
        let plan = Plan::new(0).rule(rule.fault(Fault::HoldRequest(gate.clone())));
        bench.destination().set_plan(plan);
        let running = bench.pair.start("cp", "", "", &FLAGS).held_at(&gate);
        let now = change(bench.pair.source.tree(), LARGE);
        gate.open();
        running.wait().assert_code(0);
        assert_as_it_is_now(&bench, now, how);
    }
}

#[test]
fn changed_file_between_kill_and_resume() {
    for (how, change) in WAYS {
        let bench = from_disk(Kind::DiskToS3, LARGE);
        let gate = Gate::new();
        let rule = Rule::on(Op::UploadPart).key(KEY).nth(2);
        let plan = Plan::new(0).rule(rule.fault(Fault::HoldRequest(gate.clone())));
        bench.destination().set_plan(plan);
        let running = bench.pair.start("cp", "", "", &FLAGS).held_at(&gate);
        let _ = running.kill();
        bench.heal();
        let now = change(bench.pair.source.tree(), LARGE);
        bench
            .pair
            .cli
            .run(&["resume", "--transfers", "1"])
            .assert_code(0);
        assert_as_it_is_now(&bench, now, how);
    }
}

#[test]
fn changed_file_each_time_it_is_read() {
    let bench = from_disk(Kind::DiskToS3, LARGE);
    let (plan, gates) = hold_each(&Rule::on(Op::UploadPart).key(KEY));
    bench.destination().set_plan(plan);
    let running = bench.pair.start("cp", "", "", &FLAGS);
    let tree = bench.pair.source.tree();
    // Whole at once: of a file that is half written nobody can tell that it will grow.
    let spare = Tree::new();
    let change = |number| {
        spare.write(KEY, Body::new(number, LARGE));
        fs::rename(spare.path(KEY), tree.path(KEY)).unwrap();
    };
    let finished = keep_changing(running, &gates, change);
    assert_reported(&bench, &finished);
}

#[test]
fn changed_file_between_disks() {
    // Nothing can be held between disks: the rate is limited, and the change comes when the first
    // bytes have been written.
    for (how, change) in WAYS {
        let bench = from_disk(Kind::DiskToDisk, LARGE);
        let flags = [&FLAGS[..], &["--bwlimit", "12M"]].concat();
        let running = bench.pair.start("cp", "", "", &flags);
        let destination = bench.pair.destination.tree();
        let begun = || {
            let names = fs::read_dir(destination.root()).unwrap();
            let mut names = names.map(|entry| entry.unwrap().file_name());
            names
                .any(|name| name.to_string_lossy().starts_with(".skyhaul-"))
                .then_some(())
        };
        skyhaul_tests::eventually("a temporary file", PATIENCE, begun);
        let now = change(bench.pair.source.tree(), LARGE);
        running.wait().assert_code(0);
        let found = &bench.pair.destination.contents()[KEY];
        let old = (LARGE, Body::new(1, LARGE).sha256());
        assert!(
            *found == (now.size, now.sha256()) || *found == old,
            "{how}: {found:?}"
        );
        assert_eq!(
            bench.pair.destination.keys(),
            bench.pair.source.keys(),
            "{how}"
        );
    }
}
