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
    message_id: String,
    body: String,
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
    if payload.get("detail").is_some() {
        return ended(services, &deployed, payload, until).await;
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
        let done = Box::pin(worked(services, deployed, &message.body, until)).await;
        let failed = done.err().inspect(|error| tracing::error!("{error}"));
        failed.map(|_| json!({ "itemIdentifier": message.message_id }))
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
    body: &str,
    until: Instant,
) -> Result<()> {
    let event = serde_json::from_str(body)
        .map_err(|error| Error::invalid("a message is no event").cause(error))?;
    match happened(event)? {
        Some(what) => {
            let worker = worker(services, deployed);
            worker.happened(&what, Timestamp::now(), until).await
        }
        None => Ok(()),
    }
}

/// A transfer has ended: if it copied what was too large for a function, its key is looked at again.
async fn ended(
    services: &Services,
    deployed: &Deployed,
    payload: Value,
    until: Instant,
) -> Result<Value> {
    let not = |error| Error::invalid("not the end of an execution").cause(error);
    let event: Ended = serde_json::from_value(payload).map_err(not)?;
    let attempt: Attempt = serde_json::from_str(&event.detail.input).map_err(not)?;
    let submission = deployed.control.submission(&attempt.transfer).await?;
    let Some(submission) = submission else {
        return Ok(json!({}));
    };
    let Some(of) = carried_for(&submission) else {
        return Ok(json!({}));
    };
    if submission.stage == Stage::Live {
        // It is told again, when what the execution left is gone.
        let message = "the transfer's attempt is not over yet";
        return Err(Error::control(ErrorKind::Timeout, message).object(attempt.transfer.as_str()));
    }
    let worker = worker(services, deployed);
    Box::pin(worker.carried(&of, Timestamp::now(), until)).await?;
    Ok(json!({}))
}
