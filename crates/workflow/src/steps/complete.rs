//! Complete: ends the uploads whose completer died, and carries out the deletions of a sync.

use skyhaul_engine::StepEnd;
use skyhaul_engine::copy::complete as uploads;
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::{Phase, TransferRow};
use tokio::time::Instant;

use super::{Attempt, elsewhere, enter, fail};
use crate::account::Account;
use crate::delete::{self, Verdict};

/// From the last chunk to the last deletion, or until the time is up.
///
/// Fails if not all is copied yet, and with the guard's refusal, which ends the transfer.
pub async fn complete(account: &Account, attempt: &Attempt, until: Instant) -> Result<StepEnd> {
    attempt.live(account).await?;
    let mut row = attempt.row(account).await?;
    if row.phase > Phase::Delete {
        return Ok(StepEnd::Done);
    }
    if row.phase == Phase::Copy {
        if !account.state.progress(&row.id).await?.is_copied() {
            let message = "not everything is copied yet";
            return Err(Error::control(ErrorKind::Internal, message).object(row.id.as_str()));
        }
        row = enter(account, &row, Phase::Complete, None).await?;
    }
    let slice = account.engine(&row, Some(attempt), until).await?;
    let engine = &slice.engine;
    if row.phase == Phase::Complete {
        match uploads::sweep(engine).await? {
            None => return Ok(StepEnd::More),
            Some(open) => {
                let note = format!("{open} uploads could not be aborted");
                let note = (open > 0).then_some(note);
                row = enter(account, &row, Phase::Delete, note).await?;
            }
        }
    }
    // What is deleted is looked for at the source before.
    if elsewhere::is_elsewhere(account, &row) && row.spec.delete.is_some() {
        let is_done = async |row: &TransferRow| Ok(row.phase > Phase::Delete);
        return elsewhere::wait(account, attempt, until, is_done).await;
    }
    let mut note = None;
    // A listing that took minutes is old when its deletions begin.
    match delete::judge(engine, true).await? {
        Verdict::Nothing => {}
        Verdict::Kept(why) => note = Some(why),
        Verdict::Refused(refusal) => {
            fail(account, &row, &refusal).await?;
            return Err(refusal);
        }
        Verdict::Allowed { .. } => {
            if delete::delete(engine, true).await? == StepEnd::More {
                return Ok(StepEnd::More);
            }
        }
    }
    enter(account, &row, Phase::Verify, note).await?;
    Ok(StepEnd::Done)
}
