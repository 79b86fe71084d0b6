//! `skyhaul trigger`.

use skyhaul_model::Result;
use skyhaul_state::control::{ControlState, Rule, no_rule};

use super::deployment;
use crate::args::{NamedArgs, StackArgs, TriggerArgs, TriggerCommand};
use crate::context::Context;
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::{Lines, text};

/// Runs it.
pub(crate) async fn run(context: &Context, args: &TriggerArgs) -> Result<u8> {
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
            let deployed = deployment::said(context, place).await?;
            deployed.control.set_rule(&rule).await?;
            Ok(exit::DONE)
        }
        TriggerCommand::List { place } => list(context, place).await,
        TriggerCommand::Pause(args) => switch(context, args, false).await,
        TriggerCommand::Resume(args) => switch(context, args, true).await,
        TriggerCommand::Remove(args) => {
            let deployed = deployment::said(context, &args.place).await?;
            deployed.control.drop_rule(&args.name).await?;
            Ok(exit::DONE)
        }
    }
}

async fn known(control: &dyn ControlState, name: &str) -> Result<Rule> {
    let mut rules = control.rules().await?.into_iter();
    let found = rules.find(|rule| rule.name == name);
    found.ok_or_else(|| no_rule(name))
}

async fn switch(context: &Context, args: &NamedArgs, enabled: bool) -> Result<u8> {
    let deployed = deployment::said(context, &args.place).await?;
    let rule = known(&*deployed.control, &args.name).await?;
    deployed.control.set_rule(&Rule { enabled, ..rule }).await?;
    Ok(exit::DONE)
}

async fn list(context: &Context, place: &StackArgs) -> Result<u8> {
    let deployed = deployment::said(context, place).await?;
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
    lines.line(format_args!(
        "{}  {}{}{}",
        rule.name,
        text::sides(&rule.source, &rule.destinations),
        if rule.deletes { ", deletes" } else { "" },
        if rule.enabled { "" } else { ", paused" },
    ));
}
