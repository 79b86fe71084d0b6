//! Looking at transfers while they run and after: `top`, `chunks` and `logs`.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;
use skyhaul_tests::cli::PATIENCE;
use skyhaul_tests::data::Body;
use skyhaul_tests::inspect::{chunks, id, top};
use skyhaul_tests::pair::{Kind, Pair};
use skyhaul_tests::proxied::Proxied;
use skyhaul_tests::{eventually, gateways};

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

fn write(pair: &Pair, large: u64) {
    let mut objects = vec![("large".to_owned(), Body::new(1, large))];
    objects.extend((0..30).map(|n| (format!("small/{n:02}"), Body::new(2 + n, 1_000 + n))));
    let named: Vec<_> = objects
        .iter()
        .map(|(name, body)| (name.as_str(), *body))
        .collect();
    pair.source.write(&named);
}

/// The tokens of the gateways' control APIs.
fn token_files(pair: &Pair) -> Vec<PathBuf> {
    let transfers = std::fs::read_dir(pair.cli.state_directory().join("transfers")).unwrap();
    let gateways = transfers.map(|transfer| transfer.unwrap().path().join("gateways"));
    let files = gateways.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "token"))
        .collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

fn leased_chunks_have_holders(pair: &Pair, id: &str) {
    let leased = chunks(&pair.cli, id, &["--state", "leased"]);
    assert!(!leased.is_empty());
    for chunk in &leased {
        assert_eq!(chunk["state"], "leased", "{chunk}");
        assert!(
            chunk["holder"].is_string() && number(&chunk["fence"]) > 0,
            "{chunk}"
        );
    }
}

#[test]
fn a_transfer_is_looked_into_while_gateways_copy_it_and_after() {
    let bench = Proxied::new(Kind::S3ToS3);
    let pair = &bench.pair;
    write(pair, 60 * MIB);
    let flags = [FLAGS, &["--gateways", "2", "--relay", "--bwlimit", "8M"]].concat();
    let running = pair.start("cp", "", "", &flags);
    eventually("some bytes have moved", PATIENCE, || {
        (bench.moved() >= 10 * MIB).then_some(())
    });
    let id = id(&pair.cli);
    let now = top(&pair.cli, &id);
    assert_eq!(now["active"], true, "{now}");
    assert_eq!(now["phase"], "copy", "{now}");
    let there: Vec<_> = now["gateways"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gateway| {
            (
                gateway["name"].as_str().unwrap(),
                gateway["role"].as_str().unwrap(),
            )
        })
        .collect();
    let wanted = [
        ("dst-1", "destination"),
        ("dst-2", "destination"),
        ("relay-1", "relay"),
        ("src-1", "source"),
        ("src-2", "source"),
    ];
    assert_eq!(there, wanted, "{now}");
    assert!(number(&now["groups"]["leased"]) > 0, "{now}");
    let links = now["gateways"][3]["links"].as_array().unwrap();
    let sent: u64 = links.iter().map(|link| number(&link["sent_bytes"])).sum();
    assert!(sent > 0, "{now}");
    assert!(links.iter().all(|link| link["peer"] == "relay-1"), "{now}");
    let tokens = token_files(pair);
    assert_eq!(tokens.len(), 5);
    for token in tokens {
        let mode = std::fs::metadata(&token).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", token.display());
        let secret = std::fs::read_to_string(&token).unwrap();
        assert!(!gateways::logs(&pair.cli).contains(&secret));
    }
    leased_chunks_have_holders(pair, &id);
    // For people, once, because nobody looks at a terminal here.
    let shown = pair.cli.run(&["top", &id]);
    let table = &shown.assert_code(0).stdout;
    assert!(table.contains("src-1 -> relay-1"), "{shown}");
    let followed = pair.cli.start(&["logs", &id, "--follow"]);
    running.wait().assert_code(0);
    pair.assert_equal();

    // It ends with the transfer.
    let followed = followed.wait();
    let told = &followed.assert_code(0).stdout;
    assert!(
        told.contains("command  | ") && told.contains("status=Succeeded"),
        "{told}"
    );
    assert!(
        told.contains("src-1    | ") && told.contains("relay-1  | "),
        "{told}"
    );
    let one = pair.cli.run(&["logs", &id, "--gateway", "dst-1", "--json"]);
    let of_one = one.assert_code(0).events();
    assert!(!of_one.is_empty());
    assert!(of_one.iter().all(|line| line["from"] == "dst-1"), "{one}");
    let none = pair.cli.run(&["logs", &id, "--gateway", "src-9"]);
    assert!(none.assert_code(2).stderr.contains("src-1"), "{none}");

    let end = top(&pair.cli, &id);
    assert_eq!(
        (&end["active"], &end["status"]),
        (&false.into(), &"succeeded".into())
    );
    assert_eq!(end["percent"], 100.0, "{end}");
    assert_eq!(end["gateways"][0]["state"], "ended", "{end}");
    assert_eq!(
        chunks(&pair.cli, &id, &["--state", "leased"]),
        Vec::<Value>::new()
    );
    let done = chunks(&pair.cli, &id, &["--state", "done"]);
    let all = chunks(&pair.cli, &id, &[]);
    assert_eq!(done, all);
    let bytes: u64 = all.iter().map(|chunk| number(&chunk["bytes"])).sum();
    assert_eq!(bytes, number(&end["bytes_total"]), "{end}");
    let parts = all.iter().filter(|chunk| chunk["part"].is_u64());
    let mut begins: Vec<_> = parts.map(|chunk| number(&chunk["offset"])).collect();
    begins.sort_unstable();
    let wanted: Vec<_> = (0..12).map(|part| part * 5 * MIB).collect();
    assert_eq!(begins, wanted);
    for chunk in &all {
        let receipt = &chunk["receipt"];
        let is_named = receipt["etag"].is_string();
        assert!(
            is_named || number(&receipt["copied"]) == number(&chunk["objects"]),
            "{chunk}"
        );
    }
    assert_eq!(gateways::of(&pair.cli), []);
    assert!(token_files(pair).is_empty());
}

