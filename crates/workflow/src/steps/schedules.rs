//! Schedules: what is submitted when its time comes.

use jiff::Timestamp;
use serde::Serialize;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::control::{
    ControlState, Schedule, ScheduleChange, Stage, Submission, no_schedule,
};

use crate::deployed::Deployed;

/// Times that a time is looked at again because another run has begun meanwhile.
const LOOKS: usize = 8;

/// What became of a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fired {
    /// A run has begun.
    Begun(TransferId),
    /// This run begins when the one before it has ended.
    Waits(TransferId),
    /// The run before it goes on: nothing begins.
    Refused(TransferId),
}

/// What is called after a time of a schedule, always the same.
#[must_use]
pub fn run_of(name: &str, at: Timestamp) -> TransferId {
    let milliseconds = u64::try_from(at.as_millisecond()).unwrap_or_default();
    TransferId::at(milliseconds, &format!("schedule {name}"))
}

/// The time of a schedule has come. Told twice, it is one run. `NotFound` if there is no such schedule any more.
pub async fn fire(deployed: &Deployed, name: &str, at: Timestamp) -> Result<Fired> {
    let control = &*deployed.control;
    let run = run_of(name, at);
    for _ in 0..LOOKS {
        let row = control.schedule(name).await?;
        let row = row.ok_or_else(|| no_schedule(name))?;
        let busy = match &row.last {
            Some(last) if *last != run && goes_on(control, last).await? => Some(last.clone()),
            _ => None,
        };
        let fire = ScheduleChange::Fire {
            run: run.clone(),
            busy,
        };
        match control.change_schedule(name, &fire).await {
            Ok(row) if row.last.as_ref() == Some(&run) => {
                submit(deployed, &row, &run, at).await?;
                return Ok(Fired::Begun(run));
            }
            Ok(row) if row.waiting.is_some() => return Ok(Fired::Waits(run)),
            Ok(_) => return Ok(Fired::Refused(run)),
            Err(error) if error.kind == ErrorKind::LeaseLost => {}
            Err(error) => return Err(error),
        }
    }
    let message = "runs of the schedule begin faster than they can be looked at";
    Err(Error::control(ErrorKind::Throttled, message).object(name))
}

/// Begins what waits for runs that have ended. One schedule that cannot be looked at keeps no other from it.
pub async fn queued(deployed: &Deployed, now: Timestamp) -> Result<(Vec<TransferId>, Vec<Error>)> {
    let (mut begun, mut problems) = (Vec::new(), Vec::new());
    if deployed.control.is_closing().await? {
        return Ok((begun, problems));
    }
    for row in deployed.control.schedules().await? {
        match next(deployed, &row, now).await {
            Ok(run) => begun.extend(run),
            Err(error) => problems.push(error.object(&*row.name)),
        }
    }
    Ok((begun, problems))
}

async fn next(deployed: &Deployed, row: &Schedule, now: Timestamp) -> Result<Option<TransferId>> {
    let control = &*deployed.control;
    let (Some(last), Some(next)) = (&row.last, &row.waiting) else {
        return Ok(None);
    };
    if goes_on(control, last).await? {
        return Ok(None);
    }
    // First, so that it is not forgotten: the same submission is the same transfer.
    submit(deployed, row, next, now).await?;
    let ended = ScheduleChange::Ended(last.clone());
    control.change_schedule(&row.name, &ended).await?;
    Ok(Some(next.clone()))
}

async fn goes_on(control: &dyn ControlState, transfer: &TransferId) -> Result<bool> {
    let found = control.submission(transfer).await?;
    Ok(found.is_some_and(|found| found.stage == Stage::Live))
}

async fn submit(
    deployed: &Deployed,
    row: &Schedule,
    run: &TransferId,
    at: Timestamp,
) -> Result<()> {
    // What was submitted before the schedule was changed goes on as it was.
    if let Some(known) = deployed.control.submission(run).await? {
        return deployed.submit(&known).await.map(drop);
    }
    let owner = format!("schedule {}, {}", row.name, row.owner);
    let new = Submission::new(run.clone(), &*row.order, owner, at)?;
    deployed.submit(&new).await.map(drop)
}
