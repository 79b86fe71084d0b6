//! Transfers that a deployment carries out: submitting, following, asking it to end one.

use std::time::Duration;

use jiff::Timestamp;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_stack::Place;
use skyhaul_state::TransferStatus;
use skyhaul_state::control::{Submission, Wish};
use skyhaul_workflow::deployed::Standing;
use skyhaul_workflow::inspect::arrival::{Arrival, Part};
use skyhaul_workflow::order::Here;
use skyhaul_workflow::{CopyRequest, Deployed, Event, Events, Order};
use tokio_util::sync::CancellationToken;

use super::guest::{self, Joins};
use crate::args::{HowArgs, ResumeArgs, StackArgs, SubmittedArgs, WaitArgs};
use crate::config::{Config, Name};
use crate::context::Context;
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::{Lines, text};

/// Between two looks at a transfer that is followed.
pub(super) const EVERY: Duration = Duration::from_secs(2);

/// Opens the deployment that a command is about.
pub(super) async fn open(context: &Context, place: &Place) -> Result<Deployed> {
    let outputs = context.unless_cancelled(place.outputs()).await?;
    outputs.deployed()
}

/// Where it is; refused (`Invalid`) if none is named.
pub(super) fn place(config: &Config) -> Result<Place> {
    config.stack().ok_or_else(|| {
        Error::invalid("this is about a deployment, and none is named")
            .hint("say --stack NAME, or set `stack`")
    })
}

/// The same where one must be said.
pub(super) async fn said(context: &Context, place: &StackArgs) -> Result<Deployed> {
    let config = context.config(place.overrides())?;
    open(context, &self::place(&config)?).await
}

/// Who submits, as the deployment shows it.
pub(super) fn owner() -> String {
    let user = ["USER", "USERNAME", "LOGNAME"].map(std::env::var);
    let user = user.into_iter().flatten().find(|name| !name.is_empty());
    user.unwrap_or_else(|| "unknown".to_owned())
}

/// The order of a request, and with what machines it is carried out.
pub(super) fn order(
    how: &HowArgs,
    config: &Config,
    request: CopyRequest,
    here: Option<Here>,
) -> Result<Order> {
    if request.delete.is_some() && !config.switch(Name::Autoconfirm) {
        return Err(Error::invalid("a deployment cannot ask before it deletes")
            .hint("-y says yes beforehand; --dry-run shows what would be deleted"));
    }
    if how.report.report.is_some() {
        return Err(Error::invalid(
            "--report is written by transfers of this machine only",
        ));
    }
    let mut base = how.speed.gateways.order()?;
    base.bwlimit = config.settings()?.bwlimit;
    Ok(Order {
        request,
        fleet: how.submit.fleet(base, config.machines()),
        here,
    })
}

/// Submits a request, and follows it unless that is not wanted.
pub(super) async fn request(
    context: &Context,
    how: &HowArgs,
    config: &Config,
    place: &Place,
    mut request: CopyRequest,
) -> Result<u8> {
    let here = guest::source(context, &mut request, how.submit.detach).await?;
    let order = order(how, config, request, here)?;
    let joins = guest::joins(context, config, &order, &how.submit.guest).await?;
    let id = how.submit.id.clone().unwrap_or_else(TransferId::generate);
    let new = Submission::new(id, order.text()?, owner(), Timestamp::now())?;
    let deployed = open(context, place).await?;
    let kept = context.unless_cancelled(deployed.submit(&new)).await?;
    if how.submit.detach {
        context.screen.event(&deployed.submitted(&kept));
        return Ok(exit::DONE);
    }
    go_on(context, &deployed, &kept, joins.as_ref()).await
}

/// Follows an attempt, and joins it if this machine has its source.
async fn go_on(
    context: &Context,
    deployed: &Deployed,
    submission: &Submission,
    joins: Option<&Joins>,
) -> Result<u8> {
    match joins {
        Some(joins) => Box::pin(guest::join(context, deployed, submission, joins)).await,
        None => follow(context, deployed, submission, &context.cancel).await,
    }
}

