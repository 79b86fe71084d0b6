//! Machines of whoever submits, which have what a transfer reads and join it as source gateways: nobody launches or
//! ends them. They are members like all others, in a region of their own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use skyhaul_compute::{Compute, Launch, Launched, Room};
use skyhaul_model::Result;
use skyhaul_model::machine::{
    DataplaneId, IntentId, Machine, MachineId, MachineState, Market, Offer,
};
use skyhaul_state::control::{ControlState, DataplaneStatus, MemberRow};

/// The region that they are in. No region of AWS is called so.
pub const GUEST: &str = "guest";

/// See the module documentation.
#[derive(Debug)]
pub struct Guests {
    control: Arc<dyn ControlState>,
}

/// Whether a member is one.
#[must_use]
pub fn is_guest(member: &MemberRow) -> bool {
    member.plan.region == GUEST
}

/// What the machine is called that joins for an intent.
#[must_use]
pub fn name(intent: &IntentId) -> MachineId {
    let IntentId {
        dataplane,
        member,
        generation,
    } = intent;
    MachineId(format!("{GUEST}-{dataplane}-{member}-{generation}"))
}

/// What is asked for, since something must be: no machine.
pub(super) fn offer() -> Offer {
    Offer {
        market: Market::OnDemand,
        instance_type: GUEST.to_owned(),
        zone: GUEST.to_owned(),
    }
}

impl Guests {
    /// Those that have told of themselves in a control plane's rows.
    #[must_use]
    pub fn new(control: Arc<dyn ControlState>) -> Self {
        Self { control }
    }

    /// It runs once it has told of itself: from then on it is known where it is.
    async fn machine(&self, intent: IntentId) -> Result<Machine> {
        let id = name(&intent);
        let enrolment = self.control.enrolment(&id.0).await?;
        let address = enrolment.as_ref().and_then(|row| row.address);
        Ok(Machine {
            id,
            intent: Some(intent),
            state: if address.is_some() {
                MachineState::Running
            } else {
                MachineState::Pending
            },
            private_address: address,
            public_address: address,
            launched: None,
        })
    }
}

#[async_trait]
impl Compute for Guests {
    async fn launch(&self, launch: &Launch) -> Result<Launched> {
        let machine = self.machine(launch.intent.clone()).await?;
        Ok(Launched::Machine(machine))
    }

    async fn describe(&self, dataplane: Option<&DataplaneId>) -> Result<Vec<Machine>> {
        let rows = match dataplane {
            Some(id) => self.control.dataplane(id).await?.into_iter().collect(),
            None => self.control.dataplanes().await?,
        };
        let mut all = Vec::new();
        let active = |status| status == DataplaneStatus::Active;
        for row in rows.iter().filter(|row| active(row.status)) {
            let members = row.members.iter();
            for member in members.filter(|member| is_guest(member)) {
                if member.machine.is_some() {
                    all.push(self.machine(member.intent(&row.id)).await?);
                }
            }
        }
        Ok(all)
    }

    async fn terminate(&self, _: &[MachineId]) -> Result<()> {
        Ok(())
    }

    /// Nobody connects to them.
    async fn firewall(&self, _: &DataplaneId, _: Option<&BTreeSet<IpAddr>>) -> Result<()> {
        Ok(())
    }

    fn identity(&self, machine: &MachineId) -> String {
        machine.0.clone()
    }

    async fn room(&self, _: Market, _: &str) -> Result<Room> {
        Ok(Room {
            each: 0,
            used: 0,
            quota: None,
            code: String::new(),
        })
    }
}
