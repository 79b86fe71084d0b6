//! Why a connection or a stream is refused.

use std::io;

/// What went wrong on the wire. Each is logged once, with its peer, by whoever ends what it ends.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection failed or ended.
    #[error("the connection ended")]
    Io(#[from] io::Error),
    /// TLS was asked for, and the peer speaks none, or another.
    #[error("no TLS with the peer: {0}")]
    Tls(#[source] io::Error),
    /// The first bytes are not those of a gateway.
    #[error("the peer is no gateway")]
    NoGateway,
    /// The peer speaks another version.
    #[error("the peer speaks version {0} of the protocol, not {version}", version = super::VERSION)]
    Version(u8),
    /// The handshake did not succeed: another secret, another dataplane, or a forgery.
    #[error("the peer does not know the membership secret")]
    NoMember,
    /// The handshake took too long.
    #[error("the peer did not complete the handshake in time")]
    TooSlow,
    /// A header cannot be opened: forged, replayed, reordered or damaged.
    #[error("a frame's header is forged, damaged or out of order")]
    Header,
    /// A header says what the protocol does not allow.
    #[error("a frame says what it may not: {0}")]
    Malformed(&'static str),
    /// A segment cannot be opened: forged, replayed, reordered, for somebody else, or damaged.
    #[error("a segment is forged, damaged, out of order or for somebody else")]
    Segment,
    /// What one key may seal is used up.
    #[error("too much for one key")]
    Exhausted,
}
