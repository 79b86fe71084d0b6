//! The handshake: two gateways show each other that they know the membership secret, and agree on
//! keys for their connection alone.
//!
//! It is `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s` (<https://noiseprotocol.org/noise.html>), the
//! pre-shared key derived from the secret. Version and dataplane are in the prologue: who differs in
//! either does not agree.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use snow::{Builder, HandshakeState, StatelessTransportState};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::fault::WireError;
use super::header::Header;
use super::{LABEL, VERSION};
use crate::GatewayId;
use crate::secret::MembershipSecret;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";

/// What both sides send first, in clear: eight bytes.
const GREETING: [u8; 8] = *b"SKYHAUL\x01";

/// Bytes of a handshake message at most.
const MOST: usize = 512;

/// The first frame of whoever connected: a handshake that was captured and is sent again does not
/// get so far.
const CONFIRMED: Header = Header::Ping(0);

/// How long a peer may take.
const TIME: Duration = Duration::from_secs(10);

/// What a gateway says of itself, sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who it is.
    pub gateway: GatewayId,
    /// Bytes of segments that it takes before it gives more credit.
    pub credit: u32,
}

/// A connection of two members.
#[derive(Debug)]
pub struct Agreed {
    /// What the peer said of itself.
    pub peer: Hello,
    keys: Arc<StatelessTransportState>,
    /// Frames that were read and written for the handshake.
    read: u64,
    written: u64,
}

impl Agreed {
    /// Whether it was made from this side: who connects has sent the first frame.
    pub(crate) fn outgoing(&self) -> bool {
        self.written > 0
    }

    /// Frames in both directions over what the handshake was made on.
    pub fn frames<R, W>(
        &self,
        input: R,
        out: W,
    ) -> (super::frame::FrameReader<R>, super::frame::FrameWriter<W>)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (reading, writing) = (Arc::clone(&self.keys), Arc::clone(&self.keys));
        (
            super::frame::FrameReader::new(input, reading, self.read),
            super::frame::FrameWriter::new(out, writing, self.written),
        )
    }
}

/// What a gateway brings to every handshake.
#[derive(Debug, Clone)]
pub struct Member {
    /// The dataplane's secret.
    pub secret: MembershipSecret,
    /// The dataplane's name.
    pub dataplane: String,
    /// What it says of itself.
    pub hello: Hello,
    /// What only the two ends of an encrypted connection know of it; empty if it is not encrypted.
    binding: Vec<u8>,
}

impl Member {
    /// What it brings to handshakes over connections that are not encrypted.
    #[must_use]
    pub fn new(secret: MembershipSecret, dataplane: String, hello: Hello) -> Self {
        Self {
            secret,
            dataplane,
            hello,
            binding: Vec::new(),
        }
    }

    /// The same for one encrypted connection: both ends agree only if it is one connection, and not
    /// two with somebody between.
    #[must_use]
    pub fn bound(&self, binding: &[u8]) -> Self {
        Self {
            binding: binding.to_vec(),
            ..self.clone()
        }
    }

