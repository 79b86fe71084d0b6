//! `skyhaul report`.

use skyhaul_model::Result;
use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_workflow::report::Report;

use super::carrier::Carrier;
use crate::args::ReportArgs;
use crate::context::Context;
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::{Lines, text};

/// Runs it.
pub(crate) async fn run(context: &Context, args: &ReportArgs) -> Result<u8> {
    let (carrier, id) = Carrier::find(context, &args.place, &args.id).await?;
    let is_wanted = |outcome: &Outcome| args.only.is_none_or(|only| only == outcome.action);
    if let Some(path) = &args.output {
        let mut report = Report::create(path)?;
        let mut add = |outcome: Outcome| {
            if is_wanted(&outcome) {
                report.add(&outcome)?;
            }
            Ok(())
        };
        let told = Box::pin(carrier.outcomes(&id, &mut add));
        context.unless_cancelled(told).await?;
        return report.finish().map(|()| exit::DONE);
    }
    let mut lines = context.lines();
    let mut show = |outcome: Outcome| {
        if is_wanted(&outcome) {
            if context.global.json {
                let object = &outcome;
                lines.json(&Line::new(Some(&id), Body::Outcome { object }));
            } else {
                line(&mut lines, &outcome);
            }
        }
        Ok(())
    };
    // Who writes to a reader that went away is cancelled.
    let told = Box::pin(carrier.outcomes(&id, &mut show));
    let ended = context.unless_cancelled(told).await;
    let gone = lines.failed();
    lines.end()?;
    if gone {
        Ok(exit::DONE)
    } else {
        ended.map(|()| exit::DONE)
    }
}

fn line(lines: &mut Lines, outcome: &Outcome) {
    let action = match outcome.action {
        Action::Copied => "copied",
        Action::Skipped => "skipped",
        Action::Deleted => "deleted",
        Action::Failed => "failed",
    };
    let size = text::size(outcome.size);
    let key = text::printable(&outcome.destination_key);
    let error = outcome.error.as_ref().map(|error| error.message.as_str());
    let why = error.or(outcome.reason.as_deref()).map(text::printable);
    match why {
        Some(why) => lines.line(format_args!("{action:<7}  {size:>10}  {key}: {why}")),
        None => lines.line(format_args!("{action:<7}  {size:>10}  {key}")),
    }
}
