//! `skyhaul dataplane`.

use std::collections::BTreeMap;

use skyhaul_model::Result;
use skyhaul_state::control::{DataplaneChange, DataplaneRow, DataplaneStatus};

use super::deployment;
use crate::args::{DataplaneArgs, DataplaneCommand};
use crate::context::Context;
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::{Lines, text};

/// Runs it.
pub(crate) async fn run(context: &Context, args: &DataplaneArgs) -> Result<u8> {
    let (DataplaneCommand::List { place } | DataplaneCommand::Delete { place, .. }) = &args.command;
    let deployed = deployment::said(context, place).await?;
    let control = &deployed.control;
    let rows = match &args.command {
        DataplaneCommand::List { .. } => context.unless_cancelled(control.dataplanes()).await?,
        DataplaneCommand::Delete { id, .. } => {
            let end = control.change(id, &DataplaneChange::EndIdle);
            vec![context.unless_cancelled(end).await?]
        }
    };
    let mut lines = context.lines();
    for row in rows
        .iter()
        .filter(|row| row.status != DataplaneStatus::Ended)
    {
        if context.global.json {
            lines.json(&Line::new(None, Body::dataplane(row)));
        } else {
            line(&mut lines, row);
        }
    }
    lines.end().map(|()| exit::DONE)
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
