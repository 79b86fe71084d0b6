//! From the order to the end.

use futures::future::join_all;
use skyhaul_compute::simulated::Fault;
use skyhaul_engine::StepEnd;
use skyhaul_gateway::config::StateConfig;
use skyhaul_state::TransferStatus;
use skyhaul_state::control::{MemberRole, Stage};
use skyhaul_tests::oracle::ObjectSpec;
use skyhaul_workflow::order::FleetOrder;
use skyhaul_workflow::steps::Answer;
use tokio::time::Instant;

use super::world::{Kind, World};

fn objects(count: u64) -> Vec<ObjectSpec> {
    let small = (0..count).map(|n| ObjectSpec::new(format!("a/{n:04}"), n, 100 + n));
    let large = ObjectSpec::new("large", 7, 17 << 20);
    small.chain([large]).collect()
}

/// From the order to the end, as the state machine does it: every step until it is done.
async fn carried_out(world: &World) {
    let planned = world.replied(async || world.plan().await).await;
    if planned.machines > 0 {
        world.done(async || world.provision().await).await;
        world.replied(async || world.wait("token").await).await;
    }
    world.done(async || world.list(World::later()).await).await;
    // What gateways would do.
    world.done(async || world.copy(World::later()).await).await;
    if planned.machines > 0 {
        for _ in 0..3 {
            let _ = world.watch().await;
        }
        let told = world.execution.told.lock().unwrap().clone();
        assert_eq!(told, [Answer::Copied]);
    }
    world.finished().await;
    assert_eq!(world.row().await.status, TransferStatus::Succeeded);
    assert_eq!(world.submission().await.stage, Stage::Over);
    world.assert_equal();
    world.assert_gone().await;
}

#[tokio::test]
async fn a_transfer_is_carried_out_by_machines_that_go_with_it() {
    let world = World::new(Kind::Copy, &objects(300)).await;
    let planned = world.plan().await.unwrap();
    assert_eq!(planned, world.plan().await.unwrap());
    assert_eq!((planned.machines, planned.ended), (2, false));
    // None has told of itself yet.
    assert_eq!(world.provision().await.unwrap(), StepEnd::More);
    world.done(async || world.provision().await).await;
    assert_eq!(world.provision().await.unwrap(), StepEnd::Done);
    let row = world.dataplane().await;
    for member in &row.members {
        let told = world.told(&row, member).await;
        assert_eq!(told.transfer, world.attempt.transfer);
        assert_eq!(told.name, member.plan.name.to_string());
        assert!(matches!(&told.state, StateConfig::Table(table) if table.name == "state"));
        let is_source = member.plan.role == MemberRole::Source;
        assert_eq!(told.segments.is_some(), is_source);
        assert_eq!(told.routes.len(), usize::from(is_source));
    }
    world.wait("token").await.unwrap();
    assert_eq!(world.watch().await.unwrap().answer, Some(Answer::Beat));
    world.execution.told.lock().unwrap().clear();
    carried_out(&world).await;
}

#[tokio::test]
async fn every_step_goes_on_where_its_time_was_up() {
    let world = World::new(Kind::Sync, &objects(40)).await;
    let old: Vec<_> = (0..30)
        .map(|n| ObjectSpec::new(format!("old/{n}"), n, 10))
        .collect();
    world.to.put(&old);
    // More is at the source than is to be deleted, or the guard refuses.
    let more: Vec<_> = (0..300)
        .map(|n| ObjectSpec::new(format!("m/{n:03}"), n, 10))
        .collect();
    world.from.put(&more);
    world.to.put(&more);
    world.plan().await.unwrap();
    let mut passes = [0; 4];
    let step = async |which: usize| match which {
        0 => world.list(Instant::now()).await,
        1 => world.copy(World::later()).await,
        2 => world.complete(Instant::now()).await,
        _ => world.verify(Instant::now()).await,
    };
    for which in 0..4 {
        loop {
            passes[which] += 1;
            assert!(passes[which] < 200, "{passes:?}");
            if step(which).await.unwrap() == StepEnd::Done {
                break;
            }
            // Now and then there is time for something.
            if passes[which] % 3 == 0 && which > 1 {
                let later = World::later();
                let end = match which {
                    2 => world.complete(later).await,
                    _ => world.verify(later).await,
                };
                assert_eq!(end.unwrap(), StepEnd::Done);
            }
        }
    }
    world.done(async || world.settle().await).await;
    let row = world.row().await;
    assert_eq!((row.status, row.error), (TransferStatus::Succeeded, None));
    world.assert_equal();
    world.assert_gone().await;
}

#[tokio::test]
async fn a_service_that_copies_by_itself_needs_no_machine() {
    let world = World::new(Kind::Inside, &objects(20)).await;
    assert_eq!(world.plan().await.unwrap().machines, 0);
    carried_out(&world).await;
    assert_eq!(world.submission().await.dataplane, None);
}

/// Runs that go on side by side: most of their time they wait for servers.
const AT_ONCE: u64 = 8;

#[tokio::test]
async fn a_fault_at_any_call_is_gone_on_from() {
    let first = World::new(Kind::Copy, &[ObjectSpec::new("a", 1, 10)]).await;
    // Whether there was such a call.
    let run = async |call: u64, fault: Fault| {
        let (from, to) = (first.from.clone(), first.to.clone());
        let world = World::between(Kind::Copy, from, to, FleetOrder::default()).await;
        world.faults.at(call, fault);
        carried_out(&world).await;
        world.faults.calls() >= call
    };
    for fault in [Fault::Lost, Fault::LostReply] {
        let mut call = 1;
        loop {
            let runs = (call..call + AT_ONCE).map(|call| run(call, fault));
            let reached = join_all(runs).await;
            if reached.contains(&false) {
                break;
            }
            call += AT_ONCE;
        }
        assert!(call > 40, "only {call} calls were reached");
    }
}
