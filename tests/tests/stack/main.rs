//! Transfers of a deployment, end to end: the template deployed by the ordinary command onto an emulated account,
//! every function's real binary, gateways on machines with their own network. Needs root.
#![allow(clippy::print_stdout, clippy::print_stderr)] // tables, and where in a long test one is
#![allow(clippy::unwrap_used)] // helpers of tests stop at the first surprise, as tests do

mod cost;
mod faults;
mod guest;
mod isolation;
mod operate;
mod schedules;
mod triggers;

use std::time::Duration;

use serde_json::{Value, json};
use skyhaul_tests::cli::Running;
use skyhaul_tests::cloud::{Cloud, Left};
use skyhaul_tests::eventually;
use skyhaul_tests::oracle::{Bucket, ObjectSpec};

/// The bucket of the account that tells of what happens to its objects.
const EVENTFUL: &str = "eventful";

const MIB: u64 = 1 << 20;

/// What no machine of another transfer is to find anywhere.
const MARKER: u64 = 4711;

fn objects(large: u64, small: u64) -> Vec<ObjectSpec> {
    let each = (0..small).map(|n| ObjectSpec::new(format!("small/{n:05}"), n, 10_000 + n));
    let large = (0..4).map(|n| ObjectSpec::new(format!("large/{n}"), MARKER + n, large / 4));
    large
        .chain(each)
        .chain([ObjectSpec::new("empty", 0, 0)])
        .collect()
}

/// The transfer that a command follows which tells of it in lines of JSON.
fn followed(command: &Running) -> String {
    let told = command.stdout_line(|line| line.contains("following"));
    let told: Value = serde_json::from_str(&told.unwrap()).unwrap();
    told["transfer"].as_str().unwrap().to_owned()
}

/// Everything is there, and nothing lives any more.
fn assert_whole(cloud: &Cloud, from: &Bucket, to: &Bucket) {
    assert_eq!(from.digests(""), to.digests(""));
    assert!(to.uploads().is_empty());
    assert_eq!(cloud.left(), Left::default());
}

fn moves_what_is_submitted(cloud: &Cloud, large: u64, small: u64) {
    let (from, to) = cloud.pair("from", "to");
    from.put(&objects(large, small));
    let (source, destination) = (from.uri(""), to.uri(""));
    let copy = ["cp", "-r", &source, &destination, "--gateways", "2"];
    // Who submits is killed at once.
    let follows = [&copy[..], &["--json"]].concat();
    let submits = cloud
        .cli
        .start(&Cloud::at(&cloud.src, &cloud.dst, &follows));
    let id = followed(&submits);
    drop(submits.kill());
    let launched = eventually("machines", Duration::from_mins(2), || {
        let left = cloud.left();
        (left.instances.len() == 4).then_some(left)
    });
    assert_eq!((launched.groups.len(), launched.executions.len()), (1, 1));
    assert_eq!(launched.live, std::slice::from_ref(&id));
    let part = cloud.cli.run(&["wait", &id, "--prefix", "small/"]);
    assert!(part.assert_code(0).stderr.contains("has arrived"), "{part}");
    let arrived = |bucket: &Bucket| bucket.digests("small/");
    assert_eq!(arrived(&from), arrived(&to));
    let ended = cloud.cli.run(&["wait", &id, "--json"]);
    ended.assert_code(0);
    let summary = ended.events().pop().unwrap();
    assert_eq!(summary["objects_done"], small + 5);
    assert_whole(cloud, &from, &to);
    let report = cloud
        .cli
        .run(&["report", &id, "--only", "copied", "--json"]);
    let copied = report.assert_code(0).events();
    assert_eq!(copied.len() as u64, small + 5);
    let logs = cloud.cli.run(&["logs", &id, "--json"]);
    let logs = logs.assert_code(0).events();
    let region = &cloud.src.region;
    let (first, last) = (format!("{region}-src-1"), format!("{region}-dst-2"));
    for from in ["workflow", &first, &last] {
        assert!(
            logs.iter().any(|line| line["from"] == from),
            "{from}: {logs:?}"
        );
    }
    // The same id is the same transfer, which has ended.
    let again = cloud.run(&[&copy[..], &["--id", &id]].concat());
    again.assert_code(0);
    let other = cloud.run(&["cp", "-r", &source, &destination, "--id", &id]);
    other.assert_code(2);
    assert_eq!(cloud.left(), Left::default());

    // Machines that are kept are used again.
    let kept = [&copy[..], &["--reuse-gateways", "--json"]].concat();
    from.put(&[ObjectSpec::new("new/1", 1, 5 * MIB)]);
    cloud.run(&kept).assert_code(0);
    let warm = cloud.left();
    assert_eq!(warm.instances.len(), 4);
    from.put(&[ObjectSpec::new("new/2", 2, 5 * MIB)]);
    let second = cloud.run(&kept);
    second.assert_code(0);
    assert_eq!(
        cloud.left().instances,
        warm.instances,
        "something was launched"
    );
    let idle = cloud.cli.run(&["dataplane", "list", "--json"]);
    let idle = idle.assert_code(0).events();
    assert_eq!(idle.len(), 1, "{idle:?}");
    let dataplane = idle[0]["id"].as_str().unwrap();
    cloud
        .cli
        .run(&["dataplane", "delete", dataplane])
        .assert_code(0);
    eventually("the end of idle machines", Duration::from_mins(1), || {
        cloud.invoke("Reap", &json!({}));
        (cloud.left() == Left::default()).then_some(())
    });
    assert_whole(cloud, &from, &to);
}

