//! Who submits and follows, and attempts whose execution is not there any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use skyhaul_model::{ErrorKind, Result, Side};
use skyhaul_state::TransferStatus;
use skyhaul_state::control::{ControlState, Failure, Stage};
use skyhaul_tests::oracle::ObjectSpec;
use skyhaul_workflow::inspect::arrival::{Arrival, Part};
use skyhaul_workflow::order::FleetOrder;
use skyhaul_workflow::steps::{Attempt, Execution, Executions, Stray, strays};
use skyhaul_workflow::{Deployed, Event, Events, Summary};
use tokio_util::sync::CancellationToken;

use super::world::{Kind, World};

/// Executions that do nothing.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    known: Mutex<BTreeMap<String, Execution>>,
    /// The next one is not begun, and whoever asks is told so.
    refuses: Mutex<bool>,
}

impl Begun {
    pub(crate) fn names(&self) -> Vec<String> {
        self.known.lock().unwrap().keys().cloned().collect()
    }

    /// The next one is not begun.
    pub(crate) fn refuse(&self) {
        *self.refuses.lock().unwrap() = true;
    }

    fn end(&self, attempt: &Attempt, how: &str) {
        let how = Execution::Ended(how.to_owned());
        self.known.lock().unwrap().insert(attempt.name(), how);
    }
}

#[async_trait]
impl Executions for Begun {
    async fn start(&self, attempt: &Attempt) -> Result<()> {
        if std::mem::take(&mut *self.refuses.lock().unwrap()) {
            let kind = ErrorKind::Unreachable;
            return Err(skyhaul_model::Error::control(kind, "not now"));
        }
        let mut known = self.known.lock().unwrap();
        known.entry(attempt.name()).or_insert(Execution::Runs);
        Ok(())
    }

    async fn look(&self, attempt: &Attempt) -> Result<Execution> {
        let known = self.known.lock().unwrap();
        Ok(known
            .get(&attempt.name())
            .cloned()
            .unwrap_or(Execution::Never))
    }

    async fn told(&self, attempt: &Attempt) -> Result<Vec<String>> {
        let known = self.known.lock().unwrap();
        let begun = known.contains_key(&attempt.name());
        let line = format!("2026-01-01T00:00:00Z began {}", attempt.name());
        Ok(begun.then_some(line).into_iter().collect())
    }
}

fn objects() -> Vec<ObjectSpec> {
    (0..9)
        .map(|n| ObjectSpec::new(format!("a/{n}"), n, 10))
        .collect()
}

pub(crate) fn deployed(world: &World) -> (Deployed, Arc<Begun>) {
    let executions = Arc::new(Begun::default());
    let deployed = Deployed {
        stack: "haul".to_owned(),
        state: Arc::clone(&world.state),
        control: Arc::clone(&world.control) as Arc<dyn ControlState>,
        executions: Arc::clone(&executions) as Arc<dyn Executions>,
        staging: world.account.staging.clone(),
        opens: Arc::clone(&world.account.opens),
    };
    (deployed, executions)
}

async fn pass(world: &World, executions: &Begun) -> Vec<Stray> {
    let passed = strays(&world.account, executions, world.now(), World::later()).await;
    let (found, problems) = passed.unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    found
}

async fn followed(world: &World, deployed: &Deployed) -> Result<Summary> {
    let mut events: Events = Box::new(|event| assert!(!matches!(event, Event::Failed(_))));
    let (submission, cancel) = (world.submission().await, CancellationToken::new());
    let every = Duration::from_millis(10);
    deployed
        .follow(&submission, every, &mut events, &cancel)
        .await
}

/// Everything that machines and functions do.
async fn carried_out(world: &World) {
    if world.plan().await.unwrap().machines > 0 {
        world.done(async || world.provision().await).await;
    }
    world.done(async || world.list(World::later()).await).await;
    world.done(async || world.copy(World::later()).await).await;
    world.finished().await;
}

