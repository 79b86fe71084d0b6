//! The secrets of a transfer: made once, kept wrapped, and shown to nobody but the gateways that they are
//! sealed to.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skyhaul_gateway::secret::{DataSecret, MembershipSecret};
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::control::ControlState;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A key that wraps others and never leaves its service.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Wraps bytes for a transfer; they can be unwrapped for the same only.
    async fn wrap(&self, transfer: &TransferId, bytes: &[u8]) -> Result<Bytes>;

    /// Unwraps what was wrapped for a transfer.
    async fn unwrap(&self, transfer: &TransferId, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>>;
}

/// What all gateways of a transfer know, and what its source and destination gateways know.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Who does not know it completes no handshake.
    pub membership: MembershipSecret,
    /// What chunks and acknowledgements are sealed with.
    pub data: DataSecret,
}

/// As they are wrapped.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Written {
    membership: String,
    data: String,
}

/// The secrets of a transfer, which are made if there are none. Whoever asks, at once or again, is told the
/// same.
pub async fn secrets(
    control: &dyn ControlState,
    vault: &dyn Vault,
    transfer: &TransferId,
) -> Result<Secrets> {
    let wrapped = if let Some(wrapped) = control.secrets(transfer).await? {
        wrapped
    } else {
        let new = Written {
            membership: MembershipSecret::generate().reveal().to_string(),
            data: DataSecret::generate().reveal().to_string(),
        };
        let text = serde_json::to_vec(&new).map_err(|_| damaged(transfer))?;
        let new = vault.wrap(transfer, &Zeroizing::new(text)).await?;
        // Somebody else may have been quicker: those are the ones.
        control.keep_secrets(transfer, &new).await?
    };
    let text = vault.unwrap(transfer, &wrapped).await?;
    // The error of the parser would show what it read.
    let kept: Written = serde_json::from_slice(&text).map_err(|_| damaged(transfer))?;
    Ok(Secrets {
        membership: MembershipSecret::parse(&kept.membership)?,
        data: DataSecret::parse(&kept.data)?,
    })
}

fn damaged(transfer: &TransferId) -> Error {
    let message = "the transfer's secrets cannot be read";
    Error::control(ErrorKind::Corrupt, message)
        .object(transfer.as_str())
        .retryable(false)
}
