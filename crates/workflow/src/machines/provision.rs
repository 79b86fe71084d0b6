//! Provision: a machine for each member of a dataplane, reachable from all others.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt as _};
use skyhaul_compute::{Compute, Launch, Launched};
use skyhaul_model::machine::{DataplaneId, Machine, MachineState};
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::control::{
    ControlState, DataplaneChange, DataplaneRow, DataplaneStatus, MemberChange, MemberRow,
    MemberStatus, MemberStep,
};

use super::Regions;

/// Launches under way at once: a provider bounds how many are begun in a second.
const LAUNCHES: usize = 16;

/// What a member's machine is started with. The same for the same member and generation, whenever it is
/// asked: a launch that is sent again with something else is refused.
pub type Boot<'a> = &'a (dyn Fn(&DataplaneRow, &MemberRow) -> String + Sync);

/// How far a dataplane is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provisioned {
    /// All members have a machine that runs, and may reach each other.
    Ready(DataplaneRow),
    /// Some are not there yet: call again after some seconds.
    More(DataplaneRow),
}

/// One pass: looks for the machines that are missing, notes where those that are there can be reached, and
/// lets them reach each other.
///
/// Fails with `Full` if no offer of a member could be had, with `Interrupted` if the dataplane goes.
pub async fn provision(
    control: &dyn ControlState,
    regions: &Regions,
    boot: Boot<'_>,
    id: &DataplaneId,
) -> Result<Provisioned> {
    let row = control.dataplane(id).await?.ok_or_else(|| {
        Error::control(ErrorKind::NotFound, "no such dataplane").object(id.as_str())
    })?;
    let row = find(control, regions, boot, active(row)?).await?;
    if let Some(member) = exhausted(&row) {
        return Err(no_machine(&row, member));
    }
    let machines = describe(regions, &row).await?;
    let row = note(control, row, &machines).await?;
    let addresses: BTreeSet<_> = row
        .members
        .iter()
        .flat_map(|member| [member.private_address, member.public_address])
        .flatten()
        .collect();
    for compute in used(regions, &row)?.into_values() {
        compute.firewall(id, Some(&addresses)).await?;
    }
    let runs = |member: &MemberRow| {
        member.status == MemberStatus::Launched
            && member.private_address.is_some()
            && machines.iter().any(|machine| {
                Some(&machine.id) == member.machine.as_ref()
                    && machine.state == MachineState::Running
            })
    };
    Ok(if row.members.iter().all(runs) {
        Provisioned::Ready(row)
    } else {
        Provisioned::More(row)
    })
}

/// The row, if its dataplane is active.
fn active(row: DataplaneRow) -> Result<DataplaneRow> {
    if row.status == DataplaneStatus::Active {
        return Ok(row);
    }
    let message = "the dataplane is going, nothing is launched for it any more";
    Err(Error::control(ErrorKind::Interrupted, message).object(row.id.as_str()))
}

/// The regions of a dataplane's members.
pub(super) fn used<'a>(
    regions: &'a Regions,
    row: &'a DataplaneRow,
) -> Result<BTreeMap<&'a str, &'a dyn Compute>> {
    let names = row.members.iter().map(|member| member.plan.region.as_str());
    names.map(|name| Ok((name, regions.of(name)?))).collect()
}

async fn describe(regions: &Regions, row: &DataplaneRow) -> Result<Vec<Machine>> {
    let mut all = Vec::new();
    for compute in used(regions, row)?.into_values() {
        all.extend(compute.describe(Some(&row.id)).await?);
    }
    Ok(all)
}

fn exhausted(row: &DataplaneRow) -> Option<&MemberRow> {
    let is = |member: &&MemberRow| member.status == MemberStatus::Exhausted;
    row.members.iter().find(is)
}

fn no_machine(row: &DataplaneRow, member: &MemberRow) -> Error {
    let offers = member.plan.offers.iter();
    let offers: Vec<_> = offers.map(ToString::to_string).collect();
    let message = format!(
        "no machine can be had for gateway {}: tried {}",
        member.plan.name,
        offers.join(", ")
    );
    Error::control(ErrorKind::Full, message)
        .object(row.id.as_str())
        .hint("allow other types or zones, or try again later")
        .retryable(true)
}

/// What a step of a member is, for the state.
fn step(member: &MemberRow, step: MemberStep) -> MemberChange {
    MemberChange {
        member: member.plan.name.clone(),
        generation: member.generation,
        step,
    }
}

