//! Settle: the end of every attempt, whichever it was. Nothing is left of it but what a later attempt goes on
//! from.

use jiff::{SignedDuration, Timestamp};
use skyhaul_engine::StepEnd;
use skyhaul_engine::copy::complete;
use skyhaul_model::{ErrorKind, Result};
use skyhaul_state::control::{Failure, Stage, Submission, SubmissionChange, SubmissionStep, Wish};
use skyhaul_state::{Phase, TransferChange, TransferRow, TransferStatus};
use tokio::time::Instant;

use super::{Attempt, wished};
use crate::account::Account;
use crate::machines;

/// A gateway that was dismissed and has told nothing new of itself for so long has drained: four times as long as one
/// that lives tells nothing (`gateway/src/pace.rs`).
const QUIET: SignedDuration = SignedDuration::from_secs(90);

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whether there is more to do: call again after some seconds.
    pub end: StepEnd,
    /// Whether every object is at the destination.
    pub succeeded: bool,
    /// Why not.
    pub failure: Option<Failure>,
}

/// One pass: ends the machines that nothing else uses, then notes how the attempt ended. `why` it fails, if
/// it does; of several causes the first counts.
pub async fn settle(
    account: &Account,
    attempt: &Attempt,
    why: Option<Failure>,
    now: Timestamp,
    until: Instant,
) -> Result<Ended> {
    let transfer = &attempt.transfer;
    let found = account.control.submission(transfer).await?;
    let Some(submission) = found.filter(|found| found.attempt == attempt.attempt) else {
        // Another attempt goes on, or nothing is known of any.
        return Ok(Ended {
            end: StepEnd::Done,
            succeeded: false,
            failure: why,
        });
    };
    let row = row(account, attempt).await?;
    let succeeded =
        |row: Option<&TransferRow>| row.is_some_and(|row| row.status == TransferStatus::Succeeded);
    if submission.stage == Stage::Over {
        return Ok(Ended {
            end: StepEnd::Done,
            succeeded: succeeded(row.as_ref()),
            failure: submission.failure,
        });
    }
    let submission = match why {
        Some(why) => {
            let why = submission.wish.map_or(why, wished);
            attempt.step(account, SubmissionStep::Fails(why)).await?
        }
        None => submission,
    };
    // First, so that nobody begins anything more.
    let row = match row {
        Some(row) if row.phase != Phase::Ended => Some(end(account, &submission, row).await?),
        row => row,
    };
    if machines(account, attempt, &submission, now).await? == StepEnd::More {
        return Ok(Ended {
            end: StepEnd::More,
            succeeded: false,
            failure: submission.failure,
        });
    }
    if let Some(row) = row
        .as_ref()
        .filter(|row| row.status == TransferStatus::Cancelled)
    {
        abandon(account, row, until).await?;
    }
    account.control.drop_secrets(transfer).await?;
    account.forget(&Account::check_id(transfer)).await?;
    let over = SubmissionChange::Over(attempt.attempt);
    account.control.change_submission(transfer, &over).await?;
    Ok(Ended {
        end: StepEnd::Done,
        succeeded: succeeded(row.as_ref()),
        failure: submission.failure,
    })
}

/// The row of the transfer, unless the attempt failed before there was one, or another has begun.
async fn row(account: &Account, attempt: &Attempt) -> Result<Option<TransferRow>> {
    match attempt.row(account).await {
        Ok(row) => Ok(Some(row).filter(|row| row.attempt <= attempt.attempt)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lets go of the dataplane, which goes with the transfer if it was made for it alone.
async fn machines(
    account: &Account,
    attempt: &Attempt,
    submission: &Submission,
    now: Timestamp,
) -> Result<StepEnd> {
    let (control, regions) = (&*account.control, &account.regions);
    let Some(id) = &submission.dataplane else {
        return Ok(StepEnd::Done);
    };
    let Some(mut row) = control.dataplane(id).await? else {
        return Ok(StepEnd::Done);
    };
    if row.transfers.contains(&attempt.transfer) {
        row = machines::release(control, regions, &row, &attempt.transfer).await?;
    }
    let own = row.made_for.as_ref() == Some(&attempt.transfer);
    if own && row.autoshutdown.is_none() {
        return machines::teardown(control, regions, id, now).await;
    }
    if submission.wish == Some(Wish::Cancel) && !is_quiet(account, attempt, submission, now).await?
    {
        return Ok(StepEnd::More);
    }
    Ok(StepEnd::Done)
}

/// Whether machines that go on living have drained: who was dismissed may still finish what it had begun.
async fn is_quiet(
    account: &Account,
    attempt: &Attempt,
    submission: &Submission,
    now: Timestamp,
) -> Result<bool> {
    let rows = account.state.gateways(&attempt.transfer).await?;
    let signs = super::watch::signs(submission, &rows, now);
    let mut all = signs.values();
    let quiet = all.all(|sign| now.duration_since(sign.since) >= QUIET);
    if signs != submission.signs {
        let step = SubmissionStep::Signs(signs, submission.progress.clone());
        attempt.step(account, step).await?;
    }
    Ok(quiet)
}

/// Notes in the row of a transfer that has not ended why its attempt does; the row after it.
async fn end(account: &Account, submission: &Submission, row: TransferRow) -> Result<TransferRow> {
    let mut change = TransferChange::default();
    match (submission.wish, &submission.failure) {
        (Some(Wish::Cancel), _) => {
            change.status = Some(TransferStatus::Cancelled);
            change.phase = Some(Phase::Ended);
        }
        // It is being given up.
        (None, _) if row.status == TransferStatus::Cancelled => return Ok(row),
        // It is gone on with when the user likes.
        (Some(Wish::Pause), _) => return Ok(row),
        (None, failure) => {
            let why = failure.as_ref().map(|failure| failure.cause.clone());
            let why = why.unwrap_or_else(|| "its workflow ended before it did".to_owned());
            change.status = Some(TransferStatus::Failed);
            change.error = Some(Some(why));
        }
    }
    account.state.change(&row.id, row.revision, change).await
}

/// Aborts what a transfer that was cancelled left half done at its destinations. What cannot be aborted is
/// told in its row, and keeps nothing from ending.
pub(super) async fn abandon(account: &Account, row: &TransferRow, until: Instant) -> Result<()> {
    let abandoned = async {
        let slice = account.engine(row, None, until).await?;
        complete::abandon(&slice.engine).await
    };
    let problems = match abandoned.await {
        Ok((_, problems)) => problems,
        Err(error) if error.retryable => return Err(error),
        Err(error) => vec![error.to_string()],
    };
    if problems.is_empty() {
        return Ok(());
    }
    let change = TransferChange {
        error: Some(Some(problems.join("; "))),
        ..TransferChange::default()
    };
    account
        .state
        .change(&row.id, row.revision, change)
        .await
        .map(drop)
}
