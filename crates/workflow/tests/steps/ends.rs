//! Attempts that end before their transfer does: cancelled, paused, failed.

use skyhaul_compute::simulated::Fault;
use skyhaul_engine::StepEnd;
use skyhaul_model::ErrorKind;
use skyhaul_state::control::{Failure, Stage, Submission, SubmissionChange, Wish};
use skyhaul_state::{Phase, TransferStatus};
use skyhaul_tests::oracle::ObjectSpec;
use skyhaul_workflow::order::FleetOrder;
use skyhaul_workflow::steps::{self, Answer};

use super::world::{Kind, World, at};

/// Steps after which somebody wants it to end.
const MOMENTS: usize = 6;

fn objects() -> Vec<ObjectSpec> {
    let small = (0..5).map(|n| ObjectSpec::new(format!("a/{n}"), n, 10));
    small
        .chain([ObjectSpec::new("large", 1, 17 << 20)])
        .collect()
}

/// Goes as far as the moment.
async fn until(world: &World, moment: usize) {
    if moment > 0 {
        world.plan().await.unwrap();
    }
    if moment > 1 {
        world.provision().await.unwrap();
    }
    if moment > 2 {
        world.done(async || world.provision().await).await;
        world.wait("token").await.unwrap();
    }
    if moment > 3 {
        world.list(World::later()).await.unwrap();
    }
    if moment > 4 {
        world.copy(World::later()).await.unwrap();
    }
}

async fn wish(world: &World, wish: Wish) {
    let change = SubmissionChange::Wish(wish);
    let transfer = &world.attempt.transfer;
    let changed = world.rows().change_submission(transfer, &change).await;
    changed.unwrap();
}

#[tokio::test]
async fn a_transfer_that_is_cancelled_at_any_moment_leaves_nothing() {
    for moment in 0..MOMENTS {
        let world = World::new(Kind::Copy, &objects()).await;
        until(&world, moment).await;
        wish(&world, Wish::Cancel).await;
        let refused = world.list(World::later()).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Interrupted);
        let told = world.watch().await.unwrap().answer;
        if moment > 2 {
            assert!(
                matches!(told, Some(Answer::Failed(Failure { name, .. })) if name == "Cancelled")
            );
        } else {
            assert_eq!(told, None);
        }
        world.done(async || world.settle().await).await;
        assert_eq!(world.settle().await.unwrap(), StepEnd::Done);
        if moment > 0 {
            let row = world.row().await;
            let ended = (row.phase, row.status);
            assert_eq!(ended, (Phase::Ended, TransferStatus::Cancelled), "{moment}");
        }
        assert!(world.to.uploads().is_empty());
        world.assert_gone().await;
    }
}

#[tokio::test]
async fn the_end_of_an_attempt_is_reached_from_a_fault_at_any_call() {
    for moment in 0..MOMENTS {
        // Each call at some moment, for each takes a world of its own.
        let mut call = 1 + moment as u64 % 3;
        loop {
            let world = World::new(Kind::Copy, &objects()).await;
            until(&world, moment).await;
            wish(&world, Wish::Cancel).await;
            let last = world.faults.calls() + call;
            let fault = [Fault::Lost, Fault::LostReply][call as usize % 2];
            world.faults.at(last, fault);
            world.done(async || world.settle().await).await;
            let reached = world.faults.calls() >= last;
            world.assert_gone().await;
            assert!(world.to.uploads().is_empty(), "{fault:?} of call {call}");
            if !reached {
                break;
            }
            call += 3;
        }
    }
}

#[tokio::test]
async fn a_transfer_that_is_paused_at_any_moment_is_gone_on_with() {
    for moment in 0..MOMENTS {
        let mut world = World::new(Kind::Copy, &objects()).await;
        until(&world, moment).await;
        wish(&world, Wish::Pause).await;
        world.done(async || world.settle().await).await;
        world.assert_gone().await;
        world.attempt.attempt = 2;
        let transfer = world.attempt.transfer.clone();
        let begin = SubmissionChange::Begin(2);
        world
            .rows()
            .change_submission(&transfer, &begin)
            .await
            .unwrap();
        until(&world, MOMENTS).await;
        world.finished().await;
        let row = world.row().await;
        assert_eq!((row.status, row.attempt), (TransferStatus::Succeeded, 2));
        world.assert_equal();
        world.assert_gone().await;
    }
}

