//! Assign: tells the machines of a dataplane what to do for a transfer, each sealed to the key that it made
//! when it started; and dismisses them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use futures::future::join_all;
use skyhaul_engine::StepEnd;
use skyhaul_gateway::assignment::seal;
use skyhaul_gateway::config::Config;
use skyhaul_model::machine::DataplaneId;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::control::{
    ControlState, DataplaneChange, DataplaneRow, EnrolmentChange, MemberRole, MemberRow,
};

use super::addresses::announced;
use super::provision::{active, is_exhausted, load};
use super::{Regions, Vault, secrets};
use crate::formation::{Standing, configure};

/// What the machines of a transfer have in common.
#[derive(Debug)]
pub struct Assignment<'a> {
    /// The transfer.
    pub transfer: &'a TransferId,
    /// What every gateway's configuration is made from; names, peers, ways and secrets are filled in.
    pub base: &'a Config,
    /// The region that each destination is in, by its index.
    pub sites: &'a [String],
    /// Connections of a gateway to all its neighbours together.
    pub connections: usize,
    /// Where gateways listen.
    pub listen: SocketAddr,
}

/// The gateways of a dataplane for a transfer. A destination gateway writes to the destinations of its region. Those that
/// no machine can be had for are among them: what is assigned now names them, should they come later.
fn standings(row: &DataplaneRow, sites: &[String]) -> Result<Vec<Standing>> {
    let mut all = Vec::new();
    for member in &row.members {
        let plan = &member.plan;
        let near = (0..).zip(sites).filter(|(_, site)| **site == plan.region);
        all.push(Standing {
            name: plan.name.to_string(),
            role: plan.role,
            destinations: match plan.role {
                MemberRole::Destination => near.map(|(index, _)| index).collect(),
                MemberRole::Source | MemberRole::Relay => Vec::new(),
            },
        });
    }
    // Who is in no destination's region has nothing to do for this transfer.
    all.retain(|one| one.role != MemberRole::Destination || !one.destinations.is_empty());
    for (index, site) in (0..).zip(sites) {
        if !all.iter().any(|one| one.destinations.contains(&index)) {
            let message = format!("the dataplane has no destination gateway in {site}");
            return Err(Error::invalid(message).object(row.id.as_str()));
        }
    }
    if !all.iter().any(|one| one.role == MemberRole::Source) {
        let message = "the dataplane has no source gateway";
        return Err(Error::invalid(message).object(row.id.as_str()));
    }
    Ok(all)
}

/// The names of the members of a dataplane that work for a transfer whose destinations are in these regions.
pub fn working(row: &DataplaneRow, sites: &[String]) -> Result<BTreeSet<String>> {
    let standings = standings(row, sites)?.into_iter();
    let mut names: BTreeSet<_> = standings.map(|one| one.name).collect();
    for member in row.members.iter().filter(|member| is_exhausted(member)) {
        names.remove(member.plan.name.as_str());
    }
    Ok(names)
}

/// The row of a dataplane that a transfer uses.
async fn bound(
    control: &dyn ControlState,
    id: &DataplaneId,
    transfer: &TransferId,
) -> Result<DataplaneRow> {
    let row = active(load(control, id).await?)?;
    if row.transfers.contains(transfer) {
        return Ok(row);
    }
    let message = format!("the dataplane does not work for transfer {transfer} any more");
    Err(Error::control(ErrorKind::Interrupted, message).object(id.as_str()))
}

/// One pass: assigns each machine that has told of itself and is not assigned yet. `More` while some have
/// not: call again after some seconds.
///
/// Fails with `Interrupted` if the transfer is not bound to the dataplane (any more).
pub async fn assign(
    control: &dyn ControlState,
    regions: &Regions,
    vault: &dyn Vault,
    id: &DataplaneId,
    assignment: &Assignment<'_>,
) -> Result<StepEnd> {
    let row = bound(control, id, assignment.transfer).await?;
    let end = pass(control, regions, vault, &row, assignment).await;
    // Whoever released the transfer meanwhile has dismissed those who were assigned by then.
    let still = bound(control, id, assignment.transfer).await;
    if matches!(&still, Err(error) if error.kind == ErrorKind::Interrupted) {
        dismiss(control, regions, &row, assignment.transfer).await?;
    }
    still.and(end)
}

