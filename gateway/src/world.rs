//! What a gateway needs of the machine that it runs on, so that whole fleets of them also run inside a
//! simulation.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{Result, TransferId};
use skyhaul_state::{SegmentStore, TransferState};
use skyhaul_stores::Store;
use skyhaul_stores::open::{self, Ambient};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// See the module documentation.
#[derive(Debug, Clone)]
pub struct World<N> {
    /// The transfers' state.
    pub state: Arc<dyn TransferState>,
    /// The transfer's segments, for who claims groups.
    pub segments: Option<Arc<dyn SegmentStore>>,
    /// The stores on both sides.
    pub stores: Arc<dyn Stores>,
    /// How the others are reached.
    pub network: N,
}

/// Opens the stores that a transfer names.
#[async_trait]
pub trait Stores: std::fmt::Debug + Send + Sync {
    /// What is read.
    async fn source(&self, spec: &TransferSpec, id: &TransferId) -> Result<Arc<dyn Store>>;

    /// What is written, by its place among the destinations.
    async fn destination(
        &self,
        spec: &TransferSpec,
        id: &TransferId,
        place: u32,
    ) -> Result<Arc<dyn Store>>;
}

/// Makes and accepts connections.
#[async_trait]
pub trait Network: Clone + Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What comes over it.
    type Reader: AsyncRead + Unpin + Send + 'static;
    /// What goes over it.
    type Writer: AsyncWrite + Unpin + Send + 'static;
    /// Where connections arrive.
    type Listener: Send + Sync + 'static;

    /// Begins to listen; where it can be reached.
    async fn listen(&self, at: SocketAddr) -> io::Result<(Self::Listener, SocketAddr)>;

    /// The next connection, and from where it is.
    async fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Stream, SocketAddr)>;

    /// Makes a connection to `host:port`.
    async fn connect(&self, address: &str) -> io::Result<Self::Stream>;

    /// Both directions, each for itself.
    fn split(stream: Self::Stream) -> (Self::Reader, Self::Writer);
}

/// The stores that locations name.
#[derive(Debug, Clone, Copy)]
pub struct Real;

#[async_trait]
impl Stores for Real {
    async fn source(&self, spec: &TransferSpec, id: &TransferId) -> Result<Arc<dyn Store>> {
        open::source(&Ambient, spec, id).await
    }

    async fn destination(
        &self,
        spec: &TransferSpec,
        id: &TransferId,
        place: u32,
    ) -> Result<Arc<dyn Store>> {
        open::destination(&Ambient, spec, id, place).await
    }
}

/// TCP.
#[derive(Debug, Clone, Copy)]
pub struct Tcp;

#[async_trait]
impl Network for Tcp {
    type Stream = TcpStream;
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;
    type Listener = TcpListener;

    async fn listen(&self, at: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(at).await?;
        let at = listener.local_addr()?;
        Ok((listener, at))
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, from) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, from))
    }

    async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn split(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
        stream.into_split()
    }
}
