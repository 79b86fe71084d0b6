//! A transfer whose source is on the machine of who submits: that takes the steps that look at it, and the functions
//! wait for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use skyhaul_engine::StepEnd;
use skyhaul_gateway::assignment::BootKey;
use skyhaul_model::ErrorKind;
use skyhaul_state::control::{Enrolment, Failure};
use skyhaul_tests::data::Body;
use skyhaul_tests::tree::Tree;
use skyhaul_workflow::machines::{GUEST, Guests, guest_name};
use skyhaul_workflow::order::FleetOrder;
use skyhaul_workflow::steps::{Answer, failure};
use tokio::time::Instant;

use super::lost::beat;
use super::world::{HERE, Kind, World};

/// Where the guest is.
const ADDRESS: [u8; 4] = [203, 0, 113, 7];

async fn world(tree: &Tree) -> World {
    let mut world = World::with(Kind::Copy, &[], FleetOrder::default()).await;
    let guests = Guests::new(Arc::clone(&world.account.control));
    let regions = &mut world.account.regions.0;
    regions.insert(GUEST.to_owned(), Arc::new(guests));
    world.submit_from(&tree.uri("")).await;
    world
}

/// The guest tells of itself.
async fn enrols(world: &World) -> BootKey {
    let row = world.dataplane().await;
    let member = row
        .members
        .iter()
        .find(|member| member.plan.region == GUEST);
    let intent = member.unwrap().intent(&row.id);
    let key = BootKey::generate().unwrap();
    let enrolment = Enrolment {
        address: Some(IpAddr::from(ADDRESS)),
        ..Enrolment::new(guest_name(&intent).0, intent, key.public())
    };
    world.rows().enrol(&enrolment).await.unwrap();
    key
}

#[tokio::test]
async fn what_is_on_another_machine_is_waited_for_and_copied_by_that() {
    let tree = Tree::new();
    for number in 0..3 {
        tree.write(&format!("a/{number}"), Body::new(number, 1_000));
    }
    let mut world = world(&tree).await;
    assert_eq!(world.plan().await.unwrap().machines, 2);
    assert!(!world.plan().await.unwrap().survey);
    // It is not there yet.
    assert_eq!(world.provision().await.unwrap(), StepEnd::More);
    world.machines_start().await;
    assert_eq!(world.provision().await.unwrap(), StepEnd::More);
    enrols(&world).await;
    world.done(async || world.provision().await).await;
    // Those that it sends to let it in.
    let row = world.dataplane().await;
    let rules = world.machines.rules(&row.id).unwrap();
    assert!(rules.contains(&IpAddr::from(ADDRESS)), "{rules:?}");
    assert_eq!(world.machines.alive().len(), 1, "{HERE}");
    // Functions have nothing but time.
    let now = Instant::now();
    let soon = now + Duration::from_millis(2_500);
    assert_eq!(world.list(soon).await.unwrap(), StepEnd::More);
    let transfer = &world.attempt.transfer;
    let listed = world.state.progress(transfer).await.unwrap().listed;
    assert_eq!(listed.source_objects, 0);
    world.account.is_guest = true;
    world.done(async || world.list(World::later()).await).await;
    world.done(async || world.copy(World::later()).await).await;
    world.account.is_guest = false;
    assert_eq!(world.list(now).await.unwrap(), StepEnd::Done);
    // Nothing is deleted: that needs no look at the source.
    world
        .done(async || world.complete(World::later()).await)
        .await;
    assert_eq!(world.verify(now).await.unwrap(), StepEnd::More);
    world.account.is_guest = true;
    world
        .done(async || world.verify(World::later()).await)
        .await;
    world.account.is_guest = false;
    assert_eq!(world.verify(now).await.unwrap(), StepEnd::Done);
    world.done(async || world.settle().await).await;
    assert_eq!(world.to.digests(""), tree.digests());
    world.assert_gone().await;
}

#[tokio::test]
async fn who_is_away_is_not_replaced_and_is_told_again_when_it_is_back() {
    let tree = Tree::new();
    tree.write("a", Body::new(1, 10));
    let world = world(&tree).await;
    world.plan().await.unwrap();
    assert_eq!(world.provision().await.unwrap(), StepEnd::More);
    enrols(&world).await;
    world.done(async || world.provision().await).await;
    world.wait("first").await.unwrap();
    let answer = async || world.watch().await.unwrap().answer.unwrap();
    // Nothing is heard for hours, of the guest either: nothing is given up, and the gateway beside it is replaced.
    for _ in 0..2 {
        assert_eq!(answer().await, Answer::Beat);
        world.pass(90);
        let told = answer().await;
        let Answer::Failed(Failure { name, cause }) = told else {
            panic!("{told:?}");
        };
        assert_eq!(name, failure::GATEWAYS_LOST);
        assert!(!cause.contains(GUEST), "{cause}");
        world.done(async || world.provision().await).await;
        world.wait("next").await.unwrap();
    }
    let before = world.dataplane().await;
    let of_guest = |row: &skyhaul_state::control::DataplaneRow| {
        let mut members = row.members.iter();
        let guest = members.find(|member| member.plan.region == GUEST);
        guest.unwrap().generation
    };
    assert_eq!(of_guest(&before), 1);
    // Started anew, it has another key.
    let key = enrols(&world).await;
    let told = answer().await;
    assert!(
        matches!(&told, Answer::Failed(why) if why.cause.contains("joins again")),
        "{told:?}"
    );
    world.done(async || world.provision().await).await;
    let row = world.dataplane().await;
    let mut members = row.members.iter();
    let guest = members.find(|member| member.plan.region == GUEST).unwrap();
    let intent = guest.intent(&row.id);
    let machine = guest_name(&intent).0;
    let enrolment = world.rows().enrolment(&machine).await.unwrap().unwrap();
    let transfer = &world.attempt.transfer;
    let config = key.open(&intent, transfer, &enrolment.assignments[transfer]);
    assert!(config.unwrap().listen.is_none());
    world.wait("after").await.unwrap();
    // It was away for long, and has done nothing yet.
    beat(&world, guest.plan.name.as_str(), 1).await;
    for _ in 0..2 {
        assert_eq!(answer().await, Answer::Beat);
        world.pass(1);
    }
}

#[tokio::test]
async fn what_the_guest_cannot_do_ends_the_attempt() {
    let tree = Tree::new();
    tree.write("a", Body::new(1, 10));
    let world = world(&tree).await;
    world.plan().await.unwrap();
    let why = Failure {
        name: "AccessDenied".to_owned(),
        cause: "a folder cannot be read".to_owned(),
    };
    world.attempt.fail(&world.account, why).await.unwrap();
    let ended = world.provision().await.unwrap_err();
    assert_eq!(ended.kind, ErrorKind::Interrupted);
    let ended = world.list(World::later()).await.unwrap_err();
    assert_eq!(ended.kind, ErrorKind::Interrupted);
    assert!(ended.to_string().contains("cannot be read"), "{ended}");
    world.done(async || world.settle().await).await;
    world.assert_gone().await;
}
