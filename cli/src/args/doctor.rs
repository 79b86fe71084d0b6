//! `skyhaul doctor`.

use clap::Args;

use super::{MaybeSidesArgs, StackArgs};

/// See that a transfer could be carried out, before anything is spent
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Looks at the configuration; with --stack at the deployment, its regions and how many
machines fit, else at this machine; and at SRC and DST with the credentials of whoever
asks. Changes nothing. The exit code is 1 if something is not as it should be.")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) sides: MaybeSidesArgs,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}
