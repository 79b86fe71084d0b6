//! Bytes of objects on their way: cut into segments, compressed where that makes them fewer.
//!
//! A piece is what a segment carries of a body: a byte that says how it is written, then the bytes.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde::{Deserialize, Serialize};
use skyhaul_model::Result;
use skyhaul_stores::payload::Payload;

use crate::auto::Chooser;
use crate::wire::fault::WireError;
use crate::wire::{SEGMENT, TAG};

/// Bytes of a body that one piece holds at most.
pub(crate) const MOST: usize = SEGMENT - 64;

/// Bytes of a piece before those of the body: how it is written.
const MARK: usize = 1;

/// As it is.
const PLAIN: u8 = 0;
/// One LZ4 block; before it its length when read, `u32`, little-endian.
const LZ4: u8 = 1;
/// One zstd frame that says its length when read.
const ZSTD: u8 = 2;
/// The body ends here, unfinished: its sender could not go on.
const BROKEN: u8 = 255;

/// What is done to make fewer bytes of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compress {
    /// Nothing.
    None,
    /// LZ4.
    #[default]
    Lz4,
    /// zstd, level 1.
    Zstd,
    /// Whatever is fastest for what is sent and the link that it is sent over.
    Auto,
}

impl Compress {
    /// How long bytes get by it beside what they were; 1 where it is not worth it.
    pub(crate) fn ratio(self, bytes: &[u8]) -> f64 {
        let mut piece = BytesMut::with_capacity(2 * bytes.len() + 64);
        if shorten(self, bytes, &mut piece) {
            piece.len() as f64 / bytes.len() as f64
        } else {
            1.0
        }
    }
}

/// zstd's level: what a link of a gigabit a second and core can use.
const LEVEL: i32 = 1;

/// Pieces that are sent as they are after one that did not get shorter, before the next is tried:
/// what does not shrink at one place of an object mostly does not at the next.
const TRY_AGAIN: u32 = 8;

/// A piece must lose a sixteenth to be worth reading it again.
fn is_worth(short: usize, long: usize) -> bool {
    short < long - long / 16
}

/// The body's bytes in a piece that is as [`Gather`] makes it.
pub(crate) fn plain(piece: &[u8]) -> &[u8] {
    piece.get(MARK..).unwrap_or_default()
}

/// Writes pieces.
pub(crate) struct Writer {
    compress: Compress,
    chooser: Chooser,
    /// Pieces until compression is tried again.
    resting: u32,
}

impl Writer {
    pub(crate) fn new(compress: Compress) -> Self {
        Self {
            compress,
            chooser: Chooser::new(),
            resting: 0,
        }
    }

    /// Appends `piece` to `to`, shorter where that is possible: it is a plain one as [`Gather`] makes it. One
    /// that stays as it is and is not behind something else is not copied. A byte takes the link `link`
    /// seconds.
    pub(crate) fn write(&mut self, piece: &mut BytesMut, link: f64, to: &mut BytesMut) {
        let bytes = plain(piece);
        let compress = match self.compress {
            Compress::Auto => self.chooser.choose(bytes, link),
            compress => compress,
        };
        if bytes.len() > 64 && compress != Compress::None {
            if self.resting > 0 {
                self.resting -= 1;
            } else if shorten(compress, bytes, to) {
                return;
            } else {
                self.resting = TRY_AGAIN;
            }
        }
        if to.is_empty() {
            std::mem::swap(piece, to);
        } else {
            to.put_slice(piece);
        }
    }
}

/// Appends a compressed piece if that is worth it.
fn shorten(compress: Compress, bytes: &[u8], to: &mut BytesMut) -> bool {
    let start = to.len();
    let (kind, most) = match compress {
        Compress::None | Compress::Auto => return false,
        Compress::Lz4 => (LZ4, lz4_flex::block::get_maximum_output_size(bytes.len())),
        Compress::Zstd => (ZSTD, zstd::zstd_safe::compress_bound(bytes.len())),
    };
    to.reserve(MARK + size_of::<u32>() + most + TAG);
    to.put_u8(kind);
    if kind == LZ4 {
        to.put_u32_le(bytes.len() as u32);
    }
    let head = to.len();
    to.resize(head + most, 0);
    let room = &mut to[head..];
    let written = match kind {
        LZ4 => lz4_flex::block::compress_into(bytes, room).ok(),
        _ => zstd::bulk::compress_to_buffer(bytes, room, LEVEL).ok(),
    };
    let short = written.filter(|len| is_worth(*len, bytes.len()));
    to.truncate(short.map_or(start, |len| head + len));
    short.is_some()
}

/// A piece that says that there will be no more.
pub(crate) fn broken() -> BytesMut {
    let mut piece = BytesMut::with_capacity(1 + TAG);
    piece.put_u8(BROKEN);
    piece
}

