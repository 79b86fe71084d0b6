//! `skyhaul status`.

use skyhaul_model::Result;
use skyhaul_state::TransferStatus;
use skyhaul_workflow::embedded::TransferInfo;

use super::deployment;
use crate::args::StatusArgs;
use crate::context::{Context, driver};
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::{Lines, text};

/// Runs it.
pub(crate) async fn run(context: &Context, args: &StatusArgs) -> Result<u8> {
    let config = context.config(args.place.overrides())?;
    if let Some(place) = config.stack() {
        return deployment::status(context, &place, args.id.as_deref()).await;
    }
    let embedded = driver(&config)?;
    let mut lines = context.lines();
    let transfers = match &args.id {
        Some(id) => {
            let id = embedded.find(id).await?;
            vec![embedded.transfer(&id).await?]
        }
        None => embedded.transfers().await?,
    };
    for info in &transfers {
        if context.global.json {
            lines.json(&Line::new(Some(&info.row.id), Body::Transfer { info }));
        } else if args.id.is_some() {
            details(&mut lines, info);
        } else {
            line(&mut lines, info);
        }
    }
    if transfers.is_empty() && !context.global.json && !context.global.quiet {
        lines.line(format_args!("no transfers"));
    }
    lines.end().map(|()| exit::DONE)
}

/// Its status in a word; nobody at work on a running transfer means that it was interrupted.
fn status(info: &TransferInfo) -> &'static str {
    match info.row.status {
        TransferStatus::Running if info.active => "running",
        TransferStatus::Running => "interrupted",
        TransferStatus::Succeeded => "done",
        TransferStatus::Incomplete => "incomplete",
        TransferStatus::Failed => "failed",
        TransferStatus::Cancelled => "cancelled",
    }
}

fn sides(info: &TransferInfo) -> String {
    text::sides(&info.row.spec.source, &info.row.spec.destinations)
}

fn line(lines: &mut Lines, info: &TransferInfo) {
    let created = text::moment(info.row.created);
    let share = text::share(&info.progress);
    let (id, status, sides) = (&info.row.id, status(info), sides(info));
    lines.line(format_args!(
        "{id}  {created}  {status:<11}  {share:<24}  {sides}"
    ));
}

fn details(lines: &mut Lines, info: &TransferInfo) {
    let row = &info.row;
    lines.line(format_args!("transfer  {}", row.id));
    lines.line(format_args!("what      {}", sides(info)));
    lines.line(format_args!(
        "status    {} (attempt {})",
        status(info),
        row.attempt
    ));
    lines.line(format_args!("created   {} UTC", text::moment(row.created)));
    lines.line(format_args!("updated   {} UTC", text::moment(row.updated)));
    lines.line(format_args!("bytes     {}", text::share(&info.progress)));
    lines.line(format_args!("objects   {}", text::counts(&info.progress)));
    if let Some(error) = &row.error {
        lines.line(format_args!("error     {}", text::printable(error)));
    }
    lines.line(format_args!("log       {}", info.log.display()));
    if row.status == TransferStatus::Running && !info.active {
        lines.line(format_args!("go on     skyhaul resume {}", row.id));
    }
}
