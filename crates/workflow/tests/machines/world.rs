//! Two regions and the state, whose calls can be made to fail, and which give way to others at random.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use skyhaul_compute::simulated::{Fault, Faults, Simulated, after, lost};
use skyhaul_compute::{Compute, Launch, Launched, Room};
use skyhaul_engine::StepEnd;
use skyhaul_gateway::config::Config;
use skyhaul_model::machine::{DataplaneId, Machine, MachineId, Market, Offer};
use skyhaul_model::{Result, TransferId};
use skyhaul_state::control::{
    ControlState, DataplaneChange, DataplaneRow, DataplaneStatus, Enrolment, MemberPlan,
    MemberRole, MemberRow, MemoryControl, NewDataplane,
};
use skyhaul_state::suite::guarded::{Guard, Guarded};
use skyhaul_workflow::machines::{
    Assignment, Provisioned, Reaped, Regions, Transfers, VERSION, Vault, assign, provision, reap,
    release, teardown,
};

/// What is asked for first, and what instead.
pub(crate) const FIRST: &str = "c7gn.large";
pub(crate) const SECOND: &str = "m7g.large";

/// Passes after which a step must have come to its end.
const PASSES: usize = 20;

/// Gives way to other tasks, so often as a seed says.
#[derive(Debug, Clone)]
struct Turns(Arc<Mutex<StdRng>>);

impl Turns {
    async fn take(&self) {
        let turns = {
            let mut dice = self.0.lock().unwrap();
            // Now and then so long that others do all that they have to do.
            let most = if dice.random_ratio(1, 12) { 200 } else { 3 };
            dice.random_range(0..most)
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

#[derive(Debug)]
struct Region {
    machines: Arc<Simulated>,
    turns: Turns,
}

#[async_trait]
impl Compute for Region {
    async fn launch(&self, launch: &Launch) -> Result<Launched> {
        self.turns.take().await;
        let launched = self.machines.launch(launch).await;
        self.turns.take().await;
        launched
    }

    async fn describe(&self, dataplane: Option<&DataplaneId>) -> Result<Vec<Machine>> {
        self.turns.take().await;
        let told = self.machines.describe(dataplane).await;
        self.turns.take().await;
        told
    }

    async fn terminate(&self, machines: &[MachineId]) -> Result<()> {
        self.turns.take().await;
        self.machines.terminate(machines).await
    }

    async fn firewall(
        &self,
        dataplane: &DataplaneId,
        from: Option<&BTreeSet<IpAddr>>,
    ) -> Result<()> {
        self.turns.take().await;
        self.machines.firewall(dataplane, from).await
    }

    fn identity(&self, machine: &MachineId) -> String {
        self.machines.identity(machine)
    }

    async fn room(&self, market: Market, instance_type: &str) -> Result<Room> {
        self.machines.room(market, instance_type).await
    }
}

/// Pauses around calls of the state, and faults that they meet.
#[derive(Debug)]
struct Trouble {
    faults: Faults,
    turns: Turns,
}

impl Guard for Trouble {
    async fn around<T: Send>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.turns.take().await;
        let fault = self.faults.call();
        if fault == Some(Fault::Lost) {
            return Err(lost());
        }
        let done = call.await;
        self.turns.take().await;
        after(fault, || done)
    }
}

/// Transfers that have ended.
#[derive(Default)]
pub(crate) struct Over(pub(crate) Mutex<BTreeSet<TransferId>>);

#[async_trait]
impl Transfers for Over {
    async fn has_ended(&self, id: &TransferId) -> Result<bool> {
        Ok(self.0.lock().unwrap().contains(id))
    }

    async fn is_over(&self, id: &TransferId) -> Result<bool> {
        self.has_ended(id).await
    }
}

/// See the module documentation.
pub(crate) struct World {
    pub(crate) faults: Faults,
    pub(crate) here: Arc<Simulated>,
    pub(crate) there: Arc<Simulated>,
    pub(crate) over: Over,
    pub(crate) id: DataplaneId,
    pub(crate) transfer: TransferId,
    control: Guarded<Trouble>,
    regions: Regions,
}

pub(crate) fn minute(minute: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + 60 * minute).unwrap()
}

impl World {
    /// A dataplane of two members in each of two regions, made for a transfer, without machines.
    pub(crate) async fn new(seed: u64) -> Self {
        Self::with(seed, None).await
    }

