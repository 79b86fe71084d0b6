//! The servers that a test talks to. Under nextest they are started once a run and named by
//! `SKYHAUL_TEST_SERVERS`; a test binary started by itself starts its own. Either way they end
//! with the process that asked for them (`scripts/testbench.py`).

use serde::{Deserialize, Serialize};
use std::process::Command;
use std::sync::OnceLock;

/// One endpoint and credentials that may do everything there.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Endpoint {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// Access key id.
    pub access_key: String,
    /// Secret access key (of a throw-away server).
    pub secret_key: String,
    /// Region to sign for.
    pub region: String,
    /// `seaweedfs`, `moto`, `ministack` or `dynamodb-local`.
    pub kind: String,
}

impl Endpoint {
    /// The same server under another address: through a proxy.
    #[must_use]
    pub fn at(&self, url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..self.clone()
        }
    }

    /// The same server (SeaweedFS only) by credentials that may list and read, not write.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self {
            access_key: format!("{}-reader", self.access_key),
            ..self.clone()
        }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.url
            .strip_prefix("http://")
            .expect("test servers speak plain HTTP")
    }
}

/// The servers of this run.
#[derive(Clone, Debug, Deserialize)]
pub struct Servers {
    /// SeaweedFS. Buckets named `open-*` may be read without signing.
    pub src: Endpoint,
    /// A second SeaweedFS with other credentials.
    pub dst: Endpoint,
    /// moto: keeps odd keys as they are.
    pub odd: Endpoint,
}

/// The servers of this run, started if nobody has.
#[must_use]
pub fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| described("src,dst,odd"))
}

/// The `DynamoDB` emulators of this run.
#[derive(Clone, Debug, Deserialize)]
pub struct Tables {
    /// `MiniStack`.
    pub ministack: Endpoint,
    /// AWS's own.
    pub dynamodb_local: Endpoint,
}

/// The `DynamoDB` emulators of this run, started if nobody has.
#[must_use]
pub fn tables() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| described("ministack,dynamodb_local"))
}

/// A store and the services of an account, for who needs both.
#[derive(Clone, Debug, Deserialize)]
pub struct Cloud {
    /// SeaweedFS.
    pub src: Endpoint,
    /// `MiniStack`.
    pub ministack: Endpoint,
}

/// A store and the services of an account, started if nobody has.
#[must_use]
pub fn cloud() -> &'static Cloud {
    static CLOUD: OnceLock<Cloud> = OnceLock::new();
    CLOUD.get_or_init(|| described("src,ministack"))
}

fn described<T: serde::de::DeserializeOwned>(names: &str) -> T {
    let line = std::env::var("SKYHAUL_TEST_SERVERS").unwrap_or_else(|_| start(names));
    serde_json::from_str(&line).expect("SKYHAUL_TEST_SERVERS is what testbench.py printed")
}

/// Starts servers that live as long as this process; gives their description.
fn start(names: &str) -> String {
    let output = Command::new(crate::python())
        .arg(crate::root().join("scripts/testbench.py"))
        .args(["up", "--watch", &std::process::id().to_string()])
        .args(["--servers", names])
        .output()
        .expect("python starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("JSON is UTF-8")
}
