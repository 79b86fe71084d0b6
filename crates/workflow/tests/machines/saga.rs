//! Provision and teardown, with a fault at every call.

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use skyhaul_compute::simulated::Fault;
use skyhaul_model::ErrorKind;
use skyhaul_state::control::{DataplaneChange, DataplaneStatus};
use skyhaul_workflow::machines::Provisioned;

use super::world::{FIRST, SECOND, World, minute};

const LOSSES: [Fault; 2] = [Fault::Lost, Fault::LostReply];

#[tokio::test]
async fn provisioning_goes_on_from_a_fault_at_any_call() {
    for fault in LOSSES {
        let mut call = 1;
        loop {
            let world = World::new(call).await;
            world.faults.at(call, fault);
            world.provisioned().await;
            world.assert_whole().await;
            // What is there is found there.
            world.provisioned().await;
            world.assert_whole().await;
            if world.faults.calls() < call {
                break;
            }
            world.torn_down().await;
            world.assert_gone().await;
            call += 1;
        }
        assert!(call > 10, "only {call} calls were reached");
    }
}

#[tokio::test]
async fn what_failed_anywhere_is_unwound_also_when_the_undoing_fails() {
    for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(a, b)| (LOSSES[a], LOSSES[b])) {
        let (mut call, mut reached) = (1, true);
        while reached {
            reached = false;
            let mut later = 1;
            loop {
                let world = World::new(later).await;
                world.faults.at(call, first);
                let failed = world.provision().await.is_err();
                reached |= failed;
                let before = world.faults.calls();
                world.faults.at(before + later, second);
                world.torn_down().await;
                world.assert_gone().await;
                // Whoever still provisions is refused, and leaves nothing.
                let refused = loop {
                    let error = world.provision().await.unwrap_err();
                    if error.kind != ErrorKind::Unreachable {
                        break error;
                    }
                };
                assert_eq!(refused.kind, ErrorKind::Interrupted);
                world.assert_gone().await;
                world.torn_down().await;
                if world.faults.calls() < before + later {
                    break;
                }
                later += 1;
            }
            call += 1;
        }
        assert!(call > 10, "only {call} calls were reached");
    }
}

#[tokio::test]
async fn who_dies_anywhere_leaves_nothing_that_the_reaper_does_not_find() {
    for fault in LOSSES {
        let (mut call, mut reached) = (1, true);
        while reached {
            let world = World::new(call).await;
            world.faults.at(call, fault);
            // The first error ends it: that is where it died. Nobody provisions or tears down after it.
            reached = world.provision().await.is_err();
            if !reached {
                break;
            }
            world.transfer_ends();
            for pass in 0..4 {
                let reaped = world.reap(minute(10 + 5 * pass)).await.unwrap();
                assert!(reaped.problems.is_empty(), "{reaped:?}");
            }
            world.assert_gone().await;
            call += 1;
        }
        assert!(call > 10, "only {call} calls were reached");
    }
}

#[tokio::test]
async fn many_at_once_make_one_dataplane() {
    let seed = skyhaul_tests::seed();
    for round in 0..100 {
        let world = World::new(seed.wrapping_add(round)).await;
        let provisioning = || async { world.provisioned().await };
        let reaping = async {
            for pass in 0..20 {
                world.reap(minute(pass)).await.unwrap();
            }
        };
        let all = join_all((0..4).map(|_| provisioning()));
        let (rows, ()) = futures::join!(all, reaping);
        let ready = |row: &skyhaul_state::control::DataplaneRow| {
            row.members.iter().all(|member| member.machine.is_some())
        };
        assert!(rows.iter().all(ready), "{rows:#?}");
        world.provisioned().await;
        world.assert_whole().await;
    }
}

#[tokio::test]
async fn a_teardown_amid_provisioning_and_faults_leaves_nothing() {
    let seed = skyhaul_tests::seed();
    for round in 0..600 {
        let seed = seed.wrapping_add(round);
        let mut dice = StdRng::seed_from_u64(seed);
        let world = World::new(seed).await;
        let faults = dice.random_range(0..6);
        for _ in 0..faults {
            let all = [
                Fault::Lost,
                Fault::LostReply,
                Fault::NoCapacity,
                Fault::Stale,
            ];
            let fault = all[dice.random_range(0..all.len())];
            world.faults.at(dice.random_range(1..80), fault);
        }
        let provisioning = || async {
            for _ in 0..6 {
                let done = world.provision().await;
                if matches!(&done, Err(error) if error.kind == ErrorKind::Interrupted) {
                    break;
                }
            }
        };
        let tearing = async {
            for _ in 0..dice.random_range(0..40) {
                tokio::task::yield_now().await;
            }
            world.torn_down().await;
        };
        let many = join_all((0..3).map(|_| provisioning()));
        futures::join!(many, tearing);
        // What was launched behind the teardown's back was ended by who launched it, if nothing failed.
        if faults == 0 {
            let (row, alive) = (world.row().await, world.alive());
            assert!(alive.is_empty(), "seed {seed}: {row:#?}\n{alive:#?}");
        }
        // All else is found.
        world.transfer_ends();
        let mut passes = 0;
        while passes < 3 {
            passes += i64::from(world.reap(minute(10 * passes)).await.is_ok());
        }
        world.assert_gone().await;
    }
}

