//! Many lines on stdout, cheaply; a reader that goes away ends the command.

use std::fmt::Arguments;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};

use serde::Serialize;
use skyhaul_model::{Error, Result};
use tokio_util::sync::CancellationToken;

/// Buffered stdout. Errors are kept for [`Lines::end`], for those who write are callbacks.
pub(crate) struct Lines {
    out: BufWriter<io::Stdout>,
    terminal: bool,
    failed: Option<io::Error>,
    cancel: CancellationToken,
}

impl Lines {
    /// Cancels `cancel` when nobody reads any more.
    pub(crate) fn new(cancel: CancellationToken) -> Self {
        let out = BufWriter::with_capacity(64 << 10, io::stdout());
        Self {
            out,
            terminal: io::stdout().is_terminal(),
            failed: None,
            cancel,
        }
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, text: Arguments<'_>) {
        self.write(|out| writeln!(out, "{text}"));
    }

    /// Writes one JSON line.
    pub(crate) fn json(&mut self, event: &impl Serialize) {
        self.write(|out| {
            serde_json::to_writer(&mut *out, event)?;
            out.write_all(b"\n")
        });
    }

    fn write(&mut self, write: impl FnOnce(&mut BufWriter<io::Stdout>) -> io::Result<()>) {
        if self.failed.is_some() {
            return;
        }
        let mut result = write(&mut self.out);
        if self.terminal {
            result = result.and_then(|()| self.out.flush());
        }
        if let Err(error) = result {
            self.failed = Some(error);
            self.cancel.cancel();
        }
    }

    /// Shows what was written so far: more may not come for long.
    pub(crate) fn flush(&mut self) {
        self.write(io::Write::flush);
    }

    /// Flushes, and tells whether everything could be written. A reader that has seen enough
    /// (`head`) is no error.
    pub(crate) fn end(mut self) -> Result<()> {
        let error = match self.failed.take() {
            Some(error) => error,
            None => match self.out.flush() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
        };
        // What is left could not be written either.
        let _ = self.out.into_parts();
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Ok(());
        }
        Err(Error::control(skyhaul_model::ErrorKind::Full, "cannot write to stdout").cause(error))
    }

    /// Whether the reader went away.
    pub(crate) fn failed(&self) -> bool {
        self.failed.is_some()
    }
}