/// Looks for the machines that are missing, one offer after the other, until each member has one or there
/// is none. What is raised and what was launched is written for all members together.
async fn find(
    control: &dyn ControlState,
    regions: &Regions,
    boot: Boot<'_>,
    mut row: DataplaneRow,
) -> Result<DataplaneRow> {
    loop {
        let is_open = |member: &&MemberRow| member.status == MemberStatus::Open;
        if !row.members.iter().any(|member| is_open(&member)) {
            return Ok(row);
        }
        // The number is raised before its offer is tried.
        let untried = row.members.iter().filter(|member| member.tried == 0);
        let raise = untried.map(|member| step(member, MemberStep::Raise { from: 0 }));
        row = change(control, row.clone(), raise.collect()).await?;
        let now = &row;
        let tries = now.members.iter().filter(is_open);
        let tries = tries.map(|member| async move {
            let launched = launch(regions, boot, now, member).await;
            (member, launched)
        });
        let results: Vec<_> = stream::iter(tries.collect::<Vec<_>>())
            .buffer_unordered(LAUNCHES)
            .collect()
            .await;
        let (mut steps, mut machines, mut failed) = (Vec::new(), Vec::new(), None);
        for (member, launched) in results {
            let number = member.tried;
            let next = match launched {
                Ok(Launched::Machine(machine)) => {
                    machines.push((machine.id.clone(), member.intent(&row.id)));
                    MemberStep::Launched {
                        number,
                        machine: machine.id,
                    }
                }
                Ok(Launched::NoCapacity(why) | Launched::OverQuota(why)) => {
                    tracing::warn!(dataplane = %row.id, member = %member.plan.name, "no machine: {why}");
                    MemberStep::Raise { from: number }
                }
                Ok(Launched::Ended) => MemberStep::Raise { from: number },
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            steps.push(step(member, next));
        }
        let noted = DataplaneChange::Members(steps);
        let after = control.change(&row.id, &noted).await?;
        // The dataplane goes, or another machine took the place: nobody else may know of these.
        machines.retain(|(machine, intent)| !after.owns(machine, intent));
        for (machine, intent) in machines {
            tracing::warn!(%machine, %intent, "a machine came too late and is ended");
            let member = after.member(&intent.member);
            if let Some(member) = member {
                let compute = regions.of(&member.plan.region)?;
                compute.terminate(&[machine]).await?;
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        row = active(after)?;
    }
}

/// Tries a member's offer.
async fn launch(
    regions: &Regions,
    boot: Boot<'_>,
    row: &DataplaneRow,
    member: &MemberRow,
) -> Result<Launched> {
    let Some(offer) = member.offer() else {
        return Ok(Launched::Ended);
    };
    let launch = Launch {
        intent: member.intent(&row.id),
        number: member.tried,
        offer: offer.clone(),
        boot: boot(row, member),
    };
    regions.of(&member.plan.region)?.launch(&launch).await
}

/// Notes where machines can be reached, and looks for others in the place of those that have ended.
async fn note(
    control: &dyn ControlState,
    row: DataplaneRow,
    machines: &[Machine],
) -> Result<DataplaneRow> {
    let mut changes = Vec::new();
    for member in &row.members {
        let found = machines
            .iter()
            .find(|machine| Some(&machine.id) == member.machine.as_ref());
        // One that is not told of may be too new: it is not lost for that.
        let Some(machine) = found else { continue };
        if machine.state >= MachineState::Ending {
            let machine = member.machine.clone();
            changes.push(step(member, MemberStep::Replace { machine }));
        } else if (member.private_address, member.public_address)
            != (machine.private_address, machine.public_address)
        {
            let seen = MemberStep::Seen {
                machine: machine.id.clone(),
                private: machine.private_address,
                public: machine.public_address,
            };
            changes.push(step(member, seen));
        }
    }
    change(control, row, changes).await
}

/// Makes steps of members. The row after them, if the dataplane is still active.
async fn change(
    control: &dyn ControlState,
    row: DataplaneRow,
    steps: Vec<MemberChange>,
) -> Result<DataplaneRow> {
    if steps.is_empty() {
        return Ok(row);
    }
    active(
        control
            .change(&row.id, &DataplaneChange::Members(steps))
            .await?,
    )
}
