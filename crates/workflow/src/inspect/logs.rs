//! The logs of a transfer of this machine and its gateways, line by line, in the order of their times.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use tokio_util::sync::CancellationToken;

use crate::embedded::Embedded;

/// How the log of the command itself is called.
pub const COMMAND: &str = "command";

/// How often it is looked for new lines.
const LOOK: Duration = Duration::from_millis(200);

/// A line is not longer than this, in bytes; the rest of it is a line of its own.
const LONGEST: u64 = 64 << 10;

/// Which logs, and how long.
#[derive(Debug, Default)]
pub struct Which {
    /// Only that of this gateway.
    pub gateway: Option<String>,
    /// Waits for more, as long as somebody works on the transfer.
    pub follow: bool,
}

/// Called with where a line comes from and the line; says whether to go on.
pub type Show<'a> = dyn FnMut(&str, &str) -> bool + Send + 'a;

impl Embedded {
    /// Calls `show` with the lines of a transfer's logs, until it says `false` or `cancel`.
    pub async fn logs(
        &self,
        id: &TransferId,
        which: &Which,
        show: &mut Show<'_>,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let (home, state) = self.home()?;
        state.transfer(id).await?;
        let mut tails = Tails::new(home.log(id), home.transfer_dir(id).join("gateways"), which);
        loop {
            // Asked before the last look, so that what was written until then is seen.
            let goes_on = which.follow && home.is_active(id);
            tails.look()?;
            if let Some(name) = &which.gateway
                && tails.logs.is_empty()
                && !goes_on
            {
                return Err(no_gateway(id, name, &tails.folder));
            }
            if !tails.show(show, !goes_on)? || !goes_on {
                return Ok(());
            }
            let slept = cancel.run_until_cancelled(tokio::time::sleep(LOOK));
            if slept.await.is_none() {
                return Ok(());
            }
        }
    }
}

fn no_gateway(id: &TransferId, name: &str, folder: &Path) -> Error {
    let names: Vec<_> = logs_in(folder).unwrap_or_default().into_keys().collect();
    let error = Error::invalid(format!("transfer {id} has no gateway `{name}`"));
    if names.is_empty() {
        error.hint("it has none: it was copied by the command itself")
    } else {
        error.hint(format!("it has {}", names.join(", ")))
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::control(ErrorKind::Unreachable, "cannot read the log")
        .object(path.display().to_string())
        .cause(error)
}

/// The logs of gateways, by name. None if there is no such folder.
fn logs_in(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(failed(folder, error)),
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        let is_log = path.extension().is_some_and(|end| end == "log");
        if let (true, Some(name)) = (is_log, path.file_stem()) {
            found.insert(name.to_string_lossy().into_owned(), path);
        }
    }
    Ok(found)
}

/// One log, being read.
struct Tail {
    path: PathBuf,
    file: BufReader<File>,
    /// What was read of the next line, whole or not.
    next: Vec<u8>,
    /// The time of the last line that had one: what a line without one belongs to.
    time: String,
}

impl Tail {
    /// Reads on until a line is whole. Whether one is; at the end, half a line counts (`all`).
    fn fill(&mut self, all: bool) -> Result<bool> {
        use std::io::Read as _;
        if !self.next.ends_with(b"\n") && (self.next.len() as u64) < LONGEST {
            let room = LONGEST - self.next.len() as u64;
            let read = (&mut self.file)
                .take(room)
                .read_until(b'\n', &mut self.next);
            read.map_err(|error| failed(&self.path, error))?;
            if let Some(time) = time_of(&self.next) {
                time.clone_into(&mut self.time);
            }
        }
        let is_long = self.next.len() as u64 >= LONGEST;
        Ok(self.next.ends_with(b"\n") || is_long || all && !self.next.is_empty())
    }
}

/// The time that a line begins with: times of the same zone and form are ordered as text.
pub(super) fn time_of(line: &[u8]) -> Option<&str> {
    let word = line.split(|byte| *byte == b' ').next()?;
    let word = std::str::from_utf8(word).ok()?;
    word.parse::<jiff::Timestamp>().is_ok().then_some(word)
}

