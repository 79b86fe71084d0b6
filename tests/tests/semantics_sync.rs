//! What `skyhaul sync` copies and deletes: the lines of docs/SEMANTICS.md on comparison and on
//! the guard of deletions.
#![allow(clippy::unwrap_used)]

use skyhaul_tests::cli::{Cli, binary};
use skyhaul_tests::data::Body;
use skyhaul_tests::fault::{Fault, FaultProxy, Op, Plan, Rule};
use skyhaul_tests::oracle::Bucket;
use skyhaul_tests::pair::{Kind, Pair, Place};
use skyhaul_tests::servers::servers;
use skyhaul_tests::tree::Tree;

const A: Body = Body {
    seed: 1,
    size: 1000,
};
const B: Body = Body {
    seed: 2,
    size: 1000,
};
const LARGER: Body = Body {
    seed: 3,
    size: 2000,
};

/// A pair that is in sync: `a`, `d/b`, `d/c`.
fn settled(kind: Kind) -> Pair {
    let pair = Pair::new(kind);
    pair.source.write(&[("a", A), ("d/b", A), ("d/c", A)]);
    assert_eq!(pair.sync(&[]).copied(), ["a", "d/b", "d/c"]);
    pair
}

#[test]
fn sync_copies_what_is_missing_differs_in_size_or_is_newer() {
    for kind in Kind::ALL {
        let pair = settled(kind);
        pair.source.write_newer("a", B);
        pair.source.write(&[("d/b", LARGER), ("e", A)]);
        assert_eq!(pair.sync(&[]).copied(), ["a", "d/b", "e"], "{kind:?}");
        pair.assert_equal();
        assert!(pair.sync(&[]).copied().is_empty(), "{kind:?}");
    }
}

#[test]
fn sync_again_copies_nothing() {
    for kind in Kind::ALL {
        let pair = settled(kind);
        for further in [
            &[] as &[&str],
            &["--compare", "mtime"],
            &["--size-only"],
            &["-c"],
        ] {
            let report = pair.sync(further);
            assert!(
                report.copied().is_empty(),
                "{kind:?} {further:?}: {:#?}",
                report.lines
            );
        }
    }
}

#[test]
fn sync_after_cp_copies_nothing() {
    Pair::each(|pair| {
        pair.source.write(&[("a", A), ("d/b", LARGER)]);
        pair.run("cp", "", "", &["-r"]).assert_code(0);
        assert!(pair.sync(&[]).copied().is_empty());
    });
}

#[test]
fn sync_from_s3_over_disk_to_s3_comes_to_rest() {
    let first = settled(Kind::S3ToDisk);
    let to = Bucket::create(&servers().dst, "to");
    let second = Pair::of(Kind::DiskToS3, first.destination, Place::S3(to));
    assert_eq!(second.sync(&[]).copied(), ["a", "d/b", "d/c"]);
    assert!(second.sync(&[]).copied().is_empty());
    // Back from the second bucket: the files have the times that its objects carry.
    let back = Pair::of(Kind::S3ToDisk, second.destination, second.source);
    assert!(back.sync(&[]).copied().is_empty());
    let again = Pair::of(Kind::S3ToDisk, first.source, back.destination);
    assert!(again.sync(&[]).copied().is_empty());
}

#[test]
fn sync_compares_by_size_alone_when_told() {
    for kind in Kind::ALL {
        for flags in [&["--compare", "size"] as &[&str], &["--size-only"]] {
            let pair = settled(kind);
            pair.source.write_newer("a", B);
            pair.source.write(&[("d/b", LARGER)]);
            assert_eq!(pair.sync(flags).copied(), ["d/b"], "{kind:?}");
        }
    }
}

