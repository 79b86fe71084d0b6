//! The account that a function works in: its tables, its staging bucket, its regions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_types::SdkConfig;
use skyhaul_compute::Compute;
use skyhaul_compute::ec2::Ec2;
use skyhaul_engine::Limits;
use skyhaul_gateway::config::TableConfig;
use skyhaul_model::{Error, Result};
use skyhaul_stack::region;
use skyhaul_stack::{StateMachine, Tasks};
use skyhaul_state::control::{ControlState, DataplaneRow, MemberRow};
use skyhaul_state::{DynamoDbControl, DynamoDbState, TransferState};
use skyhaul_stores::open::{Ambient, Kept};
use skyhaul_workflow::machines::{GUEST, Guests, Regions};
use skyhaul_workflow::{Account, Deployed, staging};

use crate::boot;
use crate::environment::Environment;
use crate::vault::Kms;

/// Listings, stats and copies of a function at the same time: it has one or two cores and waits most of its time.
const AT_ONCE: usize = 64;

/// Bytes of object data that a function holds.
const MEMORY: u64 = 256 << 20;

/// Times an object is begun at most.
const ATTEMPTS: u32 = 5;

/// How long a lease lasts without a sign of life: slices may meet.
const TERM: Duration = Duration::from_mins(1);

/// What a function opens once, for all its invocations.
pub(crate) struct Services {
    pub(crate) environment: Environment,
    /// Stores, for who opens the same with every event.
    pub(crate) opens: Kept<Ambient>,
    config: SdkConfig,
    state: Arc<dyn TransferState>,
    control: Arc<dyn ControlState>,
}

/// What functions do to objects by themselves.
fn limits() -> Limits {
    Limits {
        transfers: AT_ONCE,
        checkers: AT_ONCE,
        max_memory: MEMORY,
        bwlimit: None,
        attempts: ATTEMPTS,
        slice_pages: None,
        slice_chunks: None,
        term: Some(TERM),
        read_to_compare: true,
        keep_skipped: true,
    }
}

impl Services {
    pub(crate) async fn open(environment: Environment) -> Self {
        let config = aws_config::defaults(BehaviorVersion::latest()).load().await;
        Self {
            state: Arc::new(DynamoDbState::new(&config, &environment.state_table)),
            control: Arc::new(DynamoDbControl::new(&config, &environment.control_table)),
            environment,
            opens: Kept::new(Ambient),
            config,
        }
    }

    /// The deployment, for who begins attempts. `Invalid` if this function is not told what carries them out.
    pub(crate) fn deployed(&self) -> Result<Deployed> {
        let arn = self.environment.state_machine.clone().ok_or_else(|| {
            Error::invalid("SKYHAUL_STATE_MACHINE is not set")
                .hint("the template of the deployment sets it for this function")
        })?;
        Ok(Deployed {
            stack: String::new(),
            state: Arc::clone(&self.state),
            control: Arc::clone(&self.control),
            executions: Arc::new(StateMachine::new(&self.config, arn)),
            staging: self.environment.staging.clone(),
            opens: Arc::new(Ambient),
        })
    }

    /// A table, as gateways of any region reach it.
    fn table(&self, name: &str) -> TableConfig {
        TableConfig {
            name: name.to_owned(),
            region: Some(self.environment.region.clone()),
            endpoint_url: self.environment.endpoint_url.clone(),
        }
    }

    async fn regions(&self) -> Result<BTreeMap<String, region::Deployed>> {
        let mut all = BTreeMap::new();
        for (name, settings) in self.control.regions().await? {
            match region::Deployed::parse(&name, &settings) {
                Ok(deployed) => {
                    all.insert(name, deployed);
                }
                // What goes on in the others is looked after all the same.
                Err(error) => tracing::error!(name, "a region cannot be used: {error}"),
            }
        }
        Ok(all)
    }

    /// The account as it is now: regions may have been deployed since the last invocation.
    pub(crate) async fn account(&self) -> Result<Account> {
        let environment = &self.environment;
        let deployed = self.regions().await?;
        let mut regions = Regions::default();
        let mut zones = BTreeMap::new();
        for (name, region) in &deployed {
            let there = self.config.to_builder();
            let there = there.region(Region::new(name.clone())).build();
            let compute: Arc<dyn Compute> = Arc::new(Ec2::new(&there, region.ec2.clone()));
            regions.0.insert(name.clone(), compute);
            let known = region.ec2.subnets.keys().cloned().collect();
            zones.insert(name.clone(), known);
        }
        let guests = Guests::new(Arc::clone(&self.control));
        regions.0.insert(GUEST.to_owned(), Arc::new(guests));
        let ports: BTreeSet<u16> = deployed.values().map(|region| region.ec2.port).collect();
        // Where machines are told what to do it is refused; they are ended all the same.
        let port = ports.first().copied().filter(|_| ports.len() == 1);
        let control = self.table(&environment.control_table);
        let staging = environment.staging.clone();
        let boot = move |row: &DataplaneRow, member: &MemberRow| {
            let region = deployed.get(&member.plan.region);
            region.map_or_else(String::new, |region| {
                let logs = staging::logs(&staging, &row.id);
                let how = (&*region.ec2.identity, &logs);
                boot::script((row, member), &control, &region.gateway, how)
            })
        };
        let key = environment.key.clone();
        Ok(Account {
            region: environment.region.clone(),
            state: Arc::clone(&self.state),
            table: self.table(&environment.state_table),
            control: Arc::clone(&self.control),
            opens: Arc::new(Ambient),
            staging: environment.staging.clone(),
            regions,
            zones,
            port,
            boot: Box::new(boot),
            vault: Arc::new(Kms::new(aws_sdk_kms::Client::new(&self.config), key)),
            waiting: Arc::new(Tasks::new(&self.config)),
            is_guest: false,
            limits: limits(),
        })
    }
}
