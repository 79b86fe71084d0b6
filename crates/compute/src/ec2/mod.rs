//! Machines of EC2, in one region.
//!
//! A machine is launched by one `RunInstances` with everything in it that binds it: client token, tags,
//! termination at shutdown, metadata by token only, encrypted volume, the dataplane's security group. No
//! launch template: nothing has to be made, found or removed before and after.

mod describe;
mod failure;
mod firewall;
mod launch;
mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::Builder;
use aws_sdk_ec2::types::Filter;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use skyhaul_model::Result;
use skyhaul_model::machine::{DataplaneId, Machine, MachineId, Market};

use crate::region::{DATAPLANE_TAG, Region, STACK_TAG};
use crate::{Compute, Launch, Launched, Room};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 6;

/// See the module documentation.
#[derive(Debug)]
pub struct Ec2 {
    client: Client,
    quotas: aws_sdk_servicequotas::Client,
    region: Region,
}

impl Ec2 {
    /// Machines of one region. Region, credentials and endpoint are those of `config`.
    #[must_use]
    pub fn new(config: &SdkConfig, region: Region) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .build();
        let client = Builder::from(config)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .retry_classifier(failure::NoCapacityIsAnAnswer)
            .timeout_config(timeouts)
            .build();
        Self {
            client: Client::from_conf(client),
            quotas: aws_sdk_servicequotas::Client::new(config),
            region,
        }
    }

    /// The tags of what is made for a dataplane.
    fn tags(&self, dataplane: &DataplaneId) -> BTreeMap<String, String> {
        let mut tags = self.region.tags.clone();
        tags.insert(STACK_TAG.to_owned(), self.region.stack.clone());
        tags.insert(DATAPLANE_TAG.to_owned(), dataplane.to_string());
        tags
    }
}

fn filter(name: impl Into<String>, value: impl Into<String>) -> Filter {
    Filter::builder().name(name).values(value).build()
}

fn tagged(tag: &str, value: &str) -> Filter {
    filter(format!("tag:{tag}"), value)
}

#[async_trait]
impl Compute for Ec2 {
    async fn launch(&self, launch: &Launch) -> Result<Launched> {
        launch::launch(self, launch).await
    }

    async fn describe(&self, dataplane: Option<&DataplaneId>) -> Result<Vec<Machine>> {
        describe::describe(self, dataplane).await
    }

    async fn terminate(&self, machines: &[MachineId]) -> Result<()> {
        launch::terminate(self, machines).await
    }

    async fn firewall(
        &self,
        dataplane: &DataplaneId,
        from: Option<&BTreeSet<IpAddr>>,
    ) -> Result<()> {
        firewall::set(self, dataplane, from).await
    }

    fn identity(&self, machine: &MachineId) -> String {
        format!("{}{machine}", self.region.identity)
    }

    async fn most_addresses(&self) -> Result<Option<(u32, &'static str)>> {
        Ok(Some(room::addresses(self).await))
    }

    async fn room(&self, market: Market, instance_type: &str) -> Result<Room> {
        room::room(self, market, instance_type).await
    }
}