#[test]
fn sync_compares_by_checksum_when_told() {
    for kind in Kind::ALL {
        let pair = settled(kind);
        // The same size, and not newer: the destination is written last.
        pair.source.write(&[("a", B)]);
        if let Place::Disk(tree) = &pair.source {
            tree.set_mtime("a", 1_000_000_000_000_000_000);
        }
        pair.destination.write_newer("a", A);
        assert!(pair.sync(&[]).copied().is_empty(), "{kind:?}");
        // And newer, but the same bytes.
        pair.source.write_newer("d/b", A);
        for flags in [&["--compare", "checksum"] as &[&str], &["-c"]] {
            let copied = if flags.len() == 2 { vec!["a"] } else { vec![] };
            assert_eq!(pair.sync(flags).copied(), copied, "{kind:?}");
        }
        pair.assert_equal();
    }
}

#[test]
fn sync_leaves_a_newer_destination_of_the_same_size() {
    for kind in Kind::ALL {
        let pair = settled(kind);
        pair.destination.write_newer("a", B);
        assert!(pair.sync(&[]).copied().is_empty(), "{kind:?}");
        assert_eq!(pair.destination.contents()["a"].1, B.sha256());
    }
}

#[test]
fn sync_takes_a_folder_with_and_without_slash() {
    Pair::each(|pair| {
        pair.source.write(&[("foo/x", A), ("foobar/y", A)]);
        pair.destination.write(&[("bar/gone", A), ("barfoo/z", A)]);
        for (from, to) in [("foo", "bar"), ("foo/", "bar/")] {
            pair.run("sync", from, to, &["--delete", "-y"])
                .assert_code(0);
        }
        assert_eq!(pair.destination.keys(), ["bar/x", "barfoo/z"]);
        let refused = pair.run("sync", "foo/x", "bar/", &[]);
        assert!(refused.assert_code(2).stderr.contains("cp"), "{refused}");
    });
}

#[test]
fn sync_deletes_only_when_told() {
    for kind in Kind::ALL {
        let pair = settled(kind);
        pair.source.remove("d/b");
        pair.destination.write(&[("x/y/extra", A)]);
        assert!(pair.sync(&[]).deleted().is_empty(), "{kind:?}");
        assert_eq!(pair.destination.keys(), ["a", "d/b", "d/c", "x/y/extra"]);
        let report = pair.sync(&["--delete", "-y"]);
        assert_eq!(report.deleted(), ["d/b", "x/y/extra"], "{kind:?}");
        assert!(report.copied().is_empty());
        // Emptied directories go too.
        assert_eq!(pair.destination.keys(), ["a", "d/c"]);
    }
}

#[test]
fn sync_without_a_terminal_deletes_only_by_yes() {
    Pair::each(|pair| {
        pair.source.write(&[("new", A)]);
        pair.destination.write(&[("extra", A)]);
        let refused = pair.run("sync", "", "", &["--delete"]);
        assert!(refused.assert_code(2).stderr.contains("-y"), "{refused}");
        assert_eq!(
            pair.destination.keys(),
            ["extra"],
            "nothing is copied either"
        );
    });
}

#[test]
fn sync_deletes_nothing_beyond_the_limit() {
    for kind in Kind::ALL {
        let pair = settled(kind);
        pair.source.remove("d/b");
        pair.source.remove("d/c");
        pair.source.write(&[("new", A)]);
        // Two of three, before `new` comes.
        for limit in ["1", "0", "50%", "66%"] {
            let flags = ["--delete", "-y", "--max-delete", limit];
            let report = pair.report("sync", "", "", &flags);
            assert_ne!(report.finished.code(), Some(0), "{limit}");
            assert!(
                report.finished.stderr.contains("--max-delete"),
                "{}",
                report.finished
            );
            assert!(report.deleted().is_empty());
            assert_eq!(
                pair.destination.keys(),
                ["a", "d/b", "d/c", "new"],
                "{kind:?} {limit}"
            );
            pair.destination.remove("new");
        }
        let flags = ["--delete", "-y", "--max-delete", "67%"];
        assert_eq!(pair.sync(&flags).deleted(), ["d/b", "d/c"]);
    }
}

