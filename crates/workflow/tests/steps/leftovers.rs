//! What nobody goes on with leaves no upload open.

use jiff::{SignedDuration, Timestamp};
use skyhaul_model::TransferId;
use skyhaul_state::control::{SubmissionChange, Wish};
use skyhaul_state::{NewUpload, Phase, TransferStatus, UploadKey};
use skyhaul_tests::data::Body;
use skyhaul_tests::oracle::ObjectSpec;
use skyhaul_workflow::steps::leftovers;

use super::world::{Kind, World};

const KEEP: SignedDuration = SignedDuration::from_hours(24 * 7);

/// A pass, so many days after the rows were written.
async fn pass(world: &World, days: i64) -> Vec<TransferId> {
    let now = Timestamp::now() + SignedDuration::from_hours(24 * days);
    let passed = leftovers(&world.account, KEEP, now, World::later()).await;
    let (given_up, problems) = passed.unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    given_up
}

#[tokio::test]
async fn what_nobody_goes_on_with_leaves_no_upload_open() {
    let world = World::new(Kind::Copy, &[ObjectSpec::new("large", 1, 10)]).await;
    let transfer = world.attempt.transfer.clone();
    world.plan().await.unwrap();
    world.list(World::later()).await.unwrap();
    let body = Body { seed: 1, size: 100 };
    let (ours, strangers) = (
        world.to.open_upload("large", body),
        world.to.open_upload("large", body),
    );
    let key = UploadKey {
        destination: 0,
        key: "large".to_owned(),
        attempt: 1,
    };
    let intent = NewUpload {
        key: key.clone(),
        intended: Timestamp::now(),
        replaces: None,
        strangers: vec![strangers.upload_id.clone()],
        parts_total: 2,
        task: "{}".to_owned(),
    };
    let state = &world.state;
    state.upload_intent(&transfer, intent).await.unwrap();
    let opened = state.upload_opened(&transfer, &key, &ours.upload_id);
    opened.await.unwrap();
    // An attempt that goes on is left alone, however long it takes.
    assert_eq!(pass(&world, 100).await, []);
    let pause = SubmissionChange::Wish(Wish::Pause);
    let paused = world.rows().change_submission(&transfer, &pause);
    paused.await.unwrap();
    world.done(async || world.settle().await).await;
    assert_eq!(pass(&world, 6).await, []);
    assert_eq!(world.to.uploads().len(), 2);
    assert_eq!(pass(&world, 8).await, std::slice::from_ref(&transfer));
    assert_eq!(pass(&world, 8).await, []);
    let left = world.to.uploads();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].upload_id, strangers.upload_id);
    let row = world.row().await;
    let ended = (row.phase, row.status);
    assert_eq!(ended, (Phase::Ended, TransferStatus::Cancelled));
    assert!(row.error.unwrap().contains("nobody went on"));
}
