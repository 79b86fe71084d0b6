//! The control API of a gateway: HTTP/1.1 over TLS, for whoever shows its token, on addresses that no
//! stranger reaches. Described in `docs/openapi/gateway.yaml`, which is tested against the code.

mod api;
pub mod client;
pub mod fault;
mod metrics;
mod rates;
pub mod replies;
mod server;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use skyhaul_engine::trace::Trace;
use skyhaul_model::{Error, Result, TransferId};
use skyhaul_state::service::Token;
use skyhaul_state::{ControlAddress, GatewayRole};
use tokio_util::sync::CancellationToken;

use crate::directory::Directory;
use crate::node::Node;
use crate::orders::Orders;
use crate::peers;
use crate::tls;
use crate::world::Tcp;

pub use api::ROUTES;

/// Chunks that are kept, where the configuration does not say.
pub const CHUNKS: usize = 4_096;

/// Whether a gateway lets itself be looked into, and where.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlConfig {
    /// Where it listens, loopback or private; port 0 is any.
    pub listen: SocketAddr,
    /// What it asks for.
    pub token: String,
    /// Recent chunks that are kept to be shown, at most; each takes about half a KiB.
    #[serde(default = "chunks")]
    pub chunks: usize,
}

fn chunks() -> usize {
    CHUNKS
}

/// What is shown.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) transfer: TransferId,
    pub(crate) role: GatewayRole,
    pub(crate) node: Arc<Node>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) orders: Orders,
    pub(crate) began: Instant,
    rates: Arc<rates::Rates>,
}

impl Subject {
    /// A gateway.
    pub(crate) fn new(
        (name, transfer): (String, TransferId),
        role: GatewayRole,
        (node, directory): (Arc<Node>, Arc<Directory>),
        trace: Arc<Trace>,
        orders: Orders,
    ) -> Self {
        Self {
            name,
            transfer,
            role,
            node,
            directory,
            trace,
            orders,
            began: Instant::now(),
            rates: Arc::default(),
        }
    }
}

/// Whether an address is one that only this machine or a private network reaches.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    }
}

/// Begins to listen and serves until `stop`, in tasks of its own. Where that is.
pub(crate) async fn start(
    config: &ControlConfig,
    subject: Subject,
    stop: CancellationToken,
) -> Result<ControlAddress> {
    if !is_private(config.listen.ip()) {
        let message = "a control API listens on loopback and private addresses only";
        return Err(Error::invalid(message)
            .object(config.listen.to_string())
            .hint("127.0.0.1 is one"));
    }
    let token = Token::parse(&config.token)?;
    let (acceptor, fingerprint) = tls::acceptor()?;
    let (listener, at) = peers::listen(&Tcp, config.listen).await?;
    tracing::info!(%at, fingerprint, "the control API listens");
    let subject = Arc::new(subject);
    let (node, rates) = (Arc::clone(&subject.node), Arc::clone(&subject.rates));
    let measuring = stop.clone();
    tokio::spawn(async move { measuring.run_until_cancelled(rates.measure(&node)).await });
    tokio::spawn(server::serve(subject, token, acceptor, listener, stop));
    Ok(ControlAddress {
        address: at.to_string(),
        fingerprint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_private_addresses_are_taken() {
        for (address, taken) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("10.1.2.3", true),
            ("172.16.0.1", true),
            ("192.168.1.1", true),
            ("fd00::1", true),
            ("::ffff:10.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("8.8.8.8", false),
            ("172.32.0.1", false),
            ("169.254.169.254", false),
            ("2001:4860:4860::8888", false),
            ("::ffff:8.8.8.8", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), taken, "{address}");
        }
    }
}