#[test]
fn sync_deletes_nothing_while_a_copy_failed() {
    let pair = Pair::new(Kind::DiskToDisk);
    pair.source.write(&[("a", A), ("x", A)]);
    // A directory is in the way of `x`: what is in it would go, and `x` did not come.
    pair.destination.write(&[("x/old", A)]);
    let report = pair.report("sync", "", "", &["--delete", "-y"]);
    assert_eq!(report.finished.code(), Some(1), "{}", report.finished);
    assert!(report.deleted().is_empty());
    assert_eq!(pair.destination.keys(), ["a", "x/old"]);
    let report = pair.report("sync", "", "", &["--delete", "-y", "--force"]);
    assert_eq!(report.finished.code(), Some(1), "{}", report.finished);
    assert_eq!(report.deleted(), ["x/old"]);
    assert_eq!(pair.sync(&["--delete", "-y"]).copied(), ["x"]);
    assert_eq!(pair.destination.keys(), ["a", "x"]);
}

#[test]
fn sync_keeps_what_filters_exclude() {
    for kind in Kind::ALL {
        let pair = settled(kind);
        pair.destination.write(&[("d/extra", A), ("other", A)]);
        let report = pair.sync(&["--delete", "-y", "--exclude", "/d/**"]);
        assert_eq!(report.deleted(), ["other"], "{kind:?}");
        let report = pair.sync(&["--delete", "-y", "--exclude", "/d/**", "--delete-excluded"]);
        assert_eq!(report.deleted(), ["d/b", "d/c", "d/extra"], "{kind:?}");
        assert_eq!(pair.destination.keys(), ["a"]);
    }
}

#[test]
fn sync_from_an_empty_source_deletes_only_by_force() {
    for kind in Kind::ALL {
        let pair = settled(kind);
        for key in ["a", "d/b", "d/c"] {
            pair.source.remove(key);
        }
        let refused = pair.report("sync", "", "", &["--delete", "-y"]);
        assert_ne!(refused.finished.code(), Some(0));
        assert!(
            refused.finished.stderr.contains("--force"),
            "{}",
            refused.finished
        );
        assert_eq!(pair.destination.keys().len(), 3, "{kind:?}");
        assert_eq!(
            pair.sync(&["--delete", "-y", "--force"]).deleted(),
            ["a", "d/b", "d/c"]
        );
        assert!(pair.destination.keys().is_empty(), "{kind:?}");
    }
}

/// More objects than a page of a listing holds, of which the source lacks some.
fn paged(kind: Kind) -> Pair {
    let pair = Pair::new(kind);
    let names: Vec<_> = (0..1_300).map(|number| format!("k{number:05}")).collect();
    let small = Body::new(1, 10);
    let objects: Vec<_> = names.iter().map(|name| (name.as_str(), small)).collect();
    pair.source.write(&objects);
    pair.destination
        .write(&[("k00000x", small), ("k00700x", small), ("z", small)]);
    pair
}

/// Runs a deleting sync whose source is seen through a proxy that follows `plan`.
fn sync_through(pair: &Pair, plan: Plan) -> skyhaul_tests::cli::Finished {
    let proxy = FaultProxy::start(&pair.source.bucket().endpoint, plan);
    let mut arguments = vec!["sync".into(), pair.source.uri(""), pair.destination.uri("")];
    arguments.extend(pair.cli.src(proxy.endpoint()));
    if let Place::S3(bucket) = &pair.destination {
        arguments.extend(pair.cli.dst(&bucket.endpoint));
    }
    arguments.extend(["--delete", "-y", "--force"].map(str::to_owned));
    let finished = pair.cli.run(&arguments);
    let hurt = proxy
        .log()
        .entries
        .iter()
        .any(|entry| entry.fault.is_some());
    assert!(hurt, "the fault was met: {finished}");
    finished
}

const EXTRA: [&str; 3] = ["k00000x", "k00700x", "z"];

#[track_caller]
fn assert_extra_is_there(pair: &Pair) {
    let keys = pair.destination.keys();
    assert!(
        EXTRA
            .iter()
            .all(|key| keys.iter().any(|found| found == key)),
        "{keys:?}"
    );
}

