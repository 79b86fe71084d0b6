//! Transfers of a deployment, end to end: the template deployed by the ordinary command onto an emulated account,
//! every function's real binary, gateways on machines with their own network. Needs root.
#![allow(clippy::unwrap_used)] // helpers of tests stop at the first surprise, as tests do

use std::time::Duration;

use serde_json::json;
use skyhaul_tests::cloud::{Cloud, Left};
use skyhaul_tests::eventually;
use skyhaul_tests::oracle::{Bucket, ObjectSpec};

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

/// Everything is there, and nothing lives any more.
fn assert_whole(cloud: &Cloud, from: &Bucket, to: &Bucket) {
    assert_eq!(from.digests(""), to.digests(""));
    assert!(to.uploads().is_empty());
    assert_eq!(cloud.left(), Left::default());
}

fn moves_what_is_submitted(large: u64, small: u64) {
    let (name, target) = (
        skyhaul_tests::unique_name("from"),
        skyhaul_tests::unique_name("to"),
    );
    let cloud = Cloud::deployed(&[&name, &target]);
    let from = Bucket::named(&cloud.src, &name);
    let to = Bucket::named(&cloud.dst, &target);
    from.make();
    to.make();
    from.put(&objects(large, small));
    let (source, destination) = (from.uri(""), to.uri(""));
    let copy = ["cp", "-r", &source, &destination, "--gateways", "2"];
    // Who submits goes away at once.
    let detached = cloud.run(&[&copy[..], &["--detach", "--json"]].concat());
    detached.assert_code(0);
    let first = &detached.events()[0];
    assert_eq!(first["event"], "following");
    let id = first["transfer"].as_str().unwrap().to_owned();
    let launched = eventually("machines", Duration::from_mins(2), || {
        let left = cloud.left();
        (left.instances.len() == 4).then_some(left)
    });
    assert_eq!((launched.groups.len(), launched.executions.len()), (1, 1));
    assert_eq!(launched.live, std::slice::from_ref(&id));
    let ended = cloud.cli.run(&["wait", &id, "--json"]);
    ended.assert_code(0);
    let summary = ended.events().pop().unwrap();
    assert_eq!(summary["objects_done"], small + 5);
    assert_whole(&cloud, &from, &to);
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
    assert_whole(&cloud, &from, &to);
}

/// What goes wrong with a transfer, or is wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A machine loses all its processes.
    Crash,
    /// A machine is told that it will be taken away.
    Interrupt,
    /// Its execution is stopped.
    Stop,
    /// It is paused.
    Pause,
    /// It is cancelled.
    Cancel,
    /// Its function that lists is called once more, and so is the one that provisions.
    Again,
}

/// When it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Machines are launched.
    Provision,
    /// Gateways copy.
    Work,
}

fn reached(cloud: &Cloud, id: &str, moment: Moment) -> bool {
    match moment {
        Moment::Provision => !cloud.left().instances.is_empty(),
        Moment::Work => {
            let status = cloud.cli.run(&["status", id, "--json"]);
            let standing = status.events().pop().unwrap();
            standing["progress"]["listing_done"] == true
        }
    }
}

/// A transfer with a fault: it ends whole, if need be after it was gone on with, and nothing is left.
fn ends_whole_after(cloud: &Cloud, fault: Fault, moment: Moment) {
    let (name, target) = ("faulty-from", skyhaul_tests::unique_name("faulty-to"));
    let from = Bucket::named(&cloud.src, name);
    let to = Bucket::named(&cloud.dst, &target);
    to.make();
    let (source, destination) = (from.uri(""), to.uri(""));
    let slowly = ["--gateways", "2", "--bwlimit", "4M", "--detach", "--json"];
    let copy = ["cp", "-r", &source, &destination];
    let submitted = cloud.run(&[&copy[..], &slowly].concat());
    submitted.assert_code(0);
    let id = submitted.events()[0]["transfer"]
        .as_str()
        .unwrap()
        .to_owned();
    eventually("the moment", Duration::from_mins(1), || {
        reached(cloud, &id, moment).then_some(())
    });
    let left = cloud.left();
    let machine = || left.instances.last().unwrap();
    let ended = match fault {
        Fault::Crash => {
            cloud.fault(machine(), "crash");
            cloud.cli.run(&["wait", &id])
        }
        Fault::Interrupt => {
            cloud.fault(machine(), "interrupt");
            cloud.cli.run(&["wait", &id])
        }
        Fault::Again => {
            let again = json!({ "transfer": id, "attempt": 1 });
            for function in ["Provision", "List"] {
                cloud.invoke(function, &again);
            }
            cloud.cli.run(&["wait", &id])
        }
        Fault::Stop => {
            cloud.stop(&left.executions[0]);
            cloud.cli.run(&["wait", &id]).assert_code(1);
            nothing_left(cloud);
            cloud.cli.run(&["resume", &id])
        }
        Fault::Pause => {
            cloud.cli.run(&["pause", &id]).assert_code(0);
            nothing_left(cloud);
            cloud.cli.run(&["resume", &id])
        }
        Fault::Cancel => {
            cloud.cli.run(&["cancel", &id]).assert_code(0);
            nothing_left(cloud);
            assert!(to.uploads().is_empty(), "{fault:?} at {moment:?}");
            cloud.cli.run(&["resume", &id]).assert_code(2);
            cloud.run(&copy)
        }
    };
    ended.assert_code(0);
    assert_eq!(from.digests(""), to.digests(""), "{fault:?} at {moment:?}");
    assert!(to.uploads().is_empty(), "{fault:?} at {moment:?}");
    nothing_left(cloud);
}

fn nothing_left(cloud: &Cloud) {
    eventually("the end of everything", Duration::from_mins(1), || {
        (cloud.left() == Left::default()).then_some(())
    });
}

fn survives(faults: &[(Fault, Moment)]) {
    let cloud = Cloud::deployed(&["faulty-from", "faulty-to-*"]);
    let from = Bucket::named(&cloud.src, "faulty-from");
    from.make();
    from.put(&objects(100 * MIB, 50));
    for (fault, moment) in faults {
        ends_whole_after(&cloud, *fault, *moment);
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn heavy_stack_survives_faults() {
    survives(&[
        (Fault::Crash, Moment::Work),
        (Fault::Stop, Moment::Work),
        (Fault::Cancel, Moment::Provision),
    ]);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn soak_stack_survives_every_fault_at_every_moment() {
    let faults = [
        Fault::Crash,
        Fault::Interrupt,
        Fault::Stop,
        Fault::Pause,
        Fault::Cancel,
        Fault::Again,
    ];
    let moments = [Moment::Provision, Moment::Work];
    let all: Vec<_> = faults
        .into_iter()
        .flat_map(|fault| moments.map(|moment| (fault, moment)))
        .collect();
    survives(&all);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn heavy_stack_moves_what_is_submitted() {
    moves_what_is_submitted(64 * MIB, 200);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn soak_stack_moves_two_gibibytes() {
    moves_what_is_submitted(1700 * MIB, 10_000);
}
