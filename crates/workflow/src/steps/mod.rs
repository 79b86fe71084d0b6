//! The steps of a transfer that a control plane carries out. Each is a slice: it looks at the rows, does what
//! is left until its time is up, and says whether there is more. It may be run again at any time and by
//! several at once. The transfer's row is the cursor ([`skyhaul_state::Phase`]); what is the workflow's own
//! is in the submission.

mod complete;
pub mod dataplanes;
mod elsewhere;
mod leftovers;
mod list;
mod machines;
mod plan;
mod schedules;
mod settle;
mod strays;
mod verify;
mod watch;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::control::{
    Base, ControlState, DataplaneRow, Failure, Stage, Submission, SubmissionChange, SubmissionStep,
    Wish, no_submission,
};
use skyhaul_state::{Phase, TransferChange, TransferRow, TransferStatus};

use crate::account::Account;
use crate::ceiling;
use crate::order::Order;

pub use complete::complete;
pub use leftovers::leftovers;
pub use list::{copy, list, survey};
pub use machines::provision;
pub use plan::{Planned, plan};
pub use schedules::{Fired, fire, queued, run_of};
pub use settle::{Ended, settle};
pub use strays::{Execution, Executions, Stray, strays};
pub use verify::verify;
pub use watch::{Answer, Waiting, Watched, wait, watch, watch_all};

/// The names of errors that the state machine tells apart.
pub mod failure {
    /// The user paused the transfer.
    pub const PAUSED: &str = "Paused";
    /// The user cancelled the transfer.
    pub const CANCELLED: &str = "Cancelled";
    /// Gateways show no sign of life: they are to be replaced.
    pub const GATEWAYS_LOST: &str = "GatewaysLost";
    /// What was counted is not at the destination.
    pub const VERIFICATION: &str = "VerificationFailed";
    /// It has taken as many hours or dollars as it may.
    pub const CEILING: &str = "CeilingReached";
    /// Gateways live, and nothing is done.
    pub const STALLED: &str = "Stalled";
    /// Machines did not tell of themselves in time (`infra/statemachines/transfer.asl.json`).
    pub const NO_MACHINES: &str = "NoMachines";

    /// Whether what failed so may succeed later, nothing having been changed.
    #[must_use]
    pub fn passes(name: &str) -> bool {
        [NO_MACHINES, GATEWAYS_LOST, STALLED, "NoRoom", "Passing"].contains(&name)
    }
}

/// What a step is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The transfer.
    pub transfer: TransferId,
    /// Which attempt at it, from 1.
    pub attempt: u32,
}

