//! Machines that are kept for the next transfer.

use std::time::Duration;

use skyhaul_model::machine::DataplaneId;
use skyhaul_model::{ErrorKind, TransferId};
use skyhaul_state::control::{DataplaneStatus, NewDataplane, Stage, Submission};
use skyhaul_tests::oracle::ObjectSpec;
use skyhaul_workflow::deprovision::Deprovision;
use skyhaul_workflow::order::FleetOrder;

use super::deployed::deployed;
use super::world::{Kind, World};

fn kept() -> FleetOrder {
    FleetOrder {
        reuse: true,
        autoshutdown: Some(15),
        ..FleetOrder::default()
    }
}

async fn carried_out(world: &World) -> Submission {
    assert_eq!(world.plan().await.unwrap().machines, 2);
    world.done(async || world.provision().await).await;
    world.done(async || world.list(World::later()).await).await;
    world.done(async || world.copy(World::later()).await).await;
    world.finished().await;
    world.assert_equal();
    world.submission().await
}

#[tokio::test]
async fn idle_machines_are_used_again_and_busy_ones_are_not() {
    let mut world = World::with(Kind::Copy, &[ObjectSpec::new("a", 1, 10)], kept()).await;
    let first = carried_out(&world).await;
    let launched = world.machines.alive();
    assert_eq!(launched.len(), 2);
    world.submit(kept()).await;
    let second = carried_out(&world).await;
    assert_eq!(second.dataplane, first.dataplane);
    assert_eq!(world.machines.alive(), launched, "something was launched");
    // One that is used by a transfer that goes on is none for another.
    world.submit(kept()).await;
    world.plan().await.unwrap();
    assert_eq!(world.submission().await.dataplane, first.dataplane);
    assert_eq!(world.plan().await.unwrap().machines, 2);
    world.submit(kept()).await;
    let fourth = carried_out(&world).await;
    assert_ne!(fourth.dataplane, first.dataplane);
    assert_eq!(world.machines.alive().len(), 4);
    // Who does not ask for idle machines gets its own, which go with it.
    world.submit(FleetOrder::default()).await;
    let own = carried_out(&world).await;
    assert!(own.dataplane != first.dataplane && own.dataplane != fourth.dataplane);
    assert_eq!(world.dataplane().await.status, DataplaneStatus::Ended);
    assert_eq!(world.machines.alive().len(), 4);
}

#[tokio::test]
async fn of_two_that_want_the_same_machines_one_gets_its_own() {
    let mut world = World::with(Kind::Copy, &[ObjectSpec::new("a", 1, 10)], kept()).await;
    let first = carried_out(&world).await;
    world.submit(kept()).await;
    let one = world.attempt.clone();
    world.submit(kept()).await;
    let other = world.attempt.clone();
    let (one, other) = tokio::join!(
        skyhaul_workflow::steps::plan(&world.account, &one, false, world.now()),
        skyhaul_workflow::steps::plan(&world.account, &other, false, world.now()),
    );
    assert_eq!((one.unwrap().machines, other.unwrap().machines), (2, 2));
    let rows = world.rows().dataplanes().await.unwrap();
    let used: Vec<_> = rows.iter().map(|row| row.transfers.len()).collect();
    assert_eq!(used, [1, 1], "{rows:#?}");
    assert!(
        rows.iter()
            .any(|row| Some(&row.id) == first.dataplane.as_ref())
    );
}

#[tokio::test]
async fn machines_of_another_version_are_not_used_again() {
    let mut world = World::with(Kind::Copy, &[ObjectSpec::new("a", 1, 10)], kept()).await;
    let first = carried_out(&world).await;
    let row = world.dataplane().await;
    let older = NewDataplane {
        id: DataplaneId::generate(),
        owner: row.owner,
        members: row.members.into_iter().map(|member| member.plan).collect(),
        transfer: None,
        autoshutdown: Some(15),
        created: world.now(),
        version: "0.0.1".to_owned(),
    };
    world.rows().create(&older).await.unwrap();
    for of_first in [true, false] {
        world.submit(kept()).await;
        world.plan().await.unwrap();
        let used = world.submission().await.dataplane;
        assert_eq!(used == first.dataplane, of_first);
        assert_ne!(used.as_ref(), Some(&older.id));
    }
    let named = FleetOrder {
        dataplane: Some(older.id.clone()),
        ..kept()
    };
    world.submit(named).await;
    let refused = world.plan().await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Invalid);
    assert!(refused.to_string().contains("version 0.0.1"), "{refused}");
    assert_eq!(world.submission().await.dataplane, None);
}

#[tokio::test]
async fn machines_end_when_that_is_asked_for_and_transfers_that_use_them_pause() {
    const SOON: Duration = Duration::from_millis(10);
    let mut world = World::with(Kind::Copy, &[ObjectSpec::new("a", 1, 10)], kept()).await;
    let (deployed, _) = deployed(&world);
    let none = deployed.snapshot(&world.attempt.transfer).await.unwrap();
    assert_eq!(none, None, "it was not planned yet");
    let first = carried_out(&world).await;
    let top = deployed.snapshot(&first.transfer).await.unwrap().unwrap();
    assert_eq!((top.objects_done, top.active), (1, false));
    // What others asked for stays, and what a transfer uses.
    let others = Deprovision {
        all: true,
        owner: Some("nobody".to_owned()),
    };
    let done = deployed
        .deprovision(&others, SOON, &mut |_| {})
        .await
        .unwrap();
    assert!(done.paused.is_empty() && done.ending.is_empty() && done.used.is_empty());
    world.submit(kept()).await;
    assert_eq!(world.plan().await.unwrap().machines, 2);
    world.done(async || world.provision().await).await;
    let idle = Deprovision::default();
    let done = deployed
        .deprovision(&idle, SOON, &mut |_| {})
        .await
        .unwrap();
    assert!(done.paused.is_empty() && done.ending.is_empty());
    assert_eq!(done.used.len(), 1);
    assert_eq!(world.machines.alive().len(), 2);
    // A transfer that pauses lets go of them.
    let all = Deprovision {
        all: true,
        owner: None,
    };
    let mut told = |_: &TransferId| {};
    let (done, ()) = tokio::join!(deployed.deprovision(&all, SOON, &mut told), async {
        while world.submission().await.wish.is_none() {
            tokio::task::yield_now().await;
        }
        world.watch().await.unwrap();
        world.done(async || world.settle().await).await;
    });
    let done = done.unwrap();
    assert_eq!(done.paused, std::slice::from_ref(&world.attempt.transfer));
    assert_eq!(done.ending.len(), 1);
    assert_eq!(world.submission().await.stage, Stage::Over);
    assert_eq!(world.dataplane().await.status, DataplaneStatus::Ending);
    let unknown = skyhaul_model::TransferId::generate();
    let refused = deployed.snapshot(&unknown).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotFound);
}
