//! Tests of the command line: what is accepted, what it means, how help looks.

use skyhaul_model::attributes::Keep;
use skyhaul_model::compare::{Compare, IfExists};
use skyhaul_model::guard::DeleteLimit;
use skyhaul_model::spec::{ChecksumPolicy, Durability, Encryption};
use skyhaul_workflow::CopyRequest;

use super::*;
use crate::config::{Config, Document};

fn parse(line: &[&str]) -> Result<Command, clap::Error> {
    Cli::try_parse_from(std::iter::once("skyhaul").chain(line.iter().copied()))
        .map(|cli| cli.command)
}

fn config(overrides: &[(crate::config::Name, crate::config::Value)]) -> Config {
    config_of("", overrides)
}

fn config_of(text: &str, overrides: &[(crate::config::Name, crate::config::Value)]) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    Config::resolve(&Document::load(path).unwrap(), |_| None, overrides).unwrap()
}

fn request_with(file: &str, line: &[&str]) -> skyhaul_model::Result<CopyRequest> {
    match parse(line).unwrap() {
        Command::Cp(args) => {
            let config = config_of(file, &args.how.overrides());
            let kind = Kind {
                mode: skyhaul_model::spec::Mode::Copy,
                recursive: args.recursive,
                also: args.also.clone(),
                compare: Compare::default(),
                if_exists: args.existing.policy(),
                delete: None,
            };
            args.what.request(kind, &args.how, &config)
        }
        Command::Sync(args) => {
            let config = config_of(file, &args.how.overrides());
            let kind = Kind {
                mode: skyhaul_model::spec::Mode::Sync,
                recursive: true,
                also: Vec::new(),
                compare: args.compare.policy(Compare::default()),
                if_exists: IfExists::default(),
                delete: args.delete.policy(),
            };
            args.what.request(kind, &args.how, &config)
        }
        other => panic!("{other:?}"),
    }
}

fn request(line: &[&str]) -> CopyRequest {
    request_with("", line).unwrap()
}

#[test]
fn clap_finds_no_contradiction() {
    command().debug_assert();
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    for (line, said) in [
        (&["cp", "gs://b/k", "."][..], "not supported yet"),
        (&["cp", "s3://b/k"], "<DST>"),
        (&["cp", "a", "b", "--part-size", "big"], "not a size"),
        (&["cp", "a", "b", "--part-size", "0"], "more than nothing"),
        (&["cp", "a", "b", "--bwlimit", "fast"], "not a size"),
        (&["cp", "a", "b", "--transfers", "0"], "from 1 to 1024"),
        (&["cp", "a", "b", "--max-memory", "1M"], "at least 16M"),
        (
            &["cp", "a", "b", "--min-age", "old"],
            "not a length of time",
        ),
        (
            &["cp", "a", "b", "--checksum-algorithm", "crc9"],
            "crc64nvme",
        ),
        (
            &["cp", "a", "b", "--no-multipart", "--part-size", "8M"],
            "cannot be used with",
        ),
        (&["cp", "a", "b", "--endpoint-url", "host"], "URL is wanted"),
        (&["cp", "a", "b", "--metadata", "novalue"], "KEY=VALUE"),
        (
            &["cp", "a", "b", "-u", "--ignore-existing"],
            "cannot be used with",
        ),
        (&["cp", "a", "b", "--delete"], "unexpected argument"),
        (&["sync", "a", "b", "--max-delete", "5"], "--delete"),
        (
            &["sync", "a", "b", "--delete", "--max-delete", "200%"],
            "no limit",
        ),
        (
            &["sync", "a", "b", "--delete", "--max-delete=-1"],
            "no limit",
        ),
        (
            &["sync", "a", "b", "-c", "--size-only"],
            "cannot be used with",
        ),
        (&["resume", "../x"], "not a transfer id"),
        (
            &["cleanup", "--all", "01ARZ3NDEKTSV4RRFFQ69G5FAV"],
            "cannot be used with",
        ),
        (&["-q", "-v", "status"], "cannot be used with"),
        (&["completions", "tcsh"], "possible values"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line:?}");
        assert!(error.to_string().contains(said), "{line:?}: {error}");
    }
}

#[test]
fn global_flags_stand_anywhere() {
    for line in [
        ["skyhaul", "--json", "status"],
        ["skyhaul", "status", "--json"],
    ] {
        assert!(Cli::try_parse_from(line).unwrap().global.json);
    }
    assert!(matches!(
        parse(&["check", "a", "b"]),
        Ok(Command::Verify(_))
    ));
}

