//! The simulated network, and the stores that gateways find in it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use skyhaul_gateway::world::{Network, Stores};
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{Result, Side, TransferId};
use skyhaul_stores::Store;
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};

use crate::bucket::Bucket;
use crate::dice::Dice;
use crate::store::BucketStore;

/// Of one machine: its address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Simulated(pub(crate) IpAddr);

#[async_trait]
impl Network for Simulated {
    type Stream = TcpStream;
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;
    type Listener = TcpListener;

    async fn listen(&self, at: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(at).await?;
        Ok((listener, SocketAddr::new(self.0, at.port())))
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        listener.accept().await
    }

    async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }

    fn split(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
        stream.into_split()
    }
}

/// The bucket that is read and those that are written, and how these show what is written.
#[derive(Debug, Clone)]
pub(crate) struct Buckets {
    pub(crate) source: Bucket,
    pub(crate) destinations: Vec<Bucket>,
    pub(crate) staged: bool,
    pub(crate) dice: Dice,
}

impl Buckets {
    fn open(&self, bucket: &Bucket, side: Side) -> Arc<dyn Store> {
        let staged = self.staged && side == Side::Destination;
        Arc::new(BucketStore::new(
            bucket.clone(),
            side,
            self.dice.another(),
            staged,
        ))
    }
}

#[async_trait]
impl Stores for Buckets {
    async fn source(&self, _: &TransferSpec, _: &TransferId) -> Result<Arc<dyn Store>> {
        Ok(self.open(&self.source, Side::Source))
    }

    async fn destination(
        &self,
        _: &TransferSpec,
        _: &TransferId,
        place: u32,
    ) -> Result<Arc<dyn Store>> {
        Ok(self.open(&self.destinations[place as usize], Side::Destination))
    }
}
