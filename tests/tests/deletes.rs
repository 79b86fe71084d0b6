//! Deleting syncs that must not delete: whenever one of the two sides was not seen as it is, not one
//! object goes. Counted at the destination, request by request.

use skyhaul_tests::cli::Finished;
use skyhaul_tests::data::Body;
use skyhaul_tests::fault::{Fault, Op, Plan, Rule};
use skyhaul_tests::pair::{Kind, Pair, Place};
use skyhaul_tests::proxied::Proxied;
use skyhaul_tests::tree::Tree;

const BODY: Body = Body { seed: 1, size: 10 };
const TO_S3: [Kind; 2] = [Kind::S3ToS3, Kind::DiskToS3];

/// What only the destination has: before, between and after what both have.
const EXTRA: [&str; 3] = ["a", "k00700x", "z"];

/// A pair in sync but for [`EXTRA`], with more objects than a page of a listing holds.
fn paged(kind: Kind) -> Proxied {
    let mut pair = Pair::new(kind);
    let names: Vec<_> = (0..1_300).map(|number| format!("k{number:05}")).collect();
    let objects: Vec<_> = names.iter().map(|name| (name.as_str(), BODY)).collect();
    if let Place::S3(_) = pair.source {
        // By way of a disk: the command is quicker than the oracle.
        let disk = Place::Disk(Tree::new());
        disk.write(&objects);
        let fill = Pair::of(Kind::DiskToS3, disk, pair.source);
        fill.run("cp", "", "", &["-r"]).assert_code(0);
        pair.source = fill.destination;
    } else {
        pair.source.write(&objects);
    }
    pair.run("cp", "", "", &["-r"]).assert_code(0);
    assert_eq!(pair.destination.keys(), names);
    pair.destination.write(&EXTRA.map(|key| (key, BODY)));
    Proxied::of(pair)
}

/// Asserts that nothing was deleted, nor tried.
#[track_caller]
fn assert_nothing_deleted(bench: &Proxied, before: &[String], finished: &Finished) {
    assert_eq!(bench.pair.destination.keys(), before, "{finished}");
    if let Place::S3(_) = bench.pair.destination {
        let log = bench.destination().log();
        let deletions = log.count(Op::DeleteMany) + log.count(Op::Delete);
        assert_eq!(deletions, 0, "{finished}");
    }
}

/// The flags of somebody who insists.
const FLAGS: [&str; 3] = ["--delete", "-y", "--force"];

/// Syncs while listings of one side meet this fault from the `from`-th on.
fn misled(bench: &Proxied, at_source: bool, from: u32, fault: Fault) {
    let before = bench.pair.destination.keys();
    let proxy = if at_source {
        bench.source()
    } else {
        bench.destination()
    };
    let name = fault.name();
    bench.heal();
    proxy.set_plan(Plan::new(1).rule(Rule::on(Op::ListObjects).from(from).fault(fault)));
    let finished = bench.pair.run("sync", "", "", &FLAGS);
    assert!(
        proxy.log().faults(name) > 0,
        "the fault was met: {finished}"
    );
    finished.assert_code(if at_source { 3 } else { 4 });
    assert_nothing_deleted(bench, &before, &finished);
}

#[test]
fn deletes_nothing_by_a_misordered_page_of_the_source() {
    for kind in [Kind::S3ToS3, Kind::S3ToDisk] {
        let bench = paged(kind);
        for from in [2, 3] {
            misled(&bench, true, from, Fault::Misorder);
        }
    }
}

#[test]
fn deletes_nothing_by_a_misordered_page_of_the_destination() {
    for kind in TO_S3 {
        let bench = paged(kind);
        for from in [1, 2] {
            misled(&bench, false, from, Fault::Misorder);
        }
    }
}

#[test]
fn deletes_nothing_when_page_n_of_the_source_fails() {
    for kind in [Kind::S3ToS3, Kind::S3ToDisk] {
        let bench = paged(kind);
        for from in [1, 2, 3] {
            misled(
                &bench,
                true,
                from,
                Fault::Refuse {
                    status: 403,
                    code: "AccessDenied",
                },
            );
        }
    }
}

#[test]
fn deletes_nothing_when_page_n_of_the_destination_fails() {
    for kind in TO_S3 {
        let bench = paged(kind);
        for from in [1, 2] {
            misled(
                &bench,
                false,
                from,
                Fault::Refuse {
                    status: 403,
                    code: "AccessDenied",
                },
            );
        }
    }
}

