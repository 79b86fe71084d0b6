//! What `skyhaul cp` takes and what it calls it: the lines of docs/SEMANTICS.md on key mapping, on
//! the checks before a copy, and on existing objects.
#![allow(clippy::unwrap_used)]

use skyhaul_tests::data::Body;
use skyhaul_tests::oracle::{Bucket, ObjectSpec};
use skyhaul_tests::pair::{Kind, Pair, Place, contents};
use skyhaul_tests::servers::servers;
use skyhaul_tests::tree::{Entry, Tree};

const A: Body = Body {
    seed: 1,
    size: 1000,
};
const B: Body = Body {
    seed: 2,
    size: 70_000,
};
const EMPTY: Body = Body { seed: 3, size: 0 };

#[test]
fn cp_object_to_a_name() {
    Pair::each(|pair| {
        pair.source.write(&[("a/obj", A), ("a/obj2", B)]);
        pair.run("cp", "a/obj", "name", &[]).assert_code(0);
        assert_eq!(pair.destination.contents(), contents(&[("name", A)]));
    });
}

#[test]
fn cp_object_into_a_folder() {
    Pair::each(|pair| {
        pair.source.write(&[("a/obj", A)]);
        pair.run("cp", "a/obj", "dir/", &[]).assert_code(0);
        assert_eq!(pair.destination.contents(), contents(&[("dir/obj", A)]));
    });
}

#[test]
fn cp_object_into_a_bucket_or_directory() {
    for kind in [Kind::S3ToS3, Kind::DiskToS3] {
        let pair = Pair::new(kind);
        pair.source.write(&[("a/obj", A)]);
        let mut arguments = vec!["cp".into(), pair.source.uri("a/obj")];
        // Without the slash after the bucket.
        arguments.push(pair.destination.uri("").trim_end_matches('/').to_owned());
        arguments.extend(pair.flags());
        pair.cli.run(&arguments).assert_code(0);
        assert_eq!(pair.destination.contents(), contents(&[("obj", A)]));
    }
    for kind in [Kind::S3ToDisk, Kind::DiskToDisk] {
        let pair = Pair::new(kind);
        pair.source.write(&[("a/obj", A)]);
        pair.destination.tree().directory("there");
        pair.run("cp", "a/obj", "there", &[]).assert_code(0);
        assert_eq!(pair.destination.contents(), contents(&[("there/obj", A)]));
    }
}

#[test]
fn cp_recursive_with_and_without_slash() {
    Pair::each(|pair| {
        pair.source
            .write(&[("foo/x", A), ("foo/d/y", B), ("other", A)]);
        for (from, to) in [("foo", "1"), ("foo/", "2"), ("foo", "3/"), ("foo/", "4/")] {
            pair.run("cp", from, to, &["-r"]).assert_code(0);
        }
        let wanted = ["1", "2", "3", "4"].map(|to| [format!("{to}/d/y"), format!("{to}/x")]);
        assert_eq!(pair.destination.keys(), wanted.concat());
    });
}

#[test]
fn cp_recursive_leaves_neighbours_alone() {
    for kind in [Kind::S3ToS3, Kind::S3ToDisk] {
        let pair = Pair::new(kind);
        pair.source.write(&[
            ("foobar/x", A),
            ("foo/x", B),
            ("foobar", A),
            ("fo", A),
            ("foo.d", A),
        ]);
        pair.destination.write(&[("foobar/mine", A)]);
        let report = pair.report("cp", "foo", "", &["-r"]);
        report.finished.assert_code(0);
        assert_eq!(report.copied(), ["x"]);
        assert_eq!(
            pair.destination.contents(),
            contents(&[("foobar/mine", A), ("x", B)])
        );
    }
}

