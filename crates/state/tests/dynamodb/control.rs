//! The control plane's table against its suite, on both emulators.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use skyhaul_model::TransferId;
use skyhaul_model::machine::MachineId;
use skyhaul_state::DynamoDbControl;
use skyhaul_state::control::{ControlState, Sightings, Submission};
use skyhaul_state::suite::Violation;
use skyhaul_state::suite::control::{
    Seen, dirty_keys, enrolments, race, run, schedules, submissions,
};

use super::{config, emulators};

async fn handles(
    at: &skyhaul_tests::servers::Endpoint,
    count: usize,
) -> Vec<Arc<dyn ControlState>> {
    let table = format!("control-{}", ulid::Ulid::generate());
    let open = || DynamoDbControl::new(&config(at), &table);
    open().create_table().await.unwrap();
    (0..count).map(|_| Arc::new(open()) as Arc<_>).collect()
}

#[tokio::test]
async fn it_does_what_the_one_in_memory_does() {
    let seed = skyhaul_tests::seed();
    for emulator in emulators() {
        let mut all = Seen::new();
        for round in 0..3 {
            let handles = handles(emulator, 2).await;
            let results = run(&handles, seed.wrapping_add(round), 400).await;
            for (key, count) in results.unwrap_or_else(|violation| panic!("{violation}")) {
                *all.entry(key).or_default() += count;
            }
        }
        for (call, result) in [
            ("create", "ok"),
            ("create", "Invalid"),
            ("bind", "ok"),
            ("bind", "LeaseLost"),
            ("end_idle", "ok"),
            ("end_idle", "LeaseLost"),
            ("ended", "ok"),
            ("ended", "Invalid"),
            ("members", "ok"),
            ("members", "NotFound"),
            ("forget", "ok"),
            ("forget", "Invalid"),
        ] {
            let key = (call, result.to_owned());
            assert!(all.contains_key(&key), "{call} was never {result}: {all:?}");
        }
    }
}

/// Runs a suite on both emulators, each of which must have given these results.
async fn passes(
    suite: impl AsyncFn(&[Arc<dyn ControlState>], u64, u32) -> Result<Seen, Violation>,
    steps: u32,
    wanted: &[(&'static str, &str)],
) {
    let seed = skyhaul_tests::seed();
    for emulator in emulators() {
        let results = suite(&handles(emulator, 2).await, seed, steps).await;
        let results = results.unwrap_or_else(|violation| panic!("{violation}"));
        for (call, result) in wanted {
            let key = (*call, (*result).to_owned());
            assert!(
                results.contains_key(&key),
                "{call} was never {result}: {results:?}"
            );
        }
    }
}

#[tokio::test]
async fn machines_are_assigned_as_in_memory() {
    let wanted = ["ok", "NotFound", "LeaseLost"].map(|result| ("change", result));
    passes(enrolments, 300, &wanted).await;
}

#[tokio::test]
async fn what_is_submitted_is_kept_as_in_memory() {
    let wanted = [
        ("submit", "ok"),
        ("submit", "Invalid"),
        ("change", "ok"),
        ("change", "NotFound"),
        ("change", "LeaseLost"),
        ("change", "Invalid"),
    ];
    passes(submissions, 400, &wanted).await;
}

#[tokio::test]
async fn schedules_are_kept_as_in_memory() {
    let wanted = ["ok", "NotFound", "LeaseLost"].map(|result| ("change", result));
    passes(schedules, 300, &wanted).await;
}

#[tokio::test]
async fn keys_of_rules_are_kept_as_in_memory() {
    let wanted = ["ok", "Throttled", "LeaseLost"].map(|result| ("change", result));
    passes(dirty_keys, 300, &wanted).await;
}

#[tokio::test]
async fn one_of_two_orders_is_kept() {
    for emulator in emulators() {
        let handles = handles(emulator, 8).await;
        let transfer = TransferId::generate();
        let new = |number: usize| {
            let order = format!("{}", number % 2);
            Submission::new(transfer.clone(), order, "me", jiff::Timestamp::UNIX_EPOCH).unwrap()
        };
        let all: Vec<_> = (0..8).map(new).collect();
        let submitting = handles.iter().zip(&all);
        let submitted = join_all(submitting.map(|(handle, new)| handle.submit(new))).await;
        let kept = handles[0].submission(&transfer).await.unwrap().unwrap();
        for (new, submitted) in all.iter().zip(submitted) {
            assert_eq!(submitted.is_ok(), kept.is_of(new), "{submitted:?}");
        }
    }
}

#[tokio::test]
async fn regions_are_what_was_said_last() {
    for emulator in emulators() {
        let handles = handles(emulator, 2).await;
        assert!(handles[0].regions().await.unwrap().is_empty());
        for settings in ["{}", "{\"a\":1}"] {
            let set = handles[0].set_region("eu-west-1", Some(settings));
            set.await.unwrap();
            let found = handles[1].regions().await.unwrap();
            assert_eq!(found["eu-west-1"], settings);
        }
        for _ in 0..2 {
            handles[1].set_region("eu-west-1", None).await.unwrap();
            assert!(handles[0].regions().await.unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_deployment_closes_and_opens_for_all() {
    for emulator in emulators() {
        let handles = handles(emulator, 2).await;
        for closing in [false, true, true, false, false] {
            handles[0].set_closing(closing).await.unwrap();
            assert_eq!(handles[1].is_closing().await.unwrap(), closing);
        }
    }
}

#[tokio::test]
async fn a_number_is_raised_once_whoever_raises_it() {
    for emulator in emulators() {
        race(&handles(emulator, 8).await).await.unwrap();
    }
}

#[tokio::test]
async fn the_first_secrets_of_a_transfer_stay() {
    for emulator in emulators() {
        let handles = handles(emulator, 8).await;
        let transfer = TransferId::generate();
        assert_eq!(handles[0].secrets(&transfer).await.unwrap(), None);
        let new: Vec<_> = (0..8_u8).map(|number| Bytes::from(vec![number])).collect();
        let keeping = handles.iter().zip(&new);
        let keeping = keeping.map(|(handle, new)| handle.keep_secrets(&transfer, new));
        let kept = join_all(keeping).await;
        let first = handles[0].secrets(&transfer).await.unwrap().unwrap();
        assert!(kept.into_iter().all(|kept| kept.unwrap() == first));
        for _ in 0..2 {
            handles[1].drop_secrets(&transfer).await.unwrap();
            assert_eq!(handles[0].secrets(&transfer).await.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn what_the_reaper_saw_is_kept() {
    for emulator in emulators() {
        let handles = handles(emulator, 2).await;
        assert_eq!(handles[0].sightings().await.unwrap(), Sightings::new());
        for machine in ["i-1", "i-2"] {
            let now = jiff::Timestamp::from_second(1).unwrap();
            let seen = Sightings::from([(MachineId(machine.to_owned()), now)]);
            handles[0].set_sightings(&seen).await.unwrap();
            assert_eq!(handles[1].sightings().await.unwrap(), seen);
        }
    }
}
