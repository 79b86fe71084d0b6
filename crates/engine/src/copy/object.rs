//! Copying one object in one piece.

use std::sync::Arc;

use backon::Retryable as _;
use skyhaul_model::compare::IfExists;
use skyhaul_model::outcome::{Action, Failure, Outcome};
use skyhaul_model::segment::ObjectTask;
use skyhaul_model::spec::Mode;
use skyhaul_model::{Checksum, Error, ErrorKind, Pin, Result, Side, Verification, parts};
use skyhaul_stores::{Condition, PutReceipt, PutRequest, PutStream, Staged};

use super::read::Hashing;
use super::steady::Steady;
use super::{attributes, read, service};
use crate::engine::Engine;

/// The least size in bytes of an object that is written while it is read; a smaller one arrives in a
/// few frames.
const STREAMED: u64 = 256 << 10;

/// How the copy of an object ended.
#[derive(Debug)]
pub(crate) enum ObjectEnd {
    /// With this line of the report: copied, skipped or failed.
    Ended(Outcome),
    /// Copied once the staged write is committed.
    Staged(Staged, Outcome),
    /// It changed and must now be cut into parts: to be copied under a group of its own.
    Regroup(ObjectTask),
}

/// An object that was read, ready to be written.
#[derive(Debug)]
pub(crate) struct Ready {
    /// What is to be written.
    pub request: PutRequest,
    /// What is known of its bytes.
    pub proof: Proof,
}

/// What is known of bytes that were read.
#[derive(Debug)]
pub(crate) struct Proof {
    /// Their checksum.
    checksum: Option<Checksum>,
    /// Whether the source keeps the same.
    source_verified: bool,
}

/// Copies an object; begins anew (as a whole, in its newest version) when it changes meanwhile.
/// Fails only when the run is interrupted: the object's own failures are outcomes.
pub(crate) async fn copy(engine: &Arc<Engine>, task: &ObjectTask) -> Result<ObjectEnd> {
    let ended = attempt(engine, task).await;
    go_on(engine, task.clone(), ended).await
}

/// Goes on from the end of an object's attempt, as [`copy`] does.
pub(crate) async fn go_on(
    engine: &Arc<Engine>,
    mut task: ObjectTask,
    mut ended: Result<ObjectEnd>,
) -> Result<ObjectEnd> {
    loop {
        let error = match ended {
            Ok(end) => return Ok(end),
            Err(error) => error,
        };
        engine.check_cancelled()?;
        if error.kind == ErrorKind::PreconditionFailed && skips_existing(engine) {
            let mut outcome = outcome(&task, Action::Skipped);
            outcome.reason = Some("it exists at the destination".to_owned());
            return Ok(ObjectEnd::Ended(outcome));
        }
        match begin_anew(engine, &task, error).await {
            Ok(next) if next.part_size.is_some() => return Ok(ObjectEnd::Regroup(next)),
            Ok(next) => task = next,
            Err(error) => return Ok(ObjectEnd::Ended(failed(engine, &task, &error))),
        }
        ended = attempt(engine, &task).await;
    }
}

/// The task for another attempt at an object, in its present version, or why there is none.
pub(crate) async fn begin_anew(
    engine: &Engine,
    task: &ObjectTask,
    error: Error,
) -> Result<ObjectTask> {
    let helps = error.retryable || matches!(error.kind, ErrorKind::Changed | ErrorKind::UploadGone);
    if !helps || task.attempt >= engine.limits.attempts {
        return Err(if error.kind == ErrorKind::Changed {
            error.hint(format!(
                "it changed during each of {} attempts",
                task.attempt
            ))
        } else {
            error
        });
    }
    engine.meter.add_retry();
    let info = engine
        .source
        .stat(&task.source_key, &Pin::default(), false)
        .await?;
    let info = info.ok_or_else(|| {
        Error::new(
            Side::Source,
            ErrorKind::NotFound,
            "it was deleted during the transfer",
        )
        .object(engine.source.uri(&task.source_key))
    })?;
    let rules = &engine.destination.capabilities().parts;
    Ok(ObjectTask {
        size: info.size,
        mtime: info.mtime,
        part_size: parts::part_size(info.size, &engine.spec.parts, rules)?,
        pin: info.pin,
        attempt: task.attempt + 1,
        ..task.clone()
    })
}

