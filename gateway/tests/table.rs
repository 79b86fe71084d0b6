//! Gateways that share nothing but the services of a cloud: the state is a table, segments are in a
//! bucket, and each gateway is a process of its own that finds its credentials by itself.
#![allow(clippy::unwrap_used)] // helpers of tests

mod live;

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use skyhaul_engine::staging::Staging;
use skyhaul_gateway::assignment::seal;
use skyhaul_gateway::config::{Boot, Config, StateConfig, TableConfig};
use skyhaul_model::Side;
use skyhaul_model::machine::{DataplaneId, IntentId};
use skyhaul_model::spec::{Connection, Endpoint};
use skyhaul_state::control::{ControlState as _, EnrolmentChange};
use skyhaul_state::{DynamoDbControl, DynamoDbState};
use skyhaul_stores::s3::{Credentials, S3Options, S3Store};
use skyhaul_tests::oracle::Bucket;
use skyhaul_tests::servers;

use live::{Live, MIB, Places};

/// A table's name, and how it is reached.
fn table(hint: &str) -> TableConfig {
    let service = &servers::cloud().ministack;
    TableConfig {
        name: skyhaul_tests::unique_name(hint),
        region: Some(service.region.clone()),
        endpoint_url: Some(service.url.clone()),
    }
}

/// How the services of the account are reached. The emulator takes whatever the bucket's server asks for.
async fn account(bucket: &Bucket) -> SdkConfig {
    let service = &servers::cloud().ministack;
    let (access, secret) = (&bucket.endpoint.access_key, &bucket.endpoint.secret_key);
    let credentials = aws_credential_types::Credentials::new(access, secret, None, None, "test");
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(service.region.clone()))
        .endpoint_url(&service.url)
        .credentials_provider(credentials)
        .load()
        .await
}

/// A place in a bucket.
fn place(bucket: &Bucket, prefix: &str) -> Endpoint {
    Endpoint {
        location: format!("s3://{}/{prefix}", bucket.name).parse().unwrap(),
        connection: Connection {
            endpoint_url: Some(bucket.endpoint.url.clone()),
            region: Some(bucket.endpoint.region.clone()),
            ..Connection::default()
        },
    }
}

/// What is kept at a place.
async fn staging(bucket: &Bucket, at: &Endpoint) -> Staging {
    let options = S3Options {
        credentials: Some(Credentials {
            access_key_id: bucket.endpoint.access_key.clone(),
            secret_access_key: bucket.endpoint.secret_key.clone(),
            session_token: None,
        }),
        ..S3Options::default()
    };
    let store = S3Store::open(&at.location, &at.connection, Side::Control, options).await;
    Staging::new(Arc::new(store.unwrap()), &at.location.path)
}

/// A table and a bucket, empty.
async fn cloud(bucket: &Bucket) -> Places {
    let table = table("state");
    let state = DynamoDbState::new(&account(bucket).await, &table.name);
    state.create_tables().await.unwrap();
    let segments = place(bucket, "transfers/t");
    Places {
        state: Arc::new(state),
        segments: Arc::new(staging(bucket, &segments).await),
        found: (StateConfig::Table(table), segments),
    }
}

/// A gateway's process; it stops when this goes.
struct Gateway {
    process: Child,
    /// Its end would stop the gateway, and waiting for the process would close it.
    input: ChildStdin,
}

