//! An emulated account whose machines run, with the template deployed onto it by the ordinary command
//! (`scripts/cloud.py`). Needs root; there is one at a time on a machine.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{self, Cli, Finished};
use crate::oracle::Bucket;
use crate::servers::Endpoint;

/// Where machines see this one (`scripts/cloud.py`).
pub const OUTSIDE: &str = "10.117.15.253";

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

/// A machine of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Machine {
    /// Its identifier.
    pub id: String,
    /// Its address.
    pub address: String,
    /// The dataplane that it is of.
    pub dataplane: String,
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

/// An `aws` that says what it was called with: the service behind Session Manager is not emulated.
fn tools(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;

    let tools = folder.join("tools");
    std::fs::create_dir_all(&tools).unwrap();
    let aws = tools.join("aws");
    std::fs::write(&aws, "#!/bin/sh\necho \"$@\"\n").unwrap();
    std::fs::set_permissions(&aws, std::fs::Permissions::from_mode(0o755)).unwrap();
    tools
}

impl Cloud {
    /// Starts it, and deploys with these buckets.
    #[must_use]
    pub fn deployed(buckets: &[&str]) -> Self {
        Self::started(buckets, false)
    }

    /// The same, where everybody may do only what their policies say.
    #[must_use]
    pub fn enforced(buckets: &[&str]) -> Self {
        Self::started(buckets, true)
    }

    fn started(buckets: &[&str], enforced: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        dist(folder.path());
        let mut child = Command::new(crate::python())
            .arg(crate::root().join("scripts/cloud.py"))
            .arg(folder.path().join("cloud"))
            .args(enforced.then_some("enforced"))
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
        let tools = tools(folder.path());
        let cli = Cli::new()
            .patience(PATIENCE)
            .env(
                "PATH",
                format!("{}:{}:{path}", tools.display(), sam.display()),
            )
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

    /// The same, whose commands may take longer.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        let cli = std::mem::take(&mut self.cli);
        self.cli = cli.patience(patience);
        self
    }

    /// The same, whose commands are run by a new user that has these policies of the deployment's outputs, and may
    /// list, read and delete in these buckets.
    #[must_use]
    pub fn acting_as(mut self, policies: &[&str], buckets: &[&str]) -> Self {
        let user = json!({ "stack": STACK, "policies": policies, "buckets": buckets });
        let keys: BTreeMap<String, String> = self.ask(user, "user");
        let cli = std::mem::take(&mut self.cli);
        let key = |name: &str| keys[name].clone();
        self.cli = cli
            .env("AWS_ACCESS_KEY_ID", key("access_key"))
            .env("AWS_SECRET_ACCESS_KEY", key("secret_key"));
        self
    }

    /// An output of the deployment.
    #[must_use]
    pub fn output(&self, name: &str) -> String {
        self.ask(json!({ "stack": STACK, "name": name }), "output")
    }

    /// The machines that run.
    #[must_use]
    pub fn running(&self) -> Vec<Machine> {
        self.ask(json!({ "stack": STACK }), "running")
    }

    /// What a Python program says that runs in a machine's network, with its credentials.
    #[must_use]
    pub fn probe(&self, machine: &str, script: &str) -> String {
        self.ask(json!({ "machine": machine, "script": script }), "probe")
    }

    /// The secrets of transfers that go on, unwrapped.
    #[must_use]
    pub fn secrets(&self) -> Vec<Value> {
        self.ask(json!({ "stack": STACK }), "secrets")
    }

    /// The secrets of a transfer as they are kept, wrapped, in base64.
    #[must_use]
    pub fn wrapped(&self, transfer: &str) -> String {
        self.ask(json!({ "stack": STACK, "transfer": transfer }), "wrapped")
    }

    /// A secret of Secrets Manager holds this from now on: its ARN.
    #[must_use]
    pub fn keep(&self, name: &str, secret: &Value) -> String {
        self.ask(json!({ "name": name, "text": secret.to_string() }), "keep")
    }

    fn ask<T: DeserializeOwned>(&self, mut request: Value, op: &str) -> T {
        request["op"] = op.into();
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let (stdin, stdout) = talk.as_mut().expect("until it is dropped");
        writeln!(stdin, "{request}").expect("the account listens");
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the account answers");
        let mut reply: Value = serde_json::from_str(&line).expect("the account is alive");
        assert!(reply.get("error").is_none(), "{op}: {reply}");
        serde_json::from_value(reply["ok"].take()).expect("the account keeps to its protocol")
    }

    /// What lives of the deployment.
    #[must_use]
    pub fn left(&self) -> Left {
        self.ask(json!({ "stack": STACK }), "left")
    }

