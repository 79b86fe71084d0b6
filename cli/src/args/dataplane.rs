//! `skyhaul dataplane`.

use clap::{Args, Subcommand};
use skyhaul_model::machine::DataplaneId;

use super::StackArgs;

/// Launch, show and end machines that are kept for the next transfer
#[derive(Debug, Clone, Args)]
pub(crate) struct DataplaneArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: DataplaneCommand,
}

/// What is launched.
#[derive(Debug, Clone, Args)]
pub(crate) struct CreateArgs {
    /// The region that is read in
    #[arg(long, value_name = "REGION")]
    pub(crate) from: String,
    /// A region that is written in; once for each
    #[arg(long, value_name = "REGION", required = true)]
    pub(crate) to: Vec<String>,
    /// Gateways of each side, or as many as fit
    #[arg(long, visible_alias = "max-instances", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) gateways: u32,
    /// Use spot machines
    #[arg(long)]
    pub(crate) spot: bool,
    /// Types of machines to ask for, in this order
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    pub(crate) instance_type: Vec<String>,
    /// Minutes that they are kept without a transfer [default: 15, or as configured]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub(crate) autoshutdown_minutes: Option<u32>,
    /// Make it under this id: the same again is the same dataplane
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<DataplaneId>,
    /// End as soon as it is asked for
    #[arg(long)]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}

/// See each.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DataplaneCommand {
    /// Launch machines before there is a transfer for them
    #[command(after_help = "\
Transfers use it with --dataplane ID, or with --reuse-gateways where the regions are
the same. It ends when no transfer has used it for --autoshutdown-minutes.

Example:
  skyhaul dataplane create --stack haul --from eu-west-1 --to us-east-1 --gateways 4")]
    Create(Box<CreateArgs>),
    /// Show all dataplanes, newest first
    List {
        #[command(flatten)]
        place: StackArgs,
    },
    /// End a dataplane that no transfer uses; its machines end within minutes
    Delete {
        /// Which
        #[arg(value_name = "ID")]
        id: DataplaneId,
        #[command(flatten)]
        place: StackArgs,
    },
}
