//! What connections between gateways are made of: TCP, or TLS over it. Either way the two ends show each
//! other who they are by the same handshake.

use std::sync::Arc;
use std::time::Duration;

use rustls::ConnectionCommon;
use rustls::pki_types::ServerName;
use skyhaul_model::Result;
use tokio::io::{ReadHalf, WriteHalf};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::node::Node;
use crate::tls;
use crate::wire::fault::WireError;
use crate::wire::handshake::Agreed;
use crate::world::Network;

/// How long a peer may take for TLS.
const TIME: Duration = Duration::from_secs(10);

/// The label of RFC 9266, and how many bytes it has.
const BINDING: (&[u8], usize) = (b"EXPORTER-Channel-Binding", 32);

/// See the module documentation.
#[derive(Clone, Default)]
pub(crate) struct Socket {
    tls: Option<Arc<Tls>>,
}

struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

/// Both directions of a connection.
pub(crate) enum Halves<N: Network> {
    Plain(N::Reader, N::Writer),
    Tls(
        ReadHalf<TlsStream<N::Stream>>,
        WriteHalf<TlsStream<N::Stream>>,
    ),
}

impl<N: Network> Halves<N> {
    /// Is part of the connection until it ends; why it ended.
    pub(crate) async fn join(self, node: &Node, agreed: Agreed) -> WireError {
        match self {
            Self::Plain(reader, writer) => node.join(agreed, (reader, writer)).await,
            Self::Tls(reader, writer) => node.join(agreed, (reader, writer)).await,
        }
    }
}

impl Socket {
    /// Connections of a gateway.
    pub(crate) fn new(encrypted: bool) -> Result<Self> {
        if !encrypted {
            return Ok(Self::default());
        }
        let (acceptor, _) = tls::acceptor()?;
        let connector = tls::connector(None)?;
        Ok(Self {
            tls: Some(Arc::new(Tls {
                acceptor,
                connector,
            })),
        })
    }

    /// Finds out who has connected.
    pub(crate) async fn accept<N: Network>(
        &self,
        node: &Node,
        mut stream: N::Stream,
    ) -> Result<(Agreed, Halves<N>), WireError> {
        let Some(tls) = &self.tls else {
            let agreed = node.member().accept(&mut stream).await?;
            let (reader, writer) = N::split(stream);
            return Ok((agreed, Halves::Plain(reader, writer)));
        };
        let stream = tokio::time::timeout(TIME, tls.acceptor.accept(stream)).await;
        let mut stream = stream.map_err(|_| WireError::TooSlow)?.map_err(WireError::Tls)?;
        let member = node.member().bound(&binding(stream.get_ref().1)?);
        let agreed = member.accept(&mut stream).await?;
        let (reader, writer) = tokio::io::split(stream.into());
        Ok((agreed, Halves::Tls(reader, writer)))
    }

    /// Finds out who was connected to.
    pub(crate) async fn connect<N: Network>(
        &self,
        node: &Node,
        mut stream: N::Stream,
    ) -> Result<(Agreed, Halves<N>), WireError> {
        let Some(tls) = &self.tls else {
            let agreed = node.member().connect(&mut stream).await?;
            let (reader, writer) = N::split(stream);
            return Ok((agreed, Halves::Plain(reader, writer)));
        };
        let name = ServerName::try_from("skyhaul-gateway");
        let name = name.map_err(|_| WireError::Malformed("a name"))?;
        let stream = tokio::time::timeout(TIME, tls.connector.connect(name, stream)).await;
        let mut stream = stream.map_err(|_| WireError::TooSlow)?.map_err(WireError::Tls)?;
        let member = node.member().bound(&binding(stream.get_ref().1)?);
        let agreed = member.connect(&mut stream).await?;
        let (reader, writer) = tokio::io::split(stream.into());
        Ok((agreed, Halves::Tls(reader, writer)))
    }
}

/// What only the two ends of this connection know.
fn binding<D>(connection: &ConnectionCommon<D>) -> Result<[u8; BINDING.1], WireError> {
    let exported = connection.export_keying_material([0; BINDING.1], BINDING.0, None);
    exported.map_err(|error| WireError::Tls(std::io::Error::other(error)))
}
