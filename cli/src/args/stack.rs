//! A deployment instead of this machine.

use std::net::IpAddr;

use clap::Args;
use skyhaul_model::TransferId;
use skyhaul_model::machine::{DataplaneId, Market};
use skyhaul_workflow::ceiling::Ceiling;
use skyhaul_workflow::order::FleetOrder;

use crate::config::{Machines, Name, Value};

/// Which deployment.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Deployment")]
pub(crate) struct StackArgs {
    /// The deployment that carries transfers out; empty is this machine
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// Its region
    #[arg(long, value_name = "REGION")]
    stack_region: Option<String>,
    /// The AWS profile to reach it with
    #[arg(long, value_name = "PROFILE")]
    stack_profile: Option<String>,
}

// What the following two say of themselves is at the commands that take them.

#[derive(Debug, Clone, Args)]
pub(crate) struct SubmittedArgs {
    /// Which transfer
    #[arg(value_name = "ID")]
    pub(crate) id: TransferId,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct NamedArgs {
    /// Which
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) place: StackArgs,
}

/// How a transfer is submitted to it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Deployment")]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) place: StackArgs,
    /// End as soon as it is submitted (`wait` follows it)
    #[arg(long)]
    pub(crate) detach: bool,
    /// Submit it under this id: the same again is the same transfer
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<TransferId>,
    /// Use spot machines
    #[arg(long)]
    spot: bool,
    /// Types of machines to ask for, in this order
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    instance_type: Vec<String>,
    /// Use the machines of this dataplane
    #[arg(long, value_name = "ID", conflicts_with_all = ["reuse_gateways", "spot", "instance_type"])]
    dataplane: Option<DataplaneId>,
    /// Use idle machines of an earlier transfer between the regions, and keep what is launched
    #[arg(long)]
    reuse_gateways: bool,
    /// Minutes that machines are kept without a transfer [default with --reuse-gateways:
    /// 15, or as configured]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_080))]
    autoshutdown_minutes: Option<u32>,
    /// Stop after so many hours; `resume` goes on [default: 720]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8_760))]
    max_hours: Option<u32>,
    /// Stop at about so many dollars for machines and traffic; `resume` goes on [default: 1000]
    #[arg(long, value_name = "USD", value_parser = clap::value_parser!(u32).range(1..))]
    max_cost: Option<u32>,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
}

/// How this machine joins a transfer whose source is on it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Deployment")]
pub(crate) struct GuestArgs {
    /// What address the deployment sees of this machine, for a local source [default: it is asked for]
    #[arg(long, value_name = "IP")]
    pub(crate) address: Option<IpAddr>,
    /// Join although the transfer was submitted on another machine: this one has the same files
    #[arg(long)]
    pub(crate) same_files: bool,
}

fn named(name: Name, value: Option<&String>) -> Option<(Name, Value)> {
    value.map(|value| (name, Value::Name(value.clone())))
}

impl StackArgs {
    /// What these flags override.
    pub(crate) fn overrides(&self) -> Vec<(Name, Value)> {
        [
            named(Name::Stack, self.stack.as_ref()),
            named(Name::StackRegion, self.stack_region.as_ref()),
            named(Name::StackProfile, self.stack_profile.as_ref()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl SubmitArgs {
    /// With what machines it is carried out: `base` says what they do, `usual` which they are if no flag does.
    pub(crate) fn fleet(&self, base: FleetOrder, usual: Machines) -> FleetOrder {
        let kept = self.reuse_gateways.then_some(usual.minutes);
        // Who says which machines wants some.
        let said = self.spot || self.reuse_gateways || self.autoshutdown_minutes.is_some();
        let said = said || !self.instance_type.is_empty() || self.dataplane.is_some();
        FleetOrder {
            alone: base.alone && !said,
            market: if self.spot || usual.spot {
                Market::Spot
            } else {
                base.market
            },
            instance_types: [self.instance_type.clone(), usual.types, base.instance_types]
                .into_iter()
                .find(|types| !types.is_empty())
                .unwrap_or_default(),
            dataplane: self.dataplane.clone(),
            reuse: self.reuse_gateways,
            autoshutdown: self.autoshutdown_minutes.or(kept),
            ceiling: Ceiling {
                hours: self.max_hours.unwrap_or(base.ceiling.hours),
                dollars: self.max_cost.unwrap_or(base.ceiling.dollars),
            },
            ..base
        }
    }

    /// The first flag that means nothing without a deployment.
    pub(crate) fn needs_stack(&self) -> Option<&'static str> {
        [
            (self.detach, "--detach"),
            (self.id.is_some(), "--id"),
            (self.spot, "--spot"),
            (!self.instance_type.is_empty(), "--instance-type"),
            (self.dataplane.is_some(), "--dataplane"),
            (self.reuse_gateways, "--reuse-gateways"),
            (self.max_hours.is_some(), "--max-hours"),
            (self.max_cost.is_some(), "--max-cost"),
            (self.guest.address.is_some(), "--address"),
            (self.guest.same_files, "--same-files"),
            (
                self.autoshutdown_minutes.is_some(),
                "--autoshutdown-minutes",
            ),
        ]
        .into_iter()
        .find_map(|(said, name)| said.then_some(name))
    }
}
