//! `skyhaul top`.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use console::Term;
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_workflow::inspect::top::Snapshot;

use crate::args::TopArgs;
use crate::context::{Context, driver};
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::table;

/// How often the table is drawn.
const DRAW: Duration = Duration::from_secs(1);

/// Runs it.
pub(crate) async fn run(context: &Context, args: &TopArgs) -> Result<u8> {
    let embedded = driver(&context.config(Vec::new())?)?;
    let id = embedded.find(&args.id).await?;
    let live = !args.once && !context.global.json && std::io::stdout().is_terminal();
    let mut screen = Table::new();
    loop {
        let snapshot = embedded.snapshot(&id).await?;
        if !live {
            let mut lines = context.lines();
            if context.global.json {
                let top = &snapshot;
                lines.json(&Line::new(Some(&id), Body::Top { top }));
            } else {
                for line in table::lines(&snapshot, None) {
                    lines.line(format_args!("{line}"));
                }
            }
            return lines.end().map(|()| exit::DONE);
        }
        let drawn = screen.draw(&snapshot);
        drawn.map_err(|error| {
            Error::control(ErrorKind::Full, "cannot write to the terminal").cause(error)
        })?;
        if !snapshot.active {
            return Ok(exit::DONE);
        }
        let slept = context.cancel.run_until_cancelled(tokio::time::sleep(DRAW));
        if slept.await.is_none() {
            return Ok(exit::INTERRUPTED);
        }
    }
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
