//! A control plane as who submits to it sees it. Nothing is carried out here: transfers go on without their client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::control::{
    ControlState, Stage, Submission, SubmissionChange, Wish, no_submission,
};
use skyhaul_state::{Phase, Progress, SegmentStore, TransferRow, TransferState, TransferStatus};
use skyhaul_stores::open::Opens;
use tokio_util::sync::CancellationToken;

use crate::records::Records;
use crate::steps::{Attempt, Executions};
use crate::summary::{Event, Events, ProgressEvent, Summary};
use crate::{delete, drive, staging};

/// See the module documentation.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// Its name.
    pub stack: String,
    /// Transfers.
    pub state: Arc<dyn TransferState>,
    /// What was submitted.
    pub control: Arc<dyn ControlState>,
    /// What carries attempts out.
    pub executions: Arc<dyn Executions>,
    /// Where segments are.
    pub staging: Endpoint,
    /// Whose credentials that is opened with.
    pub opens: Arc<dyn Opens>,
}

/// How a transfer stands.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// What was submitted, and how its last attempt is.
    pub submission: Submission,
    /// The transfer, once it was planned.
    pub row: Option<TransferRow>,
    /// How far it is.
    pub progress: Progress,
}

impl Standing {
    /// Whether an attempt goes on.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.submission.stage == Stage::Live
    }

    /// Whether nothing is left to do: also if it was cancelled before there was anything of it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let cancelled = self.submission.wish == Some(Wish::Cancel);
        let ended = |row: &TransferRow| row.phase == Phase::Ended;
        !self.is_live() && self.row.as_ref().map_or(cancelled, ended)
    }

    /// Why its last attempt failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        let failure = self.submission.failure.as_ref();
        failure.map(|failure| Error::told(&failure.name, &failure.cause))
    }
}

fn attempt(submission: &Submission) -> Attempt {
    Attempt {
        transfer: submission.transfer.clone(),
        attempt: submission.attempt,
    }
}

impl Deployed {
    /// The segments of a transfer.
    pub(crate) async fn segments(&self, id: &TransferId) -> Result<Arc<dyn SegmentStore>> {
        staging::open(&*self.opens, &staging::of(&self.staging, id)).await
    }

    /// Submits a transfer and begins its first attempt. The same again is the same transfer, whichever attempt
    /// at it goes on; another order under its identifier is refused (`Invalid`).
    pub async fn submit(&self, new: &Submission) -> Result<Submission> {
        let kept = self.control.submit(new).await?;
        if kept.stage == Stage::Live {
            self.executions.start(&attempt(&kept)).await?;
        }
        Ok(kept)
    }

    /// Begins another attempt at a transfer that has not come to its end; one that goes on is left alone.
    pub async fn resume(&self, id: &TransferId) -> Result<Submission> {
        let standing = self.standing(id).await?;
        if standing.has_ended() {
            return Err(Error::invalid("the transfer has ended")
                .object(id.as_str())
                .hint("submit a new one"));
        }
        self.begin(standing.submission).await
    }

    async fn begin(&self, last: Submission) -> Result<Submission> {
        let begun = match last.stage {
            Stage::Live => last,
            Stage::Over => {
                let next = SubmissionChange::Begin(last.attempt + 1);
                self.control
                    .change_submission(&last.transfer, &next)
                    .await?
            }
        };
        self.executions.start(&attempt(&begun)).await?;
        Ok(begun)
    }

    /// Lets the attempt that goes on end, so that it can be gone on with.
    pub async fn pause(&self, id: &TransferId) -> Result<Submission> {
        let wish = SubmissionChange::Wish(Wish::Pause);
        self.control.change_submission(id, &wish).await
    }

    /// Ends a transfer for good: what it left half done is removed. One that is paused or failed gets an attempt
    /// that does that.
    pub async fn cancel(&self, id: &TransferId) -> Result<Submission> {
        let standing = self.standing(id).await?;
        if standing.has_ended() {
            return Err(Error::invalid("the transfer has ended").object(id.as_str()));
        }
        let wish = SubmissionChange::Wish(Wish::Cancel);
        if standing.is_live() {
            return self.control.change_submission(id, &wish).await;
        }
        let begin = SubmissionChange::Begin(standing.submission.attempt + 1);
        self.control.change_submission(id, &begin).await?;
        // Before it is begun, so that it does nothing else.
        let wished = self.control.change_submission(id, &wish).await?;
        self.executions.start(&attempt(&wished)).await?;
        Ok(wished)
    }

    /// How a transfer stands. `NotFound` if none of this identifier was submitted.
    pub async fn standing(&self, id: &TransferId) -> Result<Standing> {
        let found = self.control.submission(id).await?;
        let submission = found.ok_or_else(|| no_submission(id))?;
        let (row, progress) = match self.state.transfer(id).await {
            Ok(row) => (Some(row), self.state.progress(id).await?),
            Err(error) if error.kind == ErrorKind::NotFound => (None, Progress::default()),
            Err(error) => return Err(error),
        };
        Ok(Standing {
            submission,
            row,
            progress,
        })
    }