#[test]
fn chunks_that_failed_are_told_from_those_that_did_not() {
    let pair = Pair::new(Kind::S3ToDisk);
    pair.source
        .write(&[("a", Body::new(1, 10)), ("b", Body::new(2, 10))]);
    pair.destination.tree().directory("a");
    pair.run("cp", "", "", FLAGS).assert_code(1);
    let id = id(&pair.cli);
    assert_eq!(
        chunks(&pair.cli, &id, &["--state", "done"]),
        Vec::<Value>::new()
    );
    let failed = chunks(&pair.cli, &id, &["--state", "failed"]);
    assert_eq!(failed.len(), 1, "{failed:?}");
    let receipt = &failed[0]["receipt"];
    assert_eq!(
        (number(&receipt["copied"]), number(&receipt["failed"])),
        (1, 1)
    );
    let shown = pair.cli.run(&["chunks", &id]);
    let wanted = "1 copied, 0 skipped, 1 failed";
    assert!(shown.assert_code(0).stdout.contains(wanted), "{shown}");
}

#[test]
fn what_became_of_every_object_is_told_again() {
    let pair = Pair::new(Kind::S3ToDisk);
    let names = ["a", "b", "c\n"];
    pair.source
        .write(&names.map(|name| (name, Body::new(1, 10))));
    pair.destination.tree().directory("a");
    pair.destination.write(&[("gone", Body::new(2, 10))]);
    let path = |name: &str| pair.cli.home().join(name).display().to_string();
    let (first, second, nowhere) = (path("first"), path("second"), path("no/such/folder"));
    let flags = ["--delete", "--force", "-y", "--report", &first];
    pair.run("sync", "", "", &flags).assert_code(1);
    let id = id(&pair.cli);
    let shown = pair.cli.run(&["report", &id]);
    let lines: Vec<_> = shown.assert_code(0).stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{shown}");
    let is_told = |action: &str, key: &str| {
        lines
            .iter()
            .any(|line| line.starts_with(action) && line.contains(key))
    };
    assert!(is_told("copied", "b"), "{shown}");
    assert!(is_told("copied", r"c\n"), "{shown}");
    assert!(is_told("failed", "a: "), "{shown}");
    assert!(is_told("deleted", "gone"), "{shown}");
    let failed = pair.cli.run(&["report", &id, "--only", "failed", "--json"]);
    let failed = failed.assert_code(0).events();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["object"]["destination_key"], "a");
    // The same file as the transfer itself wrote.
    pair.cli.run(&["report", &id, "-o", &second]).assert_code(0);
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    assert_eq!(read(&first), read(&second));
    let refused = pair.cli.run(&["report", &id, "-o", &nowhere]);
    assert!(
        refused.assert_code(1).stderr.contains("report"),
        "{refused}"
    );
}

#[test]
fn a_transfer_is_known_by_the_beginning_of_its_id_if_no_other_begins_so() {
    let pair = Pair::new(Kind::DiskToDisk);
    for command in ["top", "chunks", "report", "logs", "status"] {
        let unknown = pair.cli.run(&[command, "01ZZZ"]);
        let said = &unknown.assert_code(1).stderr;
        assert!(said.contains("there is no transfer `01ZZZ`"), "{unknown}");
    }
    pair.source.write(&[("a", Body::new(1, 10))]);
    pair.run("cp", "", "", &["-r"]).assert_code(0);
    let first = id(&pair.cli);
    for command in ["top", "chunks", "report", "logs", "status"] {
        let known = pair.cli.run(&[command, &first[..20].to_lowercase()]);
        known.assert_code(0);
    }
    pair.run("cp", "", "", &["-r", "--fresh"]).assert_code(0);
    // Ids begin with the time.
    let several = pair.cli.run(&["top", &first[..4]]);
    assert!(several.assert_code(2).stderr.contains(&first), "{several}");
}
