//! Provision: a machine for each member of a dataplane, reachable from all others.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use skyhaul_compute::{Compute, Launch, Launched};
use skyhaul_model::machine::{DataplaneId, Machine, MachineState, MemberName};
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::control::{
    ControlState, DataplaneChange, DataplaneRow, DataplaneStatus, MemberChange, MemberRow,
    MemberStatus, MemberStep,
};

use super::Regions;

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
    let row = load(control, id).await?;
    let members = row.members.iter();
    let found = members.map(|member| find(control, regions, boot, &row, &member.plan.name));
    // All are tried before one that failed fails the pass: what was launched is in the row.
    for found in join_all(found).await {
        found?;
    }
    let row = load(control, id).await?;
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

/// The row of a dataplane that is active.
async fn load(control: &dyn ControlState, id: &DataplaneId) -> Result<DataplaneRow> {
    let row = control.dataplane(id).await?.ok_or_else(|| {
        Error::control(ErrorKind::NotFound, "no such dataplane").object(id.as_str())
    })?;
    if row.status == DataplaneStatus::Active {
        return Ok(row);
    }
    Err(going(id))
}

fn going(id: &DataplaneId) -> Error {
    let message = "the dataplane is going, nothing is launched for it any more";
    Error::control(ErrorKind::Interrupted, message).object(id.as_str())
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

/// Looks for a member's machine, one offer after the other, until it has one or there is none.
async fn find(
    control: &dyn ControlState,
    regions: &Regions,
    boot: Boot<'_>,
    row: &DataplaneRow,
    name: &MemberName,
) -> Result<()> {
    let mut row = row.clone();
    loop {
        let Some(member) = row.member(name) else {
            return Err(going(&row.id));
        };
        if row.status != DataplaneStatus::Active {
            return Err(going(&row.id));
        }
        if member.status != MemberStatus::Open {
            return Ok(());
        }
        let compute = regions.of(&member.plan.region)?;
        let number = member.tried;
        let launched = match member.offer() {
            // The number is raised before its offer is tried.
            None => Launched::Ended,
            Some(offer) => {
                let launch = Launch {
                    intent: member.intent(&row.id),
                    number,
                    offer: offer.clone(),
                    boot: boot(&row, member),
                };
                compute.launch(&launch).await?
            }
        };
        let next = match &launched {
            Launched::Machine(machine) => MemberStep::Launched {
                number,
                machine: machine.id.clone(),
            },
            Launched::NoCapacity(why) | Launched::OverQuota(why) => {
                tracing::warn!(dataplane = %row.id, member = %name, "no machine: {why}");
                MemberStep::Raise { from: number }
            }
            Launched::Ended => MemberStep::Raise { from: number },
        };
        let intent = member.intent(&row.id);
        let change = DataplaneChange::Members(vec![step(member, next)]);
        row = control.change(&row.id, &change).await?;
        if let Launched::Machine(machine) = launched
            && !row.owns(&machine.id, &intent)
        {
            // The dataplane goes, or another machine took the place: nobody else may know of this one.
            tracing::warn!(machine = %machine.id, "a machine came too late and is ended");
            compute.terminate(&[machine.id]).await?;
        }
    }
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
    if changes.is_empty() {
        return Ok(row);
    }
    let change = DataplaneChange::Members(changes);
    let row = control.change(&row.id, &change).await?;
    if row.status == DataplaneStatus::Active {
        Ok(row)
    } else {
        Err(going(&row.id))
    }
}