/// Whether a copy leaves what exists.
pub(crate) fn skips_existing(engine: &Engine) -> bool {
    engine.spec.mode == Mode::Copy && engine.spec.if_exists == IfExists::Skip
}

/// What must hold at the destination for a write.
pub(crate) fn condition(engine: &Engine) -> Condition {
    if skips_existing(engine) && engine.destination.capabilities().conditional_write {
        Condition::Absent
    } else {
        Condition::None
    }
}

async fn attempt(engine: &Arc<Engine>, task: &ObjectTask) -> Result<ObjectEnd> {
    if engine.copies_in_service()
        && let Some(copied) = service::copy_object(engine, task).await?
    {
        return Ok(ended(
            engine,
            task,
            copied.receipt,
            copied.verified,
            None,
            true,
        ));
    }
    if task.size >= STREAMED
        && condition(engine) == Condition::None
        && engine.destination.streams_objects(engine.algorithm(None))
        && let Some((receipt, proof)) = stream(engine, task).await?
    {
        return written(engine, task, receipt, proof).await;
    }
    let Ready { request, proof } = ready(engine, task).await?;
    let receipt = (|| {
        engine
            .destination
            .put(&task.destination_key, request.clone())
    })
    .retry(read::backoff())
    .when(|error: &Error| error.retryable && !engine.cancel.is_cancelled())
    .await?;
    written(engine, task, receipt, proof).await
}

/// Writes an object while it is read: it stays in the cores' caches, and neither side waits for the
/// other's end. Tried once; `None` if the destination did not take it, so that it must be held to be
/// sent again.
async fn stream(engine: &Arc<Engine>, task: &ObjectTask) -> Result<Option<(PutReceipt, Proof)>> {
    let (source_key, key) = (&task.source_key, &task.destination_key);
    let mut source = Steady::new(Arc::clone(engine), source_key, &task.pin, None);
    let info = source.info().await?;
    check_size(engine, task, info.size)?;
    let kept = info.checksum.clone();
    let Some(algorithm) = engine.algorithm(kept.as_ref().map(|sum| sum.algorithm)) else {
        return Ok(None);
    };
    let (attributes, mtime) = attributes::for_destination(engine, source_key, &info);
    let source_verified = kept
        .as_ref()
        .is_some_and(|kept| kept.algorithm == algorithm);
    let put = PutStream {
        len: task.size,
        body: source.into_stream(),
        attributes,
        mtime,
        algorithm,
        kept,
    };
    match engine.destination.stream_put(key, put).await {
        Ok(receipt) => {
            let checksum = receipt.checksum.clone();
            let proof = Proof {
                checksum,
                source_verified,
            };
            Ok(Some((receipt, proof)))
        }
        // Bytes that do not fit are read again: a held object has its own patience with them.
        Err(error) if error.side == Side::Source && error.kind != ErrorKind::Corrupt => Err(error),
        Err(error) if error.kind == ErrorKind::Full => Err(error),
        Err(error) => {
            engine.check_cancelled()?;
            tracing::debug!(key, "an object was not taken while it was read: {error}");
            Ok(None)
        }
    }
}

/// A reply that is short and says so: the pinned version has the size that was listed.
fn check_size(engine: &Engine, task: &ObjectTask, arrives: u64) -> Result<()> {
    if arrives == task.size {
        return Ok(());
    }
    let message = format!("{arrives} bytes arrived of {}", task.size);
    Err(Error::new(Side::Source, ErrorKind::Corrupt, message)
        .object(engine.source.uri(&task.source_key)))
}

