//! `skyhaul undeploy`.

use clap::Args;

use super::{StackArgs, YesArgs};

/// Take a deployment out of an AWS account
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Refused while a transfer goes on. Machines, networks, functions and schedules go. The
tables, the bucket of manifests and the key stay, and are named: they hold what is
known of transfers. Interrupted, it may be run again.")]
pub(crate) struct UndeployArgs {
    #[command(flatten)]
    pub(crate) yes: YesArgs,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}
