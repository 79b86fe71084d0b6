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
use skyhaul_gateway::{Broadcast, Compress, GatewayId, Node, RemoteStore, Route, Routes, Sealing};
use skyhaul_model::keymap::Rename;
use skyhaul_model::{Result, TransferId};
use skyhaul_stores::Store;
use skyhaul_stores::several::{Member, Several};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;

/// The stores of a transfer's destinations, by their place among them. If there is one only, it is that
/// of all.
pub(crate) struct Stores(pub(crate) Vec<Arc<dyn Store>>);

#[async_trait]
impl Destinations for Stores {
    async fn open(&self, _transfer: &TransferId, destination: u32) -> Result<Arc<dyn Store>> {
        let store = match self.0.as_slice() {
            [only] => Some(only),
            several => several.get(destination as usize),
        };
        Ok(Arc::clone(store.unwrap()))
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

/// What the destination of a number calls keys.
pub(crate) fn renamed(number: u32) -> Rename {
    Rename {
        from: String::new(),
        to: format!("{number}/"),
    }
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

    fn node(&self, name: &str, data: bool, stores: Option<Vec<Arc<dyn Store>>>) -> Arc<Node> {
        let identity = Identity {
            dataplane: "net".to_owned(),
            membership: self.membership.clone(),
            data: data.then(|| self.data.clone()),
        };
        let destinations = stores.map(|stores| Arc::new(Stores(stores)) as Arc<dyn Destinations>);
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
        self.destination_of(name, vec![store])
    }

    /// A gateway that writes to several destinations.
    pub(crate) fn destination_of(&self, name: &str, stores: Vec<Arc<dyn Store>>) -> Arc<Node> {
        self.node(name, true, Some(stores))
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

    fn routes(&self, node: &Arc<Node>, ways: &[&[&str]]) -> Arc<Routes> {
        let route = |hops: &&[&str]| {
            let hops = hops.iter().map(|hop| (*hop).to_owned());
            Route::to_first(hops.collect())
        };
        let routes = ways.iter().map(route).collect();
        Arc::new(Routes::new(
            Arc::clone(node),
            routes,
            self.names.subscribe(),
        ))
    }

    /// What a source sees of the destination over these ways.
    pub(crate) async fn remote(
        &self,
        node: &Arc<Node>,
        ways: &[&[&str]],
        cipher: Cipher,
        compress: Compress,
    ) -> RemoteStore {
        let routes = self.routes(node, ways);
        let sealing = Sealing { cipher, compress };
        let id = TransferId::generate();
        RemoteStore::open(routes, id, 0, sealing).await.unwrap()
    }

    /// What a source sees of several destinations: of each place its ways, and how many destinations
    /// are there. The keys of each are under a folder of its number.
    pub(crate) async fn broadcast(
        &self,
        node: &Arc<Node>,
        places: &[(&[&[&str]], u32)],
        sealing: Sealing,
    ) -> Several {
        let id = TransferId::generate();
        let (mut remotes, mut members) = (Vec::new(), Vec::new());
        for (ways, count) in places {
            let routes = self.routes(node, ways);
            for _ in 0..*count {
                let (routes, number) = (Arc::clone(&routes), remotes.len() as u32);
                let remote = RemoteStore::open(routes, id.clone(), number, sealing).await;
                let store = Arc::new(remote.unwrap());
                remotes.push(Arc::clone(&store));
                members.push(Member {
                    store,
                    rename: renamed(number),
                });
            }
        }
        Several::over(members, Arc::new(Broadcast::new(id, sealing, remotes)))
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