#[test]
fn cp_keeps_names_as_they_are() {
    let long = "k".repeat(1000) + "/" + &"é".repeat(11);
    let keys = [
        "a//b",
        "//",
        "/abs",
        "p%2Fq",
        "p%20q",
        "sp ace",
        " lead",
        "trail ",
        "ü/é",
        "+",
        "a+b",
        "?x=1&y",
        "#h",
        "back\\slash",
        "quote\"'",
        "*",
        "[x]",
        "{y}",
        "~",
        "a/./b",
        "a/../b",
        "..",
        ":",
        "\u{1F600}",
        long.as_str(),
    ];
    let (from, to) = (
        Bucket::create(&servers().odd, "odd"),
        Bucket::create(&servers().odd, "odd"),
    );
    let objects: Vec<_> = keys.iter().map(|&key| (key, A)).collect();
    let pair = Pair::of(Kind::S3ToS3, Place::S3(from), Place::S3(to));
    pair.source.write(&objects);
    for (to, further) in [("", &["-r"] as &[&str]), ("under/", &["-r", "--stream"])] {
        pair.run("cp", "", to, further).assert_code(0);
    }
    let under: Vec<_> = keys.iter().map(|key| format!("under/{key}")).collect();
    let copies = under.iter().map(|key| (key.as_str(), A));
    let wanted: Vec<_> = objects.iter().copied().chain(copies).collect();
    assert_eq!(pair.destination.contents(), contents(&wanted));
}

#[test]
fn cp_takes_the_object_without_r_and_the_folder_with_it() {
    let odd = || Place::S3(Bucket::create(&servers().odd, "both"));
    let pair = Pair::of(Kind::S3ToS3, odd(), odd());
    pair.source.write(&[("foo", A), ("foo/bar", B)]);
    pair.run("cp", "foo", "object", &[]).assert_code(0);
    pair.run("cp", "foo", "folder", &["-r"]).assert_code(0);
    assert_eq!(
        pair.destination.contents(),
        contents(&[("object", A), ("folder/bar", B)])
    );
}

#[test]
fn cp_copies_empty_objects() {
    Pair::each(|pair| {
        pair.source
            .write(&[("empty", EMPTY), ("d/empty", EMPTY), ("full", A)]);
        let report = pair.report("cp", "", "", &["-r"]);
        report.finished.assert_code(0);
        assert_eq!(report.copied(), ["d/empty", "empty", "full"]);
        pair.assert_equal();
    });
}

#[test]
fn cp_copies_folder_markers() {
    let marked = Bucket::create(&servers().odd, "marked");
    let objects = [
        ("p/", EMPTY),
        ("p/d/", EMPTY),
        ("p/d/x", A),
        ("p/e/", EMPTY),
    ];
    let odd = Place::S3(Bucket::create(&servers().odd, "marked"));
    let pair = Pair::of(Kind::S3ToS3, Place::S3(marked.clone()), odd);
    pair.source.write(&objects);
    pair.run("cp", "p/", "q/", &["-r"]).assert_code(0);
    let wanted = objects.map(|(key, body)| (key.replacen('p', "q", 1), body));
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(key, body)| (key.as_str(), *body))
        .collect();
    assert_eq!(pair.destination.contents(), contents(&wanted));
    // The marker of the prefix itself has no name at an empty prefix.
    let disk = Pair::of(
        Kind::S3ToDisk,
        Place::S3(marked.clone()),
        Place::Disk(Tree::new()),
    );
    disk.run("cp", "p/", "", &["-r"]).assert_code(0);
    assert_eq!(
        disk.destination.contents(),
        contents(&[("d/x", A), ("e/", EMPTY)])
    );
    // And back: what was a marker is one again, what was a mere directory is none.
    disk.destination.tree().directory("plain");
    let back = Bucket::create(&servers().odd, "marked");
    let pair = Pair::of(Kind::DiskToS3, disk.destination, Place::S3(back));
    pair.run("cp", "", "", &["-r"]).assert_code(0);
    let wanted = [("d/", EMPTY), ("d/x", A), ("e/", EMPTY)];
    assert_eq!(pair.destination.contents(), contents(&wanted));
}

#[test]
fn cp_marker_alone() {
    let odd = || Place::S3(Bucket::create(&servers().odd, "marker"));
    let pair = Pair::of(Kind::S3ToS3, odd(), odd());
    pair.source.write(&[("d/", EMPTY), ("d/x", A), ("no/x", A)]);
    pair.run("cp", "d/", "", &[]).assert_code(0);
    assert_eq!(pair.destination.contents(), contents(&[("d/", EMPTY)]));
    let refused = pair.run("cp", "no/", "", &[]);
    assert!(
        refused.assert_code(2).stderr.contains("add -r"),
        "{refused}"
    );
}

