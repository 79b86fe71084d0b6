//! Who a gateway is on the wire.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One start of one gateway process: random, never used again. Keys are derived from it, so a
/// gateway that is started anew has other keys, and nothing sent to its former self opens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GatewayId(pub [u8; 16]);

impl GatewayId {
    /// No gateway.
    pub(crate) const NOBODY: Self = Self([0; 16]);

    /// A new identity, from the system's source of chance.
    #[must_use]
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// An identity as it is displayed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = Self([0; 16]);
        hex::decode_to_slice(text, &mut id.0).ok()?;
        Some(id)
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatewayId({self})")
    }
}
