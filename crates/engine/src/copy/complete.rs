//! Completing multipart uploads: by whoever records the last part, and by a sweep for the case that
//! this one died.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use skyhaul_model::group::{GroupId, GroupStatus};
use skyhaul_model::outcome::{PartReceipt, ReceiptRecord};
use skyhaul_model::segment::ObjectTask;
use skyhaul_model::{Checksum, Error, ErrorKind, Result, Side, Verification, hasher};
use skyhaul_state::{UploadResult, UploadRow, UploadStatus, pages};
use skyhaul_stores::{UploadToken, retag};

use super::uploads::{self, Found};
use super::{group, object, read};
use crate::engine::Engine;

/// How many rows are read at a time.
const PAGE: usize = 256;

/// Completes an object whose parts are all recorded, and records how it ended. Fails only when the
/// run is interrupted, the state fails, or (`last_try` false) the destination may answer later.
pub(crate) async fn complete(engine: &Engine, row: &UploadRow, last_try: bool) -> Result<()> {
    let task: ObjectTask = serde_json::from_str(&row.task)
        .map_err(|error| Error::invalid("damaged task in an upload's row").cause(error))?;
    let error = match finish(engine, row, &task).await {
        Ok(outcome) => {
            let counts = group::count(&outcome);
            let result = UploadResult { outcome, counts };
            let from = [UploadStatus::Open];
            let to = UploadStatus::Done;
            engine
                .state
                .upload_status(&engine.id, &row.key, &from, to, Some(&result))
                .await?;
            engine.meter.add_object();
            engine.uploads.forget(&row.key).await;
            return Ok(());
        }
        Err(error) => error,
    };
    engine.check_cancelled()?;
    if error.side == Side::Control
        && (error.retryable || matches!(error.kind, ErrorKind::Full | ErrorKind::LeaseLost))
    {
        // This machine's trouble, not the object's: its parts stay for a later run.
        return Err(error);
    }
    if error.retryable && !last_try {
        tracing::warn!(key = row.key.key, "completion is put off: {error}");
        return Ok(());
    }
    let outcome = object::failed(engine, &task, &error);
    let result = UploadResult {
        counts: group::count(&outcome),
        outcome,
    };
    let from = [UploadStatus::Intent, UploadStatus::Open];
    let to = UploadStatus::Superseded;
    engine
        .state
        .upload_status(&engine.id, &row.key, &from, to, Some(&result))
        .await?;
    match abort(engine, row).await {
        Err(error) if error.side != Side::Control => {
            // One object's upload that stays open stops no other; the sweep tries again.
            tracing::warn!(key = row.key.key, "cannot abort an upload: {error}");
            Ok(())
        }
        ended => ended,
    }
}

async fn finish(
    engine: &Engine,
    row: &UploadRow,
    task: &ObjectTask,
) -> Result<skyhaul_model::outcome::Outcome> {
    let Found::Open(upload) = engine.uploads.find(engine, task).await? else {
        return Err(Error::control(
            ErrorKind::Internal,
            "an open upload is said to have ended",
        ));
    };
    let mut parts = upload.parts.lock().await.clone();
    if parts.len() < row.parts_total as usize {
        // Parts of earlier runs are in the receipts of their groups.
        for (group, _) in &row.slices {
            collect(engine, row, *group, &mut parts).await?;
        }
    }
    if parts.len() != row.parts_total as usize {
        return Err(Error::control(
            ErrorKind::Internal,
            format!("{} of {} parts have receipts", parts.len(), row.parts_total),
        )
        .object(engine.destination.uri(&row.key.key)));
    }
    let parts: Vec<PartReceipt> = parts.into_values().collect();
    let whole = whole(&parts);
    let source_verified = read::compare(
        engine,
        &task.source_key,
        whole.as_ref(),
        upload.kept.as_ref(),
    )?;
    let condition = object::condition(engine);
    let (key, token) = (&task.destination_key, &upload.token);
    let finish = async |parts: &[PartReceipt]| {
        let finished =
            engine
                .destination
                .finish_upload(key, token, parts, whole.as_ref(), &condition);
        finished.await
    };
    let receipt = match finish(&parts).await {
        Err(error) if error.kind == ErrorKind::UploadGone => {
            let destination = &*engine.destination;
            match retag::parts_now(destination, key, token, &parts, whole.as_ref()).await? {
                Some(parts) => finish(&parts).await?,
                None => return Err(error),
            }
        }
        finished => finished?,
    };
    let all_verified = parts.iter().all(|part| part.verified);
    let verified = match (receipt.verified || all_verified, source_verified) {
        (true, true) => Verification::SourceVerified,
        (true, false) => Verification::TransportVerified,
        (false, true) if engine.destination.capabilities().checksums.is_empty() => {
            Verification::SourceVerified
        }
        _ => object::verification(engine, task, &receipt, false).await?,
    };
    Ok(object::copied(task, &receipt, verified, whole))
}