impl Attempt {
    /// What its execution is called.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}", self.transfer, self.attempt)
    }

    /// A step of the workflow of this attempt; the submission after it. Refused (`LeaseLost`) if it is over.
    async fn step(&self, account: &Account, step: SubmissionStep) -> Result<Submission> {
        let change = SubmissionChange::Step(self.attempt, step);
        account
            .control
            .change_submission(&self.transfer, &change)
            .await
    }

    /// Whether this attempt goes on, and nobody wants it to end.
    pub async fn goes_on(&self, control: &dyn ControlState) -> Result<bool> {
        let found = control.submission(&self.transfer).await?;
        Ok(found.is_some_and(|found| {
            found.attempt == self.attempt && found.stage == Stage::Live && found.wish.is_none()
        }))
    }

    /// The submission, if this attempt at it goes on and nobody wants it to end.
    async fn live(&self, account: &Account) -> Result<Submission> {
        let found = account.control.submission(&self.transfer).await?;
        let found = found.ok_or_else(|| no_submission(&self.transfer))?;
        if found.attempt != self.attempt || found.stage != Stage::Live {
            let message = format!("attempt {} of the transfer is over", self.attempt);
            return Err(
                Error::control(ErrorKind::LeaseLost, message).object(self.transfer.as_str())
            );
        }
        if found.wish.is_some() {
            return Err(
                Error::control(ErrorKind::Interrupted, "the user wants it to end")
                    .object(self.transfer.as_str()),
            );
        }
        Ok(found)
    }

    /// The row of the transfer.
    async fn row(&self, account: &Account) -> Result<TransferRow> {
        account.state.transfer(&self.transfer).await
    }

    /// Whether it has taken less than it may. Else notes that, and is refused (`Interrupted`).
    pub async fn within_ceiling(&self, account: &Account, now: Timestamp) -> Result<()> {
        let submission = self.live(account).await?;
        let bytes = match self.row(account).await {
            // Nothing more is taken.
            Ok(row) if row.phase == Phase::Ended => return Ok(()),
            Ok(_) => account.state.progress(&self.transfer).await?.done.bytes,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let dataplane = used(account, &submission).await?;
        let beyond = self.beyond(account, &submission, dataplane.as_ref(), bytes, now);
        let Some(failure) = beyond.await? else {
            return Ok(());
        };
        self.fail(account, failure.clone()).await?;
        Err(failed(self, failure))
    }

    /// Why it may not go on, if it has taken what it may on a dataplane: `bytes` were copied by all attempts.
    async fn beyond(
        &self,
        account: &Account,
        submission: &Submission,
        dataplane: Option<&DataplaneRow>,
        bytes: u64,
        now: Timestamp,
    ) -> Result<Option<Failure>> {
        let base = self.base(account, submission, bytes, now).await?;
        let order = Order::parse(&submission.order)?;
        Ok(ceiling::reached(&order, dataplane, (&base, bytes), now))
    }

    /// What it began from; one that was planned before that was noted begins now.
    async fn base(
        &self,
        account: &Account,
        submission: &Submission,
        bytes: u64,
        now: Timestamp,
    ) -> Result<Base> {
        if let Some(base) = &submission.base {
            return Ok(base.clone());
        }
        let base = Base {
            since: now,
            bytes,
            far: 0,
        };
        let step = SubmissionStep::Base(base.clone());
        let noted = self.step(account, step).await?.base;
        Ok(noted.unwrap_or(base))
    }

    /// An attempt fails in one of its branches: whoever waits is told by [`watch`].
    pub async fn fail(&self, account: &Account, failure: Failure) -> Result<()> {
        self.step(account, SubmissionStep::Fails(failure))
            .await
            .map(drop)
    }
}

/// The dataplane that an attempt uses, if it is there.
async fn used(account: &Account, submission: &Submission) -> Result<Option<DataplaneRow>> {
    match &submission.dataplane {
        Some(id) => account.control.dataplane(id).await,
        None => Ok(None),
    }
}

/// What the state machine calls what a user wants.
fn wished(wish: Wish) -> Failure {
    let (name, cause) = match wish {
        Wish::Pause => (failure::PAUSED, "the user paused the transfer"),
        Wish::Cancel => (failure::CANCELLED, "the user cancelled the transfer"),
    };
    Failure {
        name: name.to_owned(),
        cause: cause.to_owned(),
    }
}

/// What a step ends with when its attempt has failed elsewhere.
fn failed(attempt: &Attempt, failure: Failure) -> Error {
    Error::control(ErrorKind::Interrupted, failure.cause).object(attempt.transfer.as_str())
}

/// Lets a transfer enter a phase, with a note for its user if there is something to say; the row after it.
async fn enter(
    account: &Account,
    row: &TransferRow,
    phase: Phase,
    note: Option<String>,
) -> Result<TransferRow> {
    let notes = [row.error.clone(), note.clone()];
    let notes: Vec<_> = notes.into_iter().flatten().collect();
    let change = TransferChange {
        phase: Some(phase),
        error: note.is_some().then(|| Some(notes.join("; "))),
        ..TransferChange::default()
    };
    account.state.change(&row.id, row.revision, change).await
}

/// A transfer has failed for good, and this is why.
async fn fail(account: &Account, row: &TransferRow, why: &Error) -> Result<()> {
    let change = TransferChange {
        phase: Some(Phase::Ended),
        status: Some(TransferStatus::Failed),
        error: Some(Some(why.to_string())),
        attempt: None,
    };
    account
        .state
        .change(&row.id, row.revision, change)
        .await
        .map(drop)
}
