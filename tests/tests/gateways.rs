//! Copies through gateways, processes of this machine: everything arrives, whoever of them dies,
//! and none of them is left.
#![allow(clippy::unwrap_used)] // helpers of tests stop at the first surprise, as tests do

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use skyhaul_tests::cli::Finished;
use skyhaul_tests::cli::PATIENCE;
use skyhaul_tests::data::Body;
use skyhaul_tests::eventually;
use skyhaul_tests::fault::Op;
use skyhaul_tests::gateways::{self, Gateway};
use skyhaul_tests::inspect;
use skyhaul_tests::pair::{Kind, Pair, Place};
use skyhaul_tests::proxied::Proxied;

const MIB: u64 = 1 << 20;

const FLAGS: &[&str] = &[
    "-r",
    "--part-size",
    "5M",
    "--multipart-threshold",
    "5M",
    "--transfers",
    "4",
    "--json",
];

const TWO: &[&str] = &["--gateways", "2"];
const RELAYED: &[&str] = &["--gateways", "2", "--relay"];

/// Names and bodies: one large object, `small` small ones, an empty one.
fn objects(large: u64, small: u64) -> Vec<(String, Body)> {
    let mut objects = vec![
        ("large".to_owned(), Body::new(1, large)),
        ("empty".to_owned(), Body::new(2, 0)),
    ];
    let name = |n| (format!("small/{n:04}"), Body::new(3 + n, 30_000 + n));
    objects.extend((0..small).map(name));
    objects
}

fn write(place: &Place, objects: &[(String, Body)]) {
    let named: Vec<_> = objects
        .iter()
        .map(|(name, body)| (name.as_str(), *body))
        .collect();
    place.write(&named);
}

/// Asserts that the command succeeded, and that what was wanted is at the destination, nothing else,
/// and no gateway and no open upload is left.
#[track_caller]
fn assert_whole(pair: &Pair, ended: &Finished) {
    ended.assert_code(0);
    pair.assert_equal();
    assert_nothing_left(pair);
}

#[track_caller]
fn assert_nothing_left(pair: &Pair) {
    assert_eq!(gateways::of(&pair.cli), []);
    // On a disk whatever is left is one more file than was wanted.
    if let Place::S3(bucket) = &pair.destination {
        assert_eq!(bucket.uploads(), []);
    }
}

#[test]
fn gateways_copy_between_all_pairs() {
    Pair::each(|pair| {
        write(&pair.source, &objects(23 * MIB, 200));
        let ended = pair.run("cp", "", "", &[FLAGS, RELAYED].concat());
        assert_whole(pair, &ended);
        let summary = ended.events().pop().unwrap();
        let sent = &summary["gateways"];
        let logical = sent["logical_bytes"].as_u64().unwrap();
        assert!(logical >= 23 * MIB, "{summary}");
    });
}

#[test]
fn gateways_sync_and_find_nothing_more_to_do() {
    let pair = Pair::new(Kind::S3ToS3);
    write(&pair.source, &objects(11 * MIB, 50));
    let flags = [&FLAGS[1..], TWO].concat();
    assert_whole(&pair, &pair.run("sync", "", "", &flags));
    let again = pair.report("sync", "", "", &flags);
    assert_whole(&pair, &again.finished);
    assert_eq!(again.copied(), Vec::<&str>::new());
}

/// One object is one group, and whoever claims it has all the work until it is split.
#[test]
fn gateways_share_a_group_when_one_of_them_has_nothing_to_do() {
    let pair = Pair::new(Kind::DiskToS3);
    write(
        &pair.source,
        &[("large".to_owned(), Body::new(1, 60 * MIB))],
    );
    // Slow enough that it takes seconds.
    let flags = [&["--bwlimit", "20M"], FLAGS, TWO].concat();
    let ended = pair.run("cp", "", "", &flags);
    assert_whole(&pair, &ended);
    let id = inspect::id(&pair.cli);
    let top = inspect::top(&pair.cli, &id);
    for gateway in top["gateways"].as_array().unwrap() {
        if gateway["role"] == "source" {
            let sent = gateway["logical_bytes"].as_u64().unwrap();
            assert!(sent >= 5 * MIB, "{gateway} sent next to nothing");
        }
    }
    assert_eq!(top["chunks"]["done"], 12, "{top}");
    let chunks = inspect::chunks(&pair.cli, &id, &[]);
    let mut parts: Vec<_> = chunks
        .iter()
        .map(|chunk| chunk["part"].as_u64().unwrap())
        .collect();
    parts.sort_unstable();
    assert_eq!(parts, (1..=12).collect::<Vec<_>>(), "each part once");
    let groups: std::collections::BTreeSet<_> =
        chunks.iter().map(|chunk| chunk["group"].as_str()).collect();
    assert!(groups.len() > 1, "{groups:?}");
}

