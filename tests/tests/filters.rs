//! Filters as the command takes them. The rules themselves are tested in the model.
#![allow(clippy::unwrap_used)]

use skyhaul_tests::data::Body;
use skyhaul_tests::fault::Op;
use skyhaul_tests::pair::{Kind, Pair};
use skyhaul_tests::proxied::Proxied;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Keys of the source of every test here; each as large as its place here, from 1 KiB.
const KEYS: [&str; 6] = ["a.txt", "b.jpg", "d/a.txt", "d/c.jpg", "d/e/f.png", "g"];

fn pair(kind: Kind) -> Pair {
    let pair = Pair::new(kind);
    let objects: Vec<_> = KEYS
        .iter()
        .zip(1_u64..)
        .map(|(key, place)| (*key, Body::new(place, place * 1024)))
        .collect();
    pair.source.write(&objects);
    pair
}

/// The keys that a copy takes into an empty destination, with these flags.
#[track_caller]
fn taken(pair: &Pair, flags: &[&str]) -> Vec<String> {
    let to = skyhaul_tests::unique_name("run") + "/";
    let report = pair.report("cp", "", &to, &[&["-r"], flags].concat());
    report.finished.assert_code(0);
    let of_run = |key: String| key.strip_prefix(&to).map(str::to_owned);
    pair.destination
        .keys()
        .into_iter()
        .filter_map(of_run)
        .collect()
}