/// Follows an attempt until it has ended, or until `end`.
pub(super) async fn follow(
    context: &Context,
    deployed: &Deployed,
    submission: &Submission,
    end: &CancellationToken,
) -> Result<u8> {
    let screen = context.screen.clone();
    let mut events: Events = Box::new(move |event| screen.event(&event));
    let followed = deployed.follow(submission, EVERY, &mut events, end);
    let summary = followed.await?;
    let code = exit::of_summary(&summary);
    context.screen.summary(&summary, code);
    Ok(code)
}

/// Goes on with a transfer.
pub(super) async fn resume(
    context: &Context,
    config: &Config,
    place: &Place,
    args: &ResumeArgs,
) -> Result<u8> {
    let Some(id) = &args.id else {
        return Err(Error::invalid("which transfer of the deployment goes on?")
            .hint("`skyhaul status --stack NAME` lists them"));
    };
    let deployed = open(context, place).await?;
    let standing = context.unless_cancelled(deployed.standing(id)).await?;
    let order = Order::parse(&standing.submission.order)?;
    let joins = guest::joins(context, config, &order, &args.guest).await?;
    let begun = context.unless_cancelled(deployed.resume(id)).await?;
    go_on(context, &deployed, &begun, joins.as_ref()).await
}

/// Runs `wait`.
pub(super) async fn wait(context: &Context, args: &WaitArgs) -> Result<u8> {
    let deployed = said(context, &args.place).await?;
    if let Some(prefix) = &args.prefix
        && let Some(code) = arrival(context, &deployed, &args.id, prefix).await?
    {
        return Ok(code);
    }
    let standing = context
        .unless_cancelled(deployed.standing(&args.id))
        .await?;
    follow(context, &deployed, &standing.submission, &context.cancel).await
}

/// Waits until a part has arrived; `None` if the attempt ended before it had.
async fn arrival(
    context: &Context,
    deployed: &Deployed,
    id: &TransferId,
    prefix: &str,
) -> Result<Option<u8>> {
    let mut part = Part::new(prefix);
    loop {
        // Asked before the last look, so that what arrived until then counts.
        let standing = context.unless_cancelled(deployed.standing(id)).await?;
        let looked = Box::pin(deployed.arrival(id, &mut part));
        if let Arrival::Arrived { failed } = context.unless_cancelled(looked).await? {
            let text = match failed {
                0 => format!("everything under `{prefix}` has arrived"),
                _ => format!(
                    "everything under `{prefix}` has arrived but {failed} objects that failed"
                ),
            };
            context.screen.event(&Event::Note(text));
            return Ok(Some(if failed == 0 {
                exit::DONE
            } else {
                exit::INCOMPLETE
            }));
        }
        if !standing.is_live() {
            return Ok(None);
        }
        context
            .unless_cancelled(async {
                tokio::time::sleep(EVERY).await;
                Ok(())
            })
            .await?;
    }
}

/// Runs `pause`.
pub(super) async fn pause(context: &Context, args: &SubmittedArgs) -> Result<u8> {
    let deployed = said(context, &args.place).await?;
    let wished = context.unless_cancelled(deployed.pause(&args.id)).await?;
    until_over(context, &deployed, &wished).await
}

/// Runs `cancel`.
pub(super) async fn cancel(context: &Context, args: &SubmittedArgs) -> Result<u8> {
    let deployed = said(context, &args.place).await?;
    let wished = context.unless_cancelled(deployed.cancel(&args.id)).await?;
    until_over(context, &deployed, &wished).await
}