    /// All transfers: those that go on, then the others, newest first.
    pub async fn transfers(&self) -> Result<Vec<Standing>> {
        let mut ids = self.control.live().await?;
        ids.reverse();
        for row in self.state.transfers().await? {
            if !ids.contains(&row.id) {
                ids.push(row.id);
            }
        }
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            match self.standing(&id).await {
                Ok(standing) => all.push(standing),
                // What a transfer keeps beside itself was not submitted.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// What whoever submitted is told first.
    #[must_use]
    pub fn submitted(&self, submission: &Submission) -> Event {
        Event::Submitted {
            transfer: submission.transfer.clone(),
            attempt: submission.attempt,
            stack: self.stack.clone(),
        }
    }

    /// Tells how an attempt goes on until it has ended, looking every so often. Asking to stop ends the looking,
    /// and nothing else.
    pub async fn follow(
        &self,
        submission: &Submission,
        every: Duration,
        events: &mut Events,
        cancel: &CancellationToken,
    ) -> Result<Summary> {
        let (id, began) = (&submission.transfer, Instant::now());
        events(self.submitted(submission));
        loop {
            let standing = self.standing(id).await?;
            let under_way = match &standing.row {
                Some(_) => drive::bytes_under_way(&*self.state, id).await?,
                None => 0,
            };
            let written = standing.progress.done.bytes + under_way;
            let numbers = ProgressEvent {
                elapsed_s: began.elapsed().as_secs_f64(),
                ..ProgressEvent::of(&standing.progress, written)
            };
            if standing.row.is_some() {
                events(Event::Progress(numbers));
            }
            let later = standing.submission.attempt > submission.attempt;
            if later || !standing.is_live() {
                let counted = self.with_deletions(&standing, numbers).await;
                let numbers = counted.unwrap_or_else(|error| {
                    tracing::warn!("what was deleted cannot be counted: {error}");
                    numbers
                });
                return ended(&self.stack, standing, numbers, began);
            }
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = cancel.cancelled() => {
                    let message = "the transfer goes on without this command";
                    let again = format!("`skyhaul wait --stack {} {id}` follows it", self.stack);
                    return Err(Error::control(ErrorKind::Interrupted, message).hint(again));
                }
            }
        }
    }

    /// The numbers of a transfer that has ended, with what it deleted.
    async fn with_deletions(
        &self,
        standing: &Standing,
        numbers: ProgressEvent,
    ) -> Result<ProgressEvent> {
        let deletes = |row: &&TransferRow| row.spec.delete.is_some();
        let Some(row) = standing.row.as_ref().filter(deletes) else {
            return Ok(numbers);
        };
        let segments = self.segments(&row.id).await?;
        let records = Records {
            id: &row.id,
            state: &*self.state,
            segments: &*segments,
        };
        let deletions = delete::deletions(records).await?;
        Ok(ProgressEvent {
            deleted: deletions.deleted,
            failed: numbers.failed + deletions.failed,
            ..numbers
        })
    }
}

/// How an attempt ended: with numbers, or with its cause if there are none that mean anything.
fn ended(
    stack: &str,
    standing: Standing,
    numbers: ProgressEvent,
    began: Instant,
) -> Result<Summary> {
    let (failure, id) = (standing.failure(), &standing.submission.transfer);
    let unknown = || {
        let message = "the attempt ended without a word";
        Error::control(ErrorKind::Internal, message)
    };
    let again = |error: Error| match error.hint {
        Some(_) => error,
        None => error.hint(format!(
            "go on with it: skyhaul resume --stack {stack} {id}"
        )),
    };
    let wished = standing.submission.wish;
    let Some(row) = standing.row else {
        let mut failure = failure.unwrap_or_else(unknown);
        // It ended before there was anything of it, as its user wanted.
        if wished.is_some() {
            failure.kind = ErrorKind::Interrupted;
        }
        return Err(failure);
    };
    match row.status {
        TransferStatus::Failed if row.phase == Phase::Ended => {
            return Err(failure.unwrap_or_else(unknown));
        }
        // That it failed was before, and no attempt at it has begun since: its user did not want that.
        TransferStatus::Failed if wished.is_some() => {
            let mut failure = failure.unwrap_or_else(unknown);
            failure.kind = ErrorKind::Interrupted;
            return Err(failure);
        }
        TransferStatus::Failed => return Err(again(failure.unwrap_or_else(unknown))),
        // It failed before its row could say so.
        TransferStatus::Running if wished.is_none() => {
            return Err(again(failure.unwrap_or_else(unknown)));
        }
        _ => {}
    }
    let done = &standing.progress.done;
    let verification = crate::steps::failure::VERIFICATION;
    let named = |failure: &skyhaul_state::control::Failure| failure.name == verification;
    Ok(Summary {
        transfer: Some(row.id),
        resumed: false,
        status: row.status,
        progress: numbers,
        retries: done.retries,
        source_verified: done.source_verified,
        transport_verified: done.transport_verified,
        elapsed: began.elapsed(),
        failures: Vec::new(),
        verification_failed: standing.submission.failure.as_ref().is_some_and(named),
        sent: None,
        notes: row.error.into_iter().collect(),
    })
}
