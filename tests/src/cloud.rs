//! An emulated account whose machines run, with the template deployed onto it by the ordinary command
//! (`scripts/cloud.py`). Needs root; there is one at a time on a machine.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{self, Cli, Finished};
use crate::servers::Endpoint;

/// The deployment's name.
pub const STACK: &str = "haul";

/// How long a transfer of a deployment may take here.
const PATIENCE: Duration = Duration::from_mins(6);

/// See the module documentation.
#[derive(Debug)]
pub struct Cloud {
    child: Child,
    talk: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    /// What whoever submits runs.
    pub cli: Cli,
    /// An S3 server, and another.
    pub src: Endpoint,
    /// The other.
    pub dst: Endpoint,
    /// The S3 of the account itself, which tells of what happens to objects.
    pub own: Endpoint,
    folder: TempDir,
}

/// What a deployment has that lives.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
pub struct Left {
    /// Machines.
    pub instances: Vec<String>,
    /// Security groups.
    pub groups: Vec<String>,
    /// Executions that run.
    pub executions: Vec<String>,
    /// Transfers of which there are secrets.
    pub secrets: Vec<String>,
    /// Machines that have told of themselves.
    pub enrolments: Vec<String>,
    /// Transfers of which an attempt goes on.
    pub live: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Serves {
    endpoint: String,
    src: Endpoint,
    dst: Endpoint,
}

/// A program that building all tests puts beside the command.
fn program(name: &str) -> PathBuf {
    let program = cli::binary().with_file_name(name);
    assert!(
        program.exists(),
        "{} is missing: build with `--workspace`",
        program.display()
    );
    program
}

/// What `make dist` would give, of what the tests were built with.
fn dist(folder: &Path) {
    let root = crate::root();
    let functions = folder.join("dist/functions");
    std::fs::create_dir_all(&functions).unwrap();
    for (name, to) in [
        ("skyhaul-functions", functions.join("bootstrap")),
        ("skyhaul-gateway", folder.join("dist/skyhaul-gateway")),
    ] {
        // Without what debuggers read they are a third, and packed and fetched in seconds.
        let mut strip = Command::new("strip");
        let stripped = strip.arg("-o").arg(to).arg(program(name)).status();
        assert!(stripped.unwrap().success());
    }
    let copied = Command::new("cp")
        .arg("-r")
        .args([root.join("template.yaml"), root.join("infra")])
        .arg(folder)
        .status();
    assert!(copied.unwrap().success());
}

impl Cloud {
    /// Starts it, and deploys with these buckets.
    #[must_use]
    pub fn deployed(buckets: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        dist(folder.path());
        let mut child = Command::new(crate::python())
            .arg(crate::root().join("scripts/cloud.py"))
            .arg(folder.path().join("cloud"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the account is told");
        let serves: Serves = serde_json::from_str(&line).expect("the account has started");
        let own = Endpoint {
            kind: "ministack".to_owned(),
            ..serves.src.at(&serves.endpoint)
        };
        let sam = crate::root().join(".testbench/sam/bin");
        let path = std::env::var("PATH").unwrap_or_default();
        let cli = Cli::new()
            .patience(PATIENCE)
            .env("PATH", format!("{}:{path}", sam.display()))
            .env("AWS_ENDPOINT_URL", serves.endpoint)
            .env("AWS_REGION", &serves.src.region)
            .env("AWS_DEFAULT_REGION", &serves.src.region)
            .env("AWS_ACCESS_KEY_ID", &serves.src.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &serves.src.secret_key)
            .env("SKYHAUL_STACK", STACK);
        let cloud = Self {
            child,
            talk: Mutex::new(Some((stdin, stdout))),
            cli,
            src: serves.src,
            own,
            dst: serves.dst,
            folder,
        };
        let from = cloud.folder.path().display().to_string();
        let mut deploy = vec!["deploy", "--from", &from];
        for bucket in buckets {
            deploy.extend(["--bucket", bucket]);
        }
        cloud.cli.run(&deploy).assert_code(0);
        cloud
    }

    fn ask(&self, mut request: Value, op: &str) -> Value {
        request["op"] = op.into();
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let (stdin, stdout) = talk.as_mut().expect("until it is dropped");
        writeln!(stdin, "{request}").expect("the account listens");
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the account answers");
        let mut reply: Value = serde_json::from_str(&line).expect("the account is alive");
        assert!(reply.get("error").is_none(), "{op}: {reply}");
        reply["ok"].take()
    }

    /// What lives of the deployment.
    #[must_use]
    pub fn left(&self) -> Left {
        let left = self.ask(json!({ "stack": STACK }), "left");
        serde_json::from_value(left).expect("the account keeps to its protocol")
    }

    /// Calls a function as its schedule does.
    pub fn invoke(&self, function: &str, payload: &Value) -> Value {
        let mut reply = self.ask(
            json!({ "function": function, "payload": payload }),
            "invoke",
        );
        assert_eq!(reply["failed"], false, "{function}: {reply}");
        reply["reply"].take()
    }

    /// A machine loses all its processes (`crash`), or is told that it will be taken away (`interrupt`).
    pub fn fault(&self, machine: &str, fault: &str) {
        self.ask(json!({ "machine": machine, "fault": fault }), "fault");
    }

    /// A bucket of the account tells of what happens to its objects.
    pub fn tells(&self, bucket: &str) {
        self.ask(json!({ "bucket": bucket }), "events");
    }

    /// Stops an execution.
    pub fn stop(&self, execution: &str) {
        self.ask(json!({ "execution": execution }), "stop");
    }

    /// Where a text is, of all that the account keeps.
    #[must_use]
    pub fn grep(&self, text: &str) -> Vec<String> {
        let found = self.ask(json!({ "stack": STACK, "text": text }), "grep");
        serde_json::from_value(found).expect("the account keeps to its protocol")
    }

    /// `skyhaul ARGUMENTS`, with both sides at the two servers.
    #[must_use]
    pub fn between(&self, arguments: &[&str]) -> Vec<String> {
        let sides = [("--src-", &self.src), ("--dst-", &self.dst)];
        let sides = sides.into_iter().flat_map(|(flag, server)| {
            let (url, region) = (server.url.clone(), server.region.clone());
            [
                format!("{flag}endpoint-url"),
                url,
                format!("{flag}region"),
                region,
            ]
        });
        arguments
            .iter()
            .map(|&text| text.to_owned())
            .chain(sides)
            .collect()
    }

    /// Runs it.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.cli.run(&self.between(arguments))
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // Its stdin closes: everything ends by itself, and namespaces go.
        let talk = self.talk.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(talk.take());
        let _ = self.child.wait();
    }
}
