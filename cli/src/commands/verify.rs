//! `skyhaul verify`.

use skyhaul_model::Result;
use skyhaul_workflow::embedded::Difference;

use crate::args::VerifyArgs;
use crate::context::{Context, sliced_driver};
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::text;

/// Runs it.
pub(crate) async fn run(context: &Context, args: &VerifyArgs) -> Result<u8> {
    let config = context.config(args.overrides())?;
    let request = args.request(&config)?;
    let embedded = sliced_driver(&config, &args.speed)?;
    let mut lines = context.lines();
    let json = context.global.json;
    let mut show = |key: String, difference: Difference| {
        if json {
            let body = Body::Difference {
                key: &key,
                difference: &difference,
            };
            lines.json(&Line::new(None, body));
        } else {
            lines.line(format_args!(
                "{} {}",
                describe(&difference),
                text::printable(&key)
            ));
        }
    };
    let work = embedded.verify(request, &mut show, context.cancel.clone());
    let result = Box::pin(work).await;
    if lines.failed() {
        return lines.end().map(|()| exit::DIFFERENT);
    }
    let counts = match result {
        Ok(counts) => counts,
        Err(error) => {
            lines.end()?;
            return Err(error);
        }
    };
    let code = if counts.different > 0 {
        exit::DIFFERENT
    } else {
        exit::DONE
    };
    if json {
        lines.json(&Line::new(
            None,
            Body::Comparison {
                counts: &counts,
                exit_code: code,
            },
        ));
    } else if !context.global.quiet {
        lines.line(format_args!(
            "{} equal ({} by checksum, {} by size), {} different",
            text::objects(counts.equal),
            counts.by_checksum,
            counts.equal.saturating_sub(counts.by_checksum),
            counts.different,
        ));
    }
    lines.end().map(|()| code)
}

fn describe(difference: &Difference) -> String {
    match difference {
        Difference::Missing => "missing at the destination:".to_owned(),
        Difference::Extra => "only at the destination:".to_owned(),
        Difference::Size => "sizes differ:".to_owned(),
        Difference::Checksum => "checksums differ:".to_owned(),
        Difference::Unknown(why) => format!("not compared ({}):", text::printable(why)),
    }
}