#[tokio::test]
async fn another_offer_is_tried_where_there_is_no_capacity() {
    let world = World::new(1).await;
    world.here.offer(FIRST, false);
    let row = world.provisioned().await;
    world.assert_whole().await;
    let tried: Vec<_> = row.members.iter().map(|member| member.tried).collect();
    assert_eq!(tried, [2, 2, 1, 1]);
}

#[tokio::test]
async fn where_nothing_can_be_had_it_is_told() {
    let world = World::new(1).await;
    world.there.offer(FIRST, false);
    world.there.offer(SECOND, false);
    let error = world.provision().await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Full, false));
    let text = error.to_string();
    assert!(text.contains("dst-1") && text.contains(SECOND), "{text}");
    world.torn_down().await;
    world.assert_gone().await;
}

#[tokio::test]
async fn a_lost_machine_is_replaced_under_its_name() {
    let world = World::new(1).await;
    let before = world.provisioned().await;
    let lost = before.members[1].machine.clone().unwrap();
    world.here.end(&lost);
    let after = world.provisioned().await;
    world.assert_whole().await;
    assert_eq!(after.members[1].generation, 2);
    assert_ne!(after.members[1].machine, Some(lost));
    // What it said of itself is gone with it.
    let machine = World::identity(&before.members[1]);
    assert_eq!(world.rows().enrolment(&machine).await.unwrap(), None);
    assert_eq!(after.members[0], before.members[0]);
}

#[tokio::test]
async fn a_new_machine_that_is_not_told_of_yet_is_not_lost() {
    let world = World::new(1).await;
    let calls = {
        let probe = World::new(1).await;
        probe.provisioned().await;
        probe.faults.calls()
    };
    for call in 1..=calls {
        world.faults.at(call, Fault::Stale);
    }
    assert!(matches!(
        world.provision().await.unwrap(),
        Provisioned::More(_)
    ));
    let row = world.provisioned().await;
    assert!(row.members.iter().all(|member| member.generation == 1));
    world.assert_whole().await;
}

#[tokio::test]
async fn a_region_that_cannot_be_reached_keeps_no_machine_of_another() {
    let world = World::new(1).await;
    world.provisioned().await;
    // The first call of a teardown is the row's, the second is the first region's.
    let next = world.faults.calls();
    world.faults.at(next + 2, Fault::Lost);
    world.teardown().await.unwrap_err();
    assert_eq!(world.here.alive().len(), 2);
    assert!(world.there.alive().is_empty());
    let row = world.row().await.unwrap();
    assert_eq!(row.status, DataplaneStatus::Ending);
    world.change(DataplaneChange::End).await;
    world.torn_down().await;
    world.assert_gone().await;
}

#[tokio::test]
async fn a_machine_of_which_nothing_is_told_for_long_is_replaced() {
    let world = World::new(1).await;
    let before = world.provisioned().await;
    let lost = before.members[1].machine.clone().unwrap();
    world.here.vanish(&lost);
    for at in [0, 4] {
        let pass = world.provision_at(minute(at)).await.unwrap();
        assert!(
            matches!(pass, Provisioned::More(_)),
            "minute {at}: {pass:?}"
        );
    }
    let Provisioned::More(_) = world.provision_at(minute(6)).await.unwrap() else {
        panic!("the new machine was there at once");
    };
    let after = world.provisioned().await;
    assert_eq!(after.members[1].generation, 2);
    world.assert_whole().await;
}

#[tokio::test]
async fn one_region_that_is_gone_does_not_keep_another_alive() {
    let mut world = World::new(1).await;
    world.provisioned().await;
    world.undeploy("here");
    let error = world.teardown().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(world.there.alive().is_empty());
    assert_eq!(world.there.rules(&world.id), None);
}
