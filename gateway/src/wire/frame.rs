//! Frames of one connection: a header that only its two ends can read, and what follows it.
//!
//! Headers are sealed under the handshake's keys with a counter for a nonce, so none can be left
//! out, repeated, reordered or forged without the connection ending. What follows is sealed for the
//! other end of the way already, and not sealed again.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use snow::StatelessTransportState;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::TAG;
use super::fault::WireError;
use super::header::{Header, MOST_HEADER};

/// The keys of a connection, shared by its two directions.
pub(crate) type Keys = Arc<StatelessTransportState>;

/// Writes frames. What an unfinished call leaves behind is half a frame: the connection is of no
/// more use then.
pub struct FrameWriter<W> {
    out: W,
    keys: Keys,
    next: u64,
    head: BytesMut,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// `next` frames were written already.
    pub(crate) fn new(out: W, keys: Keys, next: u64) -> Self {
        let head = BytesMut::with_capacity(2 + MOST_HEADER + TAG);
        Self {
            out,
            keys,
            next,
            head,
        }
    }

    /// Writes one frame. `payload` is as long as the header says.
    pub async fn write(&mut self, header: &Header, payload: &[u8]) -> Result<(), WireError> {
        if header.payload() != payload.len() {
            return Err(WireError::Malformed("a header says another length"));
        }
        let plain = header.encode()?;
        let mut sealed = [0; MOST_HEADER + TAG];
        // The last number is Noise's own, for other keys.
        if self.next == u64::MAX {
            return Err(WireError::Exhausted);
        }
        let len = self
            .keys
            .write_message(self.next, &plain, &mut sealed)
            .map_err(|_| WireError::Exhausted)?;
        self.next += 1;
        self.head.clear();
        self.head.put_u16(len as u16);
        self.head.put_slice(&sealed[..len]);
        let mut frame = bytes::Buf::chain(&self.head[..], payload);
        self.out.write_all_buf(&mut frame).await?;
        self.out.flush().await?;
        Ok(())
    }

    /// Ends the direction.
    pub async fn close(mut self) -> Result<(), WireError> {
        Ok(self.out.shutdown().await?)
    }
}

/// Reads frames.
pub struct FrameReader<R> {
    input: R,
    keys: Keys,
    next: u64,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// `next` frames were read already.
    pub(crate) fn new(input: R, keys: Keys, next: u64) -> Self {
        Self { input, keys, next }
    }

    /// The next frame, or `None` if the connection ended between two. After an error it is of no
    /// more use. Not to be given up in the middle.
    pub async fn read(&mut self) -> Result<Option<(Header, BytesMut)>, WireError> {
        let mut len = [0; 2];
        if self.input.read(&mut len[..1]).await? == 0 {
            return Ok(None);
        }
        self.input.read_exact(&mut len[1..]).await?;
        let len = u16::from_be_bytes(len) as usize;
        if !(TAG..=MOST_HEADER + TAG).contains(&len) {
            return Err(WireError::Malformed("a header has an impossible length"));
        }
        let (mut sealed, mut plain) = ([0; MOST_HEADER + TAG], [0; MOST_HEADER]);
        self.input.read_exact(&mut sealed[..len]).await?;
        let len = self
            .keys
            .read_message(self.next, &sealed[..len], &mut plain)
            .map_err(|_| WireError::Header)?;
        self.next = self.next.checked_add(1).ok_or(WireError::Exhausted)?;
        let header = Header::decode(&plain[..len])?;
        // Its length was looked at: a mebibyte at most.
        let len = header.payload();
        let mut payload = BytesMut::with_capacity(len);
        let mut rest = (&mut self.input).take(len as u64);
        while payload.len() < len {
            if rest.read_buf(&mut payload).await? == 0 {
                return Err(WireError::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(Some((header, payload)))
    }
}
