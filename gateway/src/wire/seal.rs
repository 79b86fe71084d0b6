//! Sealing segments from one end of the way to the other. Relays carry them and open nothing.
//!
//! Each stream has a key of its own in each direction, derived from the data secret, who asks, who
//! replies and the stream's number, which is never used again; the nonce is the segment's place and whether it
//! is the last (the STREAM construction, <https://eprint.iacr.org/2015/189>). So segments that are
//! left out, repeated, reordered, cut off or of another stream do not open. Whom a request is for is
//! said inside.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::BytesMut;
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};

use super::fault::WireError;
use super::header::{Cipher, StreamId, Way};
use super::{LABEL, SEGMENT, TAG};
use crate::GatewayId;
use crate::secret::DataSecret;

const NONCE: usize = 12;

/// One direction of one stream, as far as keys are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// The stream.
    pub stream: StreamId,
    /// Who replies; of a request nobody, for it may be for several.
    pub to: GatewayId,
    /// Which way.
    pub way: Way,
    /// What it is sealed with.
    pub cipher: Cipher,
}

impl Direction {
    /// A request: of all that it is for.
    #[must_use]
    pub fn request(stream: StreamId, cipher: Cipher) -> Self {
        Self {
            stream,
            to: GatewayId::NOBODY,
            way: Way::Request,
            cipher,
        }
    }

    /// A reply of one gateway.
    #[must_use]
    pub fn reply(stream: StreamId, to: GatewayId, cipher: Cipher) -> Self {
        Self {
            stream,
            to,
            way: Way::Reply,
            cipher,
        }
    }

    /// Whether a segment is sealed at all.
    fn seals(&self, index: u32) -> bool {
        self.cipher != Cipher::None || self.way == Way::Reply || index == 0
    }
}

enum Key {
    Aes(Box<LessSafeKey>),
    ChaCha(Box<ChaCha20Poly1305>),
}

impl Key {
    fn new(secret: &DataSecret, direction: &Direction) -> Result<Self, WireError> {
        let Direction {
            stream,
            to,
            way,
            cipher,
        } = direction;
        let kind = [cipher.byte(), way.byte()];
        let number = stream.number.to_be_bytes();
        let key = secret.derive(&[LABEL, b" segment", &kind, &stream.from.0, &to.0, &number]);
        Ok(match cipher {
            Cipher::Aes256Gcm | Cipher::None => {
                let key = UnboundKey::new(&AES_256_GCM, key.as_slice());
                let key = key.map_err(|_| WireError::Exhausted)?;
                Self::Aes(Box::new(LessSafeKey::new(key)))
            }
            Cipher::ChaCha20Poly1305 => {
                Self::ChaCha(Box::new(ChaCha20Poly1305::new((&*key).into())))
            }
        })
    }

    fn seal(&self, nonce: [u8; NONCE], segment: &mut BytesMut) -> Result<(), WireError> {
        let sealed = match self {
            Self::Aes(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let sealed = key.seal_in_place_append_tag(nonce, Aad::empty(), segment);
                sealed.map_err(drop)
            }
            Self::ChaCha(key) => {
                let sealed = key.encrypt_in_place((&nonce).into(), &[], segment);
                sealed.map_err(drop)
            }
        };
        sealed.map_err(|()| WireError::Exhausted)
    }

    fn open(&self, nonce: [u8; NONCE], segment: &mut BytesMut) -> Result<(), WireError> {
        let opened = match self {
            Self::Aes(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let opened = key.open_in_place(nonce, Aad::empty(), segment);
                opened.map(|plain| plain.len()).map_err(drop)
            }
            Self::ChaCha(key) => {
                let opened = key.decrypt_in_place((&nonce).into(), &[], segment);
                opened.map(|()| segment.len()).map_err(drop)
            }
        };
        segment.truncate(opened.map_err(|()| WireError::Segment)?);
        Ok(())
    }
}

