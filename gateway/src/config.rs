//! A gateway's configuration: JSON, from a file or from standard input, because it holds secrets.

use std::io::BufRead;
use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skyhaul_model::machine::IntentId;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Error, Result, TransferId};
use zeroize::Zeroizing;

use crate::body::Compress;
use crate::control::ControlConfig;
use crate::routes::Route;
use crate::secret::{DataSecret, MembershipSecret};
use crate::wire::header::Cipher;

/// See each field. What a gateway is follows from what it is given: with routes it claims groups and
/// sends, with the data secret it writes what it is sent, else it passes on.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Its name in the dataplane, kept when it is started anew.
    pub name: String,
    /// The transfer; its id is the dataplane's name, too.
    pub transfer: TransferId,
    /// Where it is to be connected to; port 0 is any. None: it only connects to others.
    pub listen: Option<SocketAddr>,
    /// Where others reach it, if that is not where it listens.
    #[serde(default)]
    pub announce: Option<SocketAddr>,
    /// The membership secret, in hexadecimal digits.
    pub membership: String,
    /// The data secret; relays have none.
    pub data: Option<String>,
    /// Where the transfer's state is.
    pub state: StateConfig,
    /// Where the transfer's segments are, for who claims groups: a folder of this machine, or a prefix
    /// of the staging bucket.
    pub segments: Option<Endpoint>,
    /// Names of the gateways that it connects to.
    #[serde(default)]
    pub peers: Vec<String>,
    /// Connections to each of them.
    pub connections: usize,
    /// Ways to the destination gateways, for who claims groups.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// What is sealed with.
    pub cipher: Cipher,
    /// What is done to make fewer bytes.
    pub compress: Compress,
    /// Whether connections between gateways are encrypted by TLS, beside what is sealed anyway.
    #[serde(default)]
    pub socket_tls: bool,
    /// The instance metadata service (`http://169.254.169.254`) to ask whether the machine is to be
    /// taken away, where it may be.
    #[serde(default)]
    pub notices: Option<String>,
    /// Bounds.
    pub limits: LimitsConfig,
    /// Whether it lets itself be looked into.
    #[serde(default)]
    pub control: Option<ControlConfig>,
}

/// Where the state is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum StateConfig {
    /// A state service.
    Service {
        /// Its `host:port`.
        address: String,
        /// What it asks for.
        token: String,
    },
    /// A table.
    Table(TableConfig),
}

/// A table of `DynamoDB`, reached with the machine's own credentials.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// Its name.
    pub name: String,
    /// Its region; that of the environment where none is said.
    pub region: Option<String>,
    /// The service's address; AWS's own where none is said.
    pub endpoint_url: Option<String>,
}

/// What a machine of a dataplane is started with. Holds no secret: what it is to do it is told afterwards,
/// sealed ([`crate::assignment`]).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// The control plane's table.
    pub control: TableConfig,
    /// What the machine's provider calls it.
    pub machine: String,
    /// What it was launched for.
    pub intent: IntentId,
    /// Where what it says is kept.
    #[serde(default)]
    pub logs: Option<Endpoint>,
}

/// Seconds of a drain, where the configuration does not say: less than the two minutes after which
/// a machine is taken away that was announced to go.
pub const DRAIN: u64 = 90;

/// Bounds of a gateway.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Objects and parts moved at the same time.
    pub transfers: usize,
    /// Bytes of object data held in memory at most.
    pub max_memory: u64,
    /// Bytes a second at most.
    pub bwlimit: Option<u64>,
    /// Times an object is begun at most.
    pub attempts: u32,
    /// Seconds after which a lease without a sign of life is taken over.
    pub term: u64,
    /// Seconds in which a gateway that is to drain finishes what it has begun; what is left then is
    /// given back.
    #[serde(default = "drain")]
    pub drain: u64,
}

fn drain() -> u64 {
    DRAIN
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("transfer", &self.transfer)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

impl Boot {
    /// Reads what a machine is started with, as [`Config::read`] does.
    pub fn read(from: impl BufRead) -> Result<Self> {
        read_line(from, "what a machine is started with")
    }
}

/// A configuration is not longer than this, in bytes.
const MOST: u64 = 1 << 20;

fn read_line<T: DeserializeOwned>(from: impl BufRead, what: &str) -> Result<T> {
    let mut text = Zeroizing::new(String::new());
    std::io::BufReader::new(from.take(MOST))
        .read_line(&mut text)
        .map_err(|error| Error::invalid(format!("{what} cannot be read")).cause(error))?;
    // The error of the parser would show what it read.
    serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Error::invalid(format!("not {what} (line {line}, column {column})"))
    })
}

impl Config {
    /// A gateway with fresh secrets that has no name, knows nobody and listens nowhere: what others are made
    /// from.
    #[must_use]
    pub fn new(transfer: TransferId, state: StateConfig, limits: LimitsConfig) -> Self {
        Self {
            name: String::new(),
            transfer,
            listen: None,
            announce: None,
            membership: MembershipSecret::generate().reveal().to_string(),
            data: Some(DataSecret::generate().reveal().to_string()),
            state,
            segments: None,
            peers: Vec::new(),
            connections: 1,
            routes: Vec::new(),
            cipher: Cipher::suited(),
            compress: Compress::None,
            socket_tls: false,
            notices: None,
            limits,
            control: None,
        }
    }

    /// Reads a configuration to the end of a file, or to the end of its first line.
    pub fn read(from: impl BufRead) -> Result<Self> {
        read_line(from, "a gateway's configuration")
    }

    pub(crate) fn membership(&self) -> Result<MembershipSecret> {
        MembershipSecret::parse(&self.membership)
    }

    pub(crate) fn data(&self) -> Result<Option<DataSecret>> {
        self.data.as_deref().map(DataSecret::parse).transpose()
    }
}
