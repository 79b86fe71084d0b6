//! `skyhaul ls`.

use skyhaul_model::Result;
use skyhaul_workflow::embedded::LsEntry;

use crate::args::LsArgs;
use crate::context::{Context, driver};
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::{Lines, text};

/// What was listed.
#[derive(Default)]
struct Total {
    objects: u64,
    bytes: u64,
}

/// Runs it.
pub(crate) async fn run(context: &Context, args: &LsArgs) -> Result<u8> {
    let config = context.config(args.checkers.overrides().into_iter().collect())?;
    let endpoint = args.side.endpoint(&config)?;
    let embedded = driver(&config)?;
    let mut lines = context.lines();
    let mut total = Total::default();
    let json = context.global.json;
    let mut show = |entry: LsEntry| {
        if let LsEntry::Object(object) = &entry {
            total.objects += 1;
            total.bytes += object.size;
        }
        if json {
            lines.json(&Line::new(None, event(&entry)));
        } else {
            line(&mut lines, &entry, args.human_readable);
        }
    };
    let listing = Box::pin(embedded.ls(&endpoint, args.recursive, !args.unordered, &mut show));
    let result = context.unless_cancelled(listing).await;
    if lines.failed() {
        return lines.end().map(|()| exit::DONE);
    }
    if result.is_ok() && args.summarize {
        let Total { objects, bytes } = total;
        if json {
            lines.json(&Line::new(None, Body::Total { objects, bytes }));
        } else {
            lines.line(format_args!(
                "{}, {}",
                text::objects(objects),
                text::size(bytes)
            ));
        }
    }
    lines.end()?;
    result.map(|()| exit::DONE)
}

fn event(entry: &LsEntry) -> Body<'_> {
    match entry {
        LsEntry::Object(object) => Body::object(object),
        LsEntry::Folder(key) => Body::Folder { key },
    }
}

fn line(lines: &mut Lines, entry: &LsEntry, human: bool) {
    match entry {
        LsEntry::Object(object) => {
            let time = text::moment(object.mtime);
            let key = text::printable(&object.key);
            if human {
                lines.line(format_args!("{time} {:>10} {key}", text::size(object.size)));
            } else {
                lines.line(format_args!("{time} {:>14} {key}", object.size));
            }
        }
        LsEntry::Folder(key) => {
            let width = if human { 10 } else { 14 };
            lines.line(format_args!(
                "{:19} {:>width$} {}",
                "",
                "DIR",
                text::printable(key)
            ));
        }
    }
}
