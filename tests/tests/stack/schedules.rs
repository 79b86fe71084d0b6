//! Schedules: what is submitted at their times, and what is refused.

use std::time::Duration;

use serde_json::{Value, json};
use skyhaul_tests::cloud::Cloud;
use skyhaul_tests::eventually;

use super::{MIB, nothing_left, objects};

/// A schedule syncs at its times: what is little without a machine, and what overlaps is refused.
pub(super) fn syncs_at_its_times(cloud: &Cloud) {
    let (from, to) = cloud.pair("s", "t");
    from.put(&objects(8 * MIB, 20));
    let (source, destination) = (from.uri(""), to.uri(""));
    let times = ["--rate", "1 hour"];
    let add = ["schedule", "add", "hourly", &source, &destination];
    let unsaid = cloud.run(&[&add[..], &times, &["--delete"]].concat());
    unsaid.assert_code(2);
    cloud
        .run(&[&add[..], &times, &["--delete", "-y"]].concat())
        .assert_code(0);
    let list = cloud.cli.run(&["schedule", "list", "--json"]);
    let listed = list.assert_code(0).events();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["enabled"]),
        (&json!("hourly"), &json!(true))
    );
    let fire = |hour: u32| {
        let time = format!("2026-11-29T{hour:02}:00:00Z");
        cloud.invoke("Trigger", &json!({ "schedule": "hourly", "time": time }))
    };
    // Told twice it is one run; another time meanwhile is refused.
    let first = fire(1);
    assert_eq!(fire(1), first);
    let refused = fire(2);
    assert!(refused["refused"].is_string(), "{refused}");
    let ran = |fired: &Value| {
        let id = fired["begun"].as_str().unwrap();
        let ended = cloud.cli.run(&["wait", id, "--json"]);
        let summary = ended.assert_code(0).events().pop().unwrap();
        let standing = cloud
            .cli
            .run(&["status", id, "--json"])
            .events()
            .pop()
            .unwrap();
        let machines = standing["submission"]["dataplane"].clone();
        assert!(machines.is_null(), "{standing}");
        summary
    };
    assert_eq!(ran(&first)["objects_done"], 25);
    assert_eq!(from.digests(""), to.digests(""));
    let gone = from.list("")[0].key.clone();
    from.delete(&[&gone]);
    assert_eq!(ran(&fire(3))["objects_done"], 0);
    assert_eq!(from.digests(""), to.digests(""));
    for (command, enabled) in [("pause", false), ("resume", true)] {
        cloud
            .cli
            .run(&["schedule", command, "hourly"])
            .assert_code(0);
        let listed = cloud.cli.run(&["schedule", "list", "--json"]).events();
        assert_eq!(listed[0]["enabled"], enabled);
    }
    cloud
        .cli
        .run(&["schedule", "remove", "hourly"])
        .assert_code(0);
    assert_eq!(
        cloud
            .cli
            .run(&["schedule", "list", "--json"])
            .events()
            .len(),
        0
    );
    nothing_left(cloud);
}

/// The account's own clock fires it, again and again.
#[test]
#[ignore = "needs root: makes network namespaces"]
fn soak_stack_fires_its_schedules() {
    let cloud = Cloud::deployed(&["s-*", "t-*"]);
    let (from, to) = cloud.pair("s", "t");
    from.put(&objects(MIB, 10));
    let (source, destination) = (from.uri(""), to.uri(""));
    let add = ["schedule", "add", "minutely", &source, &destination];
    let how = ["--rate", "1 minute", "--delete", "-y"];
    cloud.run(&[&add[..], &how].concat()).assert_code(0);
    let mut known: Vec<String> = Vec::new();
    for (copied, deleted) in [(15, 0), (0, 1)] {
        let id = eventually("a run", Duration::from_mins(3), || {
            let listed = cloud.cli.run(&["schedule", "list", "--json"]).events();
            let last = listed[0]["transfer"].as_str()?.to_owned();
            (!known.contains(&last)).then_some(last)
        });
        let ended = cloud.cli.run(&["wait", &id, "--json"]);
        let summary = ended.assert_code(0).events().pop().unwrap();
        let done = (&summary["objects_done"], &summary["deleted"]);
        assert_eq!(done, (&json!(copied), &json!(deleted)), "{summary}");
        assert_eq!(from.digests(""), to.digests(""));
        if known.is_empty() {
            let gone = from.list("")[0].key.clone();
            from.delete(&[&gone]);
        }
        known.push(id);
    }
    let remove = cloud.cli.run(&["schedule", "remove", "minutely"]);
    remove.assert_code(0);
    nothing_left(&cloud);
}
