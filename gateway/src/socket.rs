//! What connections between gateways are made of: TCP, or TLS over it. Either way the two ends show each
//! other who they are by the same handshake.

use std::sync::Arc;

use rustls::ConnectionCommon;
use rustls::pki_types::ServerName;
use skyhaul_model::Result;
use tokio::io::{ReadHalf, WriteHalf};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::node::Node;
use crate::tls;
use crate::wire::fault::WireError;
use crate::wire::handshake::{Agreed, timely};
use crate::world::Network;

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
        stream: N::Stream,
    ) -> Result<(Agreed, Halves<N>), WireError> {
        timely(self.accepted::<N>(node, stream)).await
    }

    /// Finds out who was connected to.
    pub(crate) async fn connect<N: Network>(
        &self,
        node: &Node,
        stream: N::Stream,
    ) -> Result<(Agreed, Halves<N>), WireError> {
        timely(self.connected::<N>(node, stream)).await
    }

    async fn accepted<N: Network>(
        &self,
        node: &Node,
        mut stream: N::Stream,
    ) -> Result<(Agreed, Halves<N>), WireError> {
        let Some(tls) = &self.tls else {
            let agreed = node.member().accept(&mut stream).await?;
            let (reader, writer) = N::split(stream);
            return Ok((agreed, Halves::Plain(reader, writer)));
        };
        let stream = tls.acceptor.accept(stream).await;
        let mut stream = stream.map_err(WireError::Tls)?;
        let member = node.member().bound(&binding(stream.get_ref().1)?);
        let agreed = member.accept(&mut stream).await?;
        let (reader, writer) = tokio::io::split(stream.into());
        Ok((agreed, Halves::Tls(reader, writer)))
    }

    async fn connected<N: Network>(
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
        let stream = tls.connector.connect(name, stream).await;
        let mut stream = stream.map_err(WireError::Tls)?;
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use async_trait::async_trait;
    use tokio::io::{DuplexStream, copy_bidirectional, duplex};

    use super::*;
    use crate::node::Identity;
    use crate::secret::MembershipSecret;

    /// Connections in memory; made by the tests.
    #[derive(Clone)]
    struct Memory;

    #[async_trait]
    impl Network for Memory {
        type Stream = DuplexStream;
        type Reader = ReadHalf<DuplexStream>;
        type Writer = WriteHalf<DuplexStream>;
        type Listener = ();

        async fn listen(&self, at: SocketAddr) -> io::Result<((), SocketAddr)> {
            Ok(((), at))
        }
        async fn accept(&self, (): &()) -> io::Result<(DuplexStream, SocketAddr)> {
            Err(io::ErrorKind::Unsupported.into())
        }
        async fn connect(&self, _: &str) -> io::Result<DuplexStream> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn split(stream: DuplexStream) -> (Self::Reader, Self::Writer) {
            tokio::io::split(stream)
        }
    }

    fn node(membership: &MembershipSecret) -> Arc<Node> {
        let identity = Identity {
            dataplane: "dataplane".to_owned(),
            membership: membership.clone(),
            data: None,
        };
        Node::new(identity, None)
    }

    type Made = Result<(Agreed, Halves<Memory>), WireError>;

    async fn shake(
        (near, near_stream): (&Socket, DuplexStream),
        (far, far_stream): (&Socket, DuplexStream),
    ) -> (Made, Made) {
        let membership = MembershipSecret::generate();
        let (connects, accepts) = (node(&membership), node(&membership));
        tokio::join!(
            near.connect::<Memory>(&connects, near_stream),
            far.accept::<Memory>(&accepts, far_stream)
        )
    }

    #[tokio::test]
    async fn both_speak_tls_or_neither_does() {
        for (near, far) in [(true, true), (false, false), (true, false), (false, true)] {
            let (near_stream, far_stream) = duplex(1 << 16);
            let sockets = [near, far].map(|tls| Socket::new(tls).unwrap());
            let made = Box::pin(shake((&sockets[0], near_stream), (&sockets[1], far_stream))).await;
            assert_eq!(
                made.0.is_ok() && made.1.is_ok(),
                near == far,
                "{near} {far}"
            );
            assert_eq!(
                made.0.is_err() && made.1.is_err(),
                near != far,
                "{near} {far}"
            );
            if let (Ok((_, near_halves)), true) = (&made.0, near) {
                assert!(matches!(near_halves, Halves::Tls(..)));
            }
        }
    }

    #[tokio::test]
    async fn somebody_between_agrees_with_neither() {
        let [near, far, between] = [(); 3].map(|()| Socket::new(true).unwrap());
        let (near_stream, to_near) = duplex(1 << 16);
        let (to_far, far_stream) = duplex(1 << 16);
        let tls = between.tls.clone().unwrap();
        // Passes on all that is said, of which it sees everything.
        let passing = tokio::spawn(async move {
            let name = ServerName::try_from("skyhaul-gateway").unwrap();
            let mut to_near = tls.acceptor.accept(to_near).await.unwrap();
            let mut to_far = tls.connector.connect(name, to_far).await.unwrap();
            let _ = copy_bidirectional(&mut to_near, &mut to_far).await;
        });
        let (near_made, far_made) = Box::pin(shake((&near, near_stream), (&far, far_stream))).await;
        assert!(matches!(far_made, Err(WireError::NoMember)));
        assert!(near_made.is_err());
        passing.await.unwrap();
    }
}
