//! What begins transfers by itself: the time of a schedule, and what happens to objects.

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use skyhaul_model::{Error, ErrorKind, HolderId, Result};
use skyhaul_state::control::{Stage, check_open};
use skyhaul_workflow::Deployed;
use skyhaul_workflow::steps::{self, Attempt};
use skyhaul_workflow::triggers::{LEASE, Worker, carried_for, happened};
use tokio::time::Instant;

use crate::account::Services;
use crate::handler::written;

/// Transfers of one version of a large object that may fail for what passes, one after the other, each later after the
/// one before it than that: some six hours in all. What goes on failing then waits for the object's next event.
const MOST_FAILED: u32 = 10;

/// The source of events that tell of executions.
const STATES: &str = "aws.states";

/// Events that are worked on at the same time.
const AT_ONCE: usize = 16;

/// The time of a schedule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Time {
    /// The schedule.
    schedule: String,
    /// When it was to fire.
    time: Timestamp,
}

/// Messages of a queue.
#[derive(Debug, Deserialize)]
struct Batch {
    #[serde(rename = "Records")]
    records: Vec<Message>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(rename = "messageId")]
    id: String,
    body: String,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    /// How often it was received, in decimal digits.
    #[serde(default)]
    approximate_receive_count: Option<String>,
}

impl Attributes {
    /// How often it was received, this time too.
    fn received(&self) -> u32 {
        let count = self.approximate_receive_count.as_deref();
        count.and_then(|count| count.parse().ok()).unwrap_or(1)
    }
}

/// The end of an execution.
#[derive(Debug, Deserialize)]
struct Ended {
    detail: EndedDetail,
}

#[derive(Debug, Deserialize)]
struct EndedDetail {
    input: String,
}

fn worker<'a>(services: &'a Services, deployed: &'a Deployed) -> Worker<'a> {
    Worker {
        deployed,
        opens: &services.opens,
        holder: HolderId::generate(),
        lease: LEASE,
    }
}

/// Whatever it is that happened.
pub(crate) async fn triggered(
    services: &Services,
    payload: Value,
    until: Instant,
) -> Result<Value> {
    let deployed = services.deployed()?;
    // Told again, it happens in a deployment that is there again.
    let open = check_open(&*deployed.control).await;
    open.map_err(|error| error.retryable(true))?;
    if payload.get("Records").is_some() {
        return batch(services, &deployed, payload, until).await;
    }
    let told: Time = serde_json::from_value(payload)
        .map_err(|error| Error::invalid("what the function was told is no time").cause(error))?;
    written(&steps::fire(&deployed, &told.schedule, told.time).await?)
}

/// What could not be worked on is told again by the queue, and nothing else.
async fn batch(
    services: &Services,
    deployed: &Deployed,
    payload: Value,
    until: Instant,
) -> Result<Value> {
    let batch: Batch = serde_json::from_value(payload)
        .map_err(|error| Error::invalid("what the function was told is no batch").cause(error))?;
    let works = batch.records.into_iter().map(|message| async move {
        let done = Box::pin(worked(services, deployed, &message, until)).await;
        let failed = done.err().inspect(|error| tracing::error!("{error}"));
        failed.map(|_| json!({ "itemIdentifier": message.id }))
    });
    let failures: Vec<_> = stream::iter(works)
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    Ok(json!({ "batchItemFailures": failures }))
}

async fn worked(
    services: &Services,
    deployed: &Deployed,
    message: &Message,
    until: Instant,
) -> Result<()> {
    let event: Value = serde_json::from_str(&message.body)
        .map_err(|error| Error::invalid("a message is no event").cause(error))?;
    if event["source"] == STATES {
        let received = message.attributes.received();
        return ended(services, deployed, event, received, until).await;
    }
    match happened(event)? {
        Some(what) => {
            let worker = worker(services, deployed);
            Box::pin(worker.happened(&what, Timestamp::now(), until)).await
        }
        None => Ok(()),
    }
}

/// A transfer has ended: if it copied what was too large for a function, its key is looked at again. What failed for
/// what passes, such as a want of machines, is begun again when the message was received once more than transfers have
/// failed before: it is told again every six minutes.
async fn ended(
    services: &Services,
    deployed: &Deployed,
    event: Value,
    received: u32,
    until: Instant,
) -> Result<()> {
    let not = |error| Error::invalid("not the end of an execution").cause(error);
    let event: Ended = serde_json::from_value(event).map_err(not)?;
    let attempt: Attempt = serde_json::from_str(&event.detail.input).map_err(not)?;
    let submission = deployed.control.submission(&attempt.transfer).await?;
    let Some(submission) = submission else {
        return Ok(());
    };
    let Some(of) = carried_for(&submission) else {
        return Ok(());
    };
    let later = |message: &str| {
        Err(Error::control(ErrorKind::Timeout, message).object(attempt.transfer.as_str()))
    };
    if submission.attempt > attempt.attempt {
        // Another attempt has begun: its end is told of, too.
        return Ok(());
    }
    if submission.stage == Stage::Live {
        // It is told again, when what the execution left is gone.
        return later("the transfer's attempt is not over yet");
    }
    let failure = submission.failure.as_ref();
    let passes = failure.is_some_and(|failure| steps::failure::passes(&failure.name));
    let row = deployed.control.dirty(&of).await?;
    let mut carried = row.transfers.values();
    let carried = carried.find(|carried| carried.transfer == attempt.transfer);
    let failed = carried.map_or(0, |carried| carried.failed);
    let again = passes && failed < MOST_FAILED;
    if again && received < failed + 2 {
        return later("the transfer failed, and is begun again in a while");
    }
    let worker = worker(services, deployed);
    Box::pin(worker.carried(&of, again, Timestamp::now(), until)).await
}
