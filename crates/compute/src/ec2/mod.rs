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
use serde::{Deserialize, Serialize};
use skyhaul_model::Result;
use skyhaul_model::machine::{DataplaneId, Machine, MachineId, Market};

use crate::{Compute, Launch, Launched, Room};

/// The deployment's name; what policies are conditioned on.
pub const STACK_TAG: &str = "skyhaul:stack";
/// The dataplane that something belongs to.
pub const DATAPLANE_TAG: &str = "skyhaul:dataplane";
/// What a machine was launched for.
pub const INTENT_TAG: &str = "skyhaul:intent";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 6;

/// The newest image of Amazon Linux 2023 for an architecture, as the service resolves it.
#[must_use]
pub fn newest_image(architecture: Architecture) -> String {
    let name = match architecture {
        Architecture::X86 => "x86_64",
        Architecture::Arm => "arm64",
    };
    let images = "resolve:ssm:/aws/service/ami-amazon-linux-latest";
    format!("{images}/al2023-ami-kernel-default-{name}")
}

/// What a machine's processors understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// x86-64.
    X86,
    /// 64-bit ARM (Graviton).
    Arm,
}

impl Architecture {
    /// That of a type, by its name: `a1`, and families with a `g` behind their generation (`c7gn.large`):
    /// <https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html>.
    #[must_use]
    pub fn of(instance_type: &str) -> Self {
        let family = instance_type.split('.').next().unwrap_or_default();
        let options = family
            .trim_start_matches(|letter: char| letter.is_ascii_alphabetic())
            .trim_start_matches(|digit: char| digit.is_ascii_digit());
        if family == "a1" || options.contains('g') {
            Self::Arm
        } else {
            Self::X86
        }
    }
}

/// What a region offers to gateways: made once a region by the deployment, or given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The deployment.
    pub stack: String,
    /// The network.
    pub vpc: String,
    /// A subnet of each zone.
    pub subnets: BTreeMap<String, String>,
    /// Whether gateways get an address outside; else their subnets have endpoints for what they need.
    pub public: bool,
    /// The instance profile, by its ARN: what gateways may do.
    pub profile: String,
    /// The ARN of an instance of this account and region without its id:
    /// `arn:aws:ec2:REGION:ACCOUNT:instance/`.
    pub identity: String,
    /// The image for each architecture that gateways are built for ([`newest_image`]).
    pub images: BTreeMap<Architecture, String>,
    /// The key that volumes are encrypted with; the account's own where none is said.
    pub volume_key: Option<String>,
    /// The port that gateways listen on.
    pub port: u16,
    /// More tags for whatever is made.
    pub tags: BTreeMap<String, String>,
}

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

    async fn room(&self, market: Market, instance_type: &str) -> Result<Room> {
        room::room(self, market, instance_type).await
    }
}