/// A file with these lines.
fn file(pair: &Pair, name: &str, lines: &str) -> String {
    let path = pair.cli.home().join(name);
    std::fs::write(&path, lines).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn filters_select_on_every_pair() {
    for kind in Kind::ALL {
        let pair = pair(kind);
        assert_eq!(
            taken(&pair, &["--exclude", "*.jpg"]),
            ["a.txt", "d/a.txt", "d/e/f.png", "g"]
        );
        assert_eq!(
            taken(&pair, &["--include", "/d/**"]),
            ["d/a.txt", "d/c.jpg", "d/e/f.png"]
        );
    }
}

#[test]
fn filters_include_leaves_out_all_else() {
    let pair = pair(Kind::DiskToDisk);
    assert_eq!(taken(&pair, &["--include", "*.txt"]), ["a.txt", "d/a.txt"]);
    assert_eq!(
        taken(&pair, &["--include", "/*.txt", "--include", "g"]),
        ["a.txt", "g"]
    );
    assert_eq!(
        taken(&pair, &["--filter", "+ *.txt"]),
        KEYS,
        "a `+` rule implies nothing"
    );
}

#[test]
fn filters_the_first_match_in_the_order_given_decides() {
    let pair = pair(Kind::DiskToDisk);
    let order = ["--exclude", "/d/a.txt", "--include", "*.txt"];
    assert_eq!(taken(&pair, &order), ["a.txt"]);
    let order = ["--include", "*.txt", "--exclude", "/d/a.txt"];
    assert_eq!(taken(&pair, &order), ["a.txt", "d/a.txt"]);
    let order = [
        "--filter", "- /d/e/", "--filter", "+ /d/**", "--filter", "- *",
    ];
    assert_eq!(taken(&pair, &order), ["d/a.txt", "d/c.jpg"]);
    let reset = ["--filter", "- *", "--filter", "!", "--filter", "- g"];
    assert_eq!(taken(&pair, &reset), KEYS[..5]);
}

#[test]
fn filters_come_from_files_too() {
    let pair = pair(Kind::DiskToS3);
    let rules = file(
        &pair,
        "rules",
        "# comment\n; another\n\n- /d/e/**\n+ *.png\n+ *.txt\n- **\n",
    );
    assert_eq!(
        taken(&pair, &["--filter-from", &rules]),
        ["a.txt", "d/a.txt"]
    );
    let patterns = file(&pair, "patterns", "*.jpg\n# no\ng\n");
    assert_eq!(
        taken(&pair, &["--include-from", &patterns]),
        ["b.jpg", "d/c.jpg", "g"]
    );
    let wanted = ["a.txt", "d/a.txt", "d/e/f.png"];
    assert_eq!(taken(&pair, &["--exclude-from", &patterns]), wanted);
    let absent = pair.run("cp", "", "x/", &["-r", "--filter-from", "no such file"]);
    assert!(
        absent.assert_code(2).stderr.contains("no such file"),
        "{absent}"
    );
}

#[test]
fn filters_files_from_names_exact_keys() {
    for kind in [Kind::DiskToDisk, Kind::S3ToS3] {
        let pair = pair(kind);
        let names = file(
            &pair,
            "names",
            "# a comment\n\n/a.txt\nd/c.jpg\n*.png\nabsent\n",
        );
        assert_eq!(
            taken(&pair, &["--files-from", &names]),
            ["a.txt", "d/c.jpg"],
            "{kind:?}"
        );
        let both = ["-r", "--files-from", &names, "--exclude", "a"];
        pair.run("cp", "", "x/", &both).assert_code(2);
    }
}

#[test]
fn filters_sizes_are_inclusive() {
    for kind in Kind::ALL {
        let pair = pair(kind);
        assert_eq!(
            taken(&pair, &["--min-size", "5K"]),
            ["d/e/f.png", "g"],
            "{kind:?}"
        );
        assert_eq!(taken(&pair, &["--max-size", "2048"]), ["a.txt", "b.jpg"]);
        assert_eq!(
            taken(&pair, &["--min-size", "2KiB", "--max-size", "3KiB"]),
            KEYS[1..3]
        );
    }
}

#[test]
fn filters_ages_are_measured_from_the_start() {
    let pair = pair(Kind::DiskToDisk);
    let now = SystemTime::now();
    let hour = Duration::from_hours(1);
    for (key, hours) in KEYS.iter().zip(1_u32..) {
        // Half an hour from every limit below.
        let time = now - hour * hours + hour / 2;
        let nanos = time.duration_since(UNIX_EPOCH).unwrap().as_nanos();
        pair.source.tree().set_mtime(key, nanos.try_into().unwrap());
    }
    for flag in ["--min-age", "--older-than"] {
        assert_eq!(taken(&pair, &[flag, "4h"]), KEYS[4..], "{flag}");
    }
    for flag in ["--max-age", "--newer-than"] {
        assert_eq!(taken(&pair, &[flag, "2h"]), KEYS[..2], "{flag}");
    }
    assert_eq!(
        taken(&pair, &["--min-age", "1h", "--max-age", "3h"]),
        KEYS[1..3]
    );
}

#[test]
fn filters_that_leave_nothing_are_told() {
    for kind in Kind::ALL {
        let pair = pair(kind);
        let finished = pair.run("cp", "", "x/", &["-r", "--include", "*.nothing"]);
        finished.assert_code(3);
        assert!(finished.stderr.contains("filter"), "{finished}");
        assert!(pair.destination.keys().is_empty());
    }
}

#[test]
fn filters_malformed_are_a_usage_error() {
    let pair = pair(Kind::DiskToDisk);
    for flags in [
        ["--exclude", "["],
        ["--include", "a{b"],
        ["--filter", "*.jpg"],
        ["--min-size", "big"],
        ["--max-age", "soon"],
    ] {
        let refused = pair.run("cp", "", "x/", &[&["-r"], &flags[..]].concat());
        assert!(
            refused.assert_code(2).stderr.contains(flags[1]),
            "{refused}"
        );
    }
}

/// How many objects others were written before the last of these was.
fn before_the_last_index(flags: &[&str]) -> usize {
    let bench = Proxied::new(Kind::DiskToS3);
    // Eight of them make a bundle.
    let (others, indices) = (96, 5);
    let names = (0..others).map(|number| format!("k{number:02}"));
    let names = names.chain((0..indices).map(|number| format!("z/{number}.index")));
    let names: Vec<_> = names.collect();
    let objects: Vec<_> = (names.iter().zip(0..))
        .map(|(name, seed)| (name.as_str(), Body::new(seed, 1 << 20)))
        .collect();
    bench.pair.source.write(&objects);
    let flags = [&["-r", "--transfers", "1"], flags].concat();
    bench.pair.run("cp", "", "to/", &flags).assert_code(0);
    let log = bench.destination().log();
    let written: Vec<_> = log
        .of(Op::Put)
        .filter_map(|put| put.request.key.strip_prefix("to/"))
        .filter(|name| names.iter().any(|known| known == name))
        .collect();
    assert_eq!(written.len(), names.len(), "everything, once");
    let last = written.iter().rposition(|name| name.starts_with("z/"));
    last.unwrap() + 1 - indices
}

#[test]
fn filters_first_is_copied_before_all_else() {
    // A bundle or two are begun at the same time.
    let first = before_the_last_index(&["--first", "nothing", "--first", "*.index"]);
    assert!(first <= 24, "{first} others were written before");
    let as_listed = before_the_last_index(&[]);
    assert!(as_listed > 48, "{as_listed} others were written before");
}
