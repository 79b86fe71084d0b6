//! Gateways in one process, with pipes for a network.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skyhaul_gateway::node::Identity;
use skyhaul_gateway::secret::{DataSecret, MembershipSecret};
use skyhaul_gateway::serve::Destinations;
use skyhaul_gateway::wire::handshake::Agreed;
use skyhaul_gateway::wire::header::Cipher;
use skyhaul_gateway::{Compress, GatewayId, Node, RemoteStore, Route, Routes, Sealing};
use skyhaul_model::{Result, TransferId};
use skyhaul_stores::Store;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;

/// Always the same store.
pub(crate) struct One(pub(crate) Arc<dyn Store>);

#[async_trait]
impl Destinations for One {
    async fn open(&self, _transfer: &TransferId, _destination: u32) -> Result<Arc<dyn Store>> {
        Ok(Arc::clone(&self.0))
    }

    async fn room(&self, _bytes: u64) -> Result<Box<dyn Send>> {
        Ok(Box::new(()))
    }

    async fn turn(&self) -> Box<dyn Send> {
        Box::new(())
    }
}

fn join<S>(node: Arc<Node>, agreed: Agreed, stream: S) -> JoinHandle<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        node.join(agreed, tokio::io::split(stream)).await;
    })
}

/// A dataplane: what its members know, and who they are.
pub(crate) struct Net {
    membership: MembershipSecret,
    data: DataSecret,
    names: watch::Sender<HashMap<String, GatewayId>>,
}

/// A connection: both ends.
pub(crate) struct Wire(JoinHandle<()>, JoinHandle<()>);

impl Wire {
    /// Cuts it, as when a machine is gone.
    pub(crate) fn cut(self) {
        self.0.abort();
        self.1.abort();
    }
}

impl Net {
    pub(crate) fn new() -> Self {
        Self {
            membership: MembershipSecret::generate(),
            data: DataSecret::generate(),
            names: watch::Sender::new(HashMap::new()),
        }
    }

    fn node(&self, name: &str, data: bool, store: Option<Arc<dyn Store>>) -> Arc<Node> {
        let identity = Identity {
            dataplane: "net".to_owned(),
            membership: self.membership.clone(),
            data: data.then(|| self.data.clone()),
        };
        let destinations = store.map(|store| Arc::new(One(store)) as Arc<dyn Destinations>);
        let node = Node::new(identity, destinations);
        self.names.send_modify(|names| {
            let _ = names.insert(name.to_owned(), node.id);
        });
        node
    }

    pub(crate) fn source(&self, name: &str) -> Arc<Node> {
        self.node(name, true, None)
    }

    pub(crate) fn relay(&self, name: &str) -> Arc<Node> {
        self.node(name, false, None)
    }

    pub(crate) fn destination(&self, name: &str, store: Arc<dyn Store>) -> Arc<Node> {
        self.node(name, true, Some(store))
    }

    /// A member that knows another data secret.
    pub(crate) fn forger(&self, name: &str) -> Arc<Node> {
        let identity = Identity {
            dataplane: "net".to_owned(),
            membership: self.membership.clone(),
            data: Some(DataSecret::generate()),
        };
        let node = Node::new(identity, None);
        self.names.send_modify(|names| {
            names.insert(name.to_owned(), node.id);
        });
        node
    }

    /// Connects two gateways.
    pub(crate) async fn connect(&self, near: &Arc<Node>, far: &Arc<Node>) -> Wire {
        self.connect_through(near, far, |stream| stream).await
    }

    /// Connects two gateways; the far one is at the end of what `wrap` makes of its stream.
    pub(crate) async fn connect_through<S>(
        &self,
        near: &Arc<Node>,
        far: &Arc<Node>,
        wrap: impl Fn(DuplexStream) -> S,
    ) -> Wire
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut a, b) = tokio::io::duplex(256 << 10);
        let mut b = wrap(b);
        let (near, far) = (Arc::clone(near), Arc::clone(far));
        let (left, right) =
            tokio::join!(near.member().connect(&mut a), far.member().accept(&mut b));
        let (left, right) = (left.unwrap(), right.unwrap());
        let wire = Wire(join(near, left, a), join(far, right, b));
        tokio::task::yield_now().await;
        wire
    }

    /// What a source sees of the destination over these ways.
    pub(crate) async fn remote(
        &self,
        node: &Arc<Node>,
        ways: &[&[&str]],
        cipher: Cipher,
        compress: Compress,
    ) -> RemoteStore {
        let route = |hops: &&[&str]| Route {
            hops: hops.iter().map(|hop| (*hop).to_owned()).collect(),
            weight: 1,
        };
        let routes = ways.iter().map(route).collect();
        let routes = Routes::new(Arc::clone(node), routes, self.names.subscribe());
        let sealing = Sealing { cipher, compress };
        let id = TransferId::generate();
        RemoteStore::open(Arc::new(routes), id, 0, sealing)
            .await
            .unwrap()
    }

    /// The same where nothing may come of it within `time`.
    pub(crate) async fn try_remote(
        &self,
        node: &Arc<Node>,
        ways: &[&[&str]],
        time: Duration,
    ) -> Result<RemoteStore, Elapsed> {
        let remote = self.remote(node, ways, Cipher::Aes256Gcm, Compress::None);
        tokio::time::timeout(time, remote).await
    }
}
