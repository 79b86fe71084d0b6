//! Reap: ends what nobody needs any more, and nothing else.
//!
//! It acts only on what it has read whole: if the state cannot be read, nothing is done, and of a region
//! that cannot be read nothing is ended. Machines are read before the rows, and a row is written before its
//! machine is launched: a machine without a row has none.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use skyhaul_engine::StepEnd;
use skyhaul_model::machine::{DataplaneId, Machine, MachineId, MachineState};
use skyhaul_model::{Error, Result, TransferId};
use skyhaul_state::control::{
    ControlState, DataplaneChange, DataplaneRow, DataplaneStatus, MemberChange, MemberStep,
    Sightings,
};

use super::provision::{end, used};
use super::{Regions, release, teardown};

/// A machine of which no row knows is ended when it was seen twice, so long apart.
const TWICE: SignedDuration = SignedDuration::from_mins(5);

/// A dataplane that has ended is forgotten after this; its machines would be told by its row until then.
const FORGET: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Whoever provisioned when a dataplane ended may have gone on for so long, and made a firewall anew.
const LATE: SignedDuration = SignedDuration::from_hours(1);

/// A machine that nothing uses and that has said nothing new of itself for so long hangs: what is kept with it is of no
/// use. It tells of itself every 20 seconds, and is looked at every five minutes.
const SILENT: SignedDuration = SignedDuration::from_mins(15);

/// What is known of transfers.
#[async_trait]
pub trait Transfers: Send + Sync {
    /// Whether a transfer has ended, or was forgotten after it had.
    async fn has_ended(&self, id: &TransferId) -> Result<bool>;

    /// Whether it has ended for good: nobody can go on with it.
    async fn is_over(&self, id: &TransferId) -> Result<bool>;
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A dataplane does not wait for a transfer that has ended any more.
    Released {
        /// The dataplane.
        dataplane: DataplaneId,
        /// The transfer.
        transfer: TransferId,
    },
    /// A dataplane without a transfer goes.
    EndsIdle(DataplaneId),
    /// The same, for one of its machines shows no sign of life.
    EndsSilent(DataplaneId),
    /// The secrets of a transfer that has ended were removed.
    Forgot(TransferId),
    /// Nothing of a dataplane is left.
    Ended(DataplaneId),
    /// The row of a dataplane that ended long ago was removed.
    Forgotten(DataplaneId),
    /// A machine was ended.
    Terminated {
        /// The machine.
        machine: MachineId,
        /// Its region.
        region: String,
        /// Why.
        why: String,
    },
}

/// What a pass did, and what it could not do.
#[derive(Debug, Default)]
pub struct Reaped {
    /// What was done.
    pub actions: Vec<Action>,
    /// What could not be read or ended: the next pass tries again.
    pub problems: Vec<Error>,
}

/// One pass, at `now` by the clock of who runs it.
pub async fn reap(
    control: &dyn ControlState,
    regions: &Regions,
    transfers: &dyn Transfers,
    now: Timestamp,
) -> Result<Reaped> {
    let mut reaped = Reaped::default();
    let mut machines = Vec::new();
    for (region, compute) in &regions.0 {
        match compute.describe(None).await {
            Ok(told) => machines.push((region.as_str(), told)),
            Err(error) => reaped.problems.push(error.object(region)),
        }
    }
    let rows = control.dataplanes().await?;
    let before = control.sightings().await?;
    let places = (control, regions);
    let seen = ended_machines(places, &rows, &machines, (&before, now), &mut reaped).await;
    if seen != before {
        control.set_sightings(&seen).await?;
    }
    for row in rows {
        if let Err(error) = dataplane(control, regions, transfers, row, now, &mut reaped).await {
            reaped.problems.push(error);
        }
    }
    for transfer in control.secret_holders().await? {
        if let Err(error) = secrets(control, transfers, transfer, &mut reaped).await {
            reaped.problems.push(error);
        }
    }
    Ok(reaped)
}

/// Removes the secrets of a transfer that has ended for good: whoever assigned them last may have died before it did.
/// What can be gone on with may be just about to be, with these.
async fn secrets(
    control: &dyn ControlState,
    transfers: &dyn Transfers,
    transfer: TransferId,
    reaped: &mut Reaped,
) -> Result<()> {
    if transfers.is_over(&transfer).await? {
        control.drop_secrets(&transfer).await?;
        reaped.actions.push(Action::Forgot(transfer));
    }
    Ok(())
}