#[test]
fn filter_rules_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    std::fs::write(&rules, "# comment\n- *.c\n\n+ *.d\n").unwrap();
    let list = folder.path().join("list");
    std::fs::write(&list, "x y\n; no\n#no\n/z\n").unwrap();
    let (rules, list) = (rules.to_str().unwrap(), list.to_str().unwrap());
    let line = [
        "sync",
        "a",
        "b",
        "--exclude",
        "*.a",
        "--filter",
        "+ *.b",
        "--filter-from",
        rules,
        "--include",
        "*.e",
        "--exclude-from",
        list,
        "--exclude",
        "*.f",
    ];
    let spec = request(&line).filters;
    let found: Vec<_> = spec
        .rules
        .iter()
        .map(|rule| (rule.include, rule.pattern.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (false, "*.a"),
            (true, "*.b"),
            (false, "*.c"),
            (true, "*.d"),
            (true, "*.e"),
            (false, "x y"),
            (false, "/z"),
            (false, "*.f"),
            (false, "**"),
        ]
    );
    let spec = request(&["cp", "a", "b", "--files-from", list, "--min-size", "1k"]).filters;
    assert_eq!(spec.files.unwrap(), ["x y", "/z"]);
    assert_eq!(spec.min_size, Some(1024));
    let spec = request(&["cp", "a", "b", "--filter", "- x", "--filter", "!"]).filters;
    assert!(spec.rules.is_empty());
    let spec = request(&["cp", "a", "b", "--newer-than", "7d", "--older-than", "24h"]).filters;
    assert_eq!(
        (spec.max_age_s, spec.min_age_s),
        (Some(7 * 86_400), Some(86_400))
    );
    for bad in ["*.a", "+", "- ", "+*.a"] {
        let line = ["cp", "a", "b", "--filter", bad];
        let error = request_with("", &line).unwrap_err();
        assert!(error.to_string().contains("filter rule"), "{bad}: {error}");
    }
}

