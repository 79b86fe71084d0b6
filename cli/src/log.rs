//! The log: a file for each transfer, switched on when the transfer has its name (what was said
//! before is kept until then), and stderr when the user asks for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// What is kept of messages from before the file is known, in bytes.
const KEPT: usize = 1 << 20;

/// Where the log goes.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Mutex<Sink>>);

#[derive(Debug)]
enum Sink {
    Waiting(Vec<u8>),
    Open(File),
}

impl Log {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Sink::Waiting(Vec::new()))))
    }

    /// Installs the process's subscriber. `verbose`: 0 leaves stderr alone, 1 shows information
    /// there, 2 everything of ours. `RUST_LOG` replaces the default filters of both.
    pub(crate) fn install(verbose: u8) -> Self {
        let log = Self::new();
        let level = if verbose > 1 { "debug" } else { "info" };
        let file = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(log.clone())
            .with_filter(filter(level).and(filter_fn(harmless)));
        let stderr = (verbose > 0).then(|| {
            tracing_subscriber::fmt::layer()
                .with_writer(io::stderr)
                .with_filter(filter(level).and(filter_fn(harmless)))
        });
        // Only a second subscriber could be refused, and there is none.
        let _ = tracing_subscriber::registry()
            .with(file)
            .with(stderr)
            .try_init();
        log
    }

    /// Writes to this file from now on, beginning with what was kept.
    pub(crate) fn open(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Sink::Waiting(kept) = &*sink {
            file.write_all(kept)?;
        }
        *sink = Sink::Open(file);
        Ok(())
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,skyhaul={level}")))
}

/// Below information the SDK and HTTP crates print whole requests, session tokens included: no
/// filter lets that out.
fn harmless(metadata: &Metadata<'_>) -> bool {
    const TALKATIVE: [&str; 5] = ["aws_", "hyper", "h2", "rustls", "reqwest"];
    let talkative = TALKATIVE
        .iter()
        .any(|name| metadata.target().starts_with(name));
    !talkative || LevelFilter::from_level(*metadata.level()) <= LevelFilter::from_level(Level::INFO)
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Sink::Open(file) => file.write(bytes),
            Sink::Waiting(kept) => {
                if kept.len() + bytes.len() <= KEPT {
                    kept.extend_from_slice(bytes);
                }
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_before_the_file_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/x.log");
        let log = Log::new();
        log.make_writer().write_all(b"early\n").unwrap();
        log.open(&path).unwrap();
        log.make_writer().write_all(b"late\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "early\nlate\n");
        Log::new().open(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "early\nlate\n");
    }

    #[test]
    fn requests_never_reach_the_log() {
        let log = Log::new();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(log.clone())
            .with_filter(EnvFilter::new("trace").and(filter_fn(harmless)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::debug!(target: "aws_smithy_runtime::client", "x-amz-security-token: secret");
            tracing::trace!(target: "hyper_util::client", "authorization: secret");
            tracing::debug!(target: "skyhaul_engine", "chunk");
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        log.open(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("chunk") && !text.contains("secret"), "{text}");
    }
}
