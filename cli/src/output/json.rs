//! The screen of programs: events on stdout, questions on stderr.

use std::io::{self, Write as _};

use skyhaul_model::{Error, TransferId};
use skyhaul_workflow::{Event, Summary};

use super::Show;
use super::rate::Rate;
use super::schema::{Body, Line};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Json {
    transfer: Option<TransferId>,
    rate: Rate,
}

impl Json {
    fn write(&self, body: Body<'_>) {
        let Ok(mut line) = serde_json::to_vec(&Line::new(self.transfer.as_ref(), body)) else {
            return;
        };
        line.push(b'\n');
        // One write, so that lines stay whole. A transfer goes on when nobody reads about it.
        let mut out = io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}

impl Show for Json {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Started {
                transfer,
                resumed,
                log,
            } => {
                self.transfer = Some(transfer.clone());
                self.rate = Rate::default();
                self.write(Body::Started {
                    resumed: *resumed,
                    log,
                    bytes_remaining: None,
                });
            }
            Event::Submitted {
                transfer,
                attempt,
                stack,
            } => {
                self.transfer = Some(transfer.clone());
                self.rate = Rate::default();
                self.write(Body::Following {
                    stack,
                    attempt: *attempt,
                });
            }
            Event::Note(text) => self.write(Body::Note { text }),
            Event::Progress(numbers) => {
                let speed = self.rate.update(numbers);
                self.write(Body::progress(*numbers, speed));
            }
            Event::Failed(outcome) => self.write(Body::Failed { object: outcome }),
        }
    }

    fn summary(&mut self, summary: &Summary, code: u8) {
        self.write(Body::summary(summary, code));
    }

    fn error(&mut self, error: &Error, code: u8) {
        self.write(Body::error(error, code));
    }

    fn warn(&mut self, text: &str) {
        self.write(Body::Note { text });
    }

    fn ask(&mut self, question: &str, answer: &mut dyn FnMut() -> bool) -> bool {
        let _ = write!(io::stderr(), "{question}");
        answer()
    }
}
