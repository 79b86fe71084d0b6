//! What a transfer writes to the tables of a deployment, everything counted: submission, machines, listing, copying,
//! signs of life, the end.

use std::time::{Duration, Instant};

use serde_json::Value;
use skyhaul_tests::cloud::Cloud;
use skyhaul_tests::servers::Endpoint;

use super::nothing_left;

/// Objects of a data set, and the most write units that their transfer may take.
struct Set {
    name: &'static str,
    objects: u64,
    most: f64,
}

/// Write units of a transfer of a data set through two gateways on each side.
fn units(cloud: &Cloud, server: &Endpoint, set: &Set) -> f64 {
    let (source, destination) = (
        format!("s3://{}/", set.name),
        format!("s3://sunk/{}/", set.name),
    );
    let copy = [
        "cp",
        "-r",
        &source,
        &destination,
        "--stream",
        "--gateways",
        "2",
        "--json",
    ];
    let (before, begun) = (cloud.units(), Instant::now());
    let ended = cloud.cli.run(&Cloud::at(server, server, &copy));
    let summary: Value = ended.assert_code(0).events().pop().unwrap();
    assert_eq!(summary["objects_done"], set.objects);
    nothing_left(cloud);
    let units = cloud.units() - before;
    println!(
        "{}: {units} write units in {:.0} s, at most {}",
        set.name,
        begun.elapsed().as_secs_f64(),
        set.most
    );
    units
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn soak_stack_writes_little_to_its_tables() {
    let cloud = Cloud::deployed(&["*"]).patient(Duration::from_mins(40));
    let server = cloud.memory(&["small=100000x4KiB", "large=20x5GiB"], "sunk");
    let sets = [
        // A hundredth an object.
        Set {
            name: "small",
            objects: 100_000,
            most: 1_000.0,
        },
        // Two a chunk of 16 MiB.
        Set {
            name: "large",
            objects: 20,
            most: 2.0 * 6_400.0,
        },
    ];
    for set in &sets {
        assert!(units(&cloud, &server, set) <= set.most, "{}", set.name);
    }
}