#[test]
fn cp_folder_without_r_is_refused_with_a_count() {
    Pair::each(|pair| {
        // As many objects as the folder has entries would say nothing of what is counted.
        pair.source
            .write(&[("foo/1", A), ("foo/d/2", A), ("foo/d/3", A), ("foobar", A)]);
        for from in ["foo", "foo/"] {
            let refused = pair.run("cp", from, "x", &[]);
            assert!(
                refused.assert_code(2).stderr.contains("3 objects"),
                "{refused}"
            );
            assert!(refused.stderr.contains("add -r"), "{refused}");
        }
        assert!(pair.destination.keys().is_empty());
    });
}

#[test]
fn cp_absent_source() {
    Pair::each(|pair| {
        pair.source.write(&[("foobar", A)]);
        for further in [&[] as &[&str], &["-r"]] {
            let refused = pair.run("cp", "foo", "x", further);
            refused.assert_code(3);
            assert!(refused.stderr.contains("foo"), "{refused}");
        }
        assert!(pair.destination.keys().is_empty());
    });
}

#[test]
fn cp_empty_source() {
    Pair::each(|pair| {
        let refused = pair.run("cp", "", "", &["-r"]);
        refused.assert_code(3);
        assert!(pair.destination.keys().is_empty());
    });
}

#[test]
fn cp_folder_is_no_object() {
    Pair::each(|pair| {
        pair.source.write(&[("one", A)]);
        let refused = pair.run("cp", "one", "x", &["-r"]);
        assert!(refused.assert_code(2).stderr.contains("-r"), "{refused}");
    });
}

#[test]
fn cp_refuses_one_side_inside_the_other() {
    let bucket = Bucket::create(&servers().src, "self");
    let pair = Pair::of(Kind::S3ToS3, Place::S3(bucket.clone()), Place::S3(bucket));
    pair.source.write(&[("a/x", A)]);
    let tree = Tree::new();
    tree.write("a/x", A);
    let disk = |rest: &str| tree.uri(rest);
    for (from, to, further) in [
        ("a/", "a/b/", &["-r"] as &[&str]),
        ("a", "a", &["-r"]),
        ("a/x", "a/x", &[]),
    ] {
        pair.run("cp", from, to, further).assert_code(2);
        let mut arguments = vec!["cp".to_owned(), disk(from), disk(to)];
        arguments.extend(further.iter().map(ToString::to_string));
        pair.cli.run(&arguments).assert_code(2);
    }
    // Whoever reads and whoever writes: it is the same bucket.
    let bucket = pair.source.bucket();
    for (from, to) in [("a/", "a/b/"), ("a/", "")] {
        let mut arguments = vec!["sync".to_owned(), bucket.uri(from), bucket.uri(to)];
        arguments.extend(pair.cli.src(&bucket.endpoint.read_only()));
        arguments.extend(pair.cli.dst(&bucket.endpoint));
        arguments.extend(["--delete".to_owned(), "-y".to_owned()]);
        pair.cli.run(&arguments).assert_code(2);
    }
    // The same directory by another name.
    tree.link("alias", "a");
    pair.cli
        .run(&["cp", "-r", &disk("a"), &disk("alias/b")])
        .assert_code(2);
    assert_eq!(pair.source.keys(), ["a/x"]);
    assert_eq!(tree.digests().len(), 1);
}

#[test]
fn cp_refuses_later_schemes() {
    let pair = Pair::new(Kind::DiskToDisk);
    for scheme in ["gs", "az", "hdfs"] {
        let refused = pair
            .cli
            .run(&["cp", "-r", &format!("{scheme}://c/x"), "there"]);
        assert!(
            refused.assert_code(2).stderr.contains("not supported yet"),
            "{refused}"
        );
    }
}

