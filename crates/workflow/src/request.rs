//! What the command asks for, before the two sides were looked at.

use serde::{Deserialize, Serialize};
use skyhaul_model::attributes::AttributePolicy;
use skyhaul_model::compare::{Compare, IfExists};
use skyhaul_model::filter::FilterSpec;
use skyhaul_model::guard::DeletePolicy;
use skyhaul_model::parts::PartPolicy;
use skyhaul_model::spec::{ChecksumPolicy, Durability, Encryption, Endpoint, Mode};

/// A `cp` or `sync` as the user typed it: the plan step makes a
/// [`TransferSpec`](skyhaul_model::TransferSpec) of it by looking at both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyRequest {
    /// Copy or sync.
    pub mode: Mode,
    /// The source.
    pub source: Endpoint,
    /// Where it is copied to; a sync has one destination.
    pub destinations: Vec<Endpoint>,
    /// `cp -r`; a sync is always recursive.
    #[serde(default)]
    pub recursive: bool,
    /// See [`TransferSpec`](skyhaul_model::TransferSpec), as the following.
    #[serde(default)]
    pub filters: FilterSpec,
    /// What is copied before all else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<String>,
    /// How a sync compares.
    #[serde(default)]
    pub compare: Compare,
    /// What a copy does with existing objects.
    #[serde(default)]
    pub if_exists: IfExists,
    /// Whether a sync deletes.
    #[serde(default)]
    pub delete: Option<DeletePolicy>,
    /// Headers, metadata, tags, class.
    #[serde(default)]
    pub attributes: AttributePolicy,
    /// Parts.
    #[serde(default)]
    pub parts: PartPolicy,
    /// Checksums.
    #[serde(default)]
    pub checksum: ChecksumPolicy,
    /// Server-side encryption.
    #[serde(default)]
    pub encryption: Option<Encryption>,
    /// Never let the service copy by itself.
    #[serde(default)]
    pub stream: bool,
    /// Follow symbolic links in a local source.
    #[serde(default)]
    pub follow_symlinks: bool,
    /// Flushing at a local destination.
    #[serde(default)]
    pub durability: Durability,
}
