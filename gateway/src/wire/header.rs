//! What a frame says of itself. Headers are encoded with postcard
//! (<https://postcard.jamesmunns.com/wire-format>) and sealed for the one connection.

use serde::{Deserialize, Serialize};

use super::fault::WireError;
use super::tree::Tree;
use super::{SEGMENT, TAG};
use crate::GatewayId;

/// Bytes of an encoded header at most: a segment's with the largest tree is shorter.
pub const MOST_HEADER: usize = 512;

/// Which way a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Way {
    /// From whoever asks to whoever does.
    Request,
    /// Back.
    Reply,
}

impl Way {
    /// Its byte in the derivation of keys.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Reply => 1,
        }
    }
}

/// What a stream is sealed with. Bound into its key: another one opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cipher {
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439).
    ChaCha20Poly1305,
    /// AES-256-GCM for the first segment of a request and for replies; the rest is in clear.
    None,
}

impl Cipher {
    /// The faster one of those that hide objects, on this machine: AES where the processor has
    /// instructions for it.
    #[must_use]
    pub fn suited() -> Self {
        #[cfg(target_arch = "x86_64")]
        let has_aes = std::arch::is_x86_feature_detected!("aes");
        #[cfg(target_arch = "aarch64")]
        let has_aes = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let has_aes = false;
        if has_aes {
            Self::Aes256Gcm
        } else {
            Self::ChaCha20Poly1305
        }
    }

    /// Its byte in the derivation of keys.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
            Self::None => 3,
        }
    }
}

/// Names a stream: its sender, and how many it began before. A number is never used again, not
/// even to send the same once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// Who asks.
    pub from: GatewayId,
    /// Its number there.
    pub number: u64,
}

/// The head of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHead {
    /// Where it still has to go.
    pub tree: Tree,
    /// Which stream it belongs to.
    pub stream: StreamId,
    /// Which way.
    pub way: Way,
    /// How the stream is sealed.
    pub cipher: Cipher,
    /// Its place in the stream, from 0.
    pub index: u32,
    /// Whether the stream ends with it.
    pub last: bool,
    /// Bytes that follow the header.
    pub len: u32,
}

/// Why a gateway cannot pass a segment on. A hint that anybody on the way can give: whoever
/// believes it sends elsewhere, and nothing else follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The next hop is not connected.
    NoRoute,
    /// The gateway is about to stop.
    Draining,
    /// Whom it is for cannot open it.
    NotOpened,
}

/// A frame's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Header {
    /// A segment follows.
    Segment(SegmentHead),
    /// The receiver has room for so many more bytes of segments.
    Credit(u32),
    /// Is somebody there?
    Ping(u64),
    /// Yes: the answer to a ping of this number.
    Pong(u64),
    /// A stream is not passed on, and does not reach this gateway.
    Refused(StreamId, Way, Refusal, GatewayId),
    /// A connection to this gateway was lost, and with it what was on its way there or back. A hint
    /// as a refusal is. The number says how many more gateways may pass it on.
    Lost(GatewayId, u8),
    /// Nothing new will be sent; what is under way is finished.
    Bye,
}

impl Header {
    /// Its encoding.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, WireError> {
        let bytes = postcard::to_stdvec(self).map_err(|_| WireError::Malformed("a header"))?;
        if bytes.len() > MOST_HEADER {
            return Err(WireError::Malformed("a header is too long"));
        }
        Ok(bytes)
    }

    /// Reads an encoding; what may not be is refused before anything is made for it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MOST_HEADER {
            return Err(WireError::Malformed("a header is too long"));
        }
        let (header, rest) = postcard::take_from_bytes::<Self>(bytes)
            .map_err(|_| WireError::Malformed("a header cannot be read"))?;
        if !rest.is_empty() {
            return Err(WireError::Malformed("a header is longer than what it says"));
        }
        if let Self::Segment(head) = &header {
            if !head.tree.is_sound() {
                return Err(WireError::Malformed("a segment goes too far, or to nobody"));
            }
            if head.len as usize > SEGMENT + TAG {
                return Err(WireError::Malformed("a segment is too long"));
            }
        }
        Ok(header)
    }

    /// Bytes that follow the header.
    pub(crate) fn payload(&self) -> usize {
        match self {
            Self::Segment(head) => head.len as usize,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tree::{MOST_GATEWAYS, MOST_HOPS};
    use super::*;

    fn head(hops: usize) -> SegmentHead {
        SegmentHead {
            tree: {
                let hops: Vec<_> = (0..hops).map(|_| GatewayId::generate()).collect();
                Tree::along(&hops)
            },
            stream: StreamId {
                from: GatewayId::generate(),
                number: u64::MAX,
            },
            way: Way::Reply,
            cipher: Cipher::None,
            index: u32::MAX,
            last: true,
            len: (SEGMENT + TAG) as u32,
        }
    }

    #[test]
    fn what_is_written_is_read_and_fits() {
        let stream = head(0).stream;
        let mut widest = head(MOST_HOPS);
        for _ in MOST_HOPS..MOST_GATEWAYS {
            widest.tree.add(&[GatewayId::generate()]);
        }
        for header in [
            Header::Segment(widest),
            Header::Segment(head(0)),
            Header::Segment(head(MOST_HOPS)),
            Header::Credit(u32::MAX),
            Header::Ping(u64::MAX),
            Header::Pong(0),
            Header::Refused(stream, Way::Request, Refusal::NotOpened, stream.from),
            Header::Lost(stream.from, 3),
            Header::Bye,
        ] {
            let bytes = header.encode().unwrap();
            assert_eq!(Header::decode(&bytes).unwrap(), header);
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(Header::decode(&longer).is_err());
            assert!(Header::decode(&bytes[..bytes.len() - 1]).is_err());
        }
    }

    #[test]
    fn what_may_not_be_is_refused() {
        let long = SegmentHead {
            len: (SEGMENT + TAG + 1) as u32,
            ..head(1)
        };
        for header in [head(MOST_HOPS + 1), long] {
            let bytes = postcard::to_stdvec(&Header::Segment(header)).unwrap();
            assert!(matches!(
                Header::decode(&bytes),
                Err(WireError::Malformed(_))
            ));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(header) = Header::decode(&bytes) {
                // One encoding for each header: no two frames say the same.
                prop_assert!(header.payload() <= SEGMENT + TAG);
            }
        }
    }
}