    /// Calls a function as its schedule does.
    pub fn invoke(&self, function: &str, payload: &Value) -> Value {
        let call = json!({ "function": function, "payload": payload });
        let mut reply: Value = self.ask(call, "invoke");
        assert_eq!(reply["failed"], false, "{function}: {reply}");
        reply["reply"].take()
    }

    /// Calls a function once more, whatever comes of it.
    pub fn invoke_again(&self, function: &str, payload: &Value) {
        let again = json!({ "function": function, "payload": payload });
        let _: Value = self.ask(again, "invoke");
    }

    /// Asks for faults of the services (`scripts/ministack/faults.py`), and for no others.
    pub fn trouble(&self, faults: &Value) {
        self.ask::<()>(json!({ "faults": faults }), "trouble");
    }

    /// How often each fault has happened since faults were asked for.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<String, u64> {
        self.ask(json!({}), "troubles")
    }

    /// Write units that the deployment's tables have consumed, and items of calls that were refused, of which each
    /// costs at least one more.
    #[must_use]
    pub fn units(&self) -> f64 {
        let tables: BTreeMap<String, BTreeMap<String, f64>> = self.ask(json!({}), "units");
        let of = |table: &BTreeMap<String, f64>, what| table.get(what).copied().unwrap_or(0.0);
        let each = tables.values();
        each.map(|table| of(table, "writes") + of(table, "refused"))
            .sum()
    }

    /// Starts the benchmarks' S3 server, which makes up these data sets (`NAME=COUNTxSIZE`) and keeps nothing of
    /// what is written to `sink`.
    #[must_use]
    pub fn memory(&self, sources: &[&str], sink: &str) -> Endpoint {
        let server = program("skyhaul-bench-server").display().to_string();
        let mut command = vec![server, "--sink".to_owned(), sink.to_owned()];
        for source in sources {
            command.extend(["--source".to_owned(), (*source).to_owned()]);
        }
        self.ask(json!({ "command": command }), "memory")
    }

    /// Machines that boot from now on have clocks that are wrong by so many seconds.
    pub fn clocks(&self, seconds: i64) {
        self.ask::<()>(json!({ "seconds": seconds }), "clocks");
    }

    /// A machine loses all its processes (`crash`), or is told that it will be taken away (`interrupt`).
    pub fn fault(&self, machine: &str, fault: &str) {
        self.ask::<()>(json!({ "machine": machine, "fault": fault }), "fault");
    }

    /// A bucket of the account tells of what happens to its objects.
    pub fn tells(&self, bucket: &str) {
        self.ask::<()>(json!({ "bucket": bucket }), "events");
    }

    /// An event of an object that has come comes once more.
    pub fn told_again(&self, bucket: &str, key: &str) {
        let event = json!({ "stack": STACK, "bucket": bucket, "key": key });
        self.ask::<()>(event, "told_again");
    }

    /// Events of objects that wait or are being worked on (`Events`), and those given up (`DeadEvents`).
    #[must_use]
    pub fn queued(&self) -> BTreeMap<String, u64> {
        self.ask(json!({ "stack": STACK }), "queued")
    }

    /// Stops an execution.
    pub fn stop(&self, execution: &str) {
        self.ask::<()>(json!({ "execution": execution }), "stop");
    }

    /// Where a text is, of all that the account keeps.
    #[must_use]
    pub fn grep(&self, text: &str) -> Vec<String> {
        self.ask(json!({ "stack": STACK, "text": text }), "grep")
    }

    /// `skyhaul ARGUMENTS`, with the sides at these servers.
    #[must_use]
    pub fn at(src: &Endpoint, dst: &Endpoint, arguments: &[&str]) -> Vec<String> {
        let sides = [("--src-", src), ("--dst-", dst)];
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

    /// Runs `skyhaul ARGUMENTS`, with the sides at the two servers.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.cli.run(&Self::at(&self.src, &self.dst, arguments))
    }

    /// Submits `skyhaul ARGUMENTS`, and goes away at once: which transfer it is.
    #[must_use]
    pub fn submit(&self, arguments: &[String]) -> String {
        let flags = ["--detach", "--json"].map(str::to_owned);
        let submitted = self.cli.run(&[arguments, &flags].concat());
        let event = submitted.assert_code(0).events().remove(0);
        assert_eq!(event["event"], "following");
        event["transfer"].as_str().expect("its id").to_owned()
    }

    /// Two new buckets, one at each of the two servers.
    #[must_use]
    pub fn pair(&self, from: &str, to: &str) -> (Bucket, Bucket) {
        let made = |server, name| {
            let bucket = Bucket::named(server, crate::unique_name(name));
            bucket.make();
            bucket
        };
        (made(&self.src, from), made(&self.dst, to))
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