#[test]
fn cp_refuses_names_that_disk_cannot_hold() {
    let component = "n".repeat(300);
    let good = [("good", A), ("z/good", A)];
    let bad = [
        "../up",
        "a//b",
        "/abs",
        "a/../b",
        "./dot",
        component.as_str(),
        "m/",
    ];
    let source = Place::S3(Bucket::create(&servers().odd, "bad"));
    let pair = Pair::of(Kind::S3ToDisk, source, Place::Disk(Tree::new()));
    pair.source.write(&good);
    pair.source.write(&[("p", A), ("p/below", B)]);
    let objects: Vec<_> = bad.iter().map(|&key| (key, B)).collect();
    pair.source.write(&objects);
    let report = pair.report("cp", "", "inner/", &["-r"]);
    report.finished.assert_code(1);
    // Either `p` or `p/below` can be, whichever comes first.
    let (loser, winner) = if report.failed().contains(&"p") {
        (("p", A), ("p/below", B))
    } else {
        (("p/below", B), ("p", A))
    };
    let mut failed = bad.to_vec();
    failed.push(loser.0);
    failed.sort_unstable();
    assert_eq!(report.failed(), failed);
    for key in failed {
        let error = &report.line(key)["error"];
        assert_eq!(error["kind"], "refused", "{key}: {error}");
        assert!(
            error["message"].as_str().unwrap().contains(key),
            "{key}: {error}"
        );
    }
    let wanted = good.iter().chain([&winner]);
    let wanted: Vec<_> = wanted
        .map(|(key, body)| (format!("inner/{key}"), *body))
        .collect();
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(key, body)| (key.as_str(), *body))
        .collect();
    assert_eq!(pair.destination.contents(), contents(&wanted));
}

#[test]
fn cp_checks_both_sides_before_the_first_byte() {
    let cli = skyhaul_tests::cli::Cli::new();
    let (src, dst) = (&servers().src, &servers().dst);
    let (from, to) = (
        Bucket::create(src, "checked"),
        Bucket::create(dst, "checked"),
    );
    from.put(&[ObjectSpec::new("k", 1, 10)]);
    let absent = skyhaul_tests::unique_name("absent");
    let run = |source: &str, destination: &str, flags: [Vec<String>; 2]| {
        let mut arguments = vec!["cp".into(), "-r".into(), source.into(), destination.into()];
        arguments.extend(flags.concat());
        cli.run(&arguments)
    };
    let nowhere = src.at("http://127.0.0.1:1");
    let good = || [cli.src(src), cli.dst(dst)];
    let absent_uri = format!("s3://{absent}/");
    for (done, code, word) in [
        (run(&absent_uri, &to.uri(""), good()), 3, "exist"),
        (run(&from.uri(""), &absent_uri, good()), 4, "exist"),
        (
            run(
                &from.uri(""),
                &to.uri(""),
                [cli.src(&src.at(&dst.url)), cli.dst(dst)],
            ),
            3,
            "denied",
        ),
        (
            run(
                &from.uri(""),
                &to.uri(""),
                [cli.src(src), cli.dst(&dst.read_only())],
            ),
            4,
            "denied",
        ),
        (
            run(
                &from.uri(""),
                &to.uri(""),
                [cli.src(&nowhere), cli.dst(dst)],
            ),
            3,
            "127.0.0.1:1",
        ),
        (
            run(
                &from.uri(""),
                &to.uri(""),
                [cli.src(src), cli.dst(&nowhere)],
            ),
            4,
            "127.0.0.1:1",
        ),
    ] {
        let said = done.assert_code(code).stderr.to_lowercase();
        assert!(said.contains(word), "{word}: {done}");
    }
    assert!(to.list("").is_empty());
}

#[test]
fn cp_if_exists() {
    Pair::each(|pair| {
        let (old, new) = (Body::new(8, 500), Body::new(9, 600));
        let fresh = |pair: &Pair| {
            pair.destination.write(&[("older", old), ("newer", old)]);
            pair.source.write(&[("missing", A)]);
            pair.source.write_newer("older", new);
        };
        fresh(pair);
        pair.source.write(&[("newer", new)]);
        pair.destination.write_newer("newer", old);
        for flags in [&["--if-exists", "newer"] as &[&str], &["-u"]] {
            let report = pair.report("cp", "", "", &[&["-r", "--fresh"], flags].concat());
            report.finished.assert_code(0);
            assert!(
                report.copied().iter().all(|key| *key != "newer"),
                "{:?}",
                report.lines
            );
        }
        let wanted = contents(&[("older", new), ("newer", old), ("missing", A)]);
        assert_eq!(pair.destination.contents(), wanted);

        pair.destination.remove("missing");
        for flags in [&["--if-exists", "skip"] as &[&str], &["--ignore-existing"]] {
            let report = pair.report("cp", "", "", &[&["-r", "--fresh"], flags].concat());
            report.finished.assert_code(0);
        }
        assert_eq!(pair.destination.contents(), wanted);

        let report = pair.report("cp", "", "", &["-r"]);
        report.finished.assert_code(0);
        assert_eq!(report.copied(), ["missing", "newer", "older"]);
        pair.assert_equal();
    });
}

