//! Machines as the service tells.

use std::net::IpAddr;

use aws_sdk_ec2::types::{Instance, InstanceStateName, Reservation, Tag};
use jiff::Timestamp;
use skyhaul_model::Result;
use skyhaul_model::machine::{DataplaneId, Machine, MachineId, MachineState};

use super::{Ec2, failure, tagged};
use crate::region::{DATAPLANE_TAG, INTENT_TAG, STACK_TAG};

pub(super) async fn describe(ec2: &Ec2, dataplane: Option<&DataplaneId>) -> Result<Vec<Machine>> {
    let mut request = ec2
        .client
        .describe_instances()
        .filters(tagged(STACK_TAG, &ec2.region.stack));
    if let Some(dataplane) = dataplane {
        request = request.filters(tagged(DATAPLANE_TAG, dataplane.as_str()));
    }
    let mut pages = request.into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| {
            let object = dataplane.map_or(ec2.region.stack.as_str(), DataplaneId::as_str);
            failure::of(&error, "machines cannot be described", object)
        })?;
        let instances = page.reservations().iter().flat_map(Reservation::instances);
        found.extend(instances.filter_map(machine));
    }
    Ok(found)
}

/// `None` only for what has no name.
pub(super) fn machine(instance: &Instance) -> Option<Machine> {
    let tag = |name: &str| {
        let tags = instance.tags();
        let found = tags.iter().find(|tag| tag.key() == Some(name));
        found.and_then(Tag::value)
    };
    let address = |text: Option<&str>| text.and_then(|text| text.parse::<IpAddr>().ok());
    Some(Machine {
        id: MachineId(instance.instance_id()?.to_owned()),
        intent: tag(INTENT_TAG).and_then(|text| text.parse().ok()),
        state: state(instance.state().and_then(|state| state.name())),
        private_address: address(instance.private_ip_address()),
        public_address: address(instance.public_ip_address()),
        launched: instance
            .launch_time()
            .and_then(|at| Timestamp::from_second(at.secs()).ok()),
    })
}

fn state(name: Option<&InstanceStateName>) -> MachineState {
    match name {
        Some(InstanceStateName::Running) => MachineState::Running,
        Some(InstanceStateName::Terminated) => MachineState::Ended,
        // Ours are never stopped: one that is was by somebody else, runs no gateway and is paid for.
        Some(
            InstanceStateName::ShuttingDown
            | InstanceStateName::Stopping
            | InstanceStateName::Stopped,
        ) => MachineState::Ending,
        _ => MachineState::Pending,
    }
}
