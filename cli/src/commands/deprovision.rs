//! `skyhaul deprovision`.

use skyhaul_model::{Result, TransferId};
use skyhaul_workflow::deprovision::Deprovision;

use super::{dataplane, deployment};
use crate::args::DeprovisionArgs;
use crate::context::Context;
use crate::exit;

/// Runs it.
pub(crate) async fn run(context: &Context, args: &DeprovisionArgs) -> Result<u8> {
    let deployed = deployment::said(context, &args.place).await?;
    let what = Deprovision {
        all: args.all,
        owner: args.owner.clone(),
    };
    let screen = context.screen.clone();
    let mut told = move |id: &TransferId| screen.warn(&format!("{id} is asked to pause"));
    let done = deployed.deprovision(&what, deployment::EVERY, &mut told);
    let done = context.unless_cancelled(done).await?;
    let mut lines = context.lines();
    if !context.global.json && !context.global.quiet {
        for id in &done.paused {
            lines.line(format_args!("{id}  paused: skyhaul resume {id}"));
        }
    }
    for row in done.ending.iter().chain(&done.used) {
        dataplane::show(context, &mut lines, row);
    }
    lines.end().map(|()| exit::DONE)
}