/// All logs that are read.
struct Tails<'a> {
    command: PathBuf,
    folder: PathBuf,
    which: &'a Which,
    logs: BTreeMap<String, Tail>,
}

impl<'a> Tails<'a> {
    fn new(command: PathBuf, folder: PathBuf, which: &'a Which) -> Self {
        Self {
            command,
            folder,
            which,
            logs: BTreeMap::new(),
        }
    }

    /// Opens logs that are new.
    fn look(&mut self) -> Result<()> {
        let mut there = logs_in(&self.folder)?;
        there.insert(COMMAND.to_owned(), self.command.clone());
        for (name, path) in there {
            let wanted = self.which.gateway.as_ref();
            if wanted.is_some_and(|wanted| *wanted != name) || self.logs.contains_key(&name) {
                continue;
            }
            let file = match File::open(&path) {
                Ok(file) => BufReader::new(file),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&path, error)),
            };
            let tail = Tail {
                path,
                file,
                next: Vec::new(),
                time: String::new(),
            };
            self.logs.insert(name, tail);
        }
        Ok(())
    }

    /// Shows what is there, in the order of times. Whether to go on.
    fn show(&mut self, show: &mut Show<'_>, all: bool) -> Result<bool> {
        loop {
            let mut first: Option<(&str, &mut Tail)> = None;
            for (name, tail) in &mut self.logs {
                if tail.fill(all)?
                    && first
                        .as_ref()
                        .is_none_or(|(_, other)| tail.time < other.time)
                {
                    first = Some((name, tail));
                }
            }
            let Some((name, tail)) = first else {
                return Ok(true);
            };
            let line = String::from_utf8_lossy(&tail.next);
            let goes_on = show(name, line.trim_end_matches(['\r', '\n']));
            tail.next.clear();
            if !goes_on {
                return Ok(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn shown(tails: &mut Tails<'_>, all: bool) -> Vec<String> {
        let mut lines = Vec::new();
        tails.look().unwrap();
        tails
            .show(
                &mut |from, line| {
                    lines.push(format!("{from}: {line}"));
                    true
                },
                all,
            )
            .unwrap();
        lines
    }

    #[test]
    fn lines_come_in_the_order_of_their_times_and_half_a_line_waits() {
        let folder = tempfile::tempdir().unwrap();
        let gateways = folder.path().join("gateways");
        std::fs::create_dir(&gateways).unwrap();
        let at = |second| format!("2026-01-01T00:00:0{second}Z");
        let write = |path: &Path, text: &str| {
            let mut file = File::options()
                .create(true)
                .append(true)
                .open(path)
                .unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let command = folder.path().join("log");
        write(&command, &format!("{} a\nmore of a\n{} d\n", at(1), at(4)));
        write(
            &gateways.join("src-1.log"),
            &format!("{} b\n{} ha", at(2), at(3)),
        );
        write(&gateways.join("src-1.token"), "secret\n");
        let which = Which::default();
        let mut tails = Tails::new(command.clone(), gateways.clone(), &which);
        let wanted = [
            format!("command: {} a", at(1)),
            "command: more of a".to_owned(),
            format!("src-1: {} b", at(2)),
            format!("command: {} d", at(4)),
        ];
        assert_eq!(shown(&mut tails, false), wanted);
        write(&gateways.join("src-1.log"), "lf\n");
        write(&gateways.join("dst-1.log"), "no end");
        let wanted = [format!("src-1: {} half", at(3))];
        assert_eq!(shown(&mut tails, false), wanted);
        assert_eq!(shown(&mut tails, true), ["dst-1: no end"]);
        let which = Which {
            gateway: Some("dst-1".to_owned()),
            follow: false,
        };
        let mut tails = Tails::new(command, gateways, &which);
        assert_eq!(shown(&mut tails, true), ["dst-1: no end"]);
    }
}
