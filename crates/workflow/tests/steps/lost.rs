//! Gateways that show no sign of life are replaced, and no others.

use std::collections::BTreeSet;

use jiff::Timestamp;
use skyhaul_compute::simulated::Fault;
use skyhaul_engine::StepEnd;
use skyhaul_model::ErrorKind;
use skyhaul_state::control::{Failure, MemberRole, MemberRow, MemberStatus};
use skyhaul_state::{GatewayRow, Phase, TransferStatus};
use skyhaul_tests::oracle::ObjectSpec;
use skyhaul_workflow::ceiling::Ceiling;
use skyhaul_workflow::order::FleetOrder;
use skyhaul_workflow::steps::{Answer, failure};

use super::world::{Kind, World};

/// A gateway tells of itself.
pub(crate) async fn beat(world: &World, name: &str, beat: u64) {
    let row = GatewayRow {
        name: name.to_owned(),
        gateway: "00".repeat(32),
        beat,
        ..GatewayRow::default()
    };
    let transfer = &world.attempt.transfer;
    world.state.announce(transfer, &row).await.unwrap();
}

#[tokio::test]
async fn who_shows_no_sign_of_life_is_replaced_and_nobody_else() {
    let world = World::new(Kind::Copy, &[ObjectSpec::new("a", 1, 10)]).await;
    world.plan().await.unwrap();
    world.done(async || world.provision().await).await;
    let before = world.dataplane().await;
    let names: Vec<_> = before
        .members
        .iter()
        .map(|member| member.plan.name.to_string())
        .collect();
    world.wait("first").await.unwrap();
    // Two minutes without a sign are none too many; one of the two falls silent.
    for minute in 0..4 {
        if minute % 2 == 0 {
            beat(&world, &names[0], minute).await;
        }
        beat(&world, &names[1], minute.min(1)).await;
        let told = world.watch().await.unwrap().answer;
        assert_eq!(told, Some(Answer::Beat), "minute {minute}");
        world.pass(1);
    }
    let Some(Answer::Failed(Failure { name, cause })) = world.watch().await.unwrap().answer else {
        panic!("nobody was missed");
    };
    assert_eq!(name, failure::GATEWAYS_LOST);
    assert!(
        cause.contains(&names[1]) && !cause.contains(&names[0]),
        "{cause}"
    );
    // Nobody waits now: nothing is answered, nothing is lost anew.
    world.pass(40);
    assert_eq!(world.watch().await.unwrap().answer, None);
    assert_eq!(world.provision().await.unwrap(), StepEnd::More);
    world.done(async || world.provision().await).await;
    let after = world.dataplane().await;
    assert_eq!(after.members[0], before.members[0]);
    assert_eq!(after.members[1].generation, 2);
    assert_ne!(after.members[1].machine, before.members[1].machine);
    assert_eq!(world.machines.alive().len(), 2);
    assert!(world.submission().await.lost.is_empty());
    // The new one has as long as the old one had.
    world.wait("second").await.unwrap();
    assert_eq!(world.watch().await.unwrap().answer, Some(Answer::Beat));
    world.pass(2);
    assert_eq!(world.watch().await.unwrap().answer, Some(Answer::Beat));
}

#[tokio::test]
async fn a_reply_to_who_waits_that_is_lost_is_given_again() {
    let world = World::new(Kind::Copy, &[ObjectSpec::new("a", 1, 10)]).await;
    world.plan().await.unwrap();
    world.wait("token").await.unwrap();
    world.list(World::later()).await.unwrap();
    world.copy(World::later()).await.unwrap();
    // Somebody else answered: nobody waits with this token any more.
    *world.execution.waits.lock().unwrap() = None;
    assert_eq!(world.watch().await.unwrap().answer, None);
    assert_eq!(world.submission().await.token, None);
    world.wait("next").await.unwrap();
    assert_eq!(world.watch().await.unwrap().answer, Some(Answer::Copied));
    assert_eq!(world.watch().await.unwrap().answer, None);
}

#[tokio::test]
async fn a_gateway_that_no_machine_can_be_had_for_is_done_without() {
    let only = "c6in.large";
    let fleet = FleetOrder {
        per_region: 2,
        instance_types: vec![only.to_owned()],
        ..FleetOrder::default()
    };
    let world = World::with(Kind::Copy, &[ObjectSpec::new("a", 1, 10)], fleet).await;
    world.plan().await.unwrap();
    world.done(async || world.provision().await).await;
    let row = world.dataplane().await;
    let machine = |name: &str| {
        let mut members = row.members.iter();
        let member = members.find(|member| member.plan.name.as_str().ends_with(name));
        member.unwrap().machine.clone().unwrap()
    };
    let gateways = async || world.submission().await.gateways;
    assert_eq!(gateways().await.len(), 4);
    world.machines.offer(only, false);
    world.machines.end(&machine("dst-2"));
    world.done(async || world.provision().await).await;
    let left = gateways().await;
    assert!(left.len() == 3 && !left.iter().any(|name| name.ends_with("dst-2")));
    // Of the last of its role a machine is waited for.
    world.machines.end(&machine("dst-1"));
    for _ in 0..5 {
        assert_eq!(world.provision().await.unwrap(), StepEnd::More);
    }
    world.machines.offer(only, true);
    world.done(async || world.provision().await).await;
    assert_eq!(gateways().await.len(), 4);
    assert_eq!(world.machines.alive().len(), 4);
}

