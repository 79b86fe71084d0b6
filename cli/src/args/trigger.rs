//! `skyhaul trigger`.

use clap::{Args, Subcommand};
use skyhaul_model::Location;

use super::endpoint::location;
use super::{FilterArgs, NamedArgs, SidesArgs, StackArgs};

/// Let a deployment copy objects as they are made, overwritten and deleted
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The source bucket must send its events to EventBridge (Properties, Event
notifications, Amazon EventBridge: on).")]
pub(crate) struct TriggerArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: TriggerCommand,
}

/// See each.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TriggerCommand {
    /// Make a rule, or change the one of this name
    Add {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        sides: Box<SidesArgs>,
        /// More destinations
        #[arg(value_name = "DST", value_parser = location)]
        also: Vec<Location>,
        /// Delete at the destinations what is deleted at the source
        #[arg(long)]
        delete: bool,
        #[command(flatten)]
        filters: Box<FilterArgs>,
        #[command(flatten)]
        place: StackArgs,
    },
    /// Show all rules
    List {
        #[command(flatten)]
        place: StackArgs,
    },
    /// Let events do nothing, until the rule is resumed
    Pause(NamedArgs),
    /// Let events do something again; what happened meanwhile a sync makes up for
    Resume(NamedArgs),
    /// Remove a rule
    Remove(NamedArgs),
}