#[test]
fn each_attribute_is_set_left_out_or_kept() {
    let policy = request(&["cp", "a", "b"]).attributes;
    assert_eq!(
        policy,
        skyhaul_model::attributes::AttributePolicy::default()
    );
    let policy = request(&[
        "cp",
        "a",
        "b",
        "--content-type",
        "text/x",
        "--cache-control",
        "off",
        "--expires",
        "keep",
        "--metadata",
        "a=1,2",
        "--metadata",
        "b=",
        "--tags",
        "off",
        "--storage-class",
        "STANDARD_IA",
    ])
    .attributes;
    assert_eq!(policy.content_type, Keep::Set("text/x".to_owned()));
    assert_eq!(
        (policy.cache_control, policy.expires),
        (Keep::Off, Keep::Source)
    );
    let pairs = [("a", "1,2"), ("b", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(policy.metadata, Keep::Set(pairs.into()));
    assert_eq!(policy.tags, Keep::Off);
    assert_eq!(policy.storage_class, Keep::Set("STANDARD_IA".to_owned()));
    for line in [
        ["cp", "a", "b", "--tags", "off", "--tags", "a=1"],
        ["cp", "a", "b", "--tags", "a=2", "--tags", "a=1"],
    ] {
        assert!(request_with("", &line).is_err(), "{line:?}");
    }
    let encryption = |line: &[&str]| request_with("", line).map(|request| request.encryption);
    assert_eq!(
        encryption(&["cp", "a", "b", "--sse", "AES256"]).unwrap(),
        Some(Encryption::S3)
    );
    assert_eq!(
        encryption(&["cp", "a", "b", "--sse-kms-key-id", "k"]).unwrap(),
        Some(Encryption::Kms {
            key_id: Some("k".to_owned())
        })
    );
    assert!(encryption(&["cp", "a", "b", "--sse", "s3", "--sse-kms-key-id", "k"]).is_err());
}

#[test]
fn comparison_and_deletion() {
    let compare = |flag: &str| request(&["sync", "a", "b", flag]).compare;
    assert_eq!(request(&["sync", "a", "b"]).compare, Compare::Mtime);
    assert_eq!(compare("-c"), Compare::Checksum);
    assert_eq!(compare("--compare=checksum"), Compare::Checksum);
    assert_eq!(compare("--size-only"), Compare::Size);
    let exists = |flag: &str| request(&["cp", "a", "b", flag]).if_exists;
    assert_eq!(request(&["cp", "a", "b"]).if_exists, IfExists::Overwrite);
    assert_eq!(
        (exists("-u"), exists("--if-exists=newer")),
        (IfExists::Newer, IfExists::Newer)
    );
    assert_eq!(exists("--ignore-existing"), IfExists::Skip);
    let delete = |line: &[&str]| request(line).delete;
    assert_eq!(delete(&["sync", "a", "b"]), None);
    let policy = delete(&[
        "sync",
        "a",
        "b",
        "--delete",
        "--max-delete",
        "10%",
        "--force",
    ])
    .unwrap();
    assert_eq!(policy.max, Some(DeleteLimit::Percent(10)));
    assert!(policy.force && !policy.excluded);
    let policy = delete(&["sync", "a", "b", "--delete", "--max-delete", "7"]).unwrap();
    assert_eq!(policy.max, Some(DeleteLimit::Count(7)));
}

#[test]
fn each_side_has_its_own_connection() {
    let file = "[endpoints.m]\nendpoint_url = \"http://m\"\nregion = \"r\"\nprofile = \"p\"\n\
                [buckets]\ny = \"m\"\n";
    let request = request_with(
        file,
        &[
            "cp",
            "s3://x/k",
            "s3://y/k",
            "--src-endpoint-url",
            "http://a",
            "--region",
            "both",
            "--dst-profile",
            "q",
            "--src-no-sign-request",
            "--requester-pays",
        ],
    )
    .unwrap();
    let (source, destination) = (&request.source, &request.destinations[0]);
    let (source, destination) = (&source.connection, &destination.connection);
    assert_eq!(source.endpoint_url.as_deref(), Some("http://a"));
    assert_eq!(source.region.as_deref(), Some("both"));
    assert!(source.no_sign_request && source.requester_pays);
    assert_eq!(destination.endpoint_url.as_deref(), Some("http://m"));
    assert_eq!(destination.region.as_deref(), Some("both"));
    assert_eq!(destination.profile.as_deref(), Some("q"));
    assert!(!destination.no_sign_request && destination.requester_pays);
    let line = ["cp", "s3://x/k", "/tmp/x", "--src-endpoint", "nobody"];
    assert!(
        request_with(file, &line)
            .unwrap_err()
            .to_string()
            .contains("known are: m")
    );
    let local = request_with(file, &["cp", "/a", "/b", "--endpoint-url", "http://a"]).unwrap();
    assert_eq!(
        local.source.connection,
        skyhaul_model::spec::Connection::default()
    );
}

#[test]
fn flags_become_parts_checksums_and_settings() {
    let line = [
        "cp",
        "a",
        "b",
        "--part-size",
        "8M",
        "--multipart-threshold",
        "1G",
        "--fsync",
        "off",
        "--checksum-algorithm",
        "sha256",
        "--stream",
        "--follow-symlinks=false",
        "--bwlimit",
        "50M",
        "--slice-pages",
        "1",
        "--slice-chunks",
        "2",
    ];
    let file = "verify_checksums = false\nfollow_symlinks = true\n";
    let request = request_with(file, &line).unwrap();
    assert_eq!(
        (request.parts.part_size, request.parts.threshold),
        (8 << 20, 1 << 30)
    );
    assert!(matches!(request.checksum, ChecksumPolicy::Always(_)));
    assert!(request.stream && !request.follow_symlinks);
    assert_eq!(request.durability, Durability::Off);
    let Ok(Command::Cp(args)) = parse(&line) else {
        panic!()
    };
    let settings = config(&args.how.overrides()).settings().unwrap();
    assert_eq!(settings.bwlimit, Some(50 << 20));
    assert_eq!(
        (args.how.speed.slice_pages, args.how.speed.slice_chunks),
        (Some(1), Some(2))
    );
    let single = request_with("", &["cp", "a", "b", "--no-multipart"]).unwrap();
    assert!(!single.parts.multipart);
}

/// Every command with its help at 80 columns.
fn helps() -> Vec<(String, String)> {
    fn walk(path: &str, command: &clap::Command, into: &mut Vec<(String, String)>) {
        let help = command
            .clone()
            .term_width(80)
            .render_long_help()
            .to_string();
        into.push((path.to_owned(), help));
        for sub in command.get_subcommands() {
            walk(&format!("{path} {}", sub.get_name()), sub, into);
        }
    }
    let mut root = command().term_width(80);
    root.build();
    let mut found = Vec::new();
    walk("skyhaul", &root, &mut found);
    found
}

#[test]
fn help_fits_eighty_columns() {
    let helps = helps();
    assert!(helps.len() > 12, "{}", helps.len());
    for (command, help) in helps {
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{command}: {line}");
        }
    }
}

#[test]
fn help_is_grouped_in_one_order() {
    let order = [
        "Options",
        "Source and destination",
        "Filters",
        "Comparison",
        "Deletion",
        "Attributes",
        "Performance",
        "Output",
    ];
    for (command, wanted) in [
        ("skyhaul cp", &[0, 1, 2, 3, 5, 6, 7][..]),
        ("skyhaul sync", &[0, 1, 2, 3, 4, 5, 6, 7]),
        ("skyhaul verify", &[0, 1, 2, 3, 6, 7]),
        ("skyhaul ls", &[0, 1, 6, 7]),
    ] {
        let (_, help) = helps()
            .into_iter()
            .find(|(name, _)| name == command)
            .unwrap();
        let headings: Vec<_> = help
            .lines()
            .filter(|line| line.ends_with(':') && !line.starts_with(' '))
            .filter_map(|line| order.iter().position(|heading| line.starts_with(heading)))
            .collect();
        assert_eq!(headings, wanted, "{command}\n{help}");
    }
}

#[test]
fn every_option_has_help() {
    fn walk(command: &clap::Command) {
        for argument in command.get_arguments() {
            let shown = !argument.is_hide_set();
            assert!(
                !shown || argument.get_help().is_some(),
                "{}",
                argument.get_id()
            );
        }
        command.get_subcommands().for_each(walk);
    }
    walk(&command());
}