fn nothing_left(cloud: &Cloud) {
    eventually("the end of everything", Duration::from_mins(1), || {
        (cloud.left() == Left::default()).then_some(())
    });
}

/// Keys of a service that knows no roles are in a secret, of which the order has the name alone.
fn reads_keys_from_a_secret(cloud: &Cloud) {
    let (from, to) = cloud.pair("s", "t");
    from.put(&objects(MIB, 5));
    let keep = |access: &str, secret: &str| {
        let keys = json!({ "access_key_id": access, "secret_access_key": secret });
        cloud.keep("elsewhere", &keys)
    };
    let arn = keep("nobody", "knows-this-key");
    let (source, destination) = (from.uri(""), to.uri(""));
    let copy = ["cp", "-r", &source, &destination, "--dst-secret", &arn];
    let refused = cloud.run(&copy);
    assert_ne!(refused.code(), Some(0), "{refused}");
    assert!(to.list("").is_empty());
    assert_eq!(cloud.grep("knows-this-key"), [""; 0]);
    keep(&cloud.dst.access_key, &cloud.dst.secret_key);
    cloud.run(&copy).assert_code(0);
    assert_eq!(from.digests(""), to.digests(""));
    nothing_left(cloud);
}

/// Many at once end, each by itself.
fn carries_out_at_once(cloud: &Cloud, count: usize) {
    let from = Bucket::named(&cloud.src, skyhaul_tests::unique_name("s"));
    from.make();
    from.put(&objects(MIB, 10));
    let targets: Vec<_> = (0..count)
        .map(|_| Bucket::named(&cloud.dst, skyhaul_tests::unique_name("t")))
        .collect();
    let source = from.uri("");
    let submitted: Vec<_> = targets
        .iter()
        .enumerate()
        .map(|(number, to)| {
            to.make();
            let destination = to.uri("");
            // Some with machines, some without.
            let machines: &[&str] = if number % 4 == 0 {
                &["--gateways", "1"]
            } else {
                &[]
            };
            let copy = [&["cp", "-r", &source, &destination], machines].concat();
            cloud.submit(&Cloud::at(&cloud.src, &cloud.dst, &copy))
        })
        .collect();
    for (id, to) in submitted.iter().zip(&targets) {
        cloud.cli.run(&["wait", id]).assert_code(0);
        assert_eq!(from.digests(""), to.digests(""));
    }
    nothing_left(cloud);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn soak_stack_carries_out_twenty_at_once() {
    carries_out_at_once(&Cloud::deployed(&["s-*", "t-*"]), 20);
}

// One deployment for all of it: it takes half a minute.
#[test]
#[ignore = "needs root: makes network namespaces"]
fn heavy_stack_carries_transfers_out() {
    let cloud = Cloud::deployed(&["*", EVENTFUL]);
    moves_what_is_submitted(&cloud, 64 * MIB, 200);
    triggers::keeps_up_with_objects(&cloud);
    schedules::syncs_at_its_times(&cloud);
    reads_keys_from_a_secret(&cloud);
    carries_out_at_once(&cloud, 4);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn soak_stack_moves_two_gibibytes() {
    moves_what_is_submitted(&Cloud::deployed(&["*"]), 1_920 * MIB, 10_000);
}
