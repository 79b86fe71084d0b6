//! Strays: attempts that go on by their row, and whose execution does not. Whoever submitted may have died before it
//! began one; an execution may have ended and nobody was told. Nobody else would ever end them.

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use skyhaul_engine::StepEnd;
use skyhaul_model::{Error, Result, TransferId};
use skyhaul_state::control::{Failure, Stage};
use tokio::time::Instant;

use super::{Attempt, settle};
use crate::account::Account;

/// How the execution of an attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Execution {
    /// There never was one.
    Never,
    /// It goes on.
    Runs,
    /// It has ended, and this is how the service calls that.
    Ended(String),
}

/// What carries out attempts: an execution of a state machine for each.
#[async_trait]
pub trait Executions: Debug + Send + Sync {
    /// Begins the execution of an attempt; nothing happens if it was begun before.
    async fn start(&self, attempt: &Attempt) -> Result<()>;

    /// How the execution of an attempt is.
    async fn look(&self, attempt: &Attempt) -> Result<Execution>;

    /// What the execution of an attempt tells of itself, a line an event, each with its time: what it began, what
    /// failed. None if there is none.
    async fn told(&self, attempt: &Attempt) -> Result<Vec<String>>;
}

/// What was done for an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stray {
    /// Its execution was begun.
    Begun(TransferId),
    /// Its execution had ended: what is left of it goes.
    Settled(TransferId),
    /// The same, and there is more to do: the next pass goes on.
    Settling(TransferId),
}

/// One pass over all attempts. One that cannot be looked at keeps no other from being looked at.
pub async fn strays(
    account: &Account,
    executions: &dyn Executions,
    now: Timestamp,
    until: Instant,
) -> Result<(Vec<Stray>, Vec<Error>)> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for transfer in account.control.live().await? {
        if Instant::now() >= until {
            break;
        }
        match stray(account, executions, &transfer, now, until).await {
            Ok(one) => found.extend(one),
            Err(error) => problems.push(error.object(transfer.as_str())),
        }
    }
    Ok((found, problems))
}

async fn stray(
    account: &Account,
    executions: &dyn Executions,
    transfer: &TransferId,
    now: Timestamp,
    until: Instant,
) -> Result<Option<Stray>> {
    let found = account.control.submission(transfer).await?;
    let Some(submission) = found.filter(|found| found.stage == Stage::Live) else {
        return Ok(None);
    };
    let attempt = Attempt {
        transfer: transfer.clone(),
        attempt: submission.attempt,
    };
    let how = match executions.look(&attempt).await? {
        Execution::Runs => return Ok(None),
        Execution::Never => {
            executions.start(&attempt).await?;
            return Ok(Some(Stray::Begun(transfer.clone())));
        }
        Execution::Ended(how) => how,
    };
    let why = Failure {
        name: how,
        cause: "its execution ended before it did".to_owned(),
    };
    let ended = settle(account, &attempt, Some(why), now, until).await?;
    Ok(Some(match ended.end {
        StepEnd::Done => Stray::Settled(transfer.clone()),
        StepEnd::More => Stray::Settling(transfer.clone()),
    }))
}
