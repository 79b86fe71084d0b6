//! The screen of people: a live bar on a terminal, plain lines elsewhere, results on stdout.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use skyhaul_model::outcome::Outcome;
use skyhaul_model::{Error, ErrorKind, TransferId};
use skyhaul_state::TransferStatus;
use skyhaul_workflow::summary::ProgressEvent;
use skyhaul_workflow::{Event, Summary};

use super::rate::{Rate, Speed};
use super::{Show, summary, text};

/// How often a line says how far it is where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Failed objects shown as they come; the report has all.
const FAILURES_SHOWN: u64 = 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Human {
    bar: Option<ProgressBar>,
    live: bool,
    quiet: bool,
    verbose: bool,
    rate: Rate,
    last_line: Instant,
    failures: u64,
    transfer: Option<TransferId>,
    /// The deployment that carries it out, if one does.
    stack: Option<String>,
}

impl Human {
    /// `live` draws a bar on stderr.
    pub(crate) fn new(live: bool, quiet: bool, verbose: bool) -> Self {
        Self {
            bar: None,
            live: live && !quiet,
            quiet,
            verbose,
            rate: Rate::default(),
            last_line: Instant::now(),
            failures: 0,
            transfer: None,
            stack: None,
        }
    }

    /// Begins with a transfer: a command may run one after the other.
    fn begin(&mut self, transfer: &TransferId) {
        self.transfer = Some(transfer.clone());
        self.rate = Rate::default();
        self.failures = 0;
        self.bar = self.live.then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
    }

    /// A line on stderr, above the bar. Nothing can be done about a terminal that is gone.
    fn say(&self, line: &str) {
        let write = || {
            let _ = writeln!(io::stderr(), "{line}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn progress(&mut self, numbers: &ProgressEvent) {
        let speed = self.rate.update(numbers);
        if self.quiet {
            return;
        }
        if let Some(bar) = &self.bar {
            if bar.is_hidden() {
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            bar.set_length(numbers.bytes_total);
            bar.set_position(numbers.bytes_done.min(numbers.bytes_total));
            bar.set_message(progress_line(numbers, speed));
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            self.say(&progress_line(numbers, speed));
        }
    }

    fn failed(&mut self, outcome: &Outcome) {
        self.failures += 1;
        if self.failures <= FAILURES_SHOWN || self.verbose {
            let key = outcome
                .source_key
                .as_deref()
                .unwrap_or(&outcome.destination_key);
            let why = outcome
                .error
                .as_ref()
                .map_or("", |error| error.message.as_str());
            self.say(&format!(
                "failed: {}: {}",
                text::printable(key),
                text::printable(why)
            ));
        } else if self.failures == FAILURES_SHOWN + 1 {
            self.say("more objects failed; the log and --report name all");
        }
    }

    fn go_on(&self) {
        if let Some(id) = &self.transfer {
            let stack = self.stack.as_ref();
            let stack = stack.map_or(String::new(), |stack| format!("--stack {stack} "));
            self.say(&format!("go on with: skyhaul resume {stack}{id}"));
        }
    }

    fn end_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// How far a run is, in a line.
fn progress_line(numbers: &ProgressEvent, speed: Speed) -> String {
    let more = if numbers.listing_done { "" } else { "+" };
    let mut line = format!(
        "{} of {}{more}, {} of {} objects{more}, {}, {}",
        text::size(numbers.bytes_done),
        text::size(numbers.bytes_total),
        numbers.objects_done,
        numbers.objects_total,
        text::speed(speed.bytes),
        text::pace(speed.objects),
    );
    // Writing to a String cannot fail.
    if let Some(eta) = speed.eta {
        let _ = write!(line, ", {} left", text::time(eta));
    }
    if numbers.failed > 0 {
        let _ = write!(line, ", {} failed", numbers.failed);
    }
    line
}

impl Show for Human {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Started {
                transfer,
                resumed,
                log,
            } => {
                self.begin(transfer);
                if !self.quiet {
                    let what = if *resumed { " goes on" } else { "" };
                    self.say(&format!("transfer {transfer}{what}, log {}", log.display()));
                }
            }
            Event::Submitted {
                transfer,
                attempt,
                stack,
            } => {
                self.begin(transfer);
                self.stack = Some(stack.clone());
                if !self.quiet {
                    self.say(&format!(
                        "transfer {transfer} of {stack}, attempt {attempt}"
                    ));
                }
            }
            Event::Note(note) => {
                if !self.quiet {
                    self.say(&format!("note: {}", text::printable(note)));
                }
            }
            Event::Progress(numbers) => self.progress(numbers),
            Event::Failed(outcome) => self.failed(outcome),
        }
    }

    fn summary(&mut self, summary: &Summary, code: u8) {
        self.end_bar();
        if !self.quiet {
            let _ = io::stdout()
                .lock()
                .write_all(summary::lines(summary).as_bytes());
        }
        if code == crate::exit::INTERRUPTED && summary.status != TransferStatus::Cancelled {
            self.go_on();
        }
    }

    fn error(&mut self, error: &Error, _code: u8) {
        self.end_bar();
        let text = error.to_string();
        // `control` is where programs are told to look; people know that they typed something.
        let text = text.strip_prefix("control: ").unwrap_or(&text);
        self.say(&format!("error: {}", text::printable(text)));
        if error.kind == ErrorKind::Interrupted && error.hint.is_none() {
            self.go_on();
        }
    }

    fn warn(&mut self, text: &str) {
        self.say(&text::printable(text));
    }

    fn ask(&mut self, question: &str, answer: &mut dyn FnMut() -> bool) -> bool {
        let mut ask = || {
            let _ = write!(io::stderr(), "{question}");
            answer()
        };
        match &self.bar {
            Some(bar) => bar.suspend(ask),
            None => ask(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let numbers = ProgressEvent {
            listing_done: true,
            objects_total: 4,
            bytes_total: 4 << 20,
            objects_done: 1,
            bytes_done: 1 << 20,
            bytes_remaining: Some(3 << 20),
            failed: 1,
            elapsed_s: 1.0,
            ..ProgressEvent::default()
        };
        let speed = Rate::default().update(&numbers);
        assert_eq!(
            progress_line(&numbers, speed),
            "1.0 MiB of 4.0 MiB, 1 of 4 objects, 1.0 MiB/s, 1.0 objects/s, 3.0s left, 1 failed"
        );
        let open = ProgressEvent {
            listing_done: false,
            ..numbers
        };
        assert!(progress_line(&open, Speed::default()).contains("4.0 MiB+"));
    }
}
