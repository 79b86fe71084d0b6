//! `skyhaul deploy`.

use std::path::PathBuf;

use clap::Args;

use super::StackArgs;
use crate::values::pair;

/// Put a deployment into an AWS account, or bring it up to date
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Needs the AWS SAM CLI (`sam`) and what `make dist` builds. Asks nothing, and may be
run again. Nothing that it makes is billed by the hour.

Examples:
  skyhaul deploy --stack haul --bucket one --bucket two
  skyhaul deploy --stack haul --only-regions --region eu-west-1 --region us-east-1
  skyhaul deploy --stack haul --only-regions --vpc vpc-1 \\
    --subnet eu-west-1a=subnet-1 --subnet eu-west-1b=subnet-2")]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) place: StackArgs,
    /// A bucket that transfers may read and write; once for each
    #[arg(
        long = "bucket",
        value_name = "BUCKET",
        required_unless_present = "only_regions"
    )]
    pub(crate) buckets: Vec<String>,
    /// A role that transfers may assume, such as one of another account; once for each
    #[arg(long = "role", value_name = "ARN")]
    pub(crate) roles: Vec<String>,
    /// A secret of Secrets Manager with the keys of another service; once for each
    #[arg(long = "secret", value_name = "ARN")]
    pub(crate) secrets: Vec<String>,
    /// A region in which gateways run; once for each [default: that of the stack]
    #[arg(long = "region", value_name = "REGION")]
    pub(crate) regions: Vec<String>,
    /// Leave the control plane as it is
    #[arg(long)]
    pub(crate) only_regions: bool,
    /// The folder of the templates, with what was built in dist/
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) from: PathBuf,
    /// Use this network instead of making one
    #[arg(long, value_name = "VPC", requires = "subnets")]
    pub(crate) vpc: Option<String>,
    /// Its subnet in a zone; once for each zone
    #[arg(long = "subnet", value_name = "ZONE=SUBNET", value_parser = pair, requires = "vpc")]
    pub(crate) subnets: Vec<(String, String)>,
    /// Gateways get no address outside: the network reaches S3 and DynamoDB by endpoints
    #[arg(long, requires = "vpc")]
    pub(crate) private: bool,
    /// A parameter of the template; once for each
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) parameters: Vec<(String, String)>,
    /// A tag of whatever is made; once for each
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) tags: Vec<(String, String)>,
}