#[tokio::test]
async fn the_same_submission_is_one_transfer_and_another_is_refused() {
    let world = World::new(Kind::Copy, &objects()).await;
    let (deployed, executions) = deployed(&world);
    let new = world.submitted(FleetOrder::default());
    let submits = (0..8).map(|_| deployed.submit(&new));
    for kept in futures::future::join_all(submits).await {
        assert_eq!(kept.unwrap().attempt, 1);
    }
    assert_eq!(executions.names(), [world.attempt.name()]);
    let other = world.submitted(FleetOrder {
        per_region: 2,
        ..FleetOrder::default()
    });
    assert_eq!(
        deployed.submit(&other).await.unwrap_err().kind,
        ErrorKind::Invalid
    );
    carried_out(&world).await;
    executions.end(&world.attempt, "SUCCEEDED");
    let summary = followed(&world, &deployed).await.unwrap();
    assert_eq!(
        (summary.status, summary.progress.objects_done),
        (TransferStatus::Succeeded, 9)
    );
    // Whoever submits once more is told of what was done, and nothing begins.
    let kept = deployed.submit(&new).await.unwrap();
    assert_eq!((kept.stage, kept.attempt), (Stage::Over, 1));
    assert_eq!(executions.names().len(), 1);
    for again in [
        deployed.resume(&world.attempt.transfer).await,
        deployed.cancel(&world.attempt.transfer).await,
        deployed.pause(&world.attempt.transfer).await,
    ] {
        assert_eq!(again.unwrap_err().kind, ErrorKind::Invalid);
    }
    let all = deployed.transfers().await.unwrap();
    assert_eq!(all.len(), 1);
    assert!(all[0].has_ended());
}

#[tokio::test]
async fn what_was_submitted_is_begun_also_if_who_submitted_died() {
    let world = World::new(Kind::Copy, &objects()).await;
    let (deployed, executions) = deployed(&world);
    executions.refuse();
    let new = world.submitted(FleetOrder::default());
    assert!(deployed.submit(&new).await.is_err());
    assert!(executions.names().is_empty());
    let transfer = world.attempt.transfer.clone();
    assert_eq!(pass(&world, &executions).await, [Stray::Begun(transfer)]);
    assert_eq!(executions.names(), [world.attempt.name()]);
    assert_eq!(pass(&world, &executions).await, []);
    carried_out(&world).await;
    world.assert_equal();
    world.assert_gone().await;
}

#[tokio::test]
async fn what_an_execution_left_goes_and_the_next_attempt_goes_on() {
    let mut world = World::new(Kind::Copy, &objects()).await;
    let (deployed, executions) = deployed(&world);
    let new = world.submitted(FleetOrder::default());
    deployed.submit(&new).await.unwrap();
    world.plan().await.unwrap();
    world.done(async || world.provision().await).await;
    world.list(World::later()).await.unwrap();
    // It runs: nothing of it is touched.
    assert_eq!(pass(&world, &executions).await, []);
    assert_eq!(world.machines.alive().len(), 2);
    executions.end(&world.attempt, "ABORTED");
    let transfer = world.attempt.transfer.clone();
    while pass(&world, &executions).await != [Stray::Settled(transfer.clone())] {}
    assert_eq!(pass(&world, &executions).await, []);
    world.assert_gone().await;
    let failure = followed(&world, &deployed).await.unwrap_err();
    assert!(failure.to_string().contains("ABORTED"), "{failure}");
    assert!(
        failure.to_string().contains("resume --stack haul"),
        "{failure}"
    );
    let begun = deployed.resume(&transfer).await.unwrap();
    assert_eq!((begun.attempt, begun.stage), (2, Stage::Live));
    // One that goes on is left as it is.
    assert_eq!(deployed.resume(&transfer).await.unwrap().attempt, 2);
    assert_eq!(executions.names().len(), 2);
    world.attempt.attempt = 2;
    carried_out(&world).await;
    world.assert_equal();
    world.assert_gone().await;
}

