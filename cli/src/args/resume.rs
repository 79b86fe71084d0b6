//! `skyhaul resume`.

use clap::Args;
use skyhaul_model::TransferId;

use super::{GuestArgs, SpeedArgs, StackArgs, ToReportArgs, YesArgs};

/// Go on with an interrupted transfer
#[derive(Debug, Clone, Args)]
pub(crate) struct ResumeArgs {
    /// Which; without it the latest that is unfinished
    #[arg(value_name = "ID")]
    pub(crate) id: Option<TransferId>,
    #[command(flatten)]
    pub(crate) consent: YesArgs,
    #[command(flatten)]
    pub(crate) speed: SpeedArgs,
    #[command(flatten)]
    pub(crate) place: StackArgs,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    #[command(flatten)]
    pub(crate) report: ToReportArgs,
}