#[test]
fn gateways_leave_no_failure_unnamed() {
    let pair = Pair::new(Kind::S3ToDisk);
    pair.source
        .write(&[("a", Body::new(1, 10)), ("b", Body::new(2, 10))]);
    pair.destination.tree().directory("a");
    let ended = pair.run("cp", "", "", &[FLAGS, TWO].concat());
    ended.assert_code(1);
    let summary = ended.events().pop().unwrap();
    let failures = summary["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 1, "{summary}");
    assert_eq!(failures[0]["destination_key"], "a", "{summary}");
    assert_eq!(gateways::of(&pair.cli), []);
}

/// How many gateways of which role are killed at once.
struct Loss {
    kind: Kind,
    of: &'static str,
    all: bool,
}

/// Copies, and kills gateways at a random moment.
#[track_caller]
fn survives(loss: &Loss, runs: u32) {
    let mut random = StdRng::seed_from_u64(skyhaul_tests::seed());
    // What is under way, two parts of 5 MiB of each source, is little of all, as it is at scale.
    let objects = objects(100 * MIB, 400);
    let flags = [&["--transfers", "2"], &FLAGS[..5], &FLAGS[7..], RELAYED].concat();
    let bytes: u64 = objects.iter().map(|(_, body)| body.size).sum();
    let mut shares = Vec::new();
    for _ in 0..runs {
        let bench = Proxied::new(loss.kind);
        let pair = &bench.pair;
        write(&pair.source, &objects);
        let running = pair.start("cp", "", "", &flags);
        let victims = eventually("gateways of that role", PATIENCE, || {
            let mut found = gateways::of(&pair.cli);
            found.retain(|gateway: &Gateway| gateway.name.starts_with(loss.of));
            (!found.is_empty()).then_some(found)
        });
        let moved = random.random_range(0..bytes);
        eventually("enough bytes have moved", PATIENCE, || {
            (bench.moved() >= moved || gateways::of(&pair.cli).is_empty()).then_some(())
        });
        let victims = if loss.all {
            &victims[..]
        } else {
            &victims[..1]
        };
        victims.iter().for_each(Gateway::kill);
        assert_whole(pair, &running.wait());
        if let Place::S3(_) = pair.destination {
            let log = bench.destination().log();
            let done = log.of(Op::Complete).filter(|entry| entry.status == 200);
            assert_eq!(done.count(), 1, "the large object is completed once");
        }
        shares.push((bench.moved() as f64 - bytes as f64) / bytes as f64);
    }
    shares.sort_unstable_by(f64::total_cmp);
    assert!(shares[shares.len() / 2] < 0.3, "sent twice: {shares:?}");
}

#[test]
fn heavy_gateways_survive_the_loss_of_a_source() {
    let (of, all) = ("src-", false);
    let kind = Kind::S3ToS3;
    survives(&Loss { kind, of, all }, 3);
}

#[test]
fn heavy_gateways_survive_the_loss_of_a_destination() {
    let (of, all) = ("dst-", false);
    let kind = Kind::S3ToS3;
    survives(&Loss { kind, of, all }, 3);
}

#[test]
fn heavy_gateways_survive_the_loss_of_a_destination_that_writes_to_disk() {
    let (kind, of, all) = (Kind::S3ToDisk, "dst-", false);
    survives(&Loss { kind, of, all }, 3);
}

#[test]
fn heavy_gateways_survive_the_loss_of_the_relay() {
    let (of, all) = ("relay-", false);
    let kind = Kind::S3ToS3;
    survives(&Loss { kind, of, all }, 3);
}

#[test]
fn soak_gateways_survive_ten_losses_of_each_role() {
    let kind = Kind::S3ToS3;
    for of in ["src-", "relay-", "dst-"] {
        survives(
            &Loss {
                kind,
                of,
                all: false,
            },
            10,
        );
    }
}

#[test]
fn heavy_gateways_survive_the_loss_of_all_destinations() {
    let (of, all) = ("dst-", true);
    let kind = Kind::S3ToS3;
    survives(&Loss { kind, of, all }, 2);
}

/// Copies, and has gateways drain in the middle: all they have begun arrives, once, and nobody has to
/// wait for what they held.
#[track_caller]
fn drains(names: &[&str], gateways: &[&str]) {
    let bench = Proxied::new(Kind::S3ToS3);
    let pair = &bench.pair;
    let objects = objects(200 * MIB, 400);
    let bytes: u64 = objects.iter().map(|(_, body)| body.size).sum();
    write(&pair.source, &objects);
    // Slow enough to be in the middle for a while.
    let flags = [FLAGS, gateways, &["--bwlimit", "20M"]].concat();
    let running = pair.start("cp", "", "", &flags);
    eventually("some bytes have moved", PATIENCE, || {
        (bench.moved() >= 10 * MIB).then_some(())
    });
    let there = gateways::of(&pair.cli);
    let drained = there
        .iter()
        .filter(|one| names.contains(&one.name.as_str()));
    drained.for_each(Gateway::terminate);
    assert_whole(pair, &running.wait());
    let log = gateways::logs(&pair.cli);
    for name in names {
        let ended = format!("ended (exit status: 0) and is started anew gateway=\"{name}\"");
        assert!(log.contains(&ended), "{log}");
    }
    assert_eq!(log.matches(" drained").count(), names.len(), "{log}");
    for wrong in ["expired", "is over", "killed"] {
        assert!(!log.contains(wrong), "{wrong}: {log}");
    }
    let twice = bench.moved() as f64 / bytes as f64 - 1.0;
    assert!(twice < 0.01, "sent twice: {twice}");
}

#[test]
fn slow_gateways_that_drain_finish_what_they_have_begun_and_lose_nothing() {
    drains(&["src-1", "dst-1"], TWO);
    drains(&["relay-1"], RELAYED);
}

#[test]
fn slow_gateways_that_hang_lose_their_groups_and_harm_nothing_when_they_wake() {
    // Of two small groups either may have both: one of the two that hang has work.
    hangs("src-1", TWO);
    hangs("src-2", TWO);
}

#[test]
fn slow_gateways_that_hang_alone_are_started_anew() {
    hangs("src-1", &["--gateways", "1"]);
}

/// Copies while a gateway hangs, until all has arrived without it.
#[track_caller]
fn hangs(name: &str, gateways: &[&str]) {
    let bench = Proxied::new(Kind::S3ToS3);
    let pair = &bench.pair;
    write(&pair.source, &objects(150 * MIB, 100));
    let running = pair.start("cp", "", "", &[FLAGS, gateways].concat());
    eventually("some bytes have moved", PATIENCE, || {
        (bench.moved() >= 5 * MIB).then_some(())
    });
    let hung = gateways::of(&pair.cli);
    let hung = hung.iter().find(|gateway| gateway.name == name).unwrap();
    hung.hang();
    // Another one takes what it held, once a term is over, and finishes.
    eventually("all bytes have moved", PATIENCE, || {
        let all = pair.source.contents();
        (pair.destination.contents() == all).then_some(())
    });
    hung.wake();
    assert_whole(pair, &running.wait());
}

/// The command serves the state: while it is stopped no lease can be renewed.
#[test]
fn slow_gateways_survive_a_state_that_does_not_answer_for_longer_than_a_lease() {
    let bench = Proxied::new(Kind::S3ToS3);
    let pair = &bench.pair;
    write(&pair.source, &objects(150 * MIB, 100));
    let running = pair.start("cp", "", "", &[FLAGS, &["--gateways", "1"]].concat());
    eventually("some bytes have moved", PATIENCE, || {
        (bench.moved() >= 5 * MIB).then_some(())
    });
    let command = Gateway {
        name: "the command".to_owned(),
        pid: running.pid(),
    };
    command.hang();
    // This is the fault, not a wait for something.
    std::thread::sleep(Duration::from_secs(20));
    command.wake();
    assert_whole(pair, &running.wait());
}

#[test]
fn gateways_stop_when_the_command_is_killed_and_it_can_be_resumed() {
    let bench = Proxied::new(Kind::S3ToS3);
    let pair = &bench.pair;
    write(&pair.source, &objects(60 * MIB, 100));
    let running = pair.start("cp", "", "", &[FLAGS, TWO].concat());
    eventually("some bytes have moved", PATIENCE, || {
        (bench.moved() >= 20 * MIB).then_some(())
    });
    let _killed = running.kill();
    eventually("all gateways have stopped", Duration::from_mins(1), || {
        gateways::of(&pair.cli).is_empty().then_some(())
    });
    let resumed = pair.cli.run(&["resume", "--gateways", "1", "--json"]);
    assert_whole(pair, &resumed);
}

#[test]
fn gateways_that_cannot_work_fail_the_transfer_with_their_reason() {
    let pair = Pair::new(Kind::DiskToDisk);
    write(&pair.source, &objects(MIB, 3));
    let flags = [FLAGS, &["--relay"]].concat();
    pair.run("cp", "", "", &flags).assert_code(2);
    let (none, many) = (["--gateways", "0"], ["--gateways", "65"]);
    for wrong in [&none, &many] {
        let flags = [FLAGS, wrong].concat();
        pair.run("cp", "", "", &flags).assert_code(2);
    }
    assert_eq!(pair.destination.keys(), Vec::<String>::new());
}
