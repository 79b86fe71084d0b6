//! What is deployed in a region, as the deployment notes it in its table.

use serde::{Deserialize, Serialize};
use skyhaul_compute::region::Region;
use skyhaul_model::{Error, ErrorKind, Result};

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployed {
    /// The network and what machines may do.
    pub ec2: Region,
    /// The gateway that they fetch.
    pub gateway: Artifact,
}

/// The gateway that machines of a region fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its address in a bucket of the region.
    pub url: String,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl Deployed {
    /// Reads what was noted of a region.
    pub fn parse(region: &str, text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| {
            Error::control(ErrorKind::Corrupt, "what a region has cannot be read")
                .object(region)
                .cause(error)
                .hint("`skyhaul deploy --region` writes it anew")
                .retryable(false)
        })
    }

    /// As it is noted.
    pub fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| {
            Error::control(ErrorKind::Internal, "what a region has cannot be written").cause(error)
        })
    }
}
