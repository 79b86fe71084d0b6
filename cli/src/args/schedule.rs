//! `skyhaul schedule`.

use clap::{ArgGroup, Args, Subcommand};

use super::{NamedArgs, StackArgs, SyncArgs};

/// Let a deployment sync again and again
#[derive(Debug, Clone, Args)]
pub(crate) struct ScheduleArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ScheduleCommand,
}

/// See each.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Make a schedule, or change the one of this name
    #[command(
        group = ArgGroup::new("times").required(true),
        override_usage = "skyhaul schedule add NAME SRC DST --rate RATE|--cron CRON [OPTIONS]"
    )]
    Add {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// Every so often: `1 hour`, `30 minutes`, `7 days`
        #[arg(long, value_name = "RATE", group = "times")]
        rate: Option<String>,
        /// At these times: minute, hour, day of month, month, day of week, year
        #[arg(long, value_name = "CRON", group = "times")]
        cron: Option<String>,
        /// The time zone of --cron, as Europe/Berlin [default: UTC]
        #[arg(long, value_name = "ZONE", requires = "cron")]
        timezone: Option<String>,
        /// Where the last run still goes on: queue one run instead of beginning none
        #[arg(long)]
        queue: bool,
        #[command(flatten)]
        sync: Box<SyncArgs>,
    },
    /// Show all schedules
    List {
        #[command(flatten)]
        place: StackArgs,
    },
    /// Let a schedule fire no more, until it is resumed
    Pause(NamedArgs),
    /// Let a schedule fire again
    Resume(NamedArgs),
    /// Remove a schedule; a run that goes on is left alone
    Remove(NamedArgs),
}