/// Twelve bytes: seven of zero, the place, and whether it is the last.
fn nonce(index: u32, last: bool) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    nonce[7..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = last.into();
    nonce
}

/// Seals the segments of one direction, in order. Made once for a direction, or nonces would
/// repeat: numbers of streams are given out once, and a reply is begun once for each request.
pub struct Sealer {
    key: Key,
    direction: Direction,
    /// Place of the next segment; `None` behind the last.
    next: Option<u32>,
}

impl Sealer {
    /// Begins a direction.
    pub fn new(secret: &DataSecret, direction: Direction) -> Result<Self, WireError> {
        Ok(Self {
            key: Key::new(secret, &direction)?,
            direction,
            next: Some(0),
        })
    }

    /// Seals the next segment, of at most [`SEGMENT`] bytes, in place. Returns where it stands.
    pub fn seal(&mut self, segment: &mut BytesMut, last: bool) -> Result<u32, WireError> {
        let index = self.next.ok_or(WireError::Exhausted)?;
        if segment.len() > SEGMENT {
            return Err(WireError::Malformed("a segment is too long"));
        }
        if self.direction.seals(index) {
            self.key.seal(nonce(index, last), segment)?;
            #[cfg(mutant)]
            skyhaul_model::mutant::sealed(format!("{:?} {index} {last}", self.direction), segment);
        }
        self.next = if last { None } else { index.checked_add(1) };
        Ok(index)
    }
}

/// Opens the segments of one direction, in order.
pub struct Opener {
    key: Key,
    direction: Direction,
    next: Option<u32>,
}

impl Opener {
    /// Expects a direction. Nothing is known of it before its first segment opened.
    pub fn new(secret: &DataSecret, direction: Direction) -> Result<Self, WireError> {
        Ok(Self {
            key: Key::new(secret, &direction)?,
            direction,
            next: Some(0),
        })
    }

    /// Opens the next segment in place. After an error nothing of the direction is to be believed.
    pub fn open(
        &mut self,
        index: u32,
        last: bool,
        segment: &mut BytesMut,
    ) -> Result<(), WireError> {
        // Taken before it is known to be good: a second try finds nothing to open.
        if self.next.take() != Some(index) {
            return Err(WireError::Segment);
        }
        if self.direction.seals(index) {
            if segment.len() < TAG {
                return Err(WireError::Segment);
            }
            self.key.open(nonce(index, last), segment)?;
        }
        if segment.len() > SEGMENT {
            return Err(WireError::Segment);
        }
        self.next = if last { None } else { index.checked_add(1) };
        Ok(())
    }

    /// Whether the last segment was opened.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.next.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIPHERS: [Cipher; 3] = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305, Cipher::None];

    fn direction(cipher: Cipher) -> Direction {
        Direction {
            stream: StreamId {
                from: GatewayId([1; 16]),
                number: 7,
            },
            to: GatewayId([2; 16]),
            way: Way::Request,
            cipher,
        }
    }

    /// Three segments, sealed.
    fn sealed(secret: &DataSecret, direction: Direction) -> Vec<BytesMut> {
        let mut sealer = Sealer::new(secret, direction).unwrap();
        let segments = [&b"head"[..], b"the body of it", b""];
        let seal = |(at, plain): (usize, &&[u8])| {
            let mut segment = BytesMut::from(*plain);
            assert_eq!(sealer.seal(&mut segment, at == 2).unwrap(), at as u32);
            segment
        };
        let all = segments.iter().enumerate().map(seal).collect();
        assert!(matches!(
            sealer.seal(&mut BytesMut::new(), true),
            Err(WireError::Exhausted)
        ));
        all
    }

