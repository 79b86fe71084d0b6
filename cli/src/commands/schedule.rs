//! `skyhaul schedule`.

use skyhaul_model::{Error, Result};
use skyhaul_stack::{Scheduled, Schedules, Times};
use skyhaul_state::control::{ControlState, Overlap, Schedule, no_schedule};
use skyhaul_workflow::Deployed;

use super::{deployment, sync};
use crate::args::{NamedArgs, ScheduleArgs, ScheduleCommand, StackArgs, SyncArgs};
use crate::config::Config;
use crate::context::Context;
use crate::exit;
use crate::output::Lines;
use crate::output::schema::{Body, Line};

/// A deployment and its schedules.
struct Both {
    deployed: Deployed,
    schedules: Schedules,
}

impl Both {
    async fn said(context: &Context, place: &StackArgs) -> Result<Self> {
        Self::open(context, &context.config(place.overrides())?).await
    }

    async fn open(context: &Context, config: &Config) -> Result<Self> {
        let place = deployment::place(config)?;
        let outputs = context.unless_cancelled(place.outputs()).await?;
        Ok(Self {
            deployed: outputs.deployed()?,
            schedules: Schedules::of(&outputs)?,
        })
    }

    fn control(&self) -> &dyn ControlState {
        &*self.deployed.control
    }
}

/// Runs it.
pub(crate) async fn run(context: &Context, args: &ScheduleArgs) -> Result<u8> {
    match &args.command {
        ScheduleCommand::Add {
            name,
            rate,
            cron,
            timezone,
            queue,
            sync,
        } => {
            let expression = match (rate, cron) {
                (Some(rate), _) => format!("rate({})", rate.trim()),
                (None, cron) => format!("cron({})", cron.as_deref().unwrap_or_default().trim()),
            };
            let times = Times {
                expression,
                timezone: timezone.clone(),
            };
            let overlap = if *queue {
                Overlap::Queue
            } else {
                Overlap::Refuse
            };
            Box::pin(add(context, name, times, overlap, sync)).await
        }
        ScheduleCommand::List { place } => list(context, place).await,
        ScheduleCommand::Pause(args) => switch(context, args, false).await,
        ScheduleCommand::Resume(args) => switch(context, args, true).await,
        ScheduleCommand::Remove(args) => {
            let both = Both::said(context, &args.place).await?;
            // First what fires.
            both.schedules.remove(&args.name).await?;
            both.control().drop_schedule(&args.name).await?;
            Ok(exit::DONE)
        }
    }
}

async fn add(
    context: &Context,
    name: &str,
    times: Times,
    overlap: Overlap,
    args: &SyncArgs,
) -> Result<u8> {
    if args.what.dry_run || args.how.submit.detach || args.how.submit.id.is_some() {
        let message = "--dry-run, --detach and --id are about one transfer, not about a schedule";
        return Err(Error::invalid(message));
    }
    let (config, request) = sync::request(context, args)?;
    let order = deployment::order(&args.how, &config, request, None)?;
    let new = Schedule::new(name, order.text()?, deployment::owner(), overlap)?;
    let both = Both::open(context, &config).await?;
    // First what it finds when it fires.
    both.control().set_schedule(&new).await?;
    both.schedules.set(name, &times, true).await?;
    Ok(exit::DONE)
}

async fn switch(context: &Context, args: &NamedArgs, enabled: bool) -> Result<u8> {
    let both = Both::said(context, &args.place).await?;
    let known = both.schedules.get(&args.name).await?;
    let known = known.ok_or_else(|| no_schedule(&args.name))?;
    let set = both.schedules.set(&args.name, &known.times, enabled);
    set.await.map(|()| exit::DONE)
}

async fn list(context: &Context, place: &StackArgs) -> Result<u8> {
    let both = Both::said(context, place).await?;
    let mut lines = context.lines();
    for row in both.control().schedules().await? {
        let found = both.schedules.get(&row.name).await?;
        if context.global.json {
            let fires = found.as_ref().is_some_and(|found| found.enabled);
            let times = found.as_ref().map(|found| &*found.times.expression);
            lines.json(&Line::new(
                row.last.as_ref(),
                Body::schedule(&row, times, fires),
            ));
        } else {
            line(&mut lines, &row, found.as_ref());
        }
    }
    lines.end().map(|()| exit::DONE)
}

fn line(lines: &mut Lines, row: &Schedule, found: Option<&Scheduled>) {
    let (name, last) = (&row.name, row.last.as_ref());
    let last = last.map_or_else(|| "has not run".to_owned(), |last| format!("last {last}"));
    let times = found.map_or("never fires", |found| &found.times.expression);
    let zone = found.and_then(|found| found.times.timezone.as_deref());
    let paused = found.is_some_and(|found| !found.enabled);
    lines.line(format_args!(
        "{name}  {times} {}{}  {}, {last}",
        zone.unwrap_or("UTC"),
        if paused { ", paused" } else { "" },
        deployment::between(&row.order),
    ));
}
