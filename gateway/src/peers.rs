//! Connections to other gateways: those that are made and kept, and those that are accepted.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skyhaul_model::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::directory::Directory;
use crate::node::Node;
use crate::socket::Socket;
use crate::wire::fault::WireError;
use crate::world::Network;

/// Connections that may be in the handshake at the same time: strangers get no further. The oldest makes
/// room for one more, so that no crowd of them keeps a member out.
const STRANGERS: usize = 256;

/// Connections of members.
const MEMBERS: usize = 4_096;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(250);

/// Of a listener that cannot accept (no descriptors left): time for some to come free.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Those that have not shown yet who they are, the oldest first.
#[derive(Default)]
struct Strangers(VecDeque<CancellationToken>);

impl Strangers {
    /// One more. What is returned is cancelled when it is turned away; cancelling it takes it out.
    fn admit(&mut self) -> CancellationToken {
        self.0.retain(|stranger| !stranger.is_cancelled());
        if self.0.len() >= STRANGERS
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.cancel();
        }
        let stranger = CancellationToken::new();
        self.0.push_back(stranger.clone());
        stranger
    }
}

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
    socket: Socket,
    stop: CancellationToken,
) {
    let mut strangers = Strangers::default();
    let members = Arc::new(Semaphore::new(MEMBERS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = network.accept(&listener) => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let stranger = strangers.admit();
        let (node, members, socket) = (Arc::clone(&node), Arc::clone(&members), socket.clone());
        connections.spawn(async move {
            let agreed = tokio::select! {
                biased;
                () = stranger.cancelled() => None,
                agreed = socket.accept::<N>(&node, stream) => Some(agreed),
            };
            stranger.cancel();
            let (agreed, halves) = match agreed {
                Some(Ok(agreed)) => agreed,
                Some(Err(error)) => return tracing::warn!(%from, "refused: {error}"),
                None => {
                    return tracing::warn!(%from, "refused: others wait to show who they are");
                }
            };
            let Ok(_member) = members.try_acquire_owned() else {
                return tracing::warn!(%from, "refused: too many connections");
            };
            let peer = agreed.peer.gateway;
            tracing::info!(%from, %peer, "connected");
            let ended = halves.join(&node, agreed).await;
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
    socket: Socket,
    stop: CancellationToken,
) {
    let kept = async {
        let mut told = None;
        loop {
            let address = directory.address(&name).await;
            match connect(&node, &network, &socket, &address).await {
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
    socket: &Socket,
    address: &str,
) -> Result<WireError, WireError> {
    let stream = tokio::time::timeout(CONNECT, network.connect(address)).await;
    let stream = stream.map_err(|_| WireError::TooSlow)??;
    let (agreed, halves) = socket.connect::<N>(node, stream).await?;
    Ok(halves.join(node, agreed).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_stranger_makes_room() {
        let mut strangers = Strangers::default();
        let first: Vec<_> = (0..STRANGERS).map(|_| strangers.admit()).collect();
        // Has shown who it is.
        first[3].cancel();
        let one_more = strangers.admit();
        assert_eq!(first.iter().filter(|one| one.is_cancelled()).count(), 1);
        let _ = strangers.admit();
        assert!(first[0].is_cancelled() && !first[1].is_cancelled() && !one_more.is_cancelled());
    }
}