    /// The same, kept for some minutes without a transfer.
    pub(crate) async fn with(seed: u64, autoshutdown: Option<u32>) -> Self {
        let faults = Faults::default();
        let turns = Turns(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))));
        let region = || Arc::new(Simulated::new(faults.clone()));
        let (here, there) = (region(), region());
        let compute = |machines: &Arc<Simulated>| {
            let (machines, turns) = (Arc::clone(machines), turns.clone());
            Arc::new(Region { machines, turns }) as Arc<dyn Compute>
        };
        let regions = [("here", compute(&here)), ("there", compute(&there))];
        let regions = regions.map(|(name, compute)| (name.to_owned(), compute));
        let world = Self {
            control: Guarded {
                rows: MemoryControl::default(),
                guard: Trouble {
                    faults: faults.clone(),
                    turns: turns.clone(),
                },
            },
            faults,
            here,
            there,
            over: Over::default(),
            id: DataplaneId::generate(),
            transfer: TransferId::generate(),
            regions: Regions(BTreeMap::from(regions)),
        };
        let offer = |zone: &str, instance_type: &str| Offer {
            market: Market::Spot,
            instance_type: instance_type.to_owned(),
            zone: zone.to_owned(),
        };
        let member = |(region, name): (&str, &str)| MemberPlan {
            name: name.parse().unwrap(),
            region: region.to_owned(),
            role: if name.starts_with("src") {
                MemberRole::Source
            } else {
                MemberRole::Destination
            },
            offers: vec![offer(region, FIRST), offer(region, SECOND)],
        };
        let members = [
            ("here", "src-1"),
            ("here", "src-2"),
            ("there", "dst-1"),
            ("there", "dst-2"),
        ];
        let new = NewDataplane {
            id: world.id.clone(),
            owner: "test".to_owned(),
            members: members.map(member).to_vec(),
            transfer: Some(world.transfer.clone()),
            autoshutdown,
            created: minute(0),
            version: VERSION.to_owned(),
        };
        world.control.rows.create(&new).await.unwrap();
        world
    }

    /// One pass of provisioning.
    pub(crate) async fn provision(&self) -> Result<Provisioned> {
        self.provision_at(minute(0)).await
    }

    pub(crate) async fn provision_at(&self, now: Timestamp) -> Result<Provisioned> {
        let boot = |row: &DataplaneRow, member: &MemberRow| {
            format!("boot {} {}", row.id, member.plan.name)
        };
        provision(&self.control, &self.regions, &boot, &self.id, now).await
    }

    /// Provisions until all is there, whatever fails on the way.
    pub(crate) async fn provisioned(&self) -> DataplaneRow {
        for _ in 0..PASSES {
            if let Ok(Provisioned::Ready(row)) = self.provision().await {
                for member in &row.members {
                    let (machine, intent) = (Self::identity(member), member.intent(&row.id));
                    let enrolment = Enrolment::new(machine, intent, vec![1; 32]);
                    self.rows().enrol(&enrolment).await.unwrap();
                }
                let secrets = vec![1].into();
                self.rows()
                    .keep_secrets(&self.transfer, &secrets)
                    .await
                    .unwrap();
                return row;
            }
        }
        panic!("not provisioned in {PASSES} passes: {:?}", self.row().await);
    }

    /// The state, whose calls can fail.
    pub(crate) fn control(&self) -> &dyn ControlState {
        &self.control
    }

    /// The state itself.
    pub(crate) fn rows(&self) -> &dyn ControlState {
        &self.control.rows
    }

    /// What the provider calls a member's machine.
    pub(crate) fn identity(member: &MemberRow) -> String {
        let machine = member.machine.as_ref().unwrap();
        Simulated::default().identity(machine)
    }

    /// One pass of telling the machines what to do, where the destinations are in `sites`.
    pub(crate) async fn assign(
        &self,
        vault: &dyn Vault,
        base: &Config,
        sites: &[String],
    ) -> Result<StepEnd> {
        let assignment = Assignment {
            transfer: &self.transfer,
            base,
            sites,
            connections: 32,
            listen: ([0, 0, 0, 0], 8443).into(),
        };
        assign(&self.control, &self.regions, vault, &self.id, &assignment).await
    }

    pub(crate) async fn release(&self, row: &DataplaneRow) -> Result<DataplaneRow> {
        release(&self.control, &self.regions, row, &self.transfer).await
    }

    pub(crate) async fn teardown(&self) -> Result<StepEnd> {
        teardown(&self.control, &self.regions, &self.id, minute(1)).await
    }

    /// Tears down until nothing is left, whatever fails on the way.
    pub(crate) async fn torn_down(&self) {
        for _ in 0..PASSES {
            if matches!(self.teardown().await, Ok(StepEnd::Done)) {
                return;
            }
        }
        panic!("not torn down in {PASSES} passes: {:?}", self.row().await);
    }

    pub(crate) async fn reap(&self, now: Timestamp) -> Result<Reaped> {
        reap(&self.control, &self.regions, &self.over, now).await
    }

    /// A region is removed from the deployment.
    pub(crate) fn undeploy(&mut self, region: &str) {
        self.regions.0.remove(region);
    }

    /// The transfer that the dataplane was made for ends.
    pub(crate) fn transfer_ends(&self) {
        self.over.0.lock().unwrap().insert(self.transfer.clone());
    }

    pub(crate) async fn change(&self, change: DataplaneChange) -> DataplaneRow {
        self.control.rows.change(&self.id, &change).await.unwrap()
    }

    pub(crate) async fn row(&self) -> Option<DataplaneRow> {
        self.control.rows.dataplane(&self.id).await.unwrap()
    }

    pub(crate) fn alive(&self) -> Vec<Machine> {
        [self.here.alive(), self.there.alive()].concat()
    }

    /// Each member has its machine, no machine is without a member, and all may reach each other.
    pub(crate) async fn assert_whole(&self) {
        let row = self.row().await.unwrap();
        let alive = self.alive();
        assert_eq!(alive.len(), row.members.len(), "{row:#?}\n{alive:#?}");
        let mut addresses = BTreeSet::new();
        for machine in &alive {
            assert!(row.owns(&machine.id, machine.intent.as_ref().unwrap()));
            // In two regions they reach each other from outside.
            addresses.extend(machine.public_address);
        }
        for region in [&self.here, &self.there] {
            assert_eq!(region.rules(&self.id).as_ref(), Some(&addresses));
        }
    }

    /// Nothing is left of the dataplane but a row that says so.
    pub(crate) async fn assert_gone(&self) {
        let alive = self.alive();
        assert!(alive.is_empty(), "{:#?}\n{alive:#?}", self.row().await);
        for region in [&self.here, &self.there] {
            assert_eq!(region.rules(&self.id), None);
        }
        let row = self.row().await;
        if let Some(row) = &row {
            assert_eq!(row.status, DataplaneStatus::Ended);
            for member in &row.members {
                let enrolment = member.machine.is_some().then(|| Self::identity(member));
                if let Some(machine) = enrolment {
                    assert_eq!(self.rows().enrolment(&machine).await.unwrap(), None);
                }
            }
        }
        assert_eq!(self.rows().secrets(&self.transfer).await.unwrap(), None);
    }
}
