//! Gateways that share nothing but the services of a cloud: the state is a table, segments are in a
//! bucket, and each gateway is a process of its own that finds its credentials by itself.
#![allow(clippy::unwrap_used)] // helpers of tests

mod live;

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region};
use skyhaul_engine::staging::Staging;
use skyhaul_gateway::config::{Config, StateConfig};
use skyhaul_model::Side;
use skyhaul_model::spec::{Connection, Endpoint};
use skyhaul_state::DynamoDbState;
use skyhaul_stores::s3::{Credentials, S3Options, S3Store};
use skyhaul_tests::oracle::Bucket;
use skyhaul_tests::servers;

use live::{Live, MIB, Places};

/// A table and a bucket, empty.
async fn cloud(bucket: &Bucket) -> Places {
    let service = &servers::cloud().ministack;
    let (access, secret) = (&bucket.endpoint.access_key, &bucket.endpoint.secret_key);
    let credentials = aws_credential_types::Credentials::new(access, secret, None, None, "test");
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(service.region.clone()))
        .endpoint_url(&service.url)
        .credentials_provider(credentials)
        .load()
        .await;
    let table = skyhaul_tests::unique_name("state");
    let state = DynamoDbState::new(&config, &table);
    state.create_tables().await.unwrap();
    let segments = Endpoint {
        location: format!("s3://{}/transfers/t", bucket.name).parse().unwrap(),
        connection: Connection {
            endpoint_url: Some(bucket.endpoint.url.clone()),
            region: Some(bucket.endpoint.region.clone()),
            ..Connection::default()
        },
    };
    let options = S3Options {
        credentials: Some(Credentials {
            access_key_id: access.clone(),
            secret_access_key: secret.clone(),
            session_token: None,
        }),
        ..S3Options::default()
    };
    let (location, connection) = (&segments.location, &segments.connection);
    let store = S3Store::open(location, connection, Side::Control, options).await;
    Places {
        state: Arc::new(state),
        segments: Arc::new(Staging::new(Arc::new(store.unwrap()), &location.path)),
        found: (
            StateConfig::Table {
                name: table,
                region: Some(service.region.clone()),
                endpoint_url: Some(service.url.clone()),
            },
            segments,
        ),
    }
}

/// A gateway's process; it stops when this goes.
struct Gateway {
    process: Child,
    /// Its end would stop the gateway, and waiting for the process would close it.
    _input: ChildStdin,
}

impl Gateway {
    fn start(config: &Config, account: &servers::Endpoint) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skyhaul-gateway"))
            .args(["--config", "-", "--name", &config.name])
            .env("AWS_ACCESS_KEY_ID", &account.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &account.secret_key)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let line = serde_json::to_string(config).unwrap();
        writeln!(input, "{line}").unwrap();
        Self {
            process: child,
            _input: input,
        }
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
    let mut second = start("src-2", None);
    let ended = tokio::task::spawn_blocking(move || second.process.wait().unwrap());
    assert!(ended.await.unwrap().success());
    drop(destination);
    live.ended_whole().await;
}
