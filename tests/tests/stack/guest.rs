//! What is on the machine of whoever submits: it joins the transfer, may leave, and joins again.

use std::time::Duration;

use skyhaul_tests::cloud::{Cloud, Left, OUTSIDE};
use skyhaul_tests::data::Body;
use skyhaul_tests::eventually;
use skyhaul_tests::oracle::Bucket;
use skyhaul_tests::tree::Tree;

use super::{MIB, followed, nothing_left};

fn tree() -> Tree {
    let tree = Tree::new();
    for number in 0..3 {
        tree.write(&format!("large/{number}"), Body::new(number, 20 * MIB));
    }
    for number in 0..40 {
        tree.write(
            &format!("small/{number:03}"),
            Body::new(100 + number, 10_000),
        );
    }
    tree.write("empty", Body::new(0, 0));
    tree
}

fn to_here(arguments: &[&str]) -> Vec<String> {
    let here = ["--address", OUTSIDE];
    let arguments = arguments.iter().chain(&here);
    arguments.map(|&text| text.to_owned()).collect()
}

/// Bytes that are copied.
fn copied(cloud: &Cloud, id: &str) -> u64 {
    let top = cloud.cli.run(&["top", id, "--json"]);
    let told = top.events().pop();
    told.and_then(|top| top["bytes_done"].as_u64()).unwrap_or(0)
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn heavy_stack_takes_what_is_on_this_machine() {
    let name = skyhaul_tests::unique_name("t");
    let cloud = Cloud::enforced(&["t-*"]);
    let policies = ["SubmitPolicy", "JoinPolicy"];
    let cloud = cloud.acting_as(&policies, &[&name]);
    let (tree, to) = (tree(), Bucket::named(&cloud.own, name));
    to.make();
    let (source, destination) = (tree.uri(""), to.uri(""));
    let copy = [
        "cp",
        "-r",
        &source,
        &destination,
        "--bwlimit",
        "4M",
        "--json",
    ];
    let away = cloud
        .cli
        .run(&to_here(&[&copy[..], &["--detach"]].concat()));
    assert!(away.assert_code(2).stdout.contains("must stay"), "{away}");
    let mut first = cloud.cli.start(&to_here(&copy));
    let id = followed(&first);
    let arrives = eventually("bytes", Duration::from_mins(3), || {
        let arrives = copied(&cloud, &id) > 0;
        (arrives || !first.runs()).then_some(arrives)
    });
    assert!(arrives, "it left: {}", first.wait());
    let machines = cloud.left().instances;
    assert_eq!(machines.len(), 1, "a machine was launched beside this one");
    let killed = first.kill();
    assert!(killed.stdout.contains("must stay"), "{killed}");
    // It waits; whoever joins again goes on with what is there.
    assert_eq!(cloud.left().live, std::slice::from_ref(&id));
    let joins = cloud
        .cli
        .run(&["resume", &id, "--address", OUTSIDE, "--json"]);
    let summary = joins.assert_code(0).events().pop().unwrap();
    assert_eq!(summary["objects_done"], 44, "{summary}");
    assert_eq!(to.digests(""), tree.digests());
    assert!(to.uploads().is_empty());
    nothing_left(&cloud);
    // What has gone here goes there.
    tree.remove("small/000");
    let sync = ["sync", &source, &destination, "--delete", "-y", "--json"];
    let synced = cloud.cli.run(&to_here(&sync));
    let summary = synced.assert_code(0).events().pop().unwrap();
    assert_eq!(
        (&summary["objects_done"], &summary["deleted"]),
        (&0.into(), &1.into())
    );
    assert_eq!(to.digests(""), tree.digests());
    assert_eq!(cloud.left(), Left::default());
}
