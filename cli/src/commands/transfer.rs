//! Planning and running a transfer: what `cp`, `sync` and `resume` share.

use std::path::{Path, PathBuf};

use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_model::spec::Mode;
use skyhaul_model::{Error, ErrorKind, Result, TransferId, TransferSpec};
use skyhaul_workflow::embedded::Start;
use skyhaul_workflow::{CopyRequest, Embedded, Event, Summary};

use super::deployment;
use crate::args::{HowArgs, WhatArgs};
use crate::config::{Config, Name};
use crate::context::{Context, sliced_driver};
use crate::output::schema::{Body, Line};
use crate::output::text;
use crate::{confirm, exit};

/// Plans a request, then runs it, or shows what would happen. A sync that finds an unfinished
/// transfer of its own finishes that, then syncs once more.
pub(crate) async fn request(
    context: &Context,
    what: &WhatArgs,
    how: &HowArgs,
    config: &Config,
    request: CopyRequest,
) -> Result<u8> {
    if let Some(place) = config.stack().filter(|_| !what.dry_run) {
        return Box::pin(deployment::request(context, how, config, &place, request)).await;
    }
    if let Some(flag) = how.submit.needs_stack() {
        let message = format!("{flag} is about a deployment, and none is named");
        return Err(Error::invalid(message).hint("say --stack NAME, or set `stack`"));
    }
    let yes = config.switch(Name::Autoconfirm);
    let deletes = request.delete.is_some();
    if deletes && !what.dry_run {
        confirm::possible(yes)?;
    }
    let embedded = sliced_driver(config, &how.speed)?;
    let spec = context
        .unless_cancelled(Box::pin(embedded.plan(request)))
        .await?;
    if what.dry_run {
        return dry_run(context, &embedded, spec).await;
    }
    let report = &how.report.report;
    let begin = |fresh| start(context, fresh, report.clone(), yes || !deletes);
    let earlier = Box::pin(embedded.run(spec.clone(), begin(what.fresh))).await?;
    if !earlier.resumed {
        return Ok(finish(context, &earlier));
    }
    if spec.mode != Mode::Sync {
        if let Some(id) = &earlier.transfer {
            let created = embedded.transfer(id).await?.row.created;
            context.screen.event(&Event::Note(format!(
                "this was the transfer begun at {created:.0}; what came to the source since it was \
                 listed was not looked at: run the command again for that"
            )));
        }
        return Ok(finish(context, &earlier));
    }
    finish(context, &earlier);
    // What changed since the earlier run's listing is not in it: both sides are looked at anew.
    set_aside(report.as_deref(), &earlier)?;
    context.screen.event(&Event::Note(
        "the interrupted transfer is finished; syncing what changed since".to_owned(),
    ));
    let summary = Box::pin(embedded.run(spec, begin(true))).await?;
    Ok(finish(context, &summary))
}

/// Keeps a report from being replaced by the next one: `FILE` becomes `FILE.ID`.
fn set_aside(report: Option<&Path>, summary: &Summary) -> Result<()> {
    let (Some(report), Some(id)) = (report, &summary.transfer) else {
        return Ok(());
    };
    let mut aside = report.as_os_str().to_owned();
    aside.push(format!(".{id}"));
    std::fs::rename(report, &aside).map_err(|error| {
        let kind = ErrorKind::Internal;
        Error::control(kind, "cannot rename the report of the interrupted transfer")
            .object(report.display().to_string())
            .cause(error)
    })
}

/// Goes on with a transfer.
pub(crate) async fn resume(
    context: &Context,
    config: &Config,
    embedded: &Embedded,
    id: Option<TransferId>,
    report: Option<PathBuf>,
) -> Result<u8> {
    let start = start(context, false, report, config.switch(Name::Autoconfirm));
    let summary = Box::pin(embedded.resume(id, start)).await?;
    Ok(finish(context, &summary))
}

fn start(context: &Context, fresh: bool, report: Option<PathBuf>, yes: bool) -> Start {
    let (screen, log) = (context.screen.clone(), context.log.clone());
    let confirm = confirm::closure(yes, context.screen.clone(), context.cancel.clone());
    let events = move |event: Event| {
        if let Event::Started { log: path, .. } = &event
            && let Err(error) = log.open(path)
        {
            screen.warn(&format!("no log: {}: {error}", path.display()));
        }
        record(&event);
        screen.event(&event);
    };
    Start {
        fresh,
        report,
        confirm,
        events: Box::new(events),
        cancel: context.cancel.clone(),
    }
}

/// Puts an event on record in the log; progress is for the screen.
fn record(event: &Event) {
    match event {
        Event::Started {
            transfer, resumed, ..
        } => {
            tracing::info!(%transfer, resumed, version = env!("CARGO_PKG_VERSION"), "started");
        }
        Event::Submitted { transfer, .. } => tracing::info!(%transfer, "submitted"),
        Event::Note(note) => tracing::info!("{note}"),
        Event::Progress(_) => {}
        Event::Failed(outcome) => {
            let key = outcome
                .source_key
                .as_deref()
                .unwrap_or(&outcome.destination_key);
            let why = outcome
                .error
                .as_ref()
                .map_or("", |error| error.message.as_str());
            tracing::warn!(key, attempts = outcome.attempts, "failed: {why}");
        }
    }
}

fn finish(context: &Context, summary: &Summary) -> u8 {
    let code = exit::of_summary(summary);
    let numbers = &summary.progress;
    tracing::info!(
        status = ?summary.status,
        code,
        objects = numbers.objects_done,
        bytes = numbers.bytes_done,
        failed = numbers.failed,
        seconds = summary.elapsed.as_secs_f64(),
        "ended"
    );
    context.screen.summary(summary, code);
    code
}

async fn dry_run(context: &Context, embedded: &Embedded, spec: TransferSpec) -> Result<u8> {
    let source = spec.source.location.clone();
    let destinations = spec.destinations.clone();
    let renames = spec.renames.clone();
    let mut lines = context.lines();
    let json = context.global.json;
    let mut show_at = |outcome: Outcome| {
        let at = outcome.destination as usize;
        if json {
            lines.json(&Line::new(None, Body::Planned { object: &outcome }));
        } else {
            let destination = destinations.get(at).map_or(&source, |side| &side.location);
            lines.line(format_args!(
                "{}",
                text::planned(&outcome, &source, destination)
            ));
        }
    };
    let mut show = |outcome: Outcome| {
        if renames.is_empty() || outcome.action != Action::Copied {
            return show_at(outcome);
        }
        for (at, rename) in (0..).zip(&renames) {
            show_at(Outcome {
                destination: at,
                destination_key: rename.key(&outcome.destination_key),
                ..outcome.clone()
            });
        }
    };
    let work = embedded.dry_run(spec, &mut show, context.cancel.clone());
    let result = Box::pin(work).await;
    let gone = lines.failed();
    lines.end()?;
    if gone {
        return Ok(exit::DONE);
    }
    Ok(finish(context, &result?))
}
