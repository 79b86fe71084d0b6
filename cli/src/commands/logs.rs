//! `skyhaul logs`.

use skyhaul_model::Result;
use skyhaul_workflow::inspect::logs::Which;

use super::carrier::Carrier;
use crate::args::LogsArgs;
use crate::context::Context;
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::text;

/// Columns of a gateway's name.
const NAME: usize = 8;

/// Runs it.
pub(crate) async fn run(context: &Context, args: &LogsArgs) -> Result<u8> {
    let (carrier, id) = Carrier::find(context, &args.place, &args.id).await?;
    let which = Which {
        gateway: args.gateway.clone(),
        follow: args.follow,
    };
    let mut lines = context.lines();
    let mut show = |from: &str, text: &str| {
        if context.global.json {
            lines.json(&Line::new(Some(&id), Body::Log { from, text }));
        } else {
            let text = text::printable(text);
            lines.line(format_args!("{from:<NAME$} | {text}"));
        }
        if args.follow {
            lines.flush();
        }
        !lines.failed()
    };
    let ended = Box::pin(carrier.logs(&id, &which, &mut show, &context.cancel)).await;
    let gone = lines.failed();
    lines.end()?;
    ended?;
    Ok(if context.cancel.is_cancelled() && !gone {
        exit::INTERRUPTED
    } else {
        exit::DONE
    })
}
