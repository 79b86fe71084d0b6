//! Copying one part of one large object.

use std::sync::Arc;

use backon::Retryable as _;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::segment::ObjectTask;
use skyhaul_model::{Error, Result, parts};
use skyhaul_stores::PartWrite;

use super::read::Hashing;
use super::uploads::{self, Found, Upload};
use super::{object, read, service};
use crate::engine::Engine;

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
}

/// Copies part `number` of an object. Fails only when the run is interrupted or its state fails.
pub(crate) async fn copy(engine: &Engine, task: &ObjectTask, number: u32) -> Result<PartEnd> {
    let key = uploads::key(task);
    if engine.uploads.is_ended(&key).await {
        return Ok(PartEnd::ObjectEnded);
    }
    let error = match engine.uploads.find(engine, task).await {
        Ok(Found::Ended) => return Ok(PartEnd::ObjectEnded),
        Ok(Found::Open(upload)) => match write(engine, &upload, number).await {
            Ok(receipt) => {
                upload.parts.lock().await.insert(number, receipt.clone());
                return Ok(PartEnd::Written(receipt));
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    engine.check_cancelled()?;
    if error.side == skyhaul_model::Side::Control {
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

async fn write(engine: &Engine, upload: &Arc<Upload>, number: u32) -> Result<PartReceipt> {
    let task = &upload.task;
    if engine.copies_in_service()
        && let Some(receipt) = service::copy_part(engine, task, &upload.token, number).await?
    {
        return Ok(receipt);
    }
    let (offset, len) = parts::part_range(task.size, task.part_size.unwrap_or(task.size), number);
    let read = read::read(
        engine,
        &task.source_key,
        &task.pin,
        Some((offset, len)),
        Hashing::With(upload.algorithm),
    )
    .await?;
    let part = PartWrite {
        number,
        offset,
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
    engine.meter.add_bytes(len);
    Ok(receipt)
}
