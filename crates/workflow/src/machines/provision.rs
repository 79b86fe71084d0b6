//! Provision: a machine for each member of a dataplane, reachable from all others.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use skyhaul_compute::{Launch, Launched};
use skyhaul_model::machine::{DataplaneId, IntentId, Machine, MachineId, MachineState};
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::control::{
    ControlState, DataplaneChange, DataplaneRow, DataplaneStatus, MemberChange, MemberRow,
    MemberStatus, MemberStep, no_dataplane,
};

use super::{Regions, addresses};

/// Launches under way at once: a provider bounds how many are begun in a second.
const LAUNCHES: usize = 16;

/// A machine of which its provider told nothing for so long is no more.
const GONE: SignedDuration = SignedDuration::from_mins(5);

/// A machine that has not told of itself so long after its launch never will: it takes one or two minutes.
const MUTE: SignedDuration = SignedDuration::from_mins(10);

/// What a member's machine is started with. The same for the same member and generation, whenever it is
/// asked: a launch that is sent again with something else is refused.
pub type Boot<'a> = &'a (dyn Fn(&DataplaneRow, &MemberRow) -> String + Sync);

/// How far a dataplane is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provisioned {
    /// All members have a machine that runs, and may reach each other; but for those that no machine could be had for,
    /// where others have their role.
    Ready(DataplaneRow),
    /// Some are not there yet: call again after some seconds.
    More(DataplaneRow),
}

/// One pass: looks for the machines that are missing, notes where those that are there can be reached, and
/// lets them reach each other.
///
/// Fails with `Full` if no offer could be had for any member of a role in a region, with `Interrupted` if the dataplane
/// goes.
pub async fn provision(
    control: &dyn ControlState,
    regions: &Regions,
    boot: Boot<'_>,
    id: &DataplaneId,
    now: Timestamp,
) -> Result<Provisioned> {
    let row = active(load(control, id).await?)?;
    let row = find(control, regions, boot, row).await?;
    if let Some(member) = uncovered(&row) {
        return Err(no_machine(&row, member));
    }
    let machines = describe(regions, &row).await?;
    note(control, regions, row, &machines, now).await?;
    let row = open(control, regions, id).await?;
    let runs = |member: &MemberRow| {
        member.status == MemberStatus::Launched
            && member.private_address.is_some()
            && machines.iter().any(|machine| {
                Some(&machine.id) == member.machine.as_ref()
                    && machine.state == MachineState::Running
            })
    };
    let mut wanted = row.members.iter().filter(|member| !is_exhausted(member));
    Ok(if wanted.all(runs) {
        Provisioned::Ready(row)
    } else {
        Provisioned::More(row)
    })
}

/// Lets members reach each other. Others may note more machines meanwhile: what was said last is what the row
/// says afterwards.
async fn open(
    control: &dyn ControlState,
    regions: &Regions,
    id: &DataplaneId,
) -> Result<DataplaneRow> {
    let mut row = active(load(control, id).await?)?;
    loop {
        let from = addresses::of(&row);
        for region in used(&row) {
            regions.of(region)?.firewall(id, Some(&from)).await?;
        }
        row = active(load(control, id).await?)?;
        if addresses::of(&row) == from {
            return Ok(row);
        }
    }
}

pub(super) async fn load(control: &dyn ControlState, id: &DataplaneId) -> Result<DataplaneRow> {
    let row = control.dataplane(id).await?;
    row.ok_or_else(|| no_dataplane(id))
}

/// The row, if its dataplane is active.
pub(super) fn active(row: DataplaneRow) -> Result<DataplaneRow> {
    if row.status == DataplaneStatus::Active {
        return Ok(row);
    }
    let message = "the dataplane is going, nothing is launched for it any more";
    Err(Error::control(ErrorKind::Interrupted, message).object(row.id.as_str()))
}

/// The names of the regions of a dataplane's members.
pub(super) fn used(row: &DataplaneRow) -> BTreeSet<&str> {
    let members = row.members.iter();
    members.map(|member| member.plan.region.as_str()).collect()
}

async fn describe(regions: &Regions, row: &DataplaneRow) -> Result<Vec<Machine>> {
    let mut all = Vec::new();
    for region in used(row) {
        all.extend(regions.of(region)?.describe(Some(&row.id)).await?);
    }
    Ok(all)
}

/// Whether no machine can be had for a member.
pub(super) fn is_exhausted(member: &MemberRow) -> bool {
    member.status == MemberStatus::Exhausted
}