    fn opens(
        secret: &DataSecret,
        direction: Direction,
        segments: &[(u32, bool, &BytesMut)],
    ) -> Result<Vec<u8>, WireError> {
        let mut opener = Opener::new(secret, direction)?;
        let mut plain = Vec::new();
        for (index, last, segment) in segments {
            let mut segment = (*segment).clone();
            opener.open(*index, *last, &mut segment)?;
            plain.extend_from_slice(&segment);
        }
        assert!(opener.has_ended());
        Ok(plain)
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let secret = DataSecret::generate();
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let mine = direction(cipher);
            let [a, b, c] = &sealed(&secret, mine)[..] else {
                unreachable!()
            };
            let good = [(0, false, a), (1, false, b), (2, true, c)];
            assert_eq!(opens(&secret, mine, &good).unwrap(), b"headthe body of it");
            let mut flipped = b.clone();
            flipped[3] ^= 1;
            let mut short = b.clone();
            short.truncate(TAG - 1);
            for wrong in [
                vec![(0, false, a), (2, true, c)],
                vec![(0, false, a), (1, true, b)],
                vec![(0, false, a), (1, true, c)],
                vec![(0, false, b), (1, false, a)],
                vec![(1, false, b)],
                vec![(0, false, a), (0, false, a)],
                vec![(0, false, a), (1, false, &flipped)],
                vec![(0, false, a), (1, false, &short)],
                vec![(0, false, a), (1, false, b), (2, true, c), (3, true, c)],
            ] {
                assert!(matches!(
                    opens(&secret, mine, &wrong),
                    Err(WireError::Segment)
                ));
            }
            for other in [
                Direction {
                    way: Way::Reply,
                    ..mine
                },
                Direction {
                    to: GatewayId([3; 16]),
                    ..mine
                },
                Direction {
                    cipher: Cipher::None,
                    ..mine
                },
                Direction {
                    stream: StreamId {
                        number: 8,
                        ..mine.stream
                    },
                    ..mine
                },
                Direction {
                    stream: StreamId {
                        from: mine.to,
                        ..mine.stream
                    },
                    ..mine
                },
            ] {
                assert!(opens(&secret, other, &good).is_err(), "{other:?}");
            }
            assert!(opens(&DataSecret::generate(), mine, &good).is_err());
        }
    }

    #[test]
    fn nothing_is_opened_after_an_error() {
        let secret = DataSecret::generate();
        let mine = direction(Cipher::Aes256Gcm);
        let segments = sealed(&secret, mine);
        let mut opener = Opener::new(&secret, mine).unwrap();
        assert!(opener.open(0, true, &mut segments[0].clone()).is_err());
        assert!(opener.open(0, false, &mut segments[0].clone()).is_err());
    }

    #[test]
    fn without_a_cipher_heads_and_replies_are_sealed_still() {
        let secret = DataSecret::generate();
        let clear = |segment: &BytesMut, plain: &[u8]| segment[..] == *plain;
        let request = direction(Cipher::None);
        let segments = sealed(&secret, request);
        assert!(!clear(&segments[0], b"head") && clear(&segments[1], b"the body of it"));
        let reply = Direction {
            way: Way::Reply,
            ..request
        };
        assert!(!clear(&sealed(&secret, reply)[1], b"the body of it"));
        for direction in [request, reply] {
            let [a, b, c] = &sealed(&secret, direction)[..] else {
                unreachable!()
            };
            let all = [(0, false, a), (1, false, b), (2, true, c)];
            assert_eq!(
                opens(&secret, direction, &all).unwrap(),
                b"headthe body of it"
            );
        }
    }

    #[test]
    fn a_segment_is_bounded() {
        let secret = DataSecret::generate();
        for cipher in CIPHERS {
            let mut sealer = Sealer::new(&secret, direction(cipher)).unwrap();
            let mut whole = BytesMut::zeroed(SEGMENT);
            sealer.seal(&mut whole, false).unwrap();
            assert_eq!(whole.len(), SEGMENT + TAG);
            let mut long = BytesMut::zeroed(SEGMENT + 1);
            assert!(matches!(
                sealer.seal(&mut long, false),
                Err(WireError::Malformed(_))
            ));
        }
    }
}
