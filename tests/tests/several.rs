//! Copies to several destinations at once: each has everything, and the source was read once.
#![allow(clippy::unwrap_used)] // helpers of tests stop at the first surprise, as tests do

use skyhaul_tests::cli::{Finished, PATIENCE, Running};
use skyhaul_tests::data::Body;
use skyhaul_tests::eventually;
use skyhaul_tests::fault::{Fault, Op, Plan, Rule};
use skyhaul_tests::gateways::{self, Gateway};
use skyhaul_tests::oracle::Bucket;
use skyhaul_tests::pair::{Kind, Pair, Place};
use skyhaul_tests::proxied::Proxied;
use skyhaul_tests::servers::servers;
use skyhaul_tests::tree::Tree;

const MIB: u64 = 1 << 20;

const FLAGS: &[&str] = &[
    "-r",
    "--part-size",
    "5M",
    "--multipart-threshold",
    "5M",
    "--json",
];

const RELAYED: &[&str] = &["--gateways", "1", "--relay", "--compress", "none"];

/// A bucket to be read, two to be written in one place, and a folder.
struct Bench {
    proxied: Proxied,
    more: Place,
    disk: Place,
}

impl Bench {
    fn new() -> Self {
        Self {
            proxied: Proxied::new(Kind::S3ToS3),
            more: Place::S3(Bucket::create(&servers().dst, "more")),
            disk: Place::Disk(Tree::new()),
        }
    }

    fn pair(&self) -> &Pair {
        &self.proxied.pair
    }

    fn places(&self) -> [&Place; 3] {
        [&self.pair().destination, &self.more, &self.disk]
    }

    fn fill(&self, large: u64, small: u64) -> u64 {
        let mut objects = vec![
            ("d/large".to_owned(), Body::new(1, large)),
            ("d/empty".to_owned(), Body::new(2, 0)),
        ];
        let name = |n| (format!("d/small/{n:04}"), Body::new(3 + n, 30_000 + n));
        objects.extend((0..small).map(name));
        let named = objects.iter().map(|(name, body)| (name.as_str(), *body));
        let named: Vec<_> = named.collect();
        self.pair().source.write(&named);
        named.iter().map(|(_, body)| body.size).sum()
    }

    /// Copies `from` to `to` at each of the three.
    fn start(&self, from: &str, to: [&str; 3], flags: &[&[&str]]) -> Running {
        let mut arguments = vec!["cp".to_owned(), self.pair().source.uri(from)];
        let places = self.places().into_iter().zip(to);
        arguments.extend(places.map(|(place, to)| place.uri(to)));
        arguments.extend(self.pair().flags());
        arguments.extend(flags.concat().iter().map(ToString::to_string));
        self.pair().cli.start(&arguments)
    }

    fn copy(&self, flags: &[&[&str]]) -> Finished {
        self.start("d", ["one", "two/two", ""], flags).wait()
    }

    /// Asserts that each of the three has all under its own name, and nothing else.
    #[track_caller]
    fn assert_whole(&self, ended: &Finished) {
        ended.assert_code(0);
        let all = self.pair().source.contents_under("d/");
        for (place, prefix) in self.places().into_iter().zip(["one/", "two/two/", ""]) {
            assert_eq!(place.contents_under(prefix), all, "{prefix}");
            assert_eq!(place.contents().len(), all.len(), "{prefix}");
        }
        self.assert_nothing_left();
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        assert_eq!(gateways::of(&self.pair().cli), []);
        for place in [&self.pair().destination, &self.more] {
            assert_eq!(place.bucket().uploads(), []);
        }
    }

    /// How often each byte of the source was read.
    fn read(&self, bytes: u64) -> f64 {
        self.proxied.source().log().received(Op::Get) as f64 / bytes as f64
    }
}

#[test]
fn several_destinations_have_all_and_the_source_is_read_once() {
    let bench = Bench::new();
    let bytes = bench.fill(23 * MIB, 50);
    let ended = bench.copy(&[FLAGS]);
    bench.assert_whole(&ended);
    assert!(bench.read(bytes) < 1.01, "read {} times", bench.read(bytes));
    let log = bench.proxied.destination().log();
    let written = log.sent(Op::Put) + log.sent(Op::UploadPart);
    assert!(written >= 2 * bytes, "{written} of {bytes}");
}