/// A member that no machine could be had for, and none for the others of its role in its region either.
fn uncovered(row: &DataplaneRow) -> Option<&MemberRow> {
    let place = |member: &MemberRow| (member.plan.region.clone(), member.plan.role);
    let covered = |member: &MemberRow| {
        let mut others = row.members.iter();
        others.any(|other| !is_exhausted(other) && place(other) == place(member))
    };
    let mut members = row.members.iter();
    members.find(|member| is_exhausted(member) && !covered(member))
}

/// Has all offers tried again for members that none could be had for.
pub async fn try_again(control: &dyn ControlState, id: &DataplaneId) -> Result<()> {
    let row = active(load(control, id).await?)?;
    let members = row.members.iter().filter(|member| is_exhausted(member));
    let again = members.map(|member| step(member, MemberStep::Replace { machine: None }));
    change(control, row.clone(), again.collect())
        .await
        .map(drop)
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
        .hint("allow other types or zones, or begin anew later")
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
        for (machine, intent) in machines {
            let Some(member) = after.member(&intent.member) else {
                continue;
            };
            let is_taken = after.status == DataplaneStatus::Active
                && member.machine.as_ref() == Some(&machine);
            if !is_taken {
                tracing::warn!(%machine, %intent, "a machine came too late and is ended");
                if let Err(error) = end(control, regions, &member.plan.region, &machine).await {
                    failed = Some(error);
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        row = active(after)?;
    }
}

/// Ends one machine, and forgets what it said of itself.
pub(super) async fn end(
    control: &dyn ControlState,
    regions: &Regions,
    region: &str,
    machine: &MachineId,
) -> Result<()> {
    let compute = regions.of(region)?;
    compute.terminate(std::slice::from_ref(machine)).await?;
    control.strike(&compute.identity(machine)).await
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
    regions: &Regions,
    row: DataplaneRow,
    machines: &[Machine],
    now: Timestamp,
) -> Result<DataplaneRow> {
    let mut changes = Vec::new();
    for member in &row.members {
        let Some(id) = &member.machine else { continue };
        let found = machines.iter().find(|machine| machine.id == *id);
        let Some(machine) = found else {
            // One that is not told of may be too new. One that was not for long is no more.
            let gone = member
                .missing_since
                .is_some_and(|since| now.duration_since(since) >= GONE);
            let machine = id.clone();
            changes.push(step(
                member,
                if gone {
                    lost(control, regions, member, id).await?
                } else {
                    MemberStep::Missing { machine, now }
                },
            ));
            continue;
        };
        let mute = machine.state == MachineState::Running
            && is_old(machine, now)
            && !has_told(control, regions, member, id).await?;
        if machine.state >= MachineState::Ending || mute {
            changes.push(step(member, lost(control, regions, member, id).await?));
        } else if member.missing_since.is_some()
            || (member.private_address, member.public_address)
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

fn is_old(machine: &Machine, now: Timestamp) -> bool {
    let launched = machine.launched;
    launched.is_some_and(|launched| now.duration_since(launched) >= MUTE)
}

/// Whether a member's machine has told of itself.
async fn has_told(
    control: &dyn ControlState,
    regions: &Regions,
    member: &MemberRow,
    machine: &MachineId,
) -> Result<bool> {
    let known = regions.of(&member.plan.region)?.identity(machine);
    Ok(control.enrolment(&known).await?.is_some())
}

/// What becomes of a member whose machine is lost. Ended once more, should it only be out of sight.
async fn lost(
    control: &dyn ControlState,
    regions: &Regions,
    member: &MemberRow,
    machine: &MachineId,
) -> Result<MemberStep> {
    end(control, regions, &member.plan.region, machine).await?;
    Ok(MemberStep::Replace {
        machine: Some(machine.clone()),
    })
}

/// Has the machines of these launches replaced, which are lost though their provider may say that they run.
/// What is not a member's machine any more is left as it is.
pub async fn replace(
    control: &dyn ControlState,
    regions: &Regions,
    id: &DataplaneId,
    lost: &BTreeSet<IntentId>,
) -> Result<()> {
    let row = active(load(control, id).await?)?;
    let mut changes = Vec::new();
    for member in &row.members {
        if let Some(machine) = &member.machine
            && lost.contains(&member.intent(id))
        {
            tracing::warn!(dataplane = %id, member = %member.plan.name, %machine, "replaced");
            changes.push(step(
                member,
                self::lost(control, regions, member, machine).await?,
            ));
        }
    }
    change(control, row, changes).await.map(drop)
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
