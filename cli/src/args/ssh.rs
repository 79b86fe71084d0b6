//! `skyhaul ssh`.

use clap::Args;

use super::StackArgs;

/// Open a shell on a gateway of a deployment
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
By AWS Systems Manager: gateways let nobody in. Needs the AWS CLI with its Session
Manager plugin, and the right to ssm:StartSession. Without GATEWAY the only one is
meant; where there are several, they are named.")]
pub(crate) struct SshArgs {
    /// A transfer that goes on, or a dataplane
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Which of its gateways
    #[arg(value_name = "GATEWAY")]
    pub(crate) gateway: Option<String>,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}