#[test]
fn sync_deletes_nothing_when_a_listing_fails() {
    for kind in [Kind::S3ToS3, Kind::S3ToDisk] {
        for page in [1, 2, 3] {
            let pair = paged(kind);
            let refuse = Fault::Refuse {
                status: 403,
                code: "AccessDenied",
            };
            let rule = Rule::on(Op::ListObjects).from(page).fault(refuse);
            let finished = sync_through(&pair, Plan::new(1).rule(rule));
            finished.assert_code(3);
            assert_extra_is_there(&pair);
        }
    }
}

#[test]
fn sync_deletes_nothing_when_a_page_is_out_of_order() {
    for kind in [Kind::S3ToS3, Kind::S3ToDisk] {
        let pair = paged(kind);
        let rule = Rule::on(Op::ListObjects).from(2).fault(Fault::Misorder);
        let finished = sync_through(&pair, Plan::new(1).rule(rule));
        assert_ne!(finished.code(), Some(0), "{finished}");
        assert_extra_is_there(&pair);
    }
}

#[test]
fn sync_deletes_nothing_when_part_of_the_source_cannot_be_read() {
    // Root reads everything, unless it gives up the capability to.
    let cli = Cli::with_binary("setpriv".into());
    let drop = "--bounding-set=-dac_override,-dac_read_search";
    let (source, destination) = (Tree::new(), Tree::new());
    source.write("a", A);
    source.write("locked/b", A);
    for name in ["a", "locked/b", "gone"] {
        destination.write(name, A);
    }
    let lock = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(source.path("locked"), permissions).unwrap();
    };
    let program = binary();
    let program = program.to_str().unwrap();
    let (from, to) = (source.uri(""), destination.uri(""));
    lock(0);
    let arguments = [drop, program, "sync", &from, &to, "--delete", "-y"];
    let refused = cli.run(&arguments);
    lock(0o755);
    assert_ne!(refused.code(), Some(0), "{refused}");
    assert!(refused.stderr.contains("locked"), "{refused}");
    assert_eq!(destination.digests().len(), 3, "{refused}");
    let finished = cli.run(&arguments);
    finished.assert_code(0);
    assert_eq!(destination.digests(), source.digests());
}

#[test]
fn sync_dry_run_says_what_the_sync_does() {
    for kind in Kind::ALL {
        let pair = settled(kind);
        pair.source.remove("d/b");
        pair.source.write(&[("d/c", LARGER), ("e", A)]);
        let before = pair.destination.contents();
        let dry = pair.run("sync", "", "", &["--delete", "--dry-run"]);
        dry.assert_code(0);
        assert_eq!(pair.destination.contents(), before, "{kind:?}");
        let said = |word: &str| -> Vec<_> {
            let start = format!("{word} ");
            let lines = dry.stdout.lines().filter(|line| line.starts_with(&start));
            lines.map(ToString::to_string).collect()
        };
        let uri = |key: &str| pair.destination.uri(key);
        let copies = said("copy");
        assert_eq!(copies.len(), 2, "{dry}");
        assert!(
            copies[0].contains(&uri("d/c")) && copies[1].contains(&uri("e")),
            "{dry}"
        );
        assert_eq!(said("delete"), [format!("delete {}", uri("d/b"))]);
        let report = pair.sync(&["--delete", "-y"]);
        assert_eq!(
            (report.copied(), report.deleted()),
            (vec!["d/c", "e"], vec!["d/b"])
        );
        pair.assert_equal();
    }
}

#[test]
fn sync_in_slices_of_one_page_and_one_chunk_does_the_same() {
    for kind in Kind::ALL {
        let pair = settled(kind);
        pair.source.remove("d/b");
        pair.source.write(&[("d/c", LARGER), ("e", A)]);
        let flags = [
            "--delete",
            "-y",
            "--slice-pages",
            "1",
            "--slice-chunks",
            "1",
        ];
        let report = pair.sync(&flags);
        assert_eq!(
            (report.copied(), report.deleted()),
            (vec!["d/c", "e"], vec!["d/b"])
        );
        pair.assert_equal();
    }
}
