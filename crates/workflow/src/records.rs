//! What is recorded of the objects of a transfer, streamed from its rows and segments.

use futures::TryStreamExt as _;
use skyhaul_engine::Engine;
use skyhaul_model::outcome::{Outcome, ReceiptRecord};
use skyhaul_model::{Result, TransferId};
use skyhaul_state::{ListSegmentKind, SegmentStore, TransferState, UploadStatus, pages};

/// Rows read at a time.
const PAGE: usize = 256;

/// What is kept of a transfer: its rows, and the segments that they point to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Records<'a> {
    pub id: &'a TransferId,
    pub state: &'a dyn TransferState,
    pub segments: &'a dyn SegmentStore,
}

impl<'a> Records<'a> {
    pub(crate) fn of(engine: &'a Engine) -> Self {
        Self {
            id: &engine.id,
            state: &*engine.state,
            segments: &*engine.segments,
        }
    }
}

/// Who is called with outcomes; an error ends the calls.
pub type Show<'a> = dyn FnMut(Outcome) -> Result<()> + Send + 'a;

/// Calls `show` with the outcome of every object of a transfer, segment by segment.
pub(crate) async fn outcomes(
    records: Records<'_>,
    deletions: &[String],
    show: &mut Show<'_>,
) -> Result<()> {
    let listed = records
        .state
        .list_segments(records.id, ListSegmentKind::Outcomes)
        .await?;
    for pointer in listed.iter().chain(deletions) {
        for outcome in records.segments.read_outcomes(pointer).await? {
            show(outcome)?;
        }
    }
    copied(records, show).await
}

/// Calls `show` with the outcome of every object that was tried to be copied.
pub(crate) async fn copied(records: Records<'_>, show: &mut Show<'_>) -> Result<()> {
    let groups = pages::groups(records.state, records.id, None);
    futures::pin_mut!(groups);
    while let Some(row) = groups.try_next().await? {
        for pointer in &row.receipts {
            for record in records.segments.read_receipts(pointer).await? {
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
        let rows = records
            .state
            .uploads(records.id, &statuses, after.as_ref(), PAGE)
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
