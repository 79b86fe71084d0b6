//! Machines that are not there: what the steps of the workflow are tested with, faults included. It passes
//! the same suite as real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use jiff::Timestamp;
use skyhaul_model::machine::{
    DataplaneId, IntentId, Machine, MachineId, MachineState, Market, Offer,
};
use skyhaul_model::{Error, ErrorKind, Result};

use crate::{Compute, Launch, Launched, Room};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out, and its reply is lost.
    LostReply,
    /// It is not carried out.
    Lost,
    /// A launch finds no machine.
    NoCapacity,
    /// A description misses what was launched last.
    Stale,
}

/// Which calls meet a fault, over everything that shares this.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    at: BTreeMap<u64, Fault>,
}

#[allow(clippy::unwrap_used)] // nobody panics while holding it
fn locked<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap()
}

impl Faults {
    /// Has call number `call`, from 1, meet a fault.
    pub fn at(&self, call: u64, fault: Fault) {
        locked(&self.0).at.insert(call, fault);
    }

    /// Has the next call meet a fault.
    pub fn next(&self, fault: Fault) {
        let mut plan = locked(&self.0);
        let call = plan.calls + 1;
        plan.at.insert(call, fault);
    }

    /// Counts a call; the fault that it meets.
    #[must_use]
    pub fn call(&self) -> Option<Fault> {
        let mut plan = locked(&self.0);
        plan.calls += 1;
        let call = plan.calls;
        plan.at.remove(&call)
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        locked(&self.0).calls
    }
}

/// Machines have names and addresses that no other has, in whatever region.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A region without machines.
#[derive(Debug, Default)]
pub struct Simulated {
    faults: Faults,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    machines: BTreeMap<MachineId, Machine>,
    /// By client token.
    launches: BTreeMap<String, (Launch, MachineId)>,
    rules: BTreeMap<DataplaneId, BTreeSet<IpAddr>>,
    /// Types of which there are none.
    missing: BTreeSet<String>,
}

/// What is told of a call without a reply.
#[must_use]
pub fn lost() -> Error {
    Error::control(ErrorKind::Unreachable, "the reply was lost")
}

impl Simulated {
    /// An empty region whose calls meet these faults.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Self {
            faults,
            held: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        locked(&self.held)
    }

    /// Whether there are machines of a type.
    pub fn offer(&self, instance_type: &str, there: bool) {
        let mut held = self.held();
        if there {
            held.missing.remove(instance_type);
        } else {
            held.missing.insert(instance_type.to_owned());
        }
    }

    /// A machine ends by itself: crashed, or taken away.
    pub fn end(&self, machine: &MachineId) {
        if let Some(machine) = self.held().machines.get_mut(machine) {
            machine.state = MachineState::Ended;
        }
    }

    /// A machine has ended so long ago that nothing is told of it any more.
    pub fn vanish(&self, machine: &MachineId) {
        self.held().machines.remove(machine);
    }

    /// A machine that somebody launched by hand, with this tag.
    pub fn intruder(&self, intent: Option<IntentId>) -> MachineId {
        let mut held = self.held();
        let machine = Held::machine(intent);
        let id = machine.id.clone();
        held.machines.insert(id.clone(), machine);
        id
    }

    /// Machines that have not ended.
    #[must_use]
    pub fn alive(&self) -> Vec<Machine> {
        let held = self.held();
        let alive = held
            .machines
            .values()
            .filter(|machine| machine.state != MachineState::Ended);
        alive.cloned().collect()
    }

    /// From where the gateways of a dataplane are reachable; `None` where nothing was made.
    #[must_use]
    pub fn rules(&self, dataplane: &DataplaneId) -> Option<BTreeSet<IpAddr>> {
        self.held().rules.get(dataplane).cloned()
    }
}

impl Held {
    fn machine(intent: Option<IntentId>) -> Machine {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Machine {
            id: MachineId(format!("i-{number:08x}")),
            intent,
            state: MachineState::Running,
            private_address: Some(Ipv4Addr::from(0x0a00_0000 + number).into()),
            public_address: Some(Ipv4Addr::from(0xc633_6400 + number).into()),
            launched: Some(Timestamp::now()),
        }
    }

