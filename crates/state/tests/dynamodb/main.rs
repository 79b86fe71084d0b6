//! `DynamoDbState` against the suite, over two emulators and connections that lose replies, and
//! what is its own: what it costs, what late requests and rivals do, what the suite would find.
//!
//! Both emulators, for neither is the service: `MiniStack` shows the row that refused a write, as
//! the service does, and pages; AWS's own, of 2020, knows nothing of that, but checks requests as
//! the service does. A missing emulator fails every test here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod budget;
mod conformance;
mod control;
mod failures;
mod leases;
mod mutants;
mod progress;
mod proxy;
mod staging;
mod work;

use std::sync::Arc;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;
use skyhaul_state::{DynamoDbState, TransferState};
use skyhaul_tests::servers::{Endpoint, tables};

/// Both emulators.
fn emulators() -> [&'static Endpoint; 2] {
    [&tables().ministack, &tables().dynamodb_local]
}

fn config(endpoint: &Endpoint) -> SdkConfig {
    let (access, secret) = (&endpoint.access_key, &endpoint.secret_key);
    let credentials = Credentials::new(access, secret, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(endpoint.region.clone()))
        .endpoint_url(&endpoint.url)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// A table of this test's own.
#[derive(Clone)]
struct Fresh {
    config: SdkConfig,
    table: String,
}

impl Fresh {
    /// A new table at an emulator.
    async fn at(endpoint: &Endpoint) -> Self {
        let fresh = Self {
            config: config(endpoint),
            table: format!("state-{}", ulid::Ulid::generate()),
        };
        fresh.open().create_tables().await.unwrap();
        fresh
    }

    /// The same table by another way.
    fn through(&self, endpoint: &Endpoint) -> Self {
        Self {
            config: config(endpoint),
            table: self.table.clone(),
        }
    }

    /// A handle to it.
    fn open(&self) -> DynamoDbState {
        DynamoDbState::new(&self.config, &self.table)
    }

    fn shared(&self) -> Arc<dyn TransferState> {
        Arc::new(self.open())
    }
}
