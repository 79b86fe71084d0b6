//! What is submitted again and again.

use skyhaul_model::ErrorKind;
use skyhaul_state::control::{Overlap, Schedule, Stage, SubmissionChange};
use skyhaul_tests::oracle::ObjectSpec;
use skyhaul_workflow::Deployed;
use skyhaul_workflow::order::FleetOrder;
use skyhaul_workflow::steps::{Fired, fire, queued, run_of};

use super::deployed::deployed;
use super::world::{Kind, World, at};

async fn scheduled(world: &World, overlap: Overlap) {
    let order = world.submitted(FleetOrder::default()).order;
    let new = Schedule::new("nightly", order, "me", overlap).unwrap();
    world.rows().set_schedule(&new).await.unwrap();
}

async fn ends(world: &World, deployed: &Deployed, minute: i64) {
    let run = run_of("nightly", at(minute));
    let over = SubmissionChange::Over(1);
    world.rows().change_submission(&run, &over).await.unwrap();
    assert!(!deployed.standing(&run).await.unwrap().is_live());
}

#[tokio::test]
async fn a_time_is_one_run_and_what_overlaps_is_refused() {
    let world = World::new(Kind::Sync, &[ObjectSpec::new("a", 1, 10)]).await;
    let (deployed, executions) = deployed(&world);
    let none = fire(&deployed, "nightly", at(1)).await.unwrap_err();
    assert_eq!(none.kind, ErrorKind::NotFound);
    scheduled(&world, Overlap::Refuse).await;
    let first = run_of("nightly", at(1));
    let told = (0..8).map(|_| fire(&deployed, "nightly", at(1)));
    for fired in futures::future::join_all(told).await {
        assert_eq!(fired.unwrap(), Fired::Begun(first.clone()));
    }
    assert_eq!(executions.names(), [format!("{first}-1")]);
    let second = run_of("nightly", at(2));
    for _ in 0..2 {
        let fired = fire(&deployed, "nightly", at(2)).await.unwrap();
        assert_eq!(fired, Fired::Refused(second.clone()));
    }
    assert_eq!(executions.names().len(), 1);
    ends(&world, &deployed, 1).await;
    let third = run_of("nightly", at(3));
    let fired = fire(&deployed, "nightly", at(3)).await.unwrap();
    assert_eq!(fired, Fired::Begun(third));
    // What was refused is not made up for.
    assert_eq!(executions.names().len(), 2);
    assert!(world.rows().submission(&second).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_queued_begins_once_when_the_run_before_it_has_ended() {
    let world = World::new(Kind::Sync, &[ObjectSpec::new("a", 1, 10)]).await;
    let (deployed, executions) = deployed(&world);
    scheduled(&world, Overlap::Queue).await;
    fire(&deployed, "nightly", at(1)).await.unwrap();
    let second = run_of("nightly", at(2));
    for minute in [2, 3, 4] {
        let fired = fire(&deployed, "nightly", at(minute)).await.unwrap();
        assert!(matches!(fired, Fired::Waits(_)), "{fired:?}");
    }
    assert_eq!(queued(&deployed, at(5)).await.unwrap().0, []);
    ends(&world, &deployed, 1).await;
    // Two that look at once begin the same.
    let (one, other) = tokio::join!(queued(&deployed, at(6)), queued(&deployed, at(6)));
    let begun: Vec<_> = [one, other]
        .into_iter()
        .flat_map(|one| one.unwrap().0)
        .collect();
    assert!(
        begun.iter().all(|run| *run == second) && !begun.is_empty(),
        "{begun:?}"
    );
    assert_eq!(executions.names().len(), 2);
    let row = world.rows().schedule("nightly").await.unwrap().unwrap();
    assert_eq!((row.last, row.waiting), (Some(second.clone()), None));
    let submission = world.rows().submission(&second).await.unwrap().unwrap();
    assert_eq!(submission.stage, Stage::Live);
    assert_eq!(queued(&deployed, at(7)).await.unwrap().0, []);
}

#[tokio::test]
async fn a_run_whose_begin_failed_is_begun_when_its_time_is_told_again() {
    let world = World::new(Kind::Sync, &[ObjectSpec::new("a", 1, 10)]).await;
    let (deployed, executions) = deployed(&world);
    scheduled(&world, Overlap::Refuse).await;
    executions.refuse();
    fire(&deployed, "nightly", at(1)).await.unwrap_err();
    // The schedule was changed meanwhile: what was begun is what was asked for then.
    let other = world
        .submitted(FleetOrder {
            per_region: 2,
            ..FleetOrder::default()
        })
        .order;
    let changed = Schedule::new("nightly", other, "me", Overlap::Refuse).unwrap();
    world.rows().set_schedule(&changed).await.unwrap();
    let run = run_of("nightly", at(1));
    assert_eq!(
        fire(&deployed, "nightly", at(1)).await.unwrap(),
        Fired::Begun(run.clone())
    );
    assert_eq!(executions.names(), [format!("{run}-1")]);
}
