//! The `skyhaul` binary as a user runs it, with a home, state and configuration of its own.

use crate::fault::Gate;
use crate::servers::Endpoint;
use serde_json::Value;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a command may run unless a test says otherwise.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// The binary under test: `SKYHAUL_BIN`, else the one beside this test's own executable in the
/// target directory, where building all tests puts it.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("SKYHAUL_BIN") {
        return named.into();
    }
    let test = std::env::current_exe().expect("a test knows its executable");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps/TEST");
    let binary = profile.join(format!("skyhaul{}", std::env::consts::EXE_SUFFIX));
    assert!(
        binary.exists(),
        "{} is missing: build with `--workspace`",
        binary.display()
    );
    binary
}

/// A user: runs commands that share a home, a state directory and a configuration.
#[derive(Debug)]
pub struct Cli {
    binary: PathBuf,
    home: TempDir,
    environment: Vec<(String, String)>,
    patience: Duration,
}

impl Default for Cli {
    fn default() -> Self {
        Self::new()
    }
}

impl Cli {
    /// A new user with nothing configured, running [`binary`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_binary(binary())
    }

    /// A new user of another program: the harness tests itself so.
    #[must_use]
    pub fn with_binary(binary: PathBuf) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        Self {
            binary,
            home,
            environment: Vec::new(),
            patience: PATIENCE,
        }
    }

    /// Sets an environment variable for every command.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Kills commands that take longer.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The user's home.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where transfers are remembered (`SKYHAUL_STATE_DIR`).
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.home().join("state")
    }

    /// The configuration file (`SKYHAUL_CONFIG`).
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.home().join("config.toml")
    }

    /// The flags that make `endpoint` the source: address, region and a profile with its
    /// credentials.
    #[must_use]
    pub fn src(&self, endpoint: &Endpoint) -> Vec<String> {
        self.side("--src-", endpoint)
    }

    /// The flags that make `endpoint` the destination.
    #[must_use]
    pub fn dst(&self, endpoint: &Endpoint) -> Vec<String> {
        self.side("--dst-", endpoint)
    }

    /// The flags that make `endpoint` both sides, or the only one.
    #[must_use]
    pub fn both(&self, endpoint: &Endpoint) -> Vec<String> {
        self.side("--", endpoint)
    }

    fn side(&self, flag: &str, endpoint: &Endpoint) -> Vec<String> {
        self.add_profile(endpoint);
        vec![
            format!("{flag}endpoint-url"),
            endpoint.url.clone(),
            format!("{flag}region"),
            endpoint.region.clone(),
            format!("{flag}profile"),
            endpoint.access_key.clone(),
        ]
    }

    /// A profile named after its access key, written once.
    fn add_profile(&self, endpoint: &Endpoint) {
        let path = self.credentials_file();
        let mut text = fs::read_to_string(&path).unwrap_or_default();
        let heading = format!("[{}]\n", endpoint.access_key);
        if !text.contains(&heading) {
            let (id, secret) = (&endpoint.access_key, &endpoint.secret_key);
            write!(
                text,
                "{heading}aws_access_key_id = {id}\naws_secret_access_key = {secret}\n"
            )
            .expect("a String takes everything");
            fs::write(&path, text).expect("write the credentials file");
        }
    }

    fn credentials_file(&self) -> PathBuf {
        self.home().join("aws-credentials")
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.binary);
        // What the developer has configured is not to reach the test.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["AWS_", "SKYHAUL_", "XDG_"]
                .iter()
                .any(|prefix| text.starts_with(prefix))
            {
                command.env_remove(&name);
            }
        }
        command
            .args(arguments)
            .current_dir(self.home())
            .env("HOME", self.home())
            .env("SKYHAUL_STATE_DIR", self.state_directory())
            .env("SKYHAUL_CONFIG", self.config_file())
            .env("AWS_SHARED_CREDENTIALS_FILE", self.credentials_file())
            .env("AWS_CONFIG_FILE", self.home().join("aws-config"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a command and leaves it running.
    #[must_use]
    pub fn start(&self, arguments: &[impl AsRef<OsStr>]) -> Running {
        let mut child = self
            .command(arguments)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", self.binary.display()));
        let stdout = Captured::read(child.stdout.take().expect("piped"));
        let stderr = Captured::read(child.stderr.take().expect("piped"));
        let started = Instant::now();
        Running {
            child,
            stdout,
            stderr,
            started,
            patience: self.patience,
            peak_rss: 0,
        }
    }

    /// Runs a command to its end.
    #[must_use]
    pub fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Finished {
        self.start(arguments).wait()
    }
}

/// A stream's lines as they come.
#[derive(Debug)]
struct Captured {
    shared: Arc<(Mutex<Lines>, Condvar)>,
    reader: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Captured {
    fn read(stream: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Lines::default()), Condvar::new()));
        let into = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream
                .read_until(b'\n', &mut line)
                .is_ok_and(|length| length > 0)
            {
                let text = String::from_utf8_lossy(&line)
                    .trim_end_matches('\n')
                    .to_owned();
                into.0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .lines
                    .push(text);
                into.1.notify_all();
                line.clear();
            }
            into.0.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            into.1.notify_all();
        });
        Self { shared, reader }
    }

    /// The first line, from now or before, that `wanted` accepts; `None` if the stream ends.
    fn wait_for(&self, deadline: Instant, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let (lines, changed) = &*self.shared;
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = 0;
        loop {
            if let Some(found) = lines.lines[seen..].iter().find(|line| wanted(line)) {
                return Some(found.clone());
            }
            seen = lines.lines.len();
            let left = deadline.checked_duration_since(Instant::now())?;
            if lines.ended {
                return None;
            }
            lines = changed
                .wait_timeout(lines, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn finish(self) -> String {
        self.reader.join().expect("the reader does not panic");
        let lines = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .lines
            .iter()
            .flat_map(|line| [line.as_str(), "\n"])
            .collect()
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Captured,
    stderr: Captured,
    started: Instant,
    patience: Duration,
    peak_rss: u64,
}

impl Running {
    /// Waits for a line on stdout that `wanted` accepts; `None` if it never comes.
    #[must_use]
    pub fn stdout_line(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        self.stdout.wait_for(self.started + self.patience, wanted)
    }

    /// Waits for a line on stderr that `wanted` accepts; `None` if it never comes.
    #[must_use]
    pub fn stderr_line(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        self.stderr.wait_for(self.started + self.patience, wanted)
    }

    /// Waits until one of its requests stands at a gate; panics with what it said if it ends before.
    #[must_use]
    pub fn held_at(mut self, gate: &Gate) -> Self {
        let came = crate::eventually("a request at the gate", self.patience, || {
            let runs = self.runs();
            let came = gate.arrivals() > 0;
            (came || !runs).then_some(came)
        });
        assert!(
            came,
            "it ended before a request came to the gate: {}",
            self.wait()
        );
        self
    }

    /// Whether it still runs.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("waitpid").is_none()
    }

    /// `kill -9`, then waits for the end.
    #[must_use]
    pub fn kill(mut self) -> Finished {
        self.child.kill().expect("kill");
        self.wait()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid());
        rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::INT)
            .expect("kill -INT");
    }

    /// Lets it run until `moment` after its start, then `kill -9`, unless it ended before.
    #[must_use]
    pub fn kill_at(mut self, moment: Duration) -> Finished {
        // A moment in time is what is asked for: nothing is synchronised by it.
        while self.started.elapsed() < moment && self.runs() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.runs() {
            self.child.kill().expect("kill");
        }
        self.wait()
    }

    /// Waits for the end. Kills the command when its patience is over, and panics.
    #[must_use]
    pub fn wait(mut self) -> Finished {
        let mut overdue = false;
        let status = loop {
            self.peak_rss = self.peak_rss.max(peak_rss(self.child.id()).unwrap_or(0));
            if let Some(status) = self.child.try_wait().expect("waitpid") {
                break status;
            }
            if self.started.elapsed() > self.patience && !overdue {
                overdue = true;
                self.child.kill().expect("kill");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let finished = Finished {
            status,
            elapsed: self.started.elapsed(),
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
            peak_rss: self.peak_rss,
        };
        assert!(!overdue, "not done within {:?}: {finished}", self.patience);
        finished
    }
}

/// The most memory that a running process has had resident, bytes. The kernel's own high-water
/// mark, so that looking now and then misses only the last moments. Linux only.
fn peak_rss(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A command that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Wall time.
    pub elapsed: Duration,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
    /// Peak resident memory, bytes; 0 where it cannot be told.
    pub peak_rss: u64,
}

impl Finished {
    /// The exit code; `None` if a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Asserts the exit code; gives itself for further questions.
    #[allow(clippy::must_use_candidate)] // an assertion stands by itself
    #[track_caller]
    pub fn assert_code(&self, wanted: i32) -> &Self {
        assert_eq!(self.code(), Some(wanted), "{self}");
        self
    }

    /// The events of `--json`: every line of stdout.
    #[must_use]
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let parse = |line| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("not an event: {line:?} ({error})\n{self}"))
        };
        self.stdout.lines().map(parse).collect()
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            status,
            elapsed,
            stdout,
            stderr,
            ..
        } = self;
        write!(
            f,
            "{status} after {elapsed:?}\n-- stdout\n{stdout}-- stderr\n{stderr}--"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Cli {
        Cli::with_binary("/bin/sh".into())
    }

    #[test]
    fn captures_streams_code_and_environment() {
        let cli = shell().env("AWS_REGION", "here");
        let done = cli.run(&[
            "-c",
            "echo \"{\\\"home\\\":\\\"$HOME\\\"}\"; echo $AWS_REGION >&2; exit 3",
        ]);
        done.assert_code(3);
        assert_eq!(done.events()[0]["home"], cli.home().to_str().unwrap());
        assert_eq!(done.stderr, "here\n");
    }

    #[test]
    fn sees_a_line_before_the_end_and_kills() {
        let running = shell().start(&["-c", "echo ready; exec cat /dev/zero >/dev/null"]);
        assert_eq!(
            running.stdout_line(|line| line == "ready").as_deref(),
            Some("ready")
        );
        assert_eq!(running.kill().code(), None);
    }

    #[test]
    fn interrupts() {
        let script = "trap 'exit 130' INT; echo ready; while :; do sleep 0.05; done";
        let running = shell().start(&["-c", script]);
        running.stdout_line(|line| line == "ready").unwrap();
        running.interrupt();
        running.wait().assert_code(130);
    }

    #[test]
    fn kills_what_takes_too_long() {
        let cli = shell().patience(Duration::from_millis(50));
        let outcome =
            std::panic::catch_unwind(|| cli.run(&["-c", "exec cat /dev/zero >/dev/null"]));
        assert!(outcome.is_err());
    }

    #[test]
    fn a_side_is_told_by_its_own_profile() {
        let cli = shell();
        let endpoint = Endpoint {
            url: "http://127.0.0.1:1".into(),
            access_key: "key-of-a".into(),
            secret_key: "s".into(),
            region: "us-east-1".into(),
            kind: "seaweedfs".into(),
        };
        let flags = cli.src(&endpoint);
        assert_eq!(cli.dst(&endpoint)[4..], ["--dst-profile", "key-of-a"]);
        assert_eq!(flags[..2], ["--src-endpoint-url", "http://127.0.0.1:1"]);
        let written = fs::read_to_string(cli.credentials_file()).unwrap();
        assert_eq!(written.matches("[key-of-a]").count(), 1);
    }
}
