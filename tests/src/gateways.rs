//! The gateways that a command has started: which processes they are, so that tests can kill them.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::Cli;

/// A running gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// `src-1`, `dst-2`, `relay-1` and so on.
    pub name: String,
    /// Its process.
    pub pid: i32,
}

impl Gateway {
    /// Kills it, as `kill -9` does. One that has ended already is no error.
    pub fn kill(&self) {
        self.send(Signal::KILL);
    }

    /// Asks it to drain, as the system does before it takes a machine away.
    pub fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// Stops it in the middle of whatever it does, as a machine that hangs.
    pub fn hang(&self) {
        self.send(Signal::STOP);
    }

    /// Lets it go on.
    pub fn wake(&self) {
        self.send(Signal::CONT);
    }

    fn send(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// What a user's gateways and the commands that started them have put on record, all of it.
#[must_use]
pub fn logs(cli: &Cli) -> String {
    let transfers = cli.state_directory().join("transfers");
    let transfers = std::fs::read_dir(transfers).expect("a folder of transfers");
    let mut all = String::new();
    for transfer in transfers {
        let folder = transfer.expect("a transfer").path();
        let gateways = std::fs::read_dir(folder.join("gateways"))
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("a file").path())
            .filter(|path| path.extension().is_some_and(|end| end == "log"));
        for log in gateways.chain([folder.join("log")]) {
            all += &std::fs::read_to_string(log).unwrap_or_default();
        }
    }
    all
}

/// The gateways of a user's commands, by name.
#[must_use]
pub fn of(cli: &Cli) -> Vec<Gateway> {
    let processes = std::fs::read_dir("/proc").expect("a list of processes");
    let mut found: Vec<Gateway> = processes
        .filter_map(|entry| gateway(&entry.ok()?.path(), cli.home()))
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// A process, if it is a gateway of the user who lives at `home`.
fn gateway(process: &Path, home: &Path) -> Option<Gateway> {
    let pid = process.file_name()?.to_str()?.parse().ok()?;
    let read = |name: &str| {
        let bytes = std::fs::read(process.join(name)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let command = read("cmdline")?;
    let mut words = command.split('\0');
    if !words.next()?.ends_with("skyhaul-gateway") {
        return None;
    }
    // Everything of a user's is under the home that its commands are given.
    if !read("environ")?.contains(home.to_str()?) {
        return None;
    }
    words.by_ref().find(|word| *word == "--name")?;
    let name = words.next()?.to_owned();
    Some(Gateway { name, pid })
}