/// Reads a piece; `None` if its sender could not go on. Nothing larger than a piece is made.
pub(crate) fn read(mut piece: BytesMut) -> Result<Option<Bytes>, WireError> {
    if piece.is_empty() {
        return Err(WireError::Malformed("an empty piece"));
    }
    let kind = piece.get_u8();
    let unreadable = || WireError::Malformed("a piece cannot be decompressed");
    match kind {
        PLAIN => Ok(Some(piece.freeze())),
        LZ4 => {
            let len = piece.try_get_u32_le().unwrap_or(u32::MAX) as usize;
            if len > MOST {
                return Err(WireError::Malformed("a piece is too long"));
            }
            let mut bytes = vec![0; len];
            let read = lz4_flex::block::decompress_into(&piece, &mut bytes);
            let read = read.map_err(|_| unreadable())?;
            if read != len {
                return Err(unreadable());
            }
            Ok(Some(bytes.into()))
        }
        ZSTD => {
            let len = zstd::zstd_safe::get_frame_content_size(&piece)
                .ok()
                .flatten();
            let len = len.filter(|len| *len <= MOST as u64);
            let len = len.ok_or(WireError::Malformed("a piece is too long"))? as usize;
            let bytes = zstd::bulk::decompress(&piece, len).map_err(|_| unreadable())?;
            if bytes.len() != len {
                return Err(unreadable());
            }
            Ok(Some(bytes.into()))
        }
        BROKEN => Ok(None),
        _ => Err(WireError::Malformed("a piece of an unknown kind")),
    }
}

/// A body to be sent.
pub(crate) enum Body {
    /// Bytes that are there, and can be sent again.
    Whole(Payload),
    /// Bytes that come.
    Stream(BoxStream<'static, Result<Bytes>>),
}

impl Body {
    /// How many bytes there are, where that is known.
    pub(crate) fn len(&self) -> Option<u64> {
        match self {
            Self::Whole(payload) => Some(payload.len()),
            Self::Stream(_) => None,
        }
    }

    /// Its frames.
    pub(crate) fn frames(self) -> BoxStream<'static, Result<Bytes>> {
        match self {
            Self::Whole(payload) => stream::iter(payload.frames().to_vec()).map(Ok).boxed(),
            Self::Stream(frames) => frames,
        }
    }
}

/// Gathers frames to pieces.
pub(crate) struct Gather {
    frames: BoxStream<'static, Result<Bytes>>,
    rest: Bytes,
    /// Bytes of a piece at most.
    most: usize,
}

impl Gather {
    pub(crate) fn new(body: Body) -> Self {
        let len = body.len().unwrap_or(u64::MAX);
        Self {
            most: usize::try_from(len).unwrap_or(MOST).min(MOST),
            frames: body.frames(),
            rest: Bytes::new(),
        }
    }

    /// The next piece, as it is, in the place of what `to` held, and whether the body ends with it. There
    /// is room behind it for a segment's tag.
    pub(crate) async fn next(&mut self, to: &mut BytesMut) -> Result<bool> {
        to.clear();
        to.reserve(MARK + self.most + TAG);
        to.put_u8(PLAIN);
        loop {
            if self.rest.is_empty() {
                match self.frames.next().await.transpose()? {
                    Some(frame) => self.rest = frame,
                    None => return Ok(true),
                }
            }
            let room = MARK + MOST - to.len();
            if room == 0 {
                return Ok(false);
            }
            let some = self.rest.split_to(room.min(self.rest.len()));
            to.put_slice(&some);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(compress: Compress, bytes: &[u8]) -> BytesMut {
        let mut plain = BytesMut::from(&[PLAIN][..]);
        plain.put_slice(bytes);
        let mut piece = BytesMut::new();
        Writer::new(compress).write(&mut plain, 1e-6, &mut piece);
        piece
    }

    #[test]
    fn what_shrinks_is_sent_shorter_and_what_does_not_as_it_is() {
        let text = b"never lose a byte. ".repeat(5_000);
        let noise: Vec<u8> = (0..100_000).map(|_| rand::random()).collect();
        for compress in [Compress::Lz4, Compress::Zstd, Compress::Auto] {
            let (short, long) = (piece(compress, &text), piece(compress, &noise));
            assert!(short.len() < text.len() / 10);
            assert_eq!(long.len(), noise.len() + 1);
            assert_eq!(read(short).unwrap().unwrap(), text);
            assert_eq!(read(long).unwrap().unwrap(), noise);
        }
        assert_eq!(piece(Compress::None, &text).len(), text.len() + 1);
        assert!(read(broken()).unwrap().is_none());
    }

    #[test]
    fn pieces_that_claim_too_much_are_refused() {
        let mut long = vec![LZ4];
        long.extend_from_slice(&u32::MAX.to_le_bytes());
        let mut zeros = vec![ZSTD];
        zeros.extend_from_slice(&zstd::bulk::compress(&vec![0; MOST + 1], 1).unwrap());
        for wrong in [&long[..], &zeros, &[LZ4], &[ZSTD, 1], &[77, 1], &[]] {
            assert!(read(BytesMut::from(wrong)).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(BytesMut::from(&bytes[..]));
        }

        #[test]
        fn bodies_arrive(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200_000), 0..12)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut payload = Payload::new();
                for frame in &frames {
                    payload.push(Bytes::from(frame.clone()));
                }
                let mut gather = Gather::new(Body::Whole(payload));
                let mut writer = Writer::new(Compress::Lz4);
                let (mut plain, mut arrived) = (BytesMut::new(), Vec::new());
                loop {
                    let last = gather.next(&mut plain).await.unwrap();
                    let mut piece = BytesMut::new();
                    writer.write(&mut plain, 0.0, &mut piece);
                    assert!(piece.len() <= SEGMENT);
                    arrived.extend_from_slice(&read(piece).unwrap().unwrap());
                    if last {
                        break;
                    }
                }
                assert_eq!(arrived, frames.concat());
            });
        }
    }
}