#[tokio::test]
async fn a_transfer_that_is_paused_can_be_cancelled() {
    let mut world = World::new(Kind::Copy, &objects()).await;
    let (deployed, executions) = deployed(&world);
    deployed
        .submit(&world.submitted(FleetOrder::default()))
        .await
        .unwrap();
    world.plan().await.unwrap();
    world.done(async || world.provision().await).await;
    world.list(World::later()).await.unwrap();
    let transfer = world.attempt.transfer.clone();
    deployed.pause(&transfer).await.unwrap();
    world.done(async || world.settle().await).await;
    let paused = followed(&world, &deployed).await.unwrap();
    assert_eq!(paused.status, TransferStatus::Running);
    executions.end(&world.attempt, "FAILED");
    let cancelled = deployed.cancel(&transfer).await.unwrap();
    assert_eq!(cancelled.attempt, 2);
    assert_eq!(executions.names().len(), 2);
    world.attempt.attempt = 2;
    assert_eq!(world.plan().await.unwrap_err().kind, ErrorKind::Interrupted);
    world.done(async || world.settle().await).await;
    let ended = followed(&world, &deployed).await.unwrap();
    assert_eq!(ended.status, TransferStatus::Cancelled);
    world.assert_gone().await;
    assert!(world.to.uploads().is_empty());
}

#[tokio::test]
async fn who_follows_is_told_why_it_failed_and_on_which_side() {
    let world = World::new(Kind::Copy, &objects()).await;
    let (deployed, _) = deployed(&world);
    let error = skyhaul_model::Error::new(Side::Source, ErrorKind::NotFound, "no such bucket");
    let why = Failure {
        name: error.kind.name().to_owned(),
        cause: error.object("s3://gone").to_string(),
    };
    world.attempt.fail(&world.account, why).await.unwrap();
    world.done(async || world.settle().await).await;
    let told = followed(&world, &deployed).await.unwrap_err();
    assert_eq!((told.side, told.kind), (Side::Source, ErrorKind::NotFound));
    assert!(told.to_string().contains("s3://gone"), "{told}");
    // Nobody has to wait for the end of what goes on by itself.
    let live = World::new(Kind::Copy, &objects()).await;
    let (deployed, _) = self::deployed(&live);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let (submission, every) = (live.submission().await, Duration::from_hours(1));
    let mut events: Events = Box::new(drop);
    let left = deployed
        .follow(&submission, every, &mut events, &cancel)
        .await;
    let left = left.unwrap_err();
    assert_eq!(left.kind, ErrorKind::Interrupted);
    assert!(
        left.to_string().contains("skyhaul wait --stack haul"),
        "{left}"
    );
}

#[tokio::test]
async fn a_part_has_arrived_when_it_is_listed_and_copied() {
    let world = World::new(Kind::Copy, &objects()).await;
    let (deployed, _) = deployed(&world);
    let id = world.attempt.transfer.clone();
    let mut part = Part::new("a/");
    assert_eq!(
        deployed.arrival(&id, &mut part).await.unwrap(),
        Arrival::Waits
    );
    world.plan().await.unwrap();
    assert_eq!(
        deployed.arrival(&id, &mut part).await.unwrap(),
        Arrival::Waits
    );
    world.list(World::later()).await.unwrap();
    assert_eq!(
        deployed.arrival(&id, &mut part).await.unwrap(),
        Arrival::Waits
    );
    let arrived = Arrival::Arrived { failed: 0 };
    // Nothing of it is there at all.
    let mut none = Part::new("b/");
    assert_eq!(deployed.arrival(&id, &mut none).await.unwrap(), arrived);
    world.copy(World::later()).await.unwrap();
    assert_eq!(deployed.arrival(&id, &mut part).await.unwrap(), arrived);
}