impl Gateway {
    fn run(arguments: &[&str], account: &servers::Endpoint) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_skyhaul-gateway"))
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", &account.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &account.secret_key)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        Self { process, input }
    }

    /// A gateway of one transfer.
    fn start(config: &Config, account: &servers::Endpoint) -> Self {
        let mut gateway = Self::run(&["--config", "-", "--name", &config.name], account);
        let line = serde_json::to_string(config).unwrap();
        writeln!(gateway.input, "{line}").unwrap();
        gateway
    }

    /// Waits until it has ended by itself.
    async fn succeeds(mut self) {
        let ended = tokio::task::spawn_blocking(move || self.process.wait().unwrap());
        assert!(ended.await.unwrap().success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn gateways_share_a_table_and_a_bucket_and_nothing_else() {
    let bucket = Bucket::create(&servers::cloud().src, "staging");
    let live = Live::kept_in(cloud(&bucket).await, 24).await;
    let start = |name: &str, bwlimit| {
        let mut config = live.config(name);
        config.limits.bwlimit = bwlimit;
        // What a dead one had is taken over this soon.
        config.limits.term = 3;
        Gateway::start(&config, &bucket.endpoint)
    };
    let destination = start("dst-1", None);
    // One dies at its first group, another takes over what it had.
    let mut first = start("src-1", Some(2 * MIB));
    live::eventually("a group is leased", async || {
        let gateways = live.state.gateways(&live.id).await.unwrap();
        gateways
            .iter()
            .any(|row| row.name == "src-1" && row.wire_bytes > 0)
            .then_some(())
    })
    .await;
    first.process.kill().unwrap();
    first.process.wait().unwrap();
    start("src-2", None).succeeds().await;
    drop(destination);
    live.ended_whole().await;
}

/// A machine that was started, with nothing but where it is told what to do.
async fn machine(
    (control, table): (&DynamoDbControl, &TableConfig),
    live: &Live,
    (member, bucket): (&str, &Bucket),
) -> (String, Gateway) {
    let intent = IntentId {
        dataplane: DataplaneId::generate(),
        member: member.parse().unwrap(),
        generation: 1,
    };
    let boot = Boot {
        control: table.clone(),
        machine: format!("arn:aws:ec2:::instance/{member}"),
        intent: intent.clone(),
        logs: Some(place(bucket, &format!("logs/{member}/"))),
    };
    let file = live.file(&format!("{member}.json"));
    std::fs::write(&file, serde_json::to_string(&boot).unwrap()).unwrap();
    let gateway = Gateway::run(&["--boot", file.to_str().unwrap()], &bucket.endpoint);
    let row = live::eventually("a machine enrols", async || {
        control.enrolment(&boot.machine).await.unwrap()
    })
    .await;
    assert_eq!(row.intent, intent);
    let config = live.config(member);
    let sealed = seal(&row.public_key, &intent, &live.id, &config).unwrap();
    let assign = EnrolmentChange::Assign {
        public_key: row.public_key,
        transfer: live.id.clone(),
        sealed,
    };
    let assigned = control.change_enrolment(&boot.machine, &assign).await;
    assigned.unwrap();
    (boot.machine, gateway)
}

#[tokio::test]
async fn machines_work_for_what_they_are_assigned_to_and_end_when_they_are_struck_off() {
    let bucket = Bucket::create(&servers::cloud().src, "staging");
    let live = Live::kept_in(cloud(&bucket).await, 8).await;
    let table = table("control");
    let control = DynamoDbControl::new(&account(&bucket).await, &table.name);
    control.create_table().await.unwrap();
    let told = (&control, &table);
    let (one, source) = machine(told, &live, ("src-1", &bucket)).await;
    let (two, destination) = machine(told, &live, ("dst-1", &bucket)).await;
    live::eventually("all groups are done", async || {
        let progress = live.state.progress(&live.id).await.unwrap();
        (progress.groups_done == progress.groups).then_some(())
    })
    .await;
    for name in [&one, &two] {
        control.strike(name).await.unwrap();
    }
    source.succeeds().await;
    destination.succeeds().await;
    live.ended_whole().await;
    for member in ["src-1", "dst-1"] {
        let kept = staging(&bucket, &place(&bucket, &format!("logs/{member}/"))).await;
        let mut said = String::new();
        for name in kept.names().await.unwrap() {
            said += &String::from_utf8(kept.lines(&name).await.unwrap()).unwrap();
        }
        assert!(said.contains("assigned"), "{member}: {said}");
        assert!(said.contains(live.id.as_str()), "{member}: {said}");
    }
}
