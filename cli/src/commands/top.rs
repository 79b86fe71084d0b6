//! `skyhaul top`.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use console::Term;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_workflow::inspect::top::Snapshot;

use super::carrier::Carrier;
use crate::args::TopArgs;
use crate::context::Context;
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::table;

/// How often the table is drawn.
const DRAW: Duration = Duration::from_secs(1);
/// The same for a deployment: each look reads all rows of its groups, and is paid for.
const DRAW_DEPLOYED: Duration = Duration::from_secs(5);

/// Runs it.
pub(crate) async fn run(context: &Context, args: &TopArgs) -> Result<u8> {
    let (carrier, id) = Carrier::find(context, &args.place, &args.id).await?;
    let live = !args.once && !context.global.json && std::io::stdout().is_terminal();
    let mut screen = Table::new();
    loop {
        let looked = context.unless_cancelled(carrier.snapshot(&id));
        let snapshot = match looked.await {
            Err(error) if live && error.kind == ErrorKind::Interrupted => {
                return Ok(exit::INTERRUPTED);
            }
            looked => looked?,
        };
        if !live {
            let snapshot = snapshot.ok_or_else(|| unplanned(&id))?;
            return once(context, &id, &snapshot);
        }
        if let Some(snapshot) = snapshot {
            let drawn = screen.draw(&snapshot);
            drawn.map_err(|error| {
                Error::control(ErrorKind::Full, "cannot write to the terminal").cause(error)
            })?;
            if !snapshot.active {
                return Ok(exit::DONE);
            }
        }
        let every = match carrier {
            Carrier::There(_) => DRAW_DEPLOYED,
            Carrier::Here(_) => DRAW,
        };
        let slept = context
            .cancel
            .run_until_cancelled(tokio::time::sleep(every));
        if slept.await.is_none() {
            return Ok(exit::INTERRUPTED);
        }
    }
}

fn unplanned(id: &TransferId) -> Error {
    let message = "the transfer has been submitted, and not been planned yet";
    Error::control(ErrorKind::NotFound, message)
        .object(id.as_str())
        .retryable(true)
        .hint("look again in some seconds; `skyhaul status` shows what was submitted")
}

/// Shows it once.
fn once(context: &Context, id: &TransferId, snapshot: &Snapshot) -> Result<u8> {
    let mut lines = context.lines();
    if context.global.json {
        let top = snapshot;
        lines.json(&Line::new(Some(id), Body::Top { top }));
    } else {
        for line in table::lines(snapshot, None) {
            lines.line(format_args!("{line}"));
        }
    }
    lines.end().map(|()| exit::DONE)
}

/// The table on the terminal.
struct Table {
    terminal: Term,
    drawn: usize,
    last: Option<(Instant, u64)>,
}

impl Table {
    fn new() -> Self {
        Self {
            terminal: Term::stdout(),
            drawn: 0,
            last: None,
        }
    }

    /// Draws it in the place of what was drawn before, as far as the terminal reaches.
    fn draw(&mut self, snapshot: &Snapshot) -> std::io::Result<()> {
        let now = (Instant::now(), snapshot.bytes_done);
        let speed = self.last.map(|(at, bytes)| {
            let seconds = now.0.duration_since(at).as_secs_f64().max(0.001);
            now.1.saturating_sub(bytes) as f64 / seconds
        });
        self.last = Some(now);
        let (height, width) = self.terminal.size();
        let (height, width) = (usize::from(height), usize::from(width));
        self.terminal.clear_last_lines(self.drawn)?;
        let mut lines = table::lines(snapshot, speed);
        lines.truncate(height.saturating_sub(1).max(1));
        for line in &lines {
            let line = console::truncate_str(line, width, "");
            self.terminal.write_line(&line)?;
        }
        self.drawn = lines.len();
        self.terminal.flush()
    }
}
