//! This machine as the source of a deployment's transfer: it joins, and must stay.

use std::net::IpAddr;

use skyhaul_model::mapping::SourceKind;
use skyhaul_model::{Error, ErrorKind, Result, Scheme};
use skyhaul_state::control::Submission;
use skyhaul_workflow::guest::Guest;
use skyhaul_workflow::order::Here;
use skyhaul_workflow::steps::Attempt;
use skyhaul_workflow::{CopyRequest, Deployed, Event, Order, Settings};

use super::deployment::{self, EVERY};
use crate::args::GuestArgs;
use crate::config::Config;
use crate::context::Context;

/// What this machine joins with.
pub(super) struct Joins {
    address: IpAddr,
    settings: Settings,
}

/// What this machine calls itself.
fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// What is at the source, if it is on this machine; refused (`Invalid`) for who does not mean to stay.
pub(super) async fn source(
    context: &Context,
    request: &mut CopyRequest,
    detach: bool,
) -> Result<Option<Here>> {
    if request.source.location.scheme != Scheme::Local {
        return Ok(None);
    }
    if detach {
        let message = "the source is on this machine, which must stay until all is copied";
        return Err(Error::invalid(message).hint("leave out --detach"));
    }
    let seen = Box::pin(skyhaul_workflow::here(request));
    let seen = context.unless_cancelled(seen).await?;
    Ok(Some(Here { host: host(), seen }))
}

/// What this machine joins with, if an order's source is on it. Refused (`Invalid`) if that is on another machine, or is
/// not what it was: what is not there would be deleted at the destination, or said to be lost.
pub(super) async fn joins(
    context: &Context,
    config: &Config,
    order: &Order,
    args: &GuestArgs,
) -> Result<Option<Joins>> {
    let Some(here) = &order.here else {
        return Ok(None);
    };
    let this = host();
    if here.host != this && !args.same_files {
        let message = format!("the source is on {}, and this is {this}", here.host);
        return Err(Error::invalid(message)
            .object(order.request.source.location.to_string())
            .hint("join there; --same-files says that this machine has the same files"));
    }
    let mut request = order.request.clone();
    let seen = Box::pin(skyhaul_workflow::here(&mut request));
    let seen = context.unless_cancelled(seen).await?;
    if !is_alike(here.seen, seen) {
        let message = "the source is not what it was: is it not mounted?";
        return Err(
            Error::new(skyhaul_model::Side::Source, ErrorKind::Changed, message)
                .object(request.source.location.to_string())
                .hint("join again when it is there"),
        );
    }
    let address = match args.address {
        Some(address) => address,
        None => context.unless_cancelled(skyhaul_stack::outside()).await?,
    };
    let settings = config.settings()?;
    Ok(Some(Joins { address, settings }))
}

/// Whether what is at a source may be what was there: of the same kind, and not empty if it was not.
fn is_alike(before: SourceKind, now: SourceKind) -> bool {
    match (before, now) {
        (SourceKind::Folder { objects, .. }, SourceKind::Folder { objects: left, .. }) => {
            objects == 0 || left > 0
        }
        (before, now) => before == now,
    }
}

/// Joins an attempt, and follows it.
pub(super) async fn join(
    context: &Context,
    deployed: &Deployed,
    submission: &Submission,
    joins: &Joins,
) -> Result<u8> {
    let note = stays(submission, joins.address);
    context.screen.event(&Event::Note(note));
    let guest = Guest::new(deployed, joins.address, &joins.settings);
    let attempt = Attempt {
        transfer: submission.transfer.clone(),
        attempt: submission.attempt,
    };
    let end = context.cancel.child_token();
    let joined = async {
        let joined = Box::pin(guest.join(&attempt, &context.cancel)).await;
        if joined.is_err() {
            end.cancel();
        }
        joined
    };
    let followed = async {
        loop {
            match deployment::follow(context, deployed, submission, &end).await {
                // What is sent does not depend on what is seen of it.
                Err(error) if error.retryable && !end.is_cancelled() => {
                    context.screen.warn(&error.to_string());
                    tokio::time::sleep(EVERY).await;
                }
                followed => return followed,
            }
        }
    };
    let (joined, followed) = tokio::join!(joined, followed);
    joined.map_err(|error| match error.hint {
        Some(_) => error,
        None => error.hint(format!("`skyhaul resume {}` joins again", attempt.transfer)),
    })?;
    followed
}

fn stays(submission: &Submission, address: IpAddr) -> String {
    format!(
        "this machine ({address}) has the source and must stay; should it leave, `skyhaul resume {}` joins again",
        submission.transfer
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_gone_is_not_what_was_there() {
        let folder = |objects| SourceKind::Folder {
            objects,
            more: false,
        };
        for (before, now, alike) in [
            (folder(1), folder(1), true),
            (folder(0), folder(0), true),
            (folder(0), folder(1), true),
            (folder(1), folder(0), false),
            (folder(1), SourceKind::Object, false),
            (SourceKind::Object, SourceKind::Object, true),
        ] {
            assert_eq!(is_alike(before, now), alike, "{before:?} {now:?}");
        }
    }
}