async fn pass(
    control: &dyn ControlState,
    regions: &Regions,
    vault: &dyn Vault,
    row: &DataplaneRow,
    assignment: &Assignment<'_>,
) -> Result<StepEnd> {
    let secrets = secrets(control, vault, assignment.transfer).await?;
    let base = Config {
        transfer: assignment.transfer.clone(),
        membership: secrets.membership.reveal().to_string(),
        data: Some(secrets.data.reveal().to_string()),
        ..assignment.base.clone()
    };
    let standings = standings(row, assignment.sites)?;
    let configs = configure(&base, &standings, assignment.connections, assignment.listen);
    let port = assignment.listen.port();
    let each = configs.into_iter().map(|config| {
        let named = |member: &&MemberRow| member.plan.name.as_str() == config.name;
        let member = row.members.iter().find(named);
        async move {
            let Some(member) = member.filter(|member| !is_exhausted(member)) else {
                return Ok(StepEnd::Done);
            };
            let config = Config {
                announce: announced(row, member).map(|address| SocketAddr::new(address, port)),
                ..config
            };
            one(control, regions, row, (member, &config)).await
        }
    });
    let mut end = StepEnd::Done;
    for assigned in join_all(each).await {
        if assigned? == StepEnd::More {
            end = StepEnd::More;
        }
    }
    Ok(end)
}

/// A member's machine, and what its provider calls it.
fn identity(regions: &Regions, member: &MemberRow) -> Result<Option<String>> {
    let compute = regions.of(&member.plan.region)?;
    let machine = member.machine.as_ref();
    Ok(machine.map(|machine| compute.identity(machine)))
}

async fn one(
    control: &dyn ControlState,
    regions: &Regions,
    row: &DataplaneRow,
    (member, config): (&MemberRow, &Config),
) -> Result<StepEnd> {
    let Some(machine) = identity(regions, member)? else {
        return Ok(StepEnd::More);
    };
    let Some(enrolment) = control.enrolment(&machine).await? else {
        return Ok(StepEnd::More);
    };
    let intent = member.intent(&row.id);
    if enrolment.intent != intent {
        let message = format!("the machine says that it is for {}", enrolment.intent);
        return Err(Error::control(ErrorKind::Corrupt, message)
            .object(machine)
            .retryable(false));
    }
    // What is sealed is different each time: who is assigned is left as it is. A machine that has started
    // anew, or whose member was replaced, has no assignment.
    if enrolment.assignments.contains_key(&config.transfer) {
        return Ok(StepEnd::Done);
    }
    let change = EnrolmentChange::Assign {
        sealed: seal(&enrolment.public_key, &intent, &config.transfer, config)?,
        public_key: enrolment.public_key,
        transfer: config.transfer.clone(),
    };
    match control.change_enrolment(&machine, &change).await {
        Ok(_) => Ok(StepEnd::Done),
        // It has started anew meanwhile.
        Err(error) if error.kind == ErrorKind::LeaseLost => Ok(StepEnd::More),
        Err(error) => Err(error),
    }
}

/// Ends a transfer's use of a dataplane: nothing of it is left with its machines, whoever assigns meanwhile.
/// The row after it.
///
/// Dismissed first, for what is not bound any more is not looked at again if this is cut short; and once
/// more, for whoever assigned in between found the transfer still bound.
pub async fn release(
    control: &dyn ControlState,
    regions: &Regions,
    row: &DataplaneRow,
    transfer: &TransferId,
) -> Result<DataplaneRow> {
    dismiss(control, regions, row, transfer).await?;
    let change = DataplaneChange::Release(transfer.clone());
    let row = control.change(&row.id, &change).await?;
    dismiss(control, regions, &row, transfer).await?;
    Ok(row)
}

/// Dismisses the machines of a dataplane from a transfer, and forgets its secrets.
async fn dismiss(
    control: &dyn ControlState,
    regions: &Regions,
    row: &DataplaneRow,
    transfer: &TransferId,
) -> Result<()> {
    for member in &row.members {
        let Some(machine) = identity(regions, member)? else {
            continue;
        };
        let change = EnrolmentChange::Dismiss(transfer.clone());
        match control.change_enrolment(&machine, &change).await {
            Err(error) if error.kind != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    control.drop_secrets(transfer).await
}
