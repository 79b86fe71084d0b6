//! The reaper ends what nobody needs, and never what is alive.

use skyhaul_compute::simulated::Fault;
use skyhaul_model::TransferId;
use skyhaul_model::machine::{DataplaneId, IntentId};
use skyhaul_state::control::{DataplaneChange, DataplaneStatus, EnrolmentChange};
use skyhaul_workflow::machines::Action;

use super::world::{World, minute};

/// All machines say that they live.
async fn beat(world: &World, beat: u64) {
    for member in &world.row().await.unwrap().members {
        let machine = World::identity(member);
        let change = EnrolmentChange::Beat(beat);
        let told = world.rows().change_enrolment(&machine, &change);
        told.await.unwrap();
    }
}

#[tokio::test]
async fn nothing_that_a_transfer_uses_is_ended_in_twenty_minutes_of_listing() {
    // Source, relay and destination alike: none holds a lease while the listing finds nothing yet.
    let world = World::new(1).await;
    world.provisioned().await;
    for moment in 0..120_u32 {
        let now = minute(0) + jiff::SignedDuration::from_secs(10 * i64::from(moment));
        let next = world.faults.calls() + 1;
        // The state cannot be read, a region cannot, a description misses a machine: each at each call.
        let fault = [Fault::Lost, Fault::LostReply, Fault::Stale][moment as usize % 3];
        world.faults.at(next + u64::from(moment) % 7, fault);
        if let Ok(reaped) = world.reap(now).await {
            assert_eq!(reaped.actions, []);
        }
        world.assert_whole().await;
    }
}

#[tokio::test]
async fn nothing_is_ended_while_the_state_cannot_be_read() {
    let world = World::new(1).await;
    world.provisioned().await;
    world.transfer_ends();
    // Two descriptions come first, then the rows, then what was seen.
    for call in [3, 4] {
        let next = world.faults.calls();
        world.faults.at(next + call, Fault::Lost);
        world.reap(minute(100)).await.unwrap_err();
        world.assert_whole().await;
    }
}

#[tokio::test]
async fn a_machine_that_no_row_knows_is_ended_when_it_was_seen_twice() {
    let world = World::new(1).await;
    world.provisioned().await;
    let stranger = world.here.intruder(None);
    let orphan = world.there.intruder(Some(IntentId {
        dataplane: DataplaneId::generate(),
        member: "src-1".parse().unwrap(),
        generation: 1,
    }));
    for (at, left) in [(0, 2), (4, 2), (5, 0)] {
        let reaped = world.reap(minute(at)).await.unwrap();
        let alive = world.alive();
        let strangers = alive
            .iter()
            .filter(|machine| machine.id == stranger || machine.id == orphan);
        assert_eq!(strangers.count(), left, "minute {at}: {reaped:?}");
    }
    world.assert_whole().await;
}

#[tokio::test]
async fn what_was_seen_is_kept_while_its_region_cannot_be_read() {
    let world = World::new(1).await;
    world.provisioned().await;
    let stranger = world.here.intruder(None);
    world.reap(minute(0)).await.unwrap();
    world.faults.next(Fault::Lost);
    let reaped = world.reap(minute(6)).await.unwrap();
    assert_eq!((reaped.problems.len(), reaped.actions), (1, vec![]));
    let reaped = world.reap(minute(7)).await.unwrap();
    assert!(
        matches!(&reaped.actions[..], [Action::Terminated { machine, .. }] if *machine == stranger)
    );
    world.assert_whole().await;
}

#[tokio::test]
async fn a_second_machine_of_a_member_is_ended() {
    let world = World::new(1).await;
    let row = world.provisioned().await;
    world.here.intruder(Some(row.members[0].intent(&row.id)));
    world.reap(minute(0)).await.unwrap();
    world.assert_whole().await;
}

#[tokio::test]
async fn a_kept_dataplane_goes_after_its_minutes_and_not_while_it_is_used() {
    let world = World::with(1, Some(15)).await;
    world.provisioned().await;
    world.transfer_ends();
    world.reap(minute(0)).await.unwrap();
    world.reap(minute(14)).await.unwrap();
    world.assert_whole().await;
    // Another transfer comes, and the minutes begin anew when it has ended.
    let second = TransferId::generate();
    world.change(DataplaneChange::Bind(second.clone())).await;
    world.reap(minute(100)).await.unwrap();
    world.assert_whole().await;
    world.over.0.lock().unwrap().insert(second);
    beat(&world, 1).await;
    world.reap(minute(101)).await.unwrap();
    world.reap(minute(115)).await.unwrap();
    world.assert_whole().await;
    let reaped = world.reap(minute(116)).await.unwrap();
    assert!(reaped.actions.contains(&Action::EndsIdle(world.id.clone())));
    world.reap(minute(117)).await.unwrap();
    world.assert_gone().await;
}

#[tokio::test]
async fn a_kept_dataplane_of_which_a_machine_is_silent_goes_before_its_minutes() {
    let world = World::with(1, Some(600)).await;
    world.provisioned().await;
    world.transfer_ends();
    for at in 0..10 {
        beat(&world, at + 1).await;
        world.reap(minute(5 * at.cast_signed())).await.unwrap();
        world.assert_whole().await;
    }
    world.reap(minute(59)).await.unwrap();
    world.assert_whole().await;
    let reaped = world.reap(minute(60)).await.unwrap();
    assert!(
        reaped
            .actions
            .contains(&Action::EndsSilent(world.id.clone()))
    );
    world.reap(minute(61)).await.unwrap();
    world.assert_gone().await;
}

#[tokio::test]
async fn secrets_of_what_has_ended_are_removed_and_no_others() {
    let world = World::new(1).await;
    world.provisioned().await;
    let (over, lives) = (TransferId::generate(), TransferId::generate());
    let secrets = vec![1].into();
    for transfer in [&over, &lives] {
        let kept = world.rows().keep_secrets(transfer, &secrets);
        kept.await.unwrap();
    }
    world.over.0.lock().unwrap().insert(over.clone());
    let reaped = world.reap(minute(0)).await.unwrap();
    assert_eq!(reaped.actions, [Action::Forgot(over)]);
    let mut left = vec![world.transfer.clone(), lives];
    left.sort();
    assert_eq!(world.rows().secret_holders().await.unwrap(), left);
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten() {
    let world = World::new(1).await;
    world.provisioned().await;
    world.torn_down().await;
    world.reap(minute(60)).await.unwrap();
    assert_eq!(world.row().await.unwrap().status, DataplaneStatus::Ended);
    let week = 7 * 24 * 60;
    world.reap(minute(week + 2)).await.unwrap();
    assert!(world.row().await.is_none());
    world.assert_gone().await;
}

#[tokio::test]
async fn a_transfer_that_is_released_takes_its_secrets_and_assignments_along() {
    let world = World::with(1, Some(15)).await;
    let row = world.provisioned().await;
    let machine = World::identity(&row.members[0]);
    let assign = EnrolmentChange::Assign {
        public_key: vec![1; 32].into(),
        transfer: world.transfer.clone(),
        sealed: vec![7].into(),
    };
    let rows = world.rows();
    rows.change_enrolment(&machine, &assign).await.unwrap();
    world.transfer_ends();
    world.reap(minute(0)).await.unwrap();
    let enrolment = rows.enrolment(&machine).await.unwrap().unwrap();
    assert!(enrolment.assignments.is_empty());
    assert_eq!(rows.secrets(&world.transfer).await.unwrap(), None);
    world.assert_whole().await;
}
