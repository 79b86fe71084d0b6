//! `skyhaul chunks`.

use skyhaul_model::Result;
use skyhaul_workflow::inspect::chunks::{ChunkInfo, ChunkState, Receipt};

use crate::args::ChunksArgs;
use crate::context::{Context, driver};
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::{Lines, text};

/// Runs it.
pub(crate) async fn run(context: &Context, args: &ChunksArgs) -> Result<u8> {
    let embedded = driver(&context.config(Vec::new())?)?;
    let id = embedded.find(&args.id).await?;
    let mut lines = context.lines();
    let mut show = |chunk: ChunkInfo| {
        if context.global.json {
            lines.json(&Line::new(Some(&id), Body::Chunk { chunk: &chunk }));
        } else {
            line(&mut lines, &chunk);
        }
        !lines.failed()
    };
    let shown = Box::pin(embedded.chunks(&id, args.state, &mut show));
    let ended = tokio::select! {
        ended = shown => ended,
        () = context.cancel.cancelled() => Ok(()),
    };
    let gone = lines.failed();
    lines.end()?;
    ended?;
    Ok(if context.cancel.is_cancelled() && !gone {
        exit::INTERRUPTED
    } else {
        exit::DONE
    })
}

/// The name of a state.
fn name(state: ChunkState) -> &'static str {
    match state {
        ChunkState::Pending => "pending",
        ChunkState::Leased => "leased",
        ChunkState::Done => "done",
        ChunkState::Failed => "failed",
    }
}

/// What was recorded, in a few words.
fn receipt(receipt: Option<&Receipt>) -> String {
    match receipt {
        None => String::new(),
        Some(Receipt::Part { etag, checksum }) => {
            let etag = etag.as_deref().map(text::printable);
            let checksum = checksum.as_ref().map(ToString::to_string);
            let said = [etag.map(std::borrow::Cow::into_owned), checksum];
            said.into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
        Some(Receipt::Bundle {
            copied,
            skipped,
            failed,
        }) => format!("{copied} copied, {skipped} skipped, {failed} failed"),
    }
}

fn line(lines: &mut Lines, chunk: &ChunkInfo) {
    let key = text::printable(&chunk.key);
    let what = match chunk.part {
        Some(part) => {
            let end = chunk.offset + chunk.bytes;
            format!("{key} part {part} [{}, {end})", chunk.offset)
        }
        None if chunk.objects == 1 => key.into_owned(),
        None => format!("{key} and {} more", chunk.objects - 1),
    };
    let holder = match (&chunk.holder, chunk.fence) {
        (Some(holder), Some(fence)) => format!("{holder}#{fence}"),
        _ => "-".to_owned(),
    };
    let name_of = format!("{}/{}", chunk.group, chunk.chunk);
    let (state, size) = (name(chunk.state), text::size(chunk.bytes));
    let receipt = receipt(chunk.receipt.as_ref());
    let line = format!("{name_of:<10}  {state:<7}  {size:>10}  {holder:<30}  {what}  {receipt}");
    lines.line(format_args!("{}", line.trim_end()));
}
