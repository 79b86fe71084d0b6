//! Watch: answers the execution that waits for the copying. It alone does, from rows that it has just read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use skyhaul_model::machine::IntentId;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::GatewayRow;
use skyhaul_state::control::{DataplaneRow, Failure, Sign, Stage, Submission, SubmissionStep};

use super::{Attempt, failure, used, wished};
use crate::account::Account;
use crate::machines::is_guest;

/// A gateway that has told nothing new of itself for so long is lost.
const STALE: SignedDuration = SignedDuration::from_mins(3);

/// Where nothing is listed and nothing copied for so long, nothing will be.
const STALLED: SignedDuration = SignedDuration::from_mins(60);

/// Transfers that are looked at at the same time, and how long one look may take.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(40);

/// Executions that wait for an answer.
#[async_trait]
pub trait Waiting: Debug + Send + Sync {
    /// Answers whoever waits with a token. False if nobody does any more.
    async fn answer(&self, token: &str, answer: &Answer) -> Result<bool>;
}

/// What an execution that waits is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It goes on.
    Beat,
    /// All is copied.
    Copied,
    /// It cannot go on like this.
    Failed(Failure),
}

/// What became of one look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// The transfer.
    pub transfer: TransferId,
    /// What was answered; `None` if nobody waits.
    pub answer: Option<Answer>,
}

/// An execution waits for the copying of an attempt: [`watch`] answers it.
pub async fn wait(account: &Account, attempt: &Attempt, token: &str) -> Result<()> {
    attempt
        .step(account, SubmissionStep::Waits(token.to_owned()))
        .await
        .map(drop)
}

/// Looks at all transfers of which an attempt goes on. One that cannot be looked at keeps none of the others from
/// being answered.
pub async fn watch_all(account: &Account, now: Timestamp) -> Result<(Vec<Watched>, Vec<Error>)> {
    let live = account.control.live().await?;
    let looks = live.into_iter().map(|transfer| async move {
        let look = tokio::time::timeout(PATIENCE, watch(account, &transfer, now)).await;
        let late = |_| {
            Err(Error::control(
                ErrorKind::Timeout,
                "it took too long to look",
            ))
        };
        look.unwrap_or_else(late)
            .map_err(|error| error.object(transfer.as_str()))
    });
    let looked: Vec<_> = stream::iter(looks)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (mut watched, mut problems) = (Vec::new(), Vec::new());
    for look in looked {
        match look {
            Ok(one) => watched.push(one),
            Err(error) => problems.push(error),
        }
    }
    Ok((watched, problems))
}

/// Looks at one transfer, and answers whoever waits for it.
pub async fn watch(account: &Account, transfer: &TransferId, now: Timestamp) -> Result<Watched> {
    let nobody = Watched {
        transfer: transfer.clone(),
        answer: None,
    };
    let Some(submission) = account.control.submission(transfer).await? else {
        return Ok(nobody);
    };
    let (Stage::Live, Some(token)) = (submission.stage, submission.token.clone()) else {
        return Ok(nobody);
    };
    let attempt = Attempt {
        transfer: transfer.clone(),
        attempt: submission.attempt,
    };
    let answer = answer(account, &attempt, &submission, now).await?;
    let waits = account.waiting.answer(&token, &answer).await?;
    if !waits || answer != Answer::Beat {
        attempt
            .step(account, SubmissionStep::Answered(token))
            .await?;
    }
    Ok(Watched {
        answer: waits.then_some(answer),
        ..nobody
    })
}

