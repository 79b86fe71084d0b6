//! `skyhaul dataplane`.

use std::collections::BTreeMap;

use skyhaul_model::machine::{DataplaneId, Market};
use skyhaul_model::{ErrorKind, Result};
use skyhaul_state::control::{DataplaneChange, DataplaneRow, DataplaneStatus};
use skyhaul_workflow::order::FleetOrder;
use skyhaul_workflow::steps::dataplanes::DataplaneOrder;

use super::deployment;
use crate::args::{CreateArgs, DataplaneArgs, DataplaneCommand};
use crate::context::Context;
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::{Lines, text};

/// Runs it.
pub(crate) async fn run(context: &Context, args: &DataplaneArgs) -> Result<u8> {
    let place = match &args.command {
        DataplaneCommand::Create(args) => return create(context, args).await,
        DataplaneCommand::List { place } | DataplaneCommand::Delete { place, .. } => place,
    };
    let deployed = deployment::said(context, place).await?;
    let control = &deployed.control;
    let rows = match &args.command {
        DataplaneCommand::Delete { id, .. } => {
            let end = control.change(id, &DataplaneChange::EndIdle);
            vec![context.unless_cancelled(end).await?]
        }
        _ => context.unless_cancelled(control.dataplanes()).await?,
    };
    let mut lines = context.lines();
    for row in rows
        .iter()
        .filter(|row| row.status != DataplaneStatus::Ended)
    {
        show(context, &mut lines, row);
    }
    lines.end().map(|()| exit::DONE)
}

/// Has machines launched, and waits until they are there.
async fn create(context: &Context, args: &CreateArgs) -> Result<u8> {
    let config = context.config(args.place.overrides())?;
    let place = deployment::place(&config)?;
    let usual = config.machines();
    let mut fleet = FleetOrder {
        per_region: args.gateways,
        autoshutdown: Some(args.autoshutdown_minutes.unwrap_or(usual.minutes)),
        ..FleetOrder::default()
    };
    if args.spot || usual.spot {
        fleet.market = Market::Spot;
    }
    let said = [&args.instance_type, &usual.types];
    if let Some(types) = said.into_iter().find(|types| !types.is_empty()) {
        fleet.instance_types.clone_from(types);
    }
    let order = DataplaneOrder {
        dataplane: args.id.clone().unwrap_or_else(DataplaneId::generate),
        owner: deployment::owner(),
        source: args.from.clone(),
        destinations: args.to.iter().cloned().collect(),
        fleet,
    };
    order.check()?;
    let outputs = context.unless_cancelled(place.outputs()).await?;
    let (deployed, launches) = (outputs.deployed()?, outputs.launches()?);
    context.unless_cancelled(launches.start(&order)).await?;
    let id = &order.dataplane;
    if !args.detach {
        context.screen.warn(&format!("launching {id}"));
        context
            .unless_cancelled(launches.finished(id, deployment::EVERY))
            .await
            .map_err(|error| match error.kind {
                ErrorKind::Interrupted => error.hint(skyhaul_stack::going_on(id)),
                _ => error,
            })?;
    }
    let row = context
        .unless_cancelled(deployed.control.dataplane(id))
        .await?;
    let mut lines = context.lines();
    match row {
        Some(row) => show(context, &mut lines, &row),
        None => lines.line(format_args!("{id}")),
    }
    lines.end().map(|()| exit::DONE)
}

/// A line of it.
pub(super) fn show(context: &Context, lines: &mut Lines, row: &DataplaneRow) {
    if context.global.json {
        lines.json(&Line::new(None, Body::dataplane(row)));
    } else {
        line(lines, row);
    }
}

/// Its status in a word.
pub(crate) fn status(row: &DataplaneRow) -> &'static str {
    match row.status {
        DataplaneStatus::Active if row.transfers.is_empty() => "idle",
        DataplaneStatus::Active => "busy",
        DataplaneStatus::Ending => "ending",
        DataplaneStatus::Ended => "ended",
    }
}

fn line(lines: &mut Lines, row: &DataplaneRow) {
    let mut regions: BTreeMap<&str, usize> = BTreeMap::new();
    for member in &row.members {
        *regions.entry(&member.plan.region).or_default() += 1;
    }
    let regions: Vec<_> = regions
        .iter()
        .map(|(region, count)| format!("{count} in {region}"))
        .collect();
    let used: Vec<_> = row.transfers.iter().map(ToString::to_string).collect();
    let kept = row.autoshutdown.map_or_else(
        || "goes with its transfer".to_owned(),
        |minutes| format!("kept for {minutes} minutes"),
    );
    lines.line(format_args!(
        "{}  {}  {:<6}  {}, {kept}{}{}",
        row.id,
        text::moment(row.created),
        status(row),
        regions.join(", "),
        if used.is_empty() { "" } else { ", used by " },
        used.join(", "),
    ));
}
