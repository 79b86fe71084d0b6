//! Copying one part of one large object.

use std::sync::Arc;

use backon::Retryable as _;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::segment::ObjectTask;
use skyhaul_model::{Error, ErrorKind, Result, Side, parts};
use skyhaul_state::UploadKey;
use skyhaul_stores::{PartStream, PartWrite};

use super::read::Hashing;
use super::steady::Steady;
use super::turn::Turn;
use super::uploads::{Found, Upload};
use super::{object, read, service};
use crate::engine::Engine;

/// What a part holds in memory while it streams, in bytes: a few frames.
pub(crate) const WINDOW: u64 = 2 << 20;

/// How the copy of a part ended.
#[derive(Debug)]
pub(crate) enum PartEnd {
    /// Written.
    Written(PartReceipt),
    /// The object had ended already, and the state says so.
    ObjectEnded,
    /// The object must be begun anew as this task. The caller records it; of several parts that
    /// say so the first counts.
    BeginAnew(Box<ObjectTask>),
    /// The object failed for good. The caller records it, as above.
    Failed(Error),
    /// It was given to another holder before it was begun.
    Given,
}

/// Copies part `number` of an object. Fails only when the run is interrupted or its state fails.
pub(crate) async fn copy(
    engine: &Arc<Engine>,
    task: &ObjectTask,
    number: u32,
    turn: &Turn,
) -> Result<PartEnd> {
    let end = ended(engine, task, number, turn).await?;
    // How its object is may show before it is begun, and it may be given until then: who has it sees
    // the same.
    Ok(if turn.begin() { end } else { PartEnd::Given })
}

async fn ended(
    engine: &Arc<Engine>,
    task: &ObjectTask,
    number: u32,
    turn: &Turn,
) -> Result<PartEnd> {
    let key = UploadKey::of(task);
    if engine.uploads.is_ended(&key).await {
        return Ok(PartEnd::ObjectEnded);
    }
    let error = match engine.uploads.find(engine, task).await {
        Ok(Found::Ended) => return Ok(PartEnd::ObjectEnded),
        Ok(Found::Open(upload)) => match write(engine, &upload, number, turn).await {
            Ok(None) => return Ok(PartEnd::Given),
            Ok(Some(receipt)) => {
                upload.parts.lock().await.insert(number, receipt.clone());
                return Ok(PartEnd::Written(receipt));
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    engine.check_cancelled()?;
    if error.side == Side::Control {
        return Err(error);
    }
    if engine.uploads.is_ended(&key).await {
        return Ok(PartEnd::ObjectEnded);
    }
    Ok(match object::begin_anew(engine, task, error).await {
        Ok(next) => PartEnd::BeginAnew(Box::new(next)),
        Err(error) => PartEnd::Failed(error),
    })
}

/// `None`: given away before it was begun.
async fn write(
    engine: &Arc<Engine>,
    upload: &Arc<Upload>,
    number: u32,
    turn: &Turn,
) -> Result<Option<PartReceipt>> {
    let task = &upload.task;
    let (offset, len) = parts::part_range(task.size, task.part_size.unwrap_or(task.size), number);
    if engine.copies_in_service() {
        let Some(_permit) = turn.wait(engine.budget.acquire(0)).await else {
            return Ok(None);
        };
        if let Some(receipt) = service::copy_part(engine, task, &upload.token, number).await? {
            return Ok(Some(receipt));
        }
    }
    let mut streamed = None;
    if engine.destination.streams_parts(upload.algorithm) {
        let Some(_permit) = turn.wait(engine.budget.acquire(len.min(WINDOW))).await else {
            return Ok(None);
        };
        streamed = stream(engine, upload, number, (offset, len)).await?;
    }
    let receipt = if let Some(receipt) = streamed {
        receipt
    } else {
        let Some(_permit) = turn.wait(engine.budget.acquire(len)).await else {
            return Ok(None);
        };
        hold_and_write(engine, upload, number, (offset, len)).await?
    };
    engine.meter.add_bytes(len);
    Ok(Some(receipt))
}

/// Writes a part while it is read: it stays in the cores' caches, and memory is that of a window.
/// Tried once; `None` if the destination did not take it, so that it must be held to be sent again.
async fn stream(
    engine: &Arc<Engine>,
    upload: &Upload,
    number: u32,
    range: (u64, u64),
) -> Result<Option<PartReceipt>> {
    let task = &upload.task;
    let source = Steady::new(Arc::clone(engine), &task.source_key, &task.pin, Some(range));
    let part = PartStream {
        number,
        offset: range.0,
        len: range.1,
        body: source.into_stream(),
        algorithm: upload.algorithm,
    };
    let key = &task.destination_key;
    match engine
        .destination
        .stream_part(key, &upload.token, part)
        .await
    {
        Ok(receipt) => Ok(Some(receipt)),
        Err(error) if error.side == Side::Source || is_final(error.kind) => Err(error),
        Err(error) => {
            engine.check_cancelled()?;
            tracing::debug!(
                key,
                number,
                "a part was not taken while it was read: {error}"
            );
            Ok(None)
        }
    }
}

/// What sending a part again cannot change.
fn is_final(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UploadGone | ErrorKind::Full)
}

/// Reads a part, then writes it, again if need be.
async fn hold_and_write(
    engine: &Engine,
    upload: &Upload,
    number: u32,
    range: (u64, u64),
) -> Result<PartReceipt> {
    let task = &upload.task;
    let read = read::read(
        engine,
        &task.source_key,
        &task.pin,
        Some(range),
        Hashing::With(upload.algorithm),
    )
    .await?;
    let part = PartWrite {
        number,
        offset: range.0,
        payload: read.payload,
        checksum: read.checksum.clone(),
    };
    let mut receipt = (|| {
        engine
            .destination
            .put_part(&task.destination_key, &upload.token, part.clone())
    })
    .retry(read::backoff())
    .when(|error: &Error| error.retryable && !engine.cancel.is_cancelled())
    .await?;
    if receipt.checksum.is_none() {
        receipt.checksum = read.checksum;
    }
    Ok(receipt)
}
