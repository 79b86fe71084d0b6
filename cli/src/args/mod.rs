//! The command line: one file a command, groups of flags that commands share.

mod attributes;
mod chunks;
mod cleanup;
mod comparison;
mod completions;
mod config;
mod cp;
mod dataplane;
mod deletion;
mod deploy;
mod deprovision;
mod doctor;
mod endpoint;
mod filters;
mod gateways;
mod global;
mod logs;
mod ls;
mod performance;
mod report;
mod resume;
mod schedule;
mod ssh;
mod stack;
mod status;
mod sync;
mod top;
mod transfer;
mod trigger;
mod undeploy;
mod verify;
mod wait;

use clap::{CommandFactory as _, Parser, Subcommand};

pub(crate) use attributes::AttributeArgs;
pub(crate) use chunks::ChunksArgs;
pub(crate) use cleanup::CleanupArgs;
pub(crate) use comparison::{CompareArgs, IfExistsArgs};
pub(crate) use completions::CompletionsArgs;
pub(crate) use config::{ConfigArgs, ConfigCommand, ImportSource};
pub(crate) use cp::CpArgs;
pub(crate) use dataplane::{CreateArgs, DataplaneArgs, DataplaneCommand};
pub(crate) use deletion::{DeleteArgs, YesArgs};
pub(crate) use deploy::DeployArgs;
pub(crate) use deprovision::DeprovisionArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use endpoint::{MaybeSidesArgs, OneSideArgs, SidesArgs};
pub(crate) use filters::FilterArgs;
pub(crate) use global::GlobalArgs;
pub(crate) use logs::LogsArgs;
pub(crate) use ls::LsArgs;
pub(crate) use performance::{CheckersArgs, PartArgs, SpeedArgs};
pub(crate) use report::ReportArgs;
pub(crate) use resume::ResumeArgs;
pub(crate) use schedule::{ScheduleArgs, ScheduleCommand};
pub(crate) use ssh::SshArgs;
pub(crate) use stack::{GuestArgs, NamedArgs, StackArgs, SubmitArgs, SubmittedArgs};
pub(crate) use status::StatusArgs;
pub(crate) use sync::SyncArgs;
pub(crate) use top::TopArgs;
pub(crate) use transfer::{HowArgs, Kind, ToReportArgs, WhatArgs};
pub(crate) use trigger::{TriggerArgs, TriggerCommand};
pub(crate) use undeploy::UndeployArgs;
pub(crate) use verify::VerifyArgs;
pub(crate) use wait::WaitArgs;

/// Move bulk data between object stores and disks
#[derive(Debug, Parser)]
#[command(
    name = "skyhaul",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(after_help = "\
Places are s3://BUCKET/KEY, a path, file:///PATH or local://PATH.

Exit codes: 0 done; 1 some objects failed; 2 usage; 3 source absent,
unreachable or denied, or nothing matched; 4 destination absent, unreachable or
denied; 5 verification failed; 130 interrupted.")]
pub(crate) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands. What each says of itself is at its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Cp(Box<CpArgs>),
    Sync(Box<SyncArgs>),
    Ls(LsArgs),
    Resume(ResumeArgs),
    Status(StatusArgs),
    Wait(WaitArgs),
    /// Let a transfer of a deployment end, so that `resume` goes on with it
    Pause(SubmittedArgs),
    /// End a transfer of a deployment for good, and remove what it left half done
    Cancel(SubmittedArgs),
    Top(TopArgs),
    Chunks(ChunksArgs),
    Report(ReportArgs),
    Logs(LogsArgs),
    #[command(visible_alias = "check")]
    Verify(Box<VerifyArgs>),
    Schedule(ScheduleArgs),
    Trigger(TriggerArgs),
    Dataplane(DataplaneArgs),
    Deprovision(DeprovisionArgs),
    Ssh(SshArgs),
    Doctor(Box<DoctorArgs>),
    Deploy(Box<DeployArgs>),
    Undeploy(UndeployArgs),
    Config(ConfigArgs),
    Cleanup(CleanupArgs),
    Completions(CompletionsArgs),
}

/// The command line of this process. Ends the process where it is wrong, or asks for help.
pub(crate) fn parse() -> Cli {
    Cli::parse()
}

/// The command line as data: for completions and help.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests;
