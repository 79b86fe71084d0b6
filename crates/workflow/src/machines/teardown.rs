//! Teardown: ends whatever a dataplane has, in an order in which nothing new comes to be behind it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use skyhaul_compute::Compute;
use skyhaul_engine::StepEnd;
use skyhaul_model::machine::{DataplaneId, MachineId, MachineState};
use skyhaul_model::{Error, Result};
use skyhaul_state::control::{ControlState, DataplaneChange, DataplaneRow, DataplaneStatus};

use super::{Regions, provision};

/// One pass: tells machines to end, and removes what was made for them once they have. `More` while some
/// are still ending: call again after some seconds.
///
/// First the row says that the dataplane goes, so that no launch begins any more. A launch that was begun
/// before is told of in the row, or ended by who made it, or found by the reaper.
pub async fn teardown(
    control: &dyn ControlState,
    regions: &Regions,
    id: &DataplaneId,
    now: Timestamp,
) -> Result<StepEnd> {
    let row = control.change(id, &DataplaneChange::End).await?;
    if row.status == DataplaneStatus::Ended {
        return Ok(StepEnd::Done);
    }
    let (mut end, mut failed) = (StepEnd::Done, None);
    // One region that fails does not keep the machines of another alive.
    for region in provision::used(&row) {
        let ended = match regions.of(region) {
            Ok(compute) => end_region(control, compute, &row, region).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(StepEnd::Done) => {}
            Ok(StepEnd::More) => end = StepEnd::More,
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if end == StepEnd::Done {
        // Nobody is left who could use them.
        for transfer in &row.transfers {
            control.drop_secrets(transfer).await?;
        }
        control.change(id, &DataplaneChange::Ended(now)).await?;
    }
    Ok(end)
}

async fn end_region(
    control: &dyn ControlState,
    compute: &dyn Compute,
    row: &DataplaneRow,
    region: &str,
) -> Result<StepEnd> {
    let mut told = compute.describe(Some(&row.id)).await?;
    let alive = told
        .iter()
        .filter(|machine| machine.state != MachineState::Ended);
    // What was launched a moment ago may not be told of yet.
    let noted = row
        .members
        .iter()
        .filter(|member| member.plan.region == region)
        .filter_map(|member| member.machine.as_ref())
        .filter(|id| !told.iter().any(|machine| machine.id == **id));
    let ids: BTreeSet<&MachineId> = alive.map(|machine| &machine.id).chain(noted).collect();
    let ids: Vec<_> = ids.into_iter().cloned().collect();
    if !ids.is_empty() {
        compute.terminate(&ids).await?;
        told = compute.describe(Some(&row.id)).await?;
    }
    if told
        .iter()
        .any(|machine| machine.state != MachineState::Ended)
    {
        return Ok(StepEnd::More);
    }
    // What they were assigned to holds secrets, sealed to keys that are no more.
    for machine in told.iter().map(|machine| &machine.id).chain(&ids) {
        control.strike(&compute.identity(machine)).await?;
    }
    match compute.firewall(&row.id, None).await {
        Ok(()) => Ok(StepEnd::Done),
        // Something still uses it: a machine that is not told of, or one whose end takes a while.
        Err(Error {
            retryable: true, ..
        }) => Ok(StepEnd::More),
        Err(error) => Err(error),
    }
}
