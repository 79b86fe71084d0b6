//! Verify: whether what was counted is there, and how the transfer ended.

use skyhaul_engine::StepEnd;
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::control::Failure;
use skyhaul_state::{Phase, TransferChange, TransferRow};
use tokio::time::Instant;

use super::{Attempt, elsewhere, failure};
use crate::account::Account;
use crate::records::Records;
use crate::{delete, drive, verify as checks};

/// Looks until it is known, or the time is up; then the transfer has ended.
pub async fn verify(account: &Account, attempt: &Attempt, until: Instant) -> Result<StepEnd> {
    attempt.live(account).await?;
    let row = attempt.row(account).await?;
    if row.phase == Phase::Ended {
        return Ok(StepEnd::Done);
    }
    if elsewhere::is_elsewhere(account, &row) {
        let is_done = async |row: &TransferRow| Ok(row.phase == Phase::Ended);
        return elsewhere::wait(account, attempt, until, is_done).await;
    }
    if row.phase < Phase::Verify {
        let message = "not everything is completed yet";
        return Err(Error::control(ErrorKind::Internal, message).object(row.id.as_str()));
    }
    let slice = account.engine(&row, Some(attempt), until).await?;
    let mut notes: Vec<_> = row.error.clone().into_iter().collect();
    let place = async || account.check_of(&row.id).await;
    let Some(good) = checks::after_copy(&slice.engine, place, &mut notes).await? else {
        return Ok(StepEnd::More);
    };
    if !good {
        let (name, cause) = (failure::VERIFICATION.to_owned(), notes.join("; "));
        attempt.fail(account, Failure { name, cause }).await?;
    }
    let deletions = delete::deletions(Records::of(&slice.engine)).await?;
    let progress = account.state.progress(&row.id).await?;
    let change = TransferChange {
        phase: Some(Phase::Ended),
        status: Some(drive::end_status(&progress, &deletions, !good)),
        error: (!notes.is_empty()).then(|| Some(notes.join("; "))),
        attempt: None,
    };
    account.state.change(&row.id, row.revision, change).await?;
    Ok(StepEnd::Done)
}