#[test]
fn gateways_send_once_what_is_for_several() {
    let bench = Bench::new();
    let bytes = bench.fill(23 * MIB, 50);
    let ended = bench.copy(&[FLAGS, RELAYED]);
    bench.assert_whole(&ended);
    assert!(bench.read(bytes) < 1.01, "read {} times", bench.read(bytes));
    // The edge to the relay is all that source gateways send over: once, for three destinations.
    let summary = ended.events().pop().unwrap();
    let sent = &summary["gateways"];
    let [logical, wire] = ["logical_bytes", "wire_bytes"].map(|name| sent[name].as_f64().unwrap());
    let times = |sent: f64| sent / bytes as f64;
    assert!((3.0..3.01).contains(&times(logical)), "{summary}");
    assert!(times(wire) < 1.05, "{summary}");
}

#[test]
fn heavy_several_destinations_survive_the_loss_of_any_gateway() {
    for victim in ["src-1", "relay-1", "dst-1-1", "dst-2-1"] {
        let bench = Bench::new();
        bench.fill(100 * MIB, 200);
        let running = bench.start("d", ["one", "two/two", ""], &[FLAGS, RELAYED]);
        eventually("some bytes have moved", PATIENCE, || {
            (bench.proxied.moved() >= 20 * MIB).then_some(())
        });
        let there = gateways::of(&bench.pair().cli);
        let found = there.iter().find(|gateway| gateway.name == victim);
        found.map(Gateway::kill).unwrap();
        bench.assert_whole(&running.wait());
    }
}

#[test]
fn several_destinations_are_finished_after_a_kill() {
    let bench = Bench::new();
    bench.fill(60 * MIB, 100);
    let flags = [FLAGS, &["--bwlimit", "20M"]].concat();
    let running = bench.start("d", ["one", "two/two", ""], &[&flags]);
    eventually("some bytes have moved", PATIENCE, || {
        (bench.proxied.moved() >= 20 * MIB).then_some(())
    });
    let _killed = running.kill();
    bench.assert_whole(&bench.copy(&[FLAGS]));
}

#[test]
fn several_destinations_survive_what_one_refuses_for_a_while() {
    let bench = Bench::new();
    bench.fill(23 * MIB, 50);
    let storm = |op, times| {
        Rule::on(op)
            .key("two/")
            .at_most(times)
            .fault(Fault::InternalError)
    };
    let plan = Plan::new(1)
        .rule(storm(Op::Put, 5))
        .rule(storm(Op::UploadPart, 3));
    let plan = plan
        .rule(storm(Op::CreateUpload, 1))
        .rule(storm(Op::Complete, 1));
    bench.proxied.destination().set_plan(plan);
    bench.assert_whole(&bench.copy(&[FLAGS]));
}

