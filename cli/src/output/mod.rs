//! What a command shows: for people (a live bar on a terminal, plain lines elsewhere) or for
//! programs (JSON, one event a line).

mod human;
mod json;
mod lines;
mod rate;
pub(crate) mod schema;
mod summary;
pub(crate) mod table;
pub(crate) mod text;

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skyhaul_model::Error;
use skyhaul_workflow::{Event, Summary};

use crate::args::GlobalArgs;

pub(crate) use lines::Lines;

/// One way of showing.
trait Show: Send {
    /// Something happened in a run.
    fn event(&mut self, event: &Event);
    /// A run ended.
    fn summary(&mut self, summary: &Summary, code: u8);
    /// The command failed.
    fn error(&mut self, error: &Error, code: u8);
    /// The user should know this.
    fn warn(&mut self, text: &str);
    /// Puts a question on the terminal and waits for `answer`.
    fn ask(&mut self, question: &str, answer: &mut dyn FnMut() -> bool) -> bool;
}

/// The screen of this process; clones are the same.
#[derive(Clone)]
pub(crate) struct Screen(Arc<Mutex<Box<dyn Show>>>);

impl Screen {
    /// As the flags and the terminal demand.
    pub(crate) fn new(global: &GlobalArgs) -> Self {
        let show: Box<dyn Show> = if global.json {
            Box::new(json::Json::default())
        } else {
            // Log lines on stderr and a live bar do not go together.
            let live = std::io::stderr().is_terminal() && global.verbose == 0;
            Box::new(human::Human::new(live, global.quiet, global.verbose > 0))
        };
        Self(Arc::new(Mutex::new(show)))
    }

    fn show(&self) -> MutexGuard<'_, Box<dyn Show>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened in a run.
    pub(crate) fn event(&self, event: &Event) {
        self.show().event(event);
    }

    /// A run ended.
    pub(crate) fn summary(&self, summary: &Summary, code: u8) {
        self.show().summary(summary, code);
    }

    /// The command failed.
    pub(crate) fn error(&self, error: &Error, code: u8) {
        self.show().error(error, code);
    }

    /// The user should know this.
    pub(crate) fn warn(&self, text: &str) {
        self.show().warn(text);
    }

    /// Puts a question on the terminal and waits for `answer`.
    pub(crate) fn ask(&self, question: &str, mut answer: impl FnMut() -> bool) -> bool {
        self.show().ask(question, &mut answer)
    }
}