    fn launch(&mut self, launch: &Launch, fault: Option<Fault>) -> Result<Launched> {
        let token = launch.intent.token(launch.number);
        if let Some((before, id)) = self.launches.get(&token) {
            if before != launch {
                let message = "this launch was asked for with other parameters";
                return Err(Error::invalid(message).object(token));
            }
            return Ok(match self.machines.get(id) {
                Some(machine) if machine.state < MachineState::Ending => {
                    Launched::Machine(machine.clone())
                }
                _ => Launched::Ended,
            });
        }
        let Offer {
            instance_type,
            zone,
            ..
        } = &launch.offer;
        if fault == Some(Fault::NoCapacity) || self.missing.contains(instance_type) {
            let message = format!("no {instance_type} in {zone}");
            return Ok(Launched::NoCapacity(message));
        }
        let machine = Self::machine(Some(launch.intent.clone()));
        self.launches
            .insert(token, (launch.clone(), machine.id.clone()));
        self.machines.insert(machine.id.clone(), machine.clone());
        Ok(Launched::Machine(machine))
    }
}

/// What a fault leaves of a call.
pub fn after<T>(fault: Option<Fault>, done: impl FnOnce() -> Result<T>) -> Result<T> {
    match fault {
        Some(Fault::Lost) => Err(lost()),
        Some(Fault::LostReply) => done().and_then(|_| Err(lost())),
        _ => done(),
    }
}

#[async_trait]
impl Compute for Simulated {
    async fn launch(&self, launch: &Launch) -> Result<Launched> {
        let (fault, mut held) = (self.faults.call(), self.held());
        after(fault, || held.launch(launch, fault))
    }

    async fn describe(&self, dataplane: Option<&DataplaneId>) -> Result<Vec<Machine>> {
        let (fault, held) = (self.faults.call(), self.held());
        after(fault, || {
            let of = |machine: &&Machine| {
                dataplane.is_none_or(|dataplane| {
                    let intent = machine.intent.as_ref();
                    intent.is_some_and(|intent| intent.dataplane == *dataplane)
                })
            };
            let mut found: Vec<_> = held.machines.values().filter(of).cloned().collect();
            if fault == Some(Fault::Stale) {
                found.pop();
            }
            Ok(found)
        })
    }

    async fn terminate(&self, machines: &[MachineId]) -> Result<()> {
        let (fault, mut held) = (self.faults.call(), self.held());
        after(fault, || {
            for id in machines {
                if let Some(machine) = held.machines.get_mut(id) {
                    machine.state = MachineState::Ended;
                }
            }
            Ok(())
        })
    }

    async fn firewall(
        &self,
        dataplane: &DataplaneId,
        from: Option<&BTreeSet<IpAddr>>,
    ) -> Result<()> {
        let (fault, mut held) = (self.faults.call(), self.held());
        after(fault, || {
            let used = held.machines.values().any(|machine| {
                let intent = machine.intent.as_ref();
                machine.state != MachineState::Ended
                    && intent.is_some_and(|intent| intent.dataplane == *dataplane)
            });
            match from {
                None if used => {
                    let message = "machines still use the firewall";
                    Err(Error::control(ErrorKind::Service, message).object(dataplane.as_str()))
                }
                None => {
                    held.rules.remove(dataplane);
                    Ok(())
                }
                Some(from) => {
                    held.rules.insert(dataplane.clone(), from.clone());
                    Ok(())
                }
            }
        })
    }

    fn identity(&self, machine: &MachineId) -> String {
        format!("simulated/{machine}")
    }

    async fn room(&self, _: Market, _: &str) -> Result<Room> {
        let (fault, held) = (self.faults.call(), self.held());
        after(fault, || {
            let alive = held.machines.values();
            let alive = alive.filter(|machine| machine.state != MachineState::Ended);
            Ok(Room {
                each: 4,
                used: 4 * alive.count() as u32,
                quota: Some(256),
                code: "L-0".to_owned(),
            })
        })
    }
}