#[test]
fn several_destinations_tell_what_one_lacks() {
    let bench = Bench::new();
    bench
        .pair()
        .source
        .write(&[("d/a", Body::new(1, 10)), ("d/b", Body::new(2, 10))]);
    bench.disk.tree().directory("a");
    let ended = bench.copy(&[FLAGS]);
    ended.assert_code(1);
    let summary = ended.events().pop().unwrap();
    let failures = summary["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 1, "{summary}");
    let message = failures[0]["error"]["message"].as_str().unwrap();
    assert!(message.contains(&bench.disk.uri("a")), "{message}");
    assert_eq!(bench.disk.keys(), ["a/", "b"]);
    bench.assert_nothing_left();
}

#[test]
fn several_destinations_have_nothing_left_of_what_one_refuses_for_good() {
    let bench = Bench::new();
    bench.fill(11 * MIB, 20);
    let refused = Fault::Refuse {
        status: 403,
        code: "AccessDenied",
    };
    let on = |op, key| Rule::on(op).key(key).fault(refused.clone());
    let plan = Plan::new(1).rule(on(Op::Put, "one/small/0003"));
    let plan = plan.rule(on(Op::UploadPart, "two/two/large"));
    bench.proxied.destination().set_plan(plan);
    let ended = bench.copy(&[FLAGS]);
    ended.assert_code(1);
    let summary = ended.events().pop().unwrap();
    assert_eq!(summary["failed"], 2, "{summary}");
    // All others are everywhere, and no temporary file is anywhere.
    let mut wanted = bench.pair().source.contents_under("d/");
    for key in ["small/0003", "large"] {
        wanted.remove(key);
    }
    let mut disk = bench.disk.contents();
    disk.remove("small/0003");
    assert_eq!(disk, wanted);
    bench.assert_nothing_left();
}

#[test]
fn several_destinations_are_no_second_source() {
    let tree = Tree::new();
    for name in ["a", "b", "d/a", "e/b"] {
        tree.write(name, Body::new(1, 10));
    }
    let before = tree.digests();
    let cli = skyhaul_tests::cli::Cli::new();
    let to = Tree::new();
    for (flags, one, other) in [(&[][..], "a", "b"), (&["-r"][..], "d", "e")] {
        let places = [tree.uri(one), tree.uri(other), to.uri("")];
        let mut arguments = vec!["cp"];
        arguments.extend(flags);
        arguments.extend(places.iter().map(String::as_str));
        let ended = cli.run(&arguments);
        ended.assert_code(2);
        assert!(ended.stderr.contains("a copy has one source"), "{ended}");
    }
    assert_eq!(tree.digests(), before);
    assert!(to.digests().is_empty());
    // A slash says that it is meant.
    let (from, other, to) = (tree.uri("d"), tree.uri("e/"), to.uri(""));
    cli.run(&["cp", "-r", &from, &other, &to]).assert_code(0);
    assert!(tree.has("e/a") && tree.has("e/b"));
}

#[test]
fn several_destinations_may_call_one_object_differently() {
    let bench = Bench::new();
    let body = Body::new(1, 11 * MIB);
    bench.pair().source.write(&[("d/obj", body)]);
    let to = ["name", "dir/", "file"];
    for flags in [&FLAGS[1..], &[&FLAGS[1..], RELAYED].concat()] {
        bench.start("d/obj", to, &[flags]).wait().assert_code(0);
        for (place, key) in bench.places().into_iter().zip(["name", "dir/obj", "file"]) {
            assert_eq!(place.keys(), [key]);
            assert_eq!(place.contents()[key].1, body.sha256());
            place.remove(key);
        }
    }
    bench.assert_nothing_left();
}

#[test]
fn several_destinations_are_shown_before_anything_is_done() {
    let bench = Bench::new();
    bench.pair().source.write(&[("d/a", Body::new(1, 10))]);
    let ended = bench.copy(&[&["-r", "--dry-run"]]);
    ended.assert_code(0);
    for (place, key) in bench.places().into_iter().zip(["one/a", "two/two/a", "a"]) {
        let wanted = format!("-> {} (10 B)", place.uri(key));
        assert!(ended.stdout.contains(&wanted), "{wanted}: {ended}");
        assert!(place.keys().is_empty());
    }
}

#[test]
fn several_destinations_that_would_harm_each_other_are_refused() {
    let pair = Pair::new(Kind::S3ToS3);
    pair.source.write(&[("d/a", Body::new(1, 10))]);
    let uri = |to| pair.destination.uri(to);
    let refused = |destinations: &[String], flags: &[&str], why: &str| {
        let mut arguments = vec!["cp".to_owned(), "-r".to_owned(), pair.source.uri("d")];
        arguments.extend_from_slice(destinations);
        arguments.extend(pair.flags());
        arguments.extend(flags.iter().map(ToString::to_string));
        let ended = pair.cli.run(&arguments);
        ended.assert_code(2);
        assert!(ended.stderr.contains(why), "{why}: {ended}");
    };
    refused(&[uri("x"), uri("x/")], &[], "two destinations are the same");
    refused(
        &[uri("x"), uri("x/y")],
        &[],
        "one destination is inside another",
    );
    refused(&[uri("x"), uri("y")], &["--if-exists", "skip"], "overwrite");
    let many: Vec<_> = (0..9)
        .map(|n| pair.destination.uri(&n.to_string()))
        .collect();
    refused(&many, &[], "9 destinations are too many");
    assert!(pair.destination.keys().is_empty());
}