/// Ends machines that belong to nothing. What was seen once, for the next pass.
async fn ended_machines(
    (control, regions): (&dyn ControlState, &Regions),
    rows: &[DataplaneRow],
    machines: &[(&str, Vec<Machine>)],
    (before, now): (&Sightings, Timestamp),
    reaped: &mut Reaped,
) -> Sightings {
    let mut seen = Sightings::new();
    // What was seen where nothing could be read now was not seen to be gone.
    if machines.len() < regions.0.len() {
        seen.clone_from(before);
    }
    for (region, told) in machines {
        for machine in told {
            if machine.state == MachineState::Ended {
                seen.remove(&machine.id);
                continue;
            }
            let why = match fate(rows, machine) {
                Fate::Belongs => {
                    seen.remove(&machine.id);
                    continue;
                }
                Fate::Over(why) => why,
                Fate::Unknown => {
                    let since = *before.get(&machine.id).unwrap_or(&now);
                    seen.insert(machine.id.clone(), since);
                    if now.duration_since(since) < TWICE {
                        continue;
                    }
                    "no dataplane knows it".to_owned()
                }
            };
            match end(control, regions, region, &machine.id).await {
                Ok(()) => reaped.actions.push(Action::Terminated {
                    machine: machine.id.clone(),
                    region: (*region).to_owned(),
                    why,
                }),
                Err(error) => reaped.problems.push(error.object(machine.id.0.as_str())),
            }
        }
    }
    seen
}

/// What is to become of a machine.
enum Fate {
    /// It is a member's, or may become one.
    Belongs,
    /// Its dataplane says that it is not.
    Over(String),
    /// No row says anything of it.
    Unknown,
}

fn fate(rows: &[DataplaneRow], machine: &Machine) -> Fate {
    let Some(intent) = &machine.intent else {
        return Fate::Unknown;
    };
    let Some(row) = rows.iter().find(|row| row.id == intent.dataplane) else {
        return Fate::Unknown;
    };
    if row.owns(&machine.id, intent) {
        return Fate::Belongs;
    }
    Fate::Over(match row.status {
        DataplaneStatus::Active => "another machine is in its place".to_owned(),
        DataplaneStatus::Ending | DataplaneStatus::Ended => "its dataplane has ended".to_owned(),
    })
}

/// Notes what the machines of a dataplane that nothing uses have said of themselves; the row after that.
async fn listen(
    control: &dyn ControlState,
    regions: &Regions,
    row: DataplaneRow,
    now: Timestamp,
) -> Result<DataplaneRow> {
    let mut steps = Vec::new();
    for member in &row.members {
        let Some(machine) = &member.machine else {
            continue;
        };
        let known = regions.of(&member.plan.region)?.identity(machine);
        if let Some(enrolment) = control.enrolment(&known).await?
            && member
                .heard
                .is_none_or(|heard| heard.beat != enrolment.beat)
        {
            steps.push(MemberChange {
                member: member.plan.name.clone(),
                generation: member.generation,
                step: MemberStep::Heard {
                    machine: machine.clone(),
                    beat: enrolment.beat,
                    now,
                },
            });
        }
    }
    if steps.is_empty() {
        return Ok(row);
    }
    let heard = DataplaneChange::Members(steps);
    control.change(&row.id, &heard).await
}

/// Lets a dataplane go that nothing uses, and ends what is left of one that goes.
async fn dataplane(
    control: &dyn ControlState,
    regions: &Regions,
    transfers: &dyn Transfers,
    mut row: DataplaneRow,
    now: Timestamp,
    reaped: &mut Reaped,
) -> Result<()> {
    let id = row.id.clone();
    if row.status == DataplaneStatus::Active {
        for transfer in row.transfers.clone() {
            if transfers.has_ended(&transfer).await? {
                row = release(control, regions, &row, &transfer).await?;
                reaped.actions.push(Action::Released {
                    dataplane: id.clone(),
                    transfer,
                });
            }
        }
        if !row.transfers.is_empty() {
            return Ok(());
        }
        row = control.change(&id, &DataplaneChange::Idle(now)).await?;
        let minutes = i64::from(row.autoshutdown.unwrap_or(0));
        let idle = row.idle_since.map(|since| now.duration_since(since));
        row = listen(control, regions, row, now).await?;
        let heard = row.members.iter().filter_map(|member| member.heard);
        let action = if idle.is_some_and(|idle| idle >= SignedDuration::from_mins(minutes)) {
            Action::EndsIdle(id.clone())
        } else if heard
            .map(|heard| now.duration_since(heard.since))
            .any(|silence| silence >= SILENT)
        {
            Action::EndsSilent(id.clone())
        } else {
            return Ok(());
        };
        // A transfer that came meanwhile keeps it.
        row = control.change(&id, &DataplaneChange::EndIdle).await?;
        reaped.actions.push(action);
    }
    match row.status {
        DataplaneStatus::Active => {}
        DataplaneStatus::Ending => {
            if teardown(control, regions, &id, now).await? == StepEnd::Done {
                reaped.actions.push(Action::Ended(id));
            }
        }
        DataplaneStatus::Ended => {
            let since = row.ended.map(|at| now.duration_since(at));
            if since.is_some_and(|since| since < LATE) {
                for region in used(&row) {
                    regions.of(region)?.firewall(&id, None).await?;
                }
            }
            if since.is_some_and(|since| since >= FORGET) {
                control.forget(&id).await?;
                reaped.actions.push(Action::Forgotten(id));
            }
        }
    }
    Ok(())
}