fn whole(parts: &[PartReceipt]) -> Option<Checksum> {
    let sums: Option<Vec<_>> = parts
        .iter()
        .map(|part| part.checksum.as_ref().map(|sum| (sum, part.size)))
        .collect();
    hasher::combine(sums?)
}

/// Adds the receipts of one upload's parts that a group wrote.
async fn collect(
    engine: &Engine,
    row: &UploadRow,
    group: GroupId,
    parts: &mut BTreeMap<u32, PartReceipt>,
) -> Result<()> {
    let group = engine.state.group(&engine.id, group).await?;
    for pointer in &group.receipts {
        for record in engine.segments.read_receipts(pointer).await? {
            if let ReceiptRecord::Part {
                destination_key,
                destination,
                attempt,
                receipt,
            } = record
                && destination_key == row.key.key
                && destination == row.key.destination
                && attempt == row.key.attempt
            {
                parts.insert(receipt.number, receipt);
            }
        }
    }
    Ok(())
}

/// Aborts an upload that was given up and records that it is gone: when none of its parts is under
/// way any more, for those may be stored after it.
async fn abort(engine: &Engine, row: &UploadRow) -> Result<()> {
    abort_at_store(engine, row).await?;
    let from = [UploadStatus::Superseded];
    engine
        .state
        .upload_status(&engine.id, &row.key, &from, UploadStatus::Aborted, None)
        .await?;
    Ok(())
}

/// Aborts an upload that was given up, while parts of it may still be under way; the sweep does so
/// again.
pub(crate) async fn abort_at_store(engine: &Engine, row: &UploadRow) -> Result<()> {
    match &row.token {
        Some(token) => {
            let token = UploadToken(token.clone());
            engine
                .destination
                .abort_upload(&row.key.key, &token)
                .await?;
        }
        None => uploads::abort_unrecorded(engine, row).await?,
    }
    engine.uploads.forget(&row.key).await;
    Ok(())
}

/// Completes what a dead run left: uploads all of whose parts are recorded, and aborts those that
/// were given up; returns how many of these could not be. `None` if the engine drained before it came to
/// the end: call again. To be called when every group is done.
pub async fn sweep(engine: &Engine) -> Result<Option<u64>> {
    let (mut left, mut after) = (0, None);
    loop {
        let unsettled = UploadStatus::UNSETTLED;
        let rows = engine
            .state
            .uploads(&engine.id, &unsettled, after.as_ref(), PAGE)
            .await?;
        let Some(last) = rows.last() else {
            return Ok(Some(left));
        };
        after = Some(last.key.clone());
        for row in rows {
            engine.check_cancelled()?;
            if engine.drain.is_cancelled() {
                return Ok(None);
            }
            if row.status == UploadStatus::Superseded {
                if let Err(error) = abort(engine, &row).await {
                    // Kept as superseded: `cleanup` tries again.
                    left += 1;
                    tracing::warn!(key = row.key.key, "cannot abort an upload: {error}");
                }
                continue;
            }
            let row = if row.parts_done() < row.parts_total {
                find_slices(engine, row).await?
            } else {
                row
            };
            complete(engine, &row, true).await?;
        }
    }
}

/// Recomputes which groups hold parts of an upload, after a run died between recording a group and
/// counting it.
async fn find_slices(engine: &Engine, row: UploadRow) -> Result<UploadRow> {
    let mut row = row;
    let groups = pages::groups(&*engine.state, &engine.id, Some(GroupStatus::Done));
    futures::pin_mut!(groups);
    while let Some(group) = groups.try_next().await? {
        let mut parts = BTreeMap::new();
        collect(engine, &row, group.id, &mut parts).await?;
        if !parts.is_empty() {
            row = engine
                .state
                .upload_slice(&engine.id, &row.key, group.id, parts.len() as u32)
                .await?;
        }
    }
    Ok(row)
}

/// What the uploads of a transfer that ended left open at the destination is aborted; problems are
/// returned, not raised. For `cleanup`.
pub async fn abandon(engine: &Engine) -> Result<(u64, Vec<String>)> {
    let (mut aborted, mut problems, mut after) = (0, Vec::new(), None);
    loop {
        let unsettled = UploadStatus::UNSETTLED;
        let rows = engine
            .state
            .uploads(&engine.id, &unsettled, after.as_ref(), PAGE)
            .await?;
        let Some(last) = rows.last() else {
            return Ok((aborted, problems));
        };
        after = Some(last.key.clone());
        for row in rows {
            let to = UploadStatus::Superseded;
            let from = [UploadStatus::Intent, UploadStatus::Open];
            if row.status != to {
                engine
                    .state
                    .upload_status(&engine.id, &row.key, &from, to, None)
                    .await?;
            }
            match abort(engine, &row).await {
                Ok(()) => aborted += 1,
                Err(error) if error.side == Side::Control => return Err(error),
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
}
