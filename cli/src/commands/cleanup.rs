//! `skyhaul cleanup`.

use skyhaul_model::Result;

use crate::args::CleanupArgs;
use crate::context::{Context, driver};
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::text;

/// Runs it.
pub(crate) async fn run(context: &Context, args: &CleanupArgs) -> Result<u8> {
    let embedded = driver(&context.config(args.overrides())?)?;
    let work = Box::pin(embedded.cleanup(args.id.as_ref(), args.all));
    let cleaned = context.unless_cancelled(work).await?;
    let mut lines = context.lines();
    if context.global.json {
        lines.json(&Line::new(
            args.id.as_ref(),
            Body::Cleaned { cleaned: &cleaned },
        ));
    } else {
        for problem in &cleaned.problems {
            context
                .screen
                .warn(&format!("not removed: {}", text::printable(problem)));
        }
        if !context.global.quiet {
            lines.line(format_args!(
                "transfers cleaned: {}; unfinished uploads and temporary files removed: {}",
                cleaned.transfers, cleaned.uploads,
            ));
        }
    }
    lines.end()?;
    Ok(if cleaned.problems.is_empty() {
        exit::DONE
    } else {
        exit::INCOMPLETE
    })
}