/// Reads an object whole.
pub(crate) async fn ready(engine: &Engine, task: &ObjectTask) -> Result<Ready> {
    let read = read::read(engine, &task.source_key, &task.pin, None, Hashing::Suited).await?;
    check_size(engine, task, read.payload.len())?;
    let (attributes, mtime) = attributes::for_destination(engine, &task.source_key, &read.info);
    Ok(Ready {
        request: PutRequest {
            payload: read.payload,
            attributes,
            mtime,
            checksum: read.checksum.clone(),
            condition: condition(engine),
        },
        proof: Proof {
            checksum: read.checksum,
            source_verified: read.source_verified,
        },
    })
}

/// What comes of an object that was written.
pub(crate) async fn written(
    engine: &Engine,
    task: &ObjectTask,
    receipt: PutReceipt,
    proof: Proof,
) -> Result<ObjectEnd> {
    engine.meter.add_bytes(task.size);
    let verified = verification(engine, task, &receipt, proof.source_verified).await?;
    Ok(ended(
        engine,
        task,
        receipt,
        verified,
        proof.checksum,
        false,
    ))
}

/// How far a written object is proved. Where the store verified no checksum, its size is looked at.
pub(crate) async fn verification(
    engine: &Engine,
    task: &ObjectTask,
    receipt: &PutReceipt,
    source_verified: bool,
) -> Result<Verification> {
    if receipt.verified {
        return Ok(if source_verified {
            Verification::SourceVerified
        } else {
            Verification::TransportVerified
        });
    }
    if receipt.staged.is_some() {
        // Lengths were compared on the way; the file is looked at when it is committed.
        return Ok(if source_verified {
            Verification::SourceVerified
        } else {
            Verification::SizeOnly
        });
    }
    let key = &task.destination_key;
    let written = engine.destination.stat(key, &Pin::default(), false).await?;
    match written {
        Some(info) if info.size == task.size => Ok(Verification::SizeOnly),
        found => Err(Error::new(
            Side::Destination,
            ErrorKind::Corrupt,
            found.map_or("the written object is not there".to_owned(), |info| {
                format!(
                    "the written object has {} bytes, not {}",
                    info.size, task.size
                )
            }),
        )
        .object(engine.destination.uri(key))),
    }
}

fn ended(
    engine: &Engine,
    task: &ObjectTask,
    receipt: PutReceipt,
    verified: Verification,
    checksum: Option<Checksum>,
    server_side: bool,
) -> ObjectEnd {
    let mut outcome = copied(task, &receipt, verified, checksum);
    outcome.server_side = server_side;
    if let Some(staged) = receipt.staged {
        return ObjectEnd::Staged(staged, outcome);
    }
    engine.meter.add_object();
    ObjectEnd::Ended(outcome)
}

/// The report's line of a copied object.
pub(crate) fn copied(
    task: &ObjectTask,
    receipt: &PutReceipt,
    verified: Verification,
    checksum: Option<Checksum>,
) -> Outcome {
    Outcome {
        etag: receipt.etag.clone(),
        version: receipt.version.clone(),
        verified: Some(verified),
        checksum: checksum.or_else(|| receipt.checksum.clone()),
        ..outcome(task, Action::Copied)
    }
}

/// The report's line of a failed object; tells the meter.
pub(crate) fn failed(engine: &Engine, task: &ObjectTask, error: &Error) -> Outcome {
    let outcome = failure(task, error);
    tell(engine, outcome.clone());
    outcome
}

/// The report's line of a failed object.
pub(crate) fn failure(task: &ObjectTask, error: &Error) -> Outcome {
    let mut outcome = outcome(task, Action::Failed);
    outcome.error = Some(Failure::from(error));
    outcome
}

/// Tells log and meter that an object failed.
pub(crate) fn tell(engine: &Engine, outcome: Outcome) {
    let error = outcome.error.as_ref().map_or("", |error| &error.message);
    tracing::error!(
        key = outcome.source_key,
        attempts = outcome.attempts,
        "{error}"
    );
    engine.meter.failed(outcome);
}

/// A line of the report with nothing but the task's own facts.
pub(crate) fn outcome(task: &ObjectTask, action: Action) -> Outcome {
    Outcome {
        source_key: Some(task.source_key.clone()),
        size: task.size,
        attempts: task.attempt,
        ..Outcome::new(action, task.destination_key.clone())
    }
}