#[tokio::test]
async fn a_gateway_without_a_machine_is_known_to_the_others_should_one_come_later() {
    let fleet = || FleetOrder {
        per_region: 2,
        instance_types: vec!["c6in.large".to_owned()],
        ..FleetOrder::default()
    };
    // Each call in turn finds no machine, until it is the launch of one of two that write.
    for call in 1..40 {
        let objects = [ObjectSpec::new("a", 1, 10)];
        let world = World::with(Kind::Copy, &objects, fleet()).await;
        world.plan().await.unwrap();
        let next = world.faults.calls() + call;
        world.faults.at(next, Fault::NoCapacity);
        world.done(async || world.provision().await).await;
        let row = world.dataplane().await;
        let is_missing = |member: &&MemberRow| member.status == MemberStatus::Exhausted;
        let Some(missing) = row.members.iter().find(is_missing) else {
            continue;
        };
        let gateways = world.submission().await.gateways;
        assert_eq!(gateways.len(), 3);
        if missing.plan.role == MemberRole::Source {
            continue;
        }
        for source in row
            .members
            .iter()
            .filter(|member| member.plan.role == MemberRole::Source)
        {
            let told = world.told(&row, source).await;
            let last = told.routes.iter().filter_map(|route| route.hops.last());
            assert!(last.clone().any(|name| name == missing.plan.name.as_str()));
        }
        return;
    }
    panic!("no launch of a destination gateway was met");
}

#[tokio::test]
async fn a_machine_that_never_tells_of_itself_is_replaced() {
    let world = World::new(Kind::Copy, &[ObjectSpec::new("a", 1, 10)]).await;
    world.plan().await.unwrap();
    assert_eq!(world.provision().await.unwrap(), StepEnd::More);
    let alive = || {
        let alive = world.machines.alive().into_iter();
        alive.map(|machine| machine.id).collect::<BTreeSet<_>>()
    };
    let first = alive();
    assert_eq!(first.len(), 2);
    // To what the provider's clock says, and nine minutes on.
    let behind = Timestamp::now().duration_since(world.now()).as_mins();
    world.pass(behind + 9);
    assert_eq!(world.provision().await.unwrap(), StepEnd::More);
    assert_eq!(alive(), first);
    world.pass(2);
    assert_eq!(world.provision().await.unwrap(), StepEnd::More);
    assert!(alive().is_empty());
    world.pass(-20);
    world.done(async || world.provision().await).await;
    assert!(alive().len() == 2 && alive().is_disjoint(&first));
}

/// What may take an hour, and is planned.
async fn for_an_hour() -> World {
    let fleet = FleetOrder {
        ceiling: Ceiling {
            hours: 1,
            ..Ceiling::default()
        },
        ..FleetOrder::default()
    };
    let world = World::with(Kind::Copy, &[ObjectSpec::new("a", 1, 10)], fleet).await;
    world.plan().await.unwrap();
    world
}

/// The attempt has failed and left nothing; the transfer is not over for good.
async fn assert_ended_resumable(world: &World) {
    world.done(async || world.settle().await).await;
    let row = world.row().await;
    assert_eq!(
        (row.status, row.phase),
        (TransferStatus::Failed, Phase::Copy)
    );
    world.assert_gone().await;
}

#[tokio::test]
async fn an_attempt_ends_at_its_ceiling_and_is_not_over_for_good() {
    let world = for_an_hour().await;
    world.done(async || world.provision().await).await;
    world.wait("token").await.unwrap();
    assert_eq!(world.watch().await.unwrap().answer, Some(Answer::Beat));
    world.pass(59);
    let dataplane = world.dataplane().await;
    for member in &dataplane.members {
        beat(&world, member.plan.name.as_str(), 1).await;
    }
    assert_eq!(world.watch().await.unwrap().answer, Some(Answer::Beat));
    world.pass(1);
    let Some(Answer::Failed(failure)) = world.watch().await.unwrap().answer else {
        panic!("it goes on");
    };
    assert_eq!(failure.name, failure::CEILING);
    assert!(failure.cause.contains("may take 1"), "{}", failure.cause);
    assert_ended_resumable(&world).await;
}

#[tokio::test]
async fn a_step_without_a_machine_ends_at_the_ceiling_too() {
    let world = for_an_hour().await;
    let within = || world.attempt.within_ceiling(&world.account, world.now());
    within().await.unwrap();
    world.pass(59);
    // Planned again, it counts from where it began.
    world.plan().await.unwrap();
    within().await.unwrap();
    world.pass(1);
    for _ in 0..2 {
        let refused = within().await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Interrupted);
    }
    let failure = world.submission().await.failure.unwrap();
    assert_eq!(failure.name, failure::CEILING);
    assert_ended_resumable(&world).await;
}
