//! `skyhaul undeploy`.

use skyhaul_model::{ErrorKind, Result};
use skyhaul_stack::{CLOSED, Undeploy};

use super::deployment;
use crate::args::UndeployArgs;
use crate::config::Name;
use crate::context::Context;
use crate::{confirm, exit};

/// Runs it.
pub(crate) async fn run(context: &Context, args: &UndeployArgs) -> Result<u8> {
    let config = context.config([args.place.overrides(), args.yes.overrides()].concat())?;
    let undeploy = Undeploy {
        place: deployment::place(&config)?,
        every: deployment::EVERY,
    };
    let question = format!("remove the deployment {}? [y/N] ", undeploy.place.stack);
    if !confirm::agreed(
        config.switch(Name::Autoconfirm),
        &question,
        &context.screen,
        &context.cancel,
    )? {
        return Ok(exit::DONE);
    }
    let screen = context.screen.clone();
    let mut told = move |line: String| screen.warn(&line);
    context
        .unless_cancelled(Box::pin(undeploy.run(&mut told)))
        .await
        .map_err(|error| match error.kind {
            ErrorKind::Interrupted => error.hint(CLOSED),
            _ => error,
        })?;
    Ok(exit::DONE)
}
