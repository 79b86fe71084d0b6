//! Connections to other gateways: those that are made and kept, and those that are accepted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skyhaul_model::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::directory::Directory;
use crate::node::Node;
use crate::wire::fault::WireError;
use crate::world::Network;

/// Connections that may be in the handshake at the same time: strangers get no further.
const STRANGERS: usize = 256;

/// Connections of members.
const MEMBERS: usize = 4_096;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(250);

/// Of a listener that cannot accept (no descriptors left): time for some to come free.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Begins to listen.
pub(crate) async fn listen<N: Network>(
    network: &N,
    at: SocketAddr,
) -> Result<(N::Listener, SocketAddr)> {
    network.listen(at).await.map_err(|error| {
        Error::control(ErrorKind::Unreachable, "cannot listen")
            .object(at.to_string())
            .cause(error)
    })
}

/// Accepts connections until `stop`.
pub(crate) async fn accept<N: Network>(
    node: Arc<Node>,
    network: N,
    listener: N::Listener,
    stop: CancellationToken,
) {
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let members = Arc::new(Semaphore::new(MEMBERS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = network.accept(&listener) => accepted,
        };
        let (mut stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Ok(stranger) = Arc::clone(&strangers).try_acquire_owned() else {
            tracing::warn!(%from, "refused: too many are about to show who they are");
            continue;
        };
        let (node, members) = (Arc::clone(&node), Arc::clone(&members));
        connections.spawn(async move {
            let agreed = match node.member().accept(&mut stream).await {
                Ok(agreed) => agreed,
                Err(error) => return tracing::warn!(%from, "refused: {error}"),
            };
            let Ok(_member) = members.try_acquire_owned() else {
                return tracing::warn!(%from, "refused: too many connections");
            };
            drop(stranger);
            let peer = agreed.peer.gateway;
            tracing::info!(%from, %peer, "connected");
            let ended = node.join(agreed, N::split(stream)).await;
            tracing::info!(%from, %peer, "disconnected: {ended}");
        });
    }
}

/// Keeps one connection to a gateway, wherever it is, until `stop`.
pub(crate) async fn keep<N: Network>(
    node: Arc<Node>,
    network: N,
    directory: Arc<Directory>,
    name: String,
    stop: CancellationToken,
) {
    let kept = async {
        let mut told = None;
        loop {
            let address = directory.address(&name).await;
            match connect(&node, &network, &address).await {
                Ok(ended) => {
                    told = None;
                    tracing::info!(name, address, "disconnected: {ended}");
                }
                Err(error) => {
                    let error = error.to_string();
                    // Once, not with each attempt.
                    if told.as_ref() != Some(&error) {
                        tracing::warn!(name, address, "cannot connect: {error}");
                    }
                    told = Some(error);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    stop.run_until_cancelled(kept).await;
}

/// Makes a connection and is part of it until it ends.
async fn connect<N: Network>(
    node: &Node,
    network: &N,
    address: &str,
) -> Result<WireError, WireError> {
    let stream = tokio::time::timeout(CONNECT, network.connect(address)).await;
    let mut stream = stream.map_err(|_| WireError::TooSlow)??;
    let agreed = node.member().connect(&mut stream).await?;
    Ok(node.join(agreed, N::split(stream)).await)
}
