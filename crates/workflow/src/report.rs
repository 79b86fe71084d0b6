//! The per-object report: one JSON line an object, streamed from the transfer's segments.

use std::io::Write as _;
use std::path::Path;

use futures::TryStreamExt as _;
use skyhaul_engine::Engine;
use skyhaul_model::outcome::{Outcome, ReceiptRecord};
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::{ListSegmentKind, UploadStatus, pages};

/// Rows read at a time.
const PAGE: usize = 256;

/// Calls `show` with the outcome of every object of a transfer, segment by segment.
pub(crate) async fn outcomes(
    engine: &Engine,
    deletions: &[String],
    show: &mut (dyn FnMut(Outcome) -> Result<()> + Send),
) -> Result<()> {
    let listed = engine
        .state
        .list_segments(&engine.id, ListSegmentKind::Outcomes)
        .await?;
    for pointer in listed.iter().chain(deletions) {
        for outcome in engine.segments.read_outcomes(pointer).await? {
            show(outcome)?;
        }
    }
    copied(engine, show).await
}

/// Calls `show` with the outcome of every object that was tried to be copied.
pub(crate) async fn copied(
    engine: &Engine,
    show: &mut (dyn FnMut(Outcome) -> Result<()> + Send),
) -> Result<()> {
    let groups = pages::groups(&*engine.state, &engine.id, None);
    futures::pin_mut!(groups);
    while let Some(row) = groups.try_next().await? {
        for pointer in &row.receipts {
            for record in engine.segments.read_receipts(pointer).await? {
                if let ReceiptRecord::Object(outcome) = record {
                    show(outcome)?;
                }
            }
        }
    }
    let mut after = None;
    loop {
        let statuses = [
            UploadStatus::Done,
            UploadStatus::Superseded,
            UploadStatus::Aborted,
        ];
        let rows = engine
            .state
            .uploads(&engine.id, &statuses, after.as_ref(), PAGE)
            .await?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = Some(last.key.clone());
        for result in rows.into_iter().filter_map(|row| row.result) {
            show(result.outcome)?;
        }
    }
}

/// Writes the report; it appears under its name only when it is complete.
pub(crate) async fn write(engine: &Engine, deletions: &[String], path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::control(ErrorKind::Refused, "cannot write the report")
            .object(path.display().to_string())
            .cause(error)
    };
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    let mut writer = std::io::BufWriter::new(file);
    outcomes(engine, deletions, &mut |outcome| {
        serde_json::to_writer(&mut writer, &outcome)
            .map_err(std::io::Error::from)
            .and_then(|()| writer.write_all(b"\n"))
            .map_err(failed)
    })
    .await?;
    let file = writer
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