async fn answer(
    account: &Account,
    attempt: &Attempt,
    submission: &Submission,
    now: Timestamp,
) -> Result<Answer> {
    if let Some(wish) = submission.wish {
        return Ok(Answer::Failed(wished(wish)));
    }
    if let Some(failure) = &submission.failure {
        return Ok(Answer::Failed(failure.clone()));
    }
    let transfer = &attempt.transfer;
    let progress = account.state.progress(transfer).await?;
    if progress.is_copied() {
        return Ok(Answer::Copied);
    }
    let dataplane = used(account, submission).await?;
    let bytes = progress.done.bytes;
    let beyond = attempt.beyond(account, submission, dataplane.as_ref(), bytes, now);
    if let Some(failure) = beyond.await? {
        return Ok(Answer::Failed(failure));
    }
    let Some(dataplane) = dataplane else {
        return Ok(Answer::Beat);
    };
    let rows = account.state.gateways(transfer).await?;
    let signs = signs(submission, &rows, now);
    let (lost, away) = lost(&dataplane, &signs, now);
    let done = (
        String::new(),
        progress.groups_done + progress.chunks_done + progress.listed.pages,
    );
    let mut moved = sign(submission.progress.as_ref(), Some(done), now);
    // While the machine that has the source is away, what it has not sent is waited for.
    if away {
        moved.since = now;
    }
    let stalled = now.duration_since(moved.since) >= STALLED;
    if signs != submission.signs || submission.progress.as_ref() != Some(&moved) {
        let step = SubmissionStep::Signs(signs, Some(moved));
        attempt.step(account, step).await?;
    }
    if stalled {
        return Ok(Answer::Failed(Failure {
            name: failure::STALLED.to_owned(),
            cause: format!("nothing was listed or copied for {STALLED:#}"),
        }));
    }
    if joins(account, &dataplane, transfer).await? {
        return Ok(Answer::Failed(Failure {
            name: failure::GATEWAYS_LOST.to_owned(),
            cause: "the machine that has the source joins again".to_owned(),
        }));
    }
    if lost.is_empty() {
        // Who was missed before the last answer was lost may have come back.
        if !submission.lost.is_empty() {
            attempt.step(account, SubmissionStep::Lost(lost)).await?;
        }
        return Ok(Answer::Beat);
    }
    let names: Vec<_> = lost.iter().map(|intent| intent.member.as_str()).collect();
    let cause = format!("no sign of life of {}", names.join(", "));
    attempt.step(account, SubmissionStep::Lost(lost)).await?;
    Ok(Answer::Failed(Failure {
        name: failure::GATEWAYS_LOST.to_owned(),
        cause,
    }))
}

/// What each gateway has told last, and since when that is known.
pub(super) fn signs(
    submission: &Submission,
    rows: &[GatewayRow],
    now: Timestamp,
) -> BTreeMap<String, Sign> {
    let each = submission.gateways.iter().map(|name| {
        let row = rows.iter().find(|row| row.name == *name);
        let told = row.map(|row| (row.gateway.clone(), row.beat));
        (name.clone(), sign(submission.signs.get(name), told, now))
    });
    each.collect()
}

/// A sign, seen since when it was seen first.
fn sign(before: Option<&Sign>, told: Option<(String, u64)>, now: Timestamp) -> Sign {
    let since = match before {
        Some(before) if before.told == told => before.since,
        _ => now,
    };
    Sign { told, since }
}

/// Members that have told nothing new for too long, and whether a guest has: nobody takes its place.
fn lost(
    dataplane: &DataplaneRow,
    signs: &BTreeMap<String, Sign>,
    now: Timestamp,
) -> (BTreeSet<IntentId>, bool) {
    let stale = |name: &str| {
        let sign = signs.get(name);
        sign.is_some_and(|sign| now.duration_since(sign.since) >= STALE)
    };
    let members = dataplane.members.iter();
    let silent = members.filter(|member| stale(member.plan.name.as_str()));
    let (guests, lost): (Vec<_>, Vec<_>) = silent.partition(|member| is_guest(member));
    let lost = lost.iter().map(|member| member.intent(&dataplane.id));
    (lost.collect(), !guests.is_empty())
}

/// Whether a guest has started anew, and is to be told again what to do.
async fn joins(account: &Account, dataplane: &DataplaneRow, transfer: &TransferId) -> Result<bool> {
    for member in &dataplane.members {
        if is_guest(member)
            && let Some(machine) = &member.machine
            && let Some(enrolment) = account.control.enrolment(&machine.0).await?
            && !enrolment.assignments.contains_key(transfer)
        {
            return Ok(true);
        }
    }
    Ok(false)
}