#[tokio::test]
async fn an_attempt_that_fails_says_why_and_can_be_gone_on_with() {
    let world = World::new(Kind::Copy, &objects()).await;
    until(&world, 3).await;
    let why = |name: &str| Failure {
        name: name.to_owned(),
        cause: format!("the cause of {name}"),
    };
    world
        .attempt
        .fail(&world.account, why("Listing"))
        .await
        .unwrap();
    let told = world.watch().await.unwrap().answer;
    assert_eq!(told, Some(Answer::Failed(why("Listing"))));
    let ended = loop {
        let later = World::later();
        let again = Some(why("Later"));
        let ended = steps::settle(&world.account, &world.attempt, again, world.now(), later);
        let ended = ended.await.unwrap();
        if ended.end == StepEnd::Done {
            break ended;
        }
    };
    assert_eq!(
        (ended.succeeded, ended.failure),
        (false, Some(why("Listing")))
    );
    let row = world.row().await;
    assert_eq!(
        (row.phase, row.status),
        (Phase::Copy, TransferStatus::Failed)
    );
    assert!(row.error.unwrap().contains("cause of Listing"));
    world.assert_gone().await;
}

#[tokio::test]
async fn nothing_that_matches_is_told_before_a_byte_is_moved() {
    let world = World::new(Kind::Copy, &[]).await;
    let error = world.plan().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(!error.retryable);
    world.done(async || world.settle().await).await;
    assert_eq!(world.submission().await.stage, Stage::Over);
    world.assert_gone().await;
}

#[tokio::test]
async fn another_order_under_the_same_id_is_refused() {
    let world = World::new(Kind::Copy, &objects()).await;
    let transfer = world.attempt.transfer.clone();
    let kept = world.submission().await;
    let again = Submission::new(transfer.clone(), kept.order.clone(), "else", at(9)).unwrap();
    assert_eq!(world.rows().submit(&again).await.unwrap(), kept);
    let other = Submission::new(transfer, "{}", "test", at(0)).unwrap();
    let refused = world.rows().submit(&other).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn a_dataplane_that_is_kept_carries_out_the_next_transfer_without_a_launch() {
    let kept = FleetOrder {
        autoshutdown: Some(15),
        ..FleetOrder::default()
    };
    let mut world = World::with(Kind::Copy, &objects(), kept).await;
    until(&world, MOMENTS).await;
    world.finished().await;
    let before = world.machines.alive();
    assert_eq!(before.len(), 2);
    let dataplane = world.dataplane().await;
    assert!(dataplane.transfers.is_empty());
    let first = world.attempt.transfer.clone();
    world
        .submit(FleetOrder {
            dataplane: Some(dataplane.id.clone()),
            ..FleetOrder::default()
        })
        .await;
    assert_eq!(world.plan().await.unwrap().machines, 2);
    // All have told of themselves long ago.
    assert_eq!(world.provision().await.unwrap(), StepEnd::Done);
    assert_eq!(world.machines.alive(), before);
    for member in &world.dataplane().await.members {
        let told = world.told(&dataplane, member).await;
        assert_eq!(told.transfer, world.attempt.transfer);
        assert_ne!(told.transfer, first);
    }
    wish(&world, Wish::Cancel).await;
    // Who was dismissed may still write: it is not over before it is quiet.
    assert_eq!(world.settle().await.unwrap(), StepEnd::More);
    world
        .done(async || {
            world.pass(1);
            world.settle().await
        })
        .await;
    assert_eq!(world.machines.alive(), before);
    assert!(world.dataplane().await.transfers.is_empty());
}
