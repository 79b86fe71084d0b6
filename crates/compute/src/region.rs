//! What a region of EC2 offers to gateways, as the deployment notes it: known also to who does not launch them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The deployment's name; what policies are conditioned on.
pub const STACK_TAG: &str = "skyhaul:stack";
/// The dataplane that something belongs to.
pub const DATAPLANE_TAG: &str = "skyhaul:dataplane";
/// What a machine was launched for.
pub const INTENT_TAG: &str = "skyhaul:intent";

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
