//! The transfer specification: everything that defines what a transfer does. It is stored with the
//! transfer, so it holds no secret and nothing that belongs to one machine or run.

use serde::{Deserialize, Serialize};

use crate::attributes::AttributePolicy;
use crate::checksum::Algorithm;
use crate::compare::{Compare, IfExists};
use crate::error::{Error, Result};
use crate::filter::FilterSpec;
use crate::guard::DeletePolicy;
use crate::keymap::{KeyMap, Rename};
use crate::location::{Location, Scheme};
use crate::parts::PartPolicy;

/// How one side is reached. Credentials are never here: they come from the named profile or the
/// SDK's ordinary chain when the store is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// Endpoint URL of an S3-compatible service; `None` is AWS.
    pub endpoint_url: Option<String>,
    /// Region; `None` is found from the environment or the bucket.
    pub region: Option<String>,
    /// Profile of the shared AWS configuration files.
    pub profile: Option<String>,
    /// Path-style addressing; `None` decides by the endpoint.
    pub path_style: Option<bool>,
    /// Requests without a signature, for public buckets.
    pub no_sign_request: bool,
    /// Agree to pay for requests to requester-pays buckets.
    pub requester_pays: bool,
    /// ARN of the secret of Secrets Manager that holds the keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The role that is assumed with the credentials that are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The account that the bucket must be of, 12 digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket_owner: Option<String>,
}

/// A role of AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What its owner wants to be told by who assumes it.
    pub external_id: Option<String>,
}

/// One side of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where.
    pub location: Location,
    /// How to get there.
    #[serde(default)]
    pub connection: Connection,
}

impl Endpoint {
    /// Refuses (`Invalid`) what only the machine of who asks can reach: for what is carried out elsewhere.
    pub fn check_remote(&self) -> Result<()> {
        let refused =
            |message: &str| Err(Error::invalid(message).object(self.location.to_string()));
        if self.location.scheme == Scheme::Local {
            return refused("a control plane cannot reach files of this machine");
        }
        if self.connection.profile.is_some() {
            return refused("a control plane knows no profiles of this machine");
        }
        Ok(())
    }
}

/// Server-side encryption to ask for on writes to S3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// SSE-S3 (`AES256`).
    S3,
    /// SSE-KMS with this key, or the bucket's default key.
    Kms {
        /// Key id, alias or ARN.
        key_id: Option<String>,
    },
}

/// Which checksum travels with the bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumPolicy {
    /// The source's own algorithm where the destination verifies it too and it combines, else the
    /// cheapest that the destination verifies.
    #[default]
    Auto,
    /// This one.
    Always(Algorithm),
    /// None: lengths only.
    Off,
}

/// When written files are flushed to the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Before their names appear and before they are recorded as done.
    #[default]
    Fsync,
    /// When the operating system likes: a power failure may lose files reported as done.
    Off,
}

/// Copy or sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Copies what the key map selects; looks at the destination only as `if_exists` demands.
    Copy,
    /// Makes the destination like the source.
    Sync,
}

/// Everything that defines what a transfer does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferSpec {
    /// Copy or sync.
    pub mode: Mode,
    /// What is read.
    pub source: Endpoint,
    /// What is written, all of it at each of them.
    pub destinations: Vec<Endpoint>,
    /// Which keys, and what they are called at the destination.
    pub keys: KeyMap,
    /// What each of several destinations calls them; empty where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renames: Vec<Rename>,
    /// Which of them are left out.
    #[serde(default)]
    pub filters: FilterSpec,
    /// Patterns of those that are copied before all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<String>,
    /// When a sync copies an object that the destination has.
    #[serde(default)]
    pub compare: Compare,
    /// What a copy does with an object that the destination has.
    #[serde(default)]
    pub if_exists: IfExists,
    /// Whether a sync deletes, and how much at most.
    #[serde(default)]
    pub delete: Option<DeletePolicy>,
    /// What happens to headers, metadata, tags and storage class.
    #[serde(default)]
    pub attributes: AttributePolicy,
    /// How large objects are cut.
    #[serde(default)]
    pub parts: PartPolicy,
    /// Which checksum is used.
    #[serde(default)]
    pub checksum: ChecksumPolicy,
    /// Server-side encryption at the destination.
    #[serde(default)]
    pub encryption: Option<Encryption>,
    /// Whether bytes must pass this machine even where the service could copy by itself.
    #[serde(default)]
    pub stream: bool,
    /// Whether symbolic links in a local source are followed (otherwise they are skipped).
    #[serde(default)]
    pub follow_symlinks: bool,
    /// Flushing of files at a local destination.
    #[serde(default)]
    pub durability: Durability,
    /// Instants that ages in filters refer to are measured from here.
    pub now: jiff::Timestamp,
}

impl TransferSpec {
    /// What makes two commands the same transfer: the specification without its time.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        use sha2::{Digest as _, Sha256};
        let timeless = Self {
            now: jiff::Timestamp::UNIX_EPOCH,
            ..self.clone()
        };
        // A struct of plain values always serialises.
        let json = serde_json::to_vec(&timeless).unwrap_or_default();
        hex::encode(&Sha256::digest(&json)[..16])
    }
}
