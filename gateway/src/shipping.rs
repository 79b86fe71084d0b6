//! What a machine says, kept where it can be read when the machine is gone: lines of its log are put into the
//! staging bucket every few seconds. Nothing depends on it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use skyhaul_engine::staging::Staging;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Result, Scheme};
use skyhaul_stores::open::Ambient;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

/// How often lines are kept at most.
const EVERY: Duration = Duration::from_secs(10);

/// How soon the first are after a while without any: a machine may not live for long.
const SOON: Duration = Duration::from_secs(1);

/// How long a machine that ends tries to keep its last lines.
const LAST: Duration = Duration::from_secs(5);

/// Most bytes that wait to be kept; what is said beyond them is counted and lost.
const MOST: usize = 1 << 20;

/// Lines that are not kept yet.
#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    lost: u64,
}

/// A log that waits to be kept.
#[derive(Debug, Clone, Default)]
pub struct Said(Arc<Mutex<Waiting>>);

impl Said {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that waits.
    fn take(&self) -> Vec<u8> {
        let Waiting { mut lines, lost } = std::mem::take(&mut *self.waiting());
        if lost > 0 {
            let now = Timestamp::now();
            let told = format!("{now:.6}  WARN skyhaul_gateway::shipping: {lost} lines are lost\n");
            lines.extend_from_slice(told.as_bytes());
        }
        lines
    }

    /// Puts back what could not be kept, before what was said since.
    fn put_back(&self, mut lines: Vec<u8>) {
        let mut waiting = self.waiting();
        if lines.len() + waiting.lines.len() > MOST {
            waiting.lost += memchr::memchr_iter(b'\n', &lines).count() as u64;
            return;
        }
        lines.append(&mut waiting.lines);
        waiting.lines = lines;
    }
}

/// Each call is one event, whole.
impl io::Write for Said {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.waiting();
        if waiting.lines.len() + line.len() > MOST {
            waiting.lost += 1;
        } else {
            waiting.lines.extend_from_slice(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Said {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Keeps what is said at `at` until `end`, and then the last of it.
pub async fn ship(said: Said, at: Endpoint, end: CancellationToken) {
    let (began, mut number) = (Timestamp::now().as_millisecond(), 0u32);
    let (mut place, mut kept_at) = (None, None);
    loop {
        let goes_on = end
            .run_until_cancelled(tokio::time::sleep(SOON))
            .await
            .is_some();
        if goes_on && kept_at.is_some_and(|at: Instant| at.elapsed() < EVERY) {
            continue;
        }
        let lines = said.take();
        if !lines.is_empty() {
            // Names are ordered as what they name was said.
            let name = format!("{began:013}-{number:06}.log");
            let kept = keep(&mut place, &at, &name, lines.clone());
            let late = async {
                end.cancelled().await;
                tokio::time::sleep(LAST).await;
            };
            let kept = tokio::select! {
                kept = kept => kept,
                () = late => return,
            };
            // Also if it failed: it may have been kept all the same, and what is kept once more under another name is
            // better than what is not kept.
            number += 1;
            kept_at = Some(Instant::now());
            if let Err(error) = kept {
                said.put_back(lines);
                tracing::warn!("the log cannot be kept: {error}");
            }
        }
        if !goes_on {
            return;
        }
    }
}

async fn keep(
    place: &mut Option<Staging>,
    at: &Endpoint,
    name: &str,
    lines: Vec<u8>,
) -> Result<()> {
    let opened = if let Some(opened) = place.take() {
        opened
    } else {
        if at.location.scheme == Scheme::Local {
            // A store of files is of a folder that is there.
            let _ = std::fs::create_dir_all(Path::new(&at.location.path));
        }
        Staging::of_lines(&Ambient, at).await?
    };
    let opened = place.insert(opened);
    opened.keep_lines(name, lines).await
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use skyhaul_model::spec::Connection;

    use super::*;

    #[test]
    fn what_is_said_beyond_the_bound_is_counted() {
        let mut said = Said::default();
        let line = [b"x".repeat(1023), vec![b'\n']].concat();
        for _ in 0..1030 {
            said.write_all(&line).unwrap();
        }
        let lines = said.take();
        let told = String::from_utf8_lossy(&lines[MOST..]).into_owned();
        assert!(told.ends_with("6 lines are lost\n"), "{told}");
        assert!(said.take().is_empty());
    }

    #[test]
    fn what_could_not_be_kept_stays_before_what_was_said_since() {
        let mut said = Said::default();
        said.write_all(b"a\n").unwrap();
        let taken = said.take();
        said.write_all(b"b\n").unwrap();
        said.put_back(taken);
        assert_eq!(said.take(), b"a\nb\n");
        said.put_back(vec![b'\n'; MOST]);
        said.write_all(b"c\n").unwrap();
        let lines = said.take();
        assert!(lines.starts_with(b"\n"), "{}", lines.len());
        let told = String::from_utf8_lossy(&lines[MOST..]).into_owned();
        assert!(told.ends_with("1 lines are lost\n"), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_kept_as_long_as_the_machine_lives_and_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let at = Endpoint {
            location: format!("{}/logs/src-1/", folder.path().display())
                .parse()
                .unwrap(),
            connection: Connection::default(),
        };
        let (mut said, end) = (Said::default(), CancellationToken::new());
        said.write_all(b"first\n").unwrap();
        let shipped = tokio::spawn(ship(said.clone(), at.clone(), end.clone()));
        let read = || {
            let entries = std::fs::read_dir(&at.location.path).into_iter().flatten();
            let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            paths.retain(|path| path.extension().is_some_and(|end| end == "log"));
            paths.sort();
            let read = paths
                .iter()
                .map(|path| std::fs::read_to_string(path).unwrap());
            read.collect::<Vec<_>>()
        };
        while read().is_empty() {
            tokio::time::sleep(EVERY / 2).await;
        }
        assert_eq!(read(), ["first\n"]);
        said.write_all(b"last\n").unwrap();
        end.cancel();
        shipped.await.unwrap();
        assert_eq!(read(), ["first\n", "last\n"]);
    }
}
