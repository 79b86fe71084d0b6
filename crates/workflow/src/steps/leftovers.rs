//! Leftovers: what transfers left half done at their destinations that failed or were paused, and that nobody went on
//! with for so long that nobody will. A service keeps open uploads, and bills them, until somebody aborts them.

use jiff::{SignedDuration, Timestamp};
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::control::Stage;
use skyhaul_state::{Phase, TransferChange, TransferRow, TransferStatus};
use tokio::time::Instant;

use super::settle::abandon;
use crate::account::Account;

/// One pass over all transfers: those that were changed last longer than `keep` ago, that have not ended and of which
/// no attempt goes on, are given up. One that cannot be given up keeps no other from it.
pub async fn leftovers(
    account: &Account,
    keep: SignedDuration,
    now: Timestamp,
    until: Instant,
) -> Result<(Vec<TransferId>, Vec<Error>)> {
    let (mut given_up, mut problems) = (Vec::new(), Vec::new());
    for row in account.state.transfers().await? {
        let is_old = now.duration_since(row.updated) >= keep;
        // One that was being given up when this ended is looked at whenever it was changed.
        if row.phase == Phase::Ended || !(is_old || row.status == TransferStatus::Cancelled) {
            continue;
        }
        if Instant::now() >= until {
            break;
        }
        match give_up(account, &row, until).await {
            Ok(true) => given_up.push(row.id),
            Ok(false) => {}
            Err(error) => problems.push(error.object(row.id.as_str())),
        }
    }
    Ok((given_up, problems))
}

/// Gives up a transfer, unless an attempt at it goes on.
async fn give_up(account: &Account, row: &TransferRow, until: Instant) -> Result<bool> {
    let submission = account.control.submission(&row.id).await?;
    if submission.is_some_and(|found| found.stage == Stage::Live) {
        return Ok(false);
    }
    let state = &account.state;
    let why = "nobody went on with it: what it had left half done was removed";
    let cancelled = TransferChange {
        status: Some(TransferStatus::Cancelled),
        error: Some(Some(why.to_owned())),
        ..TransferChange::default()
    };
    // From here on nobody can go on with it; refused if somebody has just begun to.
    match state.change(&row.id, row.revision, cancelled).await {
        Ok(row) => abandon(account, &row, until).await?,
        Err(error) if error.kind == ErrorKind::LeaseLost => return Ok(false),
        Err(error) => return Err(error),
    }
    // What could not be aborted was noted in it.
    let row = state.transfer(&row.id).await?;
    let ended = TransferChange {
        phase: Some(Phase::Ended),
        ..TransferChange::default()
    };
    state
        .change(&row.id, row.revision, ended)
        .await
        .map(|_| true)
}
