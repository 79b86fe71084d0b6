//! `skyhaul trigger`.

use skyhaul_model::Result;
use skyhaul_state::control::{ControlState, Rule, no_rule};
use skyhaul_workflow::Deployed;

use super::deployment;
use crate::args::{StackArgs, TriggerArgs, TriggerCommand};
use crate::context::Context;
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::{Lines, text};

/// Runs it.
pub(crate) async fn run(context: &Context, args: &TriggerArgs) -> Result<u8> {
    let open = async |place: &StackArgs| {
        let config = context.config(place.overrides())?;
        deployment::said(context, &config).await
    };
    match &args.command {
        TriggerCommand::Add {
            name,
            sides,
            also,
            delete,
            filters,
            place,
        } => {
            let config = context.config(place.overrides())?;
            let mut destinations = vec![sides.destination(&config)?];
            for place in also {
                destinations.push(sides.as_destination(place, &config)?);
            }
            let rule = Rule {
                name: name.clone(),
                owner: deployment::owner(),
                source: sides.source(&config)?,
                destinations,
                filters: filters.spec()?,
                deletes: *delete,
                enabled: true,
            };
            rule.check()?;
            let deployed = deployment::said(context, &config).await?;
            deployed.control.set_rule(&rule).await?;
            Ok(exit::DONE)
        }
        TriggerCommand::List { place } => list(context, &open(place).await?).await,
        TriggerCommand::Pause { name, place } => switch(&open(place).await?, name, false).await,
        TriggerCommand::Resume { name, place } => switch(&open(place).await?, name, true).await,
        TriggerCommand::Remove { name, place } => {
            open(place).await?.control.drop_rule(name).await?;
            Ok(exit::DONE)
        }
    }
}

async fn known(control: &dyn ControlState, name: &str) -> Result<Rule> {
    let mut rules = control.rules().await?.into_iter();
    let found = rules.find(|rule| rule.name == name);
    found.ok_or_else(|| no_rule(name))
}

async fn switch(deployed: &Deployed, name: &str, enabled: bool) -> Result<u8> {
    let rule = known(&*deployed.control, name).await?;
    deployed.control.set_rule(&Rule { enabled, ..rule }).await?;
    Ok(exit::DONE)
}

async fn list(context: &Context, deployed: &Deployed) -> Result<u8> {
    let mut lines = context.lines();
    for rule in deployed.control.rules().await? {
        if context.global.json {
            lines.json(&Line::new(None, Body::Rule { rule: &rule }));
        } else {
            line(&mut lines, &rule);
        }
    }
    lines.end().map(|()| exit::DONE)
}

fn line(lines: &mut Lines, rule: &Rule) {
    let destinations = rule.destinations.iter();
    let targets: Vec<_> = destinations.map(|side| side.location.to_string()).collect();
    let sides = format!("{} -> {}", rule.source.location, targets.join(", "));
    lines.line(format_args!(
        "{}  {}{}{}",
        rule.name,
        text::printable(&sides),
        if rule.deletes { ", deletes" } else { "" },
        if rule.enabled { "" } else { ", paused" },
    ));
}