/// Waits until an attempt that is to end has ended; that it did not come to its end is what was wanted.
async fn until_over(context: &Context, deployed: &Deployed, wished: &Submission) -> Result<u8> {
    match follow(context, deployed, wished, &context.cancel).await {
        Ok(exit::INTERRUPTED) => Ok(exit::DONE),
        // It had not been planned yet.
        Err(error) if error.kind == ErrorKind::Interrupted && !context.cancel.is_cancelled() => {
            Ok(exit::DONE)
        }
        ended => ended,
    }
}

/// Runs `status`.
pub(super) async fn status(context: &Context, place: &Place, id: Option<&str>) -> Result<u8> {
    let deployed = open(context, place).await?;
    let standings = match id {
        Some(id) => vec![deployed.standing(&id.parse()?).await?],
        None => context.unless_cancelled(deployed.transfers()).await?,
    };
    let mut lines = context.lines();
    for standing in &standings {
        if context.global.json {
            let transfer = Some(&standing.submission.transfer);
            lines.json(&Line::new(transfer, Body::Submitted { standing }));
        } else if id.is_some() {
            details(&mut lines, standing);
        } else {
            line(&mut lines, standing);
        }
    }
    if standings.is_empty() && !context.global.json && !context.global.quiet {
        lines.line(format_args!("no transfers"));
    }
    lines.end().map(|()| exit::DONE)
}

/// How it stands, in a word.
fn word(standing: &Standing) -> &'static str {
    let status = standing.row.as_ref().map(|row| row.status);
    match (standing.is_live(), standing.submission.wish, status) {
        (true, Some(Wish::Pause), _) => "pausing",
        (true, Some(Wish::Cancel), _) => "cancelling",
        (true, None, _) => "running",
        (false, _, Some(TransferStatus::Succeeded)) => "done",
        (false, _, Some(TransferStatus::Incomplete)) => "incomplete",
        (false, _, Some(TransferStatus::Cancelled)) | (false, Some(Wish::Cancel), None) => {
            "cancelled"
        }
        (false, Some(Wish::Pause), _) => "paused",
        (false, _, _) => "failed",
    }
}

/// From where to where, once it is known.
pub(super) fn between(order: &str) -> String {
    let Ok(order) = Order::parse(order) else {
        return String::new();
    };
    text::sides(&order.request.source, &order.request.destinations)
}

fn line(lines: &mut Lines, standing: &Standing) {
    let submission = &standing.submission;
    let created = text::moment(submission.submitted);
    let share = text::share(&standing.progress);
    let (id, status, sides) = (
        &submission.transfer,
        word(standing),
        between(&standing.submission.order),
    );
    lines.line(format_args!(
        "{id}  {created}  {status:<11}  {share:<24}  {sides}"
    ));
}

fn details(lines: &mut Lines, standing: &Standing) {
    let submission = &standing.submission;
    let id = &submission.transfer;
    lines.line(format_args!("transfer  {id}"));
    lines.line(format_args!(
        "what      {}",
        between(&standing.submission.order)
    ));
    let (status, attempt) = (word(standing), submission.attempt);
    lines.line(format_args!("status    {status} (attempt {attempt})"));
    lines.line(format_args!(
        "created   {} UTC by {}",
        text::moment(submission.submitted),
        text::printable(&submission.owner)
    ));
    lines.line(format_args!(
        "bytes     {}",
        text::share(&standing.progress)
    ));
    lines.line(format_args!(
        "objects   {}",
        text::counts(&standing.progress)
    ));
    if let Some(dataplane) = &submission.dataplane {
        let gateways: Vec<_> = submission.gateways.iter().map(String::as_str).collect();
        lines.line(format_args!(
            "dataplane {dataplane} {}",
            gateways.join(", ")
        ));
    }
    let failure = standing.failure().map(|error| error.to_string());
    let noted = standing.row.as_ref().and_then(|row| row.error.clone());
    if let Some(error) = failure.or(noted) {
        lines.line(format_args!("error     {}", text::printable(&error)));
    }
    if !standing.is_live() && !standing.has_ended() {
        lines.line(format_args!("go on     skyhaul resume {id}"));
    }
}
