//! What whoever runs a deployment does with it: looking at it, machines before there is a transfer, a shell on one,
//! ending machines, taking the deployment out of the account.

use std::time::Duration;

use serde_json::{Value, json};
use skyhaul_tests::cloud::{Cloud, Left};
use skyhaul_tests::eventually;
use skyhaul_tests::oracle::ObjectSpec;

use super::{MIB, nothing_left};

/// The reaper's schedule does not fire here: it is called until what is wanted is so.
fn reaped(cloud: &Cloud, what: &str) {
    eventually(what, Duration::from_mins(2), || {
        cloud.invoke("Reap", &json!({}));
        (cloud.left() == Left::default()).then_some(())
    });
}

/// All is as it should be; a side that is not there is told of.
fn looks_at_it(cloud: &Cloud) {
    let (from, to) = cloud.pair("s", "t");
    let (source, destination) = (from.uri(""), to.uri(""));
    let good = cloud.run(&["doctor", &source, &destination, "--json"]);
    let checks = good.assert_code(0).events();
    let of = |what: &str| checks.iter().filter(|check| check["what"] == what).count();
    for what in [
        "deployment",
        "version",
        "transfers",
        "source",
        "destination",
    ] {
        assert_eq!(of(what), 1, "{what}: {checks:?}");
    }
    assert!(checks.iter().all(|check| check["ok"] == true), "{checks:?}");
    let bad = cloud.run(&["doctor", "s3://is-not-there/", &destination]);
    let told = &bad.assert_code(1).stdout;
    assert!(told.contains("FAILED  source"), "{told}");
}

/// The one dataplane that is told of.
fn id_of(events: &[Value]) -> String {
    let mut rows = events.iter().filter(|event| event["event"] == "dataplane");
    let (row, more) = (rows.next(), rows.next());
    assert!(more.is_none(), "{events:?}");
    row.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Machines before there is a transfer, a shell on one of them, a transfer that uses them, and their end.
fn makes_and_ends_machines(cloud: &Cloud) {
    let region = cloud.src.region.clone();
    let create = [
        "dataplane",
        "create",
        "--from",
        &region,
        "--to",
        &region,
        "--json",
    ];
    let made = cloud.cli.run(&create);
    let id = id_of(&made.assert_code(0).events());
    // They are launched; what they tell of themselves follows.
    let there = eventually(
        "two machines that tell of themselves",
        Duration::from_mins(2),
        || Some(cloud.left()).filter(|left| left.enrolments.len() == 2),
    );
    assert_eq!(there.instances.len(), 2);
    let source = format!("{region}-src-1");
    let which = cloud.cli.run(&["ssh", &id]);
    assert!(which.assert_code(2).stderr.contains(&source), "{which}");
    let shell = cloud.cli.run(&["ssh", &id, &source]);
    let called = &shell.assert_code(0).stdout;
    let begins = "ssm start-session --target i-";
    assert!(
        called.starts_with(begins) && called.contains(&region),
        "{called}"
    );
    assert!(
        there
            .instances
            .iter()
            .any(|machine| called.contains(machine)),
        "{called}"
    );
    let (from, to) = cloud.pair("s", "t");
    from.put(&[ObjectSpec::new("one", 1, 3 * MIB)]);
    let (source, destination) = (from.uri(""), to.uri(""));
    let copy = [
        "cp",
        "-r",
        &source,
        &destination,
        "--dataplane",
        &id,
        "--json",
    ];
    let copied = cloud.run(&copy);
    let events = copied.assert_code(0).events();
    let transfer = events[0]["transfer"].as_str().unwrap().to_owned();
    assert_eq!(from.digests(""), to.digests(""));
    assert_eq!(
        cloud.left().instances,
        there.instances,
        "something was launched"
    );
    let top = cloud.cli.run(&["top", &transfer, "--json"]);
    let top = top.assert_code(0).events().remove(0);
    assert_eq!(
        (&top["status"], &top["percent"]),
        (&json!("succeeded"), &json!(100.0))
    );
    assert_eq!(top["gateways"].as_array().unwrap().len(), 2, "{top}");
    let ended = cloud.cli.run(&["deprovision", "--json"]);
    assert_eq!(id_of(&ended.assert_code(0).events()), id);
    reaped(cloud, "the end of what was deprovisioned");
}

/// Nothing of it is left in the account but what it names.
fn takes_it_out(cloud: &Cloud) {
    let (from, to) = cloud.pair("s", "t");
    from.put(&[ObjectSpec::new("large", 1, 40 * MIB)]);
    let (source, destination) = (from.uri(""), to.uri(""));
    let slow = [
        "cp",
        "-r",
        &source,
        &destination,
        "--gateways",
        "1",
        "--bwlimit",
        "1M",
    ];
    let id = cloud.submit(&Cloud::at(&cloud.src, &cloud.dst, &slow));
    let unsaid = cloud.cli.run(&["undeploy"]);
    unsaid.assert_code(2);
    let refused = cloud.cli.run(&["undeploy", "-y"]);
    assert!(refused.assert_code(2).stderr.contains(&id), "{refused}");
    cloud.cli.run(&["cancel", &id]).assert_code(0);
    nothing_left(cloud);
    let table = cloud.output("StateTable");
    let gone = cloud.cli.run(&["undeploy", "-y"]);
    assert!(gone.assert_code(0).stderr.contains(&table), "{gone}");
    let status = cloud.cli.run(&["status"]);
    let told = &status.assert_code(1).stderr;
    assert!(told.contains("no such stack"), "{told}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn heavy_stack_is_operated() {
    let cloud = Cloud::deployed(&["*"]);
    looks_at_it(&cloud);
    makes_and_ends_machines(&cloud);
    takes_it_out(&cloud);
}