#[test]
fn cp_leaves_what_it_does_not_write() {
    Pair::each(|pair| {
        pair.source.write(&[("d/x", A)]);
        pair.destination.write(&[("d/mine", B), ("mine", B)]);
        pair.run("cp", "", "", &["-r"]).assert_code(0);
        let wanted = contents(&[("d/x", A), ("d/mine", B), ("mine", B)]);
        assert_eq!(pair.destination.contents(), wanted);
    });
}

#[test]
fn cp_dry_run_says_all_and_changes_nothing() {
    Pair::each(|pair| {
        pair.source.write(&[("a", A), ("d/b", B)]);
        pair.destination.write(&[("there", A)]);
        let dry = pair.run("cp", "", "", &["-r", "--dry-run"]);
        dry.assert_code(0);
        for (key, body) in [("a", A), ("d/b", B)] {
            let (from, to) = (pair.source.uri(key), pair.destination.uri(key));
            let line = format!("copy {from} -> {to} ({} B)", body.size);
            assert!(dry.stdout.lines().any(|said| said == line), "{line}: {dry}");
        }
        assert_eq!(
            dry.stdout
                .lines()
                .filter(|line| line.starts_with("copy "))
                .count(),
            2
        );
        assert_eq!(pair.destination.contents(), contents(&[("there", A)]));
    });
}

#[test]
fn cp_report_has_a_line_for_each_object() {
    Pair::each(|pair| {
        pair.source.write(&[("a", A), ("d/b", B), ("e", EMPTY)]);
        let report = pair.report("cp", "", "", &["-r"]);
        report.finished.assert_code(0);
        assert_eq!(report.lines.len(), 3);
        for (key, size) in [("a", A.size), ("d/b", B.size), ("e", 0)] {
            let line = report.line(key);
            assert_eq!(line["source_key"], key);
            assert_eq!(line["size"], size);
            assert_eq!(line["attempts"], 1);
            assert!(line["checksum"].is_string(), "{line}");
            assert!(line["verified"].is_string(), "{line}");
        }
    });
}

#[test]
fn cp_leaves_no_temporary_files() {
    for kind in [Kind::DiskToDisk, Kind::S3ToDisk] {
        let pair = Pair::new(kind);
        pair.source
            .write(&[("a", A), ("d/b", Body::new(4, 40 << 20))]);
        pair.run("cp", "", "", &["-r"]).assert_code(0);
        let names: Vec<_> = pair.destination.tree().snapshot().into_keys().collect();
        assert_eq!(names, ["a", "d/b"]);
    }
}

#[test]
fn cp_follows_symlinks_only_when_told() {
    for kind in [Kind::DiskToDisk, Kind::DiskToS3] {
        let pair = Pair::new(kind);
        let tree = pair.source.tree();
        tree.write("real/x", A);
        tree.link("file", "real/x");
        tree.link("dir", "real");
        tree.link("loop", ".");
        let report = pair.report("cp", "", "without", &["-r"]);
        report.finished.assert_code(0);
        assert_eq!(report.keys("skipped").len(), 3, "{:#?}", report.lines);
        assert_eq!(pair.destination.keys(), ["without/real/x"]);
        std::fs::remove_file(tree.path("loop")).unwrap();
        pair.run("cp", "", "with", &["-r", "--follow-symlinks"])
            .assert_code(0);
        let wanted = ["with/dir/x", "with/file", "with/real/x", "without/real/x"];
        assert_eq!(pair.destination.keys(), wanted);
    }
}

#[test]
fn cp_never_writes_through_a_link_out_of_the_destination() {
    let pair = Pair::new(Kind::S3ToDisk);
    let outside = Tree::new();
    pair.source.write(&[("out/x", A), ("good", A)]);
    pair.destination.tree().link("out", outside.root());
    let report = pair.report("cp", "", "", &["-r"]);
    report.finished.assert_code(1);
    assert_eq!(
        (report.copied(), report.failed()),
        (vec!["good"], vec!["out/x"])
    );
    assert!(outside.snapshot().is_empty());
    let link = &pair.destination.tree().snapshot()["out"];
    assert_eq!(*link, Entry::Link(outside.root().to_path_buf()));
}