    /// Makes the handshake as the one that connected.
    pub async fn connect<S>(&self, stream: &mut S) -> Result<Agreed, WireError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        timely(async {
            let mut noise = self.begin(true)?;
            let mut first = GREETING.to_vec();
            self.put_message(&mut noise, &mut first)?;
            stream.write_all(&first).await?;
            stream.flush().await?;
            greeted(stream).await?;
            let peer = take_message(&mut noise, stream).await?;
            let mut agreed = agree(noise, peer)?;
            let (_, mut out) = agreed.frames(tokio::io::empty(), &mut *stream);
            out.write(&CONFIRMED, &[]).await?;
            agreed.written = 1;
            Ok(agreed)
        })
        .await
    }

    /// Makes the handshake as the one that was connected to.
    pub async fn accept<S>(&self, stream: &mut S) -> Result<Agreed, WireError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        timely(async {
            let mut noise = self.begin(false)?;
            let greeted = greeted(stream).await;
            if let Err(WireError::Version(_)) = greeted {
                // So that the peer can say why.
                stream.write_all(&GREETING).await?;
                stream.flush().await?;
            }
            greeted?;
            let peer = take_message(&mut noise, stream).await?;
            let mut second = GREETING.to_vec();
            self.put_message(&mut noise, &mut second)?;
            stream.write_all(&second).await?;
            stream.flush().await?;
            let mut agreed = agree(noise, peer)?;
            // Only who made the first message anew can seal under what became of it.
            let (mut input, _) = agreed.frames(&mut *stream, tokio::io::sink());
            match input.read().await? {
                Some((CONFIRMED, _)) => {}
                _ => return Err(WireError::Malformed("a handshake is not confirmed")),
            }
            agreed.read = 1;
            Ok(agreed)
        })
        .await
    }

    fn begin(&self, connects: bool) -> Result<HandshakeState, WireError> {
        let shared = self.secret.derive(&[LABEL, b" handshake"]);
        let dataplane = self.dataplane.as_bytes();
        let prologue = [LABEL, b" ", dataplane, &self.binding].concat();
        let noise = || {
            let builder = Builder::new(PATTERN.parse()?)
                .prologue(&prologue)?
                .psk(0, &shared)?;
            if connects {
                builder.build_initiator()
            } else {
                builder.build_responder()
            }
        };
        // Never: the pattern is a constant. Nobody agrees with who has no keys.
        noise().map_err(|_: snow::Error| WireError::NoMember)
    }

    /// Appends this side's message.
    fn put_message(&self, noise: &mut HandshakeState, to: &mut Vec<u8>) -> Result<(), WireError> {
        let hello =
            postcard::to_stdvec(&self.hello).map_err(|_| WireError::Malformed("a hello"))?;
        let mut message = [0; MOST];
        let len = noise
            .write_message(&hello, &mut message)
            .map_err(|_| WireError::NoMember)?;
        to.extend_from_slice(&(len as u16).to_be_bytes());
        to.extend_from_slice(&message[..len]);
        Ok(())
    }
}

/// Has a peer take no longer than it may.
pub(crate) async fn timely<T>(
    handshake: impl Future<Output = Result<T, WireError>>,
) -> Result<T, WireError> {
    let made = tokio::time::timeout(TIME, handshake).await;
    made.unwrap_or(Err(WireError::TooSlow))
}

/// Reads the peer's greeting.
async fn greeted<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), WireError> {
    let mut greeting = GREETING;
    stream.read_exact(&mut greeting).await?;
    if greeting[..7] != GREETING[..7] {
        return Err(WireError::NoGateway);
    }
    match greeting[7] {
        VERSION => Ok(()),
        other => Err(WireError::Version(other)),
    }
}

/// Reads the peer's message.
async fn take_message<S: AsyncRead + Unpin>(
    noise: &mut HandshakeState,
    stream: &mut S,
) -> Result<Hello, WireError> {
    let len = stream.read_u16().await? as usize;
    if len > MOST {
        return Err(WireError::Malformed("a handshake is too long"));
    }
    let (mut message, mut hello) = ([0; MOST], [0; MOST]);
    stream.read_exact(&mut message[..len]).await?;
    let len = noise
        .read_message(&message[..len], &mut hello)
        .map_err(|_| WireError::NoMember)?;
    postcard::from_bytes(&hello[..len]).map_err(|_| WireError::Malformed("a hello"))
}

fn agree(noise: HandshakeState, peer: Hello) -> Result<Agreed, WireError> {
    let keys = noise.into_stateless_transport_mode();
    let keys = Arc::new(keys.map_err(|_| WireError::NoMember)?);
    Ok(Agreed {
        peer,
        keys,
        read: 0,
        written: 0,
    })
}