#[test]
fn deletes_nothing_when_pages_of_the_source_are_cut_short() {
    let bench = paged(Kind::S3ToS3);
    // Well-formed as far as it goes, with a length that agrees.
    misled(&bench, true, 2, Fault::TruncateResponse { by: 4000 });
}

#[test]
fn deletes_nothing_when_the_bucket_of_the_source_vanishes() {
    let bench = paged(Kind::S3ToS3);
    misled(
        &bench,
        true,
        2,
        Fault::Refuse {
            status: 404,
            code: "NoSuchBucket",
        },
    );
}

#[test]
fn deletes_nothing_for_an_empty_source() {
    for kind in Kind::ALL {
        let bench = Proxied::new(kind);
        bench.pair.destination.write(&EXTRA.map(|key| (key, BODY)));
        let before = bench.pair.destination.keys();
        let finished = bench.pair.run("sync", "", "", &["--delete", "-y"]);
        assert_ne!(finished.code(), Some(0), "{kind:?}: {finished}");
        assert_nothing_deleted(&bench, &before, &finished);
    }
}

#[test]
fn deletes_nothing_for_a_source_that_is_mistyped() {
    for kind in Kind::ALL {
        let bench = Proxied::new(kind);
        bench.pair.source.write(&[("photos/a", BODY)]);
        bench.pair.destination.write(&EXTRA.map(|key| (key, BODY)));
        let before = bench.pair.destination.keys();
        let finished = bench.pair.run("sync", "photso/", "", &["--delete", "-y"]);
        assert_ne!(finished.code(), Some(0), "{kind:?}: {finished}");
        assert_nothing_deleted(&bench, &before, &finished);
    }
}

#[test]
fn deletes_nothing_in_an_excluded_subtree() {
    for kind in Kind::ALL {
        let bench = Proxied::new(kind);
        bench.pair.source.write(&[("a", BODY), ("keep/a", BODY)]);
        let there = [
            ("keep/a", BODY),
            ("keep/b", BODY),
            ("keep/c/d", BODY),
            ("x.tmp", BODY),
        ];
        bench.pair.destination.write(&there);
        let rules = bench.pair.cli.home().join("rules");
        std::fs::write(&rules, "- /keep/**\n- *.tmp\n").expect("write the rules");
        let rules = rules.to_str().expect("UTF-8");
        for filters in [
            &["--exclude", "/keep/**", "--exclude", "*.tmp"] as &[&str],
            &["--filter-from", rules],
        ] {
            let finished = bench
                .pair
                .run("sync", "", "", &[&FLAGS[..], filters].concat());
            finished.assert_code(0);
            let all = ["a", "keep/a", "keep/b", "keep/c/d", "x.tmp"].map(String::from);
            assert_nothing_deleted(&bench, &all, &finished);
        }
    }
}

#[test]
fn deletes_nothing_when_the_answer_is_missing() {
    // No terminal and no -y: refused before anything is done.
    let bench = Proxied::of(Pair::new(Kind::DiskToS3));
    bench.pair.source.write(&[("new", BODY)]);
    bench.pair.destination.write(&EXTRA.map(|key| (key, BODY)));
    let before = bench.pair.destination.keys();
    let finished = bench.pair.run("sync", "", "", &["--delete"]);
    finished.assert_code(2);
    assert_nothing_deleted(&bench, &before, &finished);
}

#[test]
fn deletes_what_it_should_when_nothing_is_wrong() {
    // The other tests could pass because nothing is ever deleted.
    for kind in [Kind::S3ToS3, Kind::DiskToS3, Kind::S3ToDisk] {
        let bench = paged(kind);
        bench
            .pair
            .run("sync", "", "", &["--delete", "-y"])
            .assert_code(0);
        bench.pair.assert_equal();
    }
    let tree = Tree::new();
    tree.write("a", BODY);
    let pair = Pair::of(
        Kind::DiskToDisk,
        Place::Disk(tree),
        Place::Disk(Tree::new()),
    );
    pair.destination.write(&[("b", BODY)]);
    pair.run("sync", "", "", &["--delete", "-y"]).assert_code(0);
    pair.assert_equal();
}
