//! The suite and the race, over both emulators.

use std::sync::atomic::Ordering;

use skyhaul_state::suite::{self, Coverage};
use skyhaul_tests::servers::{Endpoint, tables};

use super::Fresh;
use super::proxy::{Faults, Proxy};

/// Random operations over connections that lose replies, and a service that is busy at times.
async fn run(endpoint: &Endpoint, seeds: std::ops::Range<u64>, steps: u32) {
    let (mut coverage, mut lost, mut throttled) = (Coverage::default(), 0, 0);
    for seed in seeds {
        let table = Fresh::at(endpoint).await;
        let faults = Faults {
            lose: 40,
            throttle: 200,
            ..Faults::default()
        };
        let proxy = Proxy::start(endpoint, seed, faults).await;
        let lossy = table.through(&proxy.endpoint);
        let run = suite::run(|| async { lossy.shared() }, seed, steps).await;
        coverage.merge(run.unwrap_or_else(|violation| panic!("{violation}")));
        lost += proxy.lost.load(Ordering::Relaxed);
        throttled += proxy.throttled.load(Ordering::Relaxed);
    }
    let met = format!("{lost} replies lost, {throttled} requests throttled, {coverage:#?}");
    assert!(lost > 50 && throttled > 5, "{met}");
    assert!(coverage.repeated > 60 && coverage.reopened > 5, "{met}");
    for (operation, result) in [
        ("change", "LeaseLost"),
        ("lease_range", "LeaseLost"),
        ("publish", "ok"),
        ("publish", "LeaseLost"),
        ("publish", "Invalid"),
        ("split_range", "ok"),
        ("claim", "ok"),
        ("take_over", "LeaseLost"),
        ("renew", "LeaseLost"),
        ("record", "ok"),
        ("record", "LeaseLost"),
        ("upload_status", "ok"),
        ("purge", "ok"),
    ] {
        let count = coverage.count(operation, result);
        assert!(count > 0, "{operation} never gave {result}");
    }
}

#[tokio::test]
async fn random_operations_do_what_the_model_does_on_ministack() {
    run(&tables().ministack, 0..2, 240).await;
}

#[tokio::test]
async fn random_operations_do_what_the_model_does_on_dynamodb_local() {
    run(&tables().dynamodb_local, 22..24, 240).await;
}

#[tokio::test]
async fn soak_random_operations_at_length() {
    run(&tables().ministack, 1000..1006, 1500).await;
}

async fn race(endpoint: &Endpoint) {
    let table = Fresh::at(endpoint).await;
    let faults = Faults {
        lose: 60,
        ..Faults::default()
    };
    let proxy = Proxy::start(endpoint, 1, faults).await;
    let lossy = table.through(&proxy.endpoint);
    suite::race(|| async { lossy.shared() }, 6).await.unwrap();
    assert!(proxy.lost.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn holders_at_once_get_each_thing_once_on_ministack() {
    race(&tables().ministack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn holders_at_once_get_each_thing_once_on_dynamodb_local() {
    race(&tables().dynamodb_local).await;
}
