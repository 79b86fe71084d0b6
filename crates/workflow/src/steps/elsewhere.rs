//! Steps that look at a source which is on another machine, the guest's: that takes them ([`crate::guest`]), and the
//! functions wait until it has.

use std::time::Duration;

use skyhaul_engine::StepEnd;
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{Result, Scheme};
use skyhaul_state::TransferRow;
use tokio::time::Instant;

use super::{Attempt, failure};
use crate::account::Account;

/// Between two looks at what the guest has done.
const LOOK: Duration = Duration::from_secs(2);

/// Whether the source of a transfer is on a machine that only joins it.
pub(super) fn is_of_guest(spec: &TransferSpec) -> bool {
    spec.source.location.scheme == Scheme::Local
}

/// Whether it is, and this is not that machine.
pub(super) fn is_elsewhere(account: &Account, row: &TransferRow) -> bool {
    is_of_guest(&row.spec) && !account.is_guest
}

/// Waits until the guest has taken a step, or the time is up. Fails as the attempt does.
pub(super) async fn wait(
    account: &Account,
    attempt: &Attempt,
    until: Instant,
    is_done: impl AsyncFn(&TransferRow) -> Result<bool>,
) -> Result<StepEnd> {
    loop {
        let submission = attempt.live(account).await?;
        // What was found by verifying is the end of the transfer, which is about to be noted.
        let failure = submission.failure;
        if let Some(failure) = failure.filter(|why| why.name != failure::VERIFICATION) {
            return Err(super::failed(attempt, failure));
        }
        if is_done(&attempt.row(account).await?).await? {
            return Ok(StepEnd::Done);
        }
        if Instant::now() + LOOK >= until {
            return Ok(StepEnd::More);
        }
        tokio::time::sleep(LOOK).await;
    }
}
