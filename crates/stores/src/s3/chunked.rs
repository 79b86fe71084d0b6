//! A body that is sent while it is read, with its checksum, known only at the end, behind the bytes
//! as a trailer (`aws-chunked`, see
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>).

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll, ready};

use bytes::Bytes;
use futures::Stream as _;
use futures::stream::BoxStream;
use http_body::{Body, Frame, SizeHint};
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, Hasher, Result, Side};

use super::body::Progress;
use super::replies::checksum_header;

/// Bytes of payload in each `aws-chunked` chunk but the last. AWS wants at least 8 KiB, MinIO at
/// most 16 MiB.
const CHUNK: u64 = 256 << 10;

/// What is sent while it is read.
pub(super) struct Sending {
    /// Payload in bytes. A body that is shorter or longer is an error.
    pub(super) len: u64,
    /// The payload.
    pub(super) body: BoxStream<'static, Result<Bytes>>,
    /// Its checksum to compute and send as a trailer; without one there is no framing, and an error
    /// behind the last byte may come too late to undo the request.
    pub(super) algorithm: Option<Algorithm>,
    /// What the checksum has to be, where it is of the same algorithm.
    pub(super) kept: Option<Checksum>,
}

/// What became known while a body was sent.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Of all bytes; known once the trailer was made.
    pub(super) checksum: Option<Checksum>,
    /// Why the bytes stopped.
    pub(super) error: Option<Error>,
}

/// The bytes ended with an error, which is told beside the body.
#[derive(Debug, thiserror::Error)]
#[error("the bytes to send ended with an error")]
pub(super) struct Broken;

/// Where in its encoding a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a chunk's length, or the trailer.
    Header,
    /// In the payload.
    Data,
    /// Behind the last byte.
    End,
}

/// A body made of the bytes as they come.
pub(super) struct Streaming {
    /// Never locked: what is sent must be `Sync`.
    source: Mutex<BoxStream<'static, Result<Bytes>>>,
    /// Computed over the payload and sent as a trailer; without one there is no framing.
    hasher: Option<Hasher>,
    kept: Option<Checksum>,
    len: u64,
    /// Payload still to be sent, all in all and of this chunk.
    left: u64,
    chunk_left: u64,
    /// Read, not yet sent.
    frame: Bytes,
    at: At,
    encoded_left: u64,
    progress: Progress,
    told: Arc<Mutex<Told>>,
}

/// Bytes on the wire of a payload of `len` bytes.
pub(super) fn encoded_len(len: u64, algorithm: Option<Algorithm>) -> u64 {
    let Some(algorithm) = algorithm else {
        return len;
    };
    let chunk = |len: u64| format!("{len:x}\r\n\r\n").len() as u64 + len;
    let last = len % CHUNK;
    let chunks = len / CHUNK * chunk(CHUNK) + if last > 0 { chunk(last) } else { 0 };
    chunks + trailer(&Hasher::new(algorithm).finish()).len() as u64
}

/// The last chunk, which is empty, and the trailer.
fn trailer(checksum: &Checksum) -> String {
    let name = checksum_header(checksum.algorithm);
    format!("0\r\n{name}:{}\r\n\r\n", checksum.to_base64())
}

impl Streaming {
    pub(super) fn new(sending: Sending, progress: &Progress, told: &Arc<Mutex<Told>>) -> Self {
        let Sending {
            len,
            body,
            algorithm,
            kept,
        } = sending;
        Self {
            source: Mutex::new(body),
            hasher: algorithm.map(Hasher::new),
            kept,
            len,
            left: len,
            chunk_left: 0,
            frame: Bytes::new(),
            at: At::Header,
            encoded_left: encoded_len(len, algorithm),
            progress: Arc::clone(progress),
            told: Arc::clone(told),
        }
    }

    fn tell(&self, what: impl FnOnce(&mut Told)) {
        what(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn broken(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.at = At::End;
        self.tell(|told| told.error = Some(error));
        Poll::Ready(Some(Err(Broken)))
    }

    fn send(&mut self, data: Bytes) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.encoded_left = self.encoded_left.saturating_sub(data.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    /// What stands between two chunks, or ends the last one. Fails if the bytes are not those that
    /// their source keeps: without its trailer the request has no effect.
    fn header(&mut self) -> Result<Option<Bytes>> {
        let begins = if self.left < self.len { "\r\n" } else { "" };
        if self.left > 0 {
            self.at = At::Data;
            if self.hasher.is_none() {
                self.chunk_left = self.left;
                return Ok(None);
            }
            self.chunk_left = self.left.min(CHUNK);
            return Ok(Some(format!("{begins}{:x}\r\n", self.chunk_left).into()));
        }
        self.at = At::End;
        let Some(hasher) = self.hasher.take() else {
            return Ok(None);
        };
        let checksum = hasher.finish();
        Checksum::compare_kept(Some(&checksum), self.kept.as_ref())?;
        let text = format!("{begins}{}", trailer(&checksum));
        self.tell(|told| told.checksum = Some(checksum));
        Ok(Some(text.into()))
    }

    fn poll_source(&mut self, task: &mut Task<'_>) -> Poll<Option<Result<Bytes>>> {
        let source = self.source.get_mut();
        let source = source.unwrap_or_else(PoisonError::into_inner);
        Pin::new(source).poll_next(task)
    }
}

impl Body for Streaming {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let wrong = |what| {
            let error = Error::new(Side::Source, ErrorKind::Corrupt, what);
            error.retryable(true)
        };
        loop {
            match this.at {
                At::End => return Poll::Ready(None),
                At::Header => {
                    if this.left == 0 {
                        // More than was announced must not be mistaken for the end.
                        match ready!(this.poll_source(task)) {
                            None => {}
                            Some(Ok(frame)) if frame.is_empty() => continue,
                            Some(Ok(_)) => return this.broken(wrong("more bytes than asked for")),
                            Some(Err(error)) => return this.broken(error),
                        }
                    }
                    match this.header() {
                        Ok(None) => {}
                        Ok(Some(text)) => return this.send(text),
                        Err(error) => return this.broken(error),
                    }
                }
                At::Data if this.chunk_left == 0 => this.at = At::Header,
                At::Data => {
                    if this.frame.is_empty() {
                        match ready!(this.poll_source(task)) {
                            None => return this.broken(wrong("fewer bytes than asked for")),
                            Some(Err(error)) => return this.broken(error),
                            Some(Ok(frame)) if frame.len() as u64 > this.left => {
                                return this.broken(wrong("more bytes than asked for"));
                            }
                            Some(Ok(frame)) => {
                                // The whole frame at once, while it is in the caches.
                                if let Some(hasher) = &mut this.hasher {
                                    hasher.update(&frame);
                                }
                                this.frame = frame;
                            }
                        }
                        continue;
                    }
                    let len = this.chunk_left.min(this.frame.len() as u64);
                    let data = this.frame.split_to(len as usize);
                    this.chunk_left -= len;
                    this.left -= len;
                    this.progress.fetch_add(len, Ordering::Relaxed);
                    return this.send(data);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.at == At::End
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.encoded_left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;
    use http_body_util::BodyExt as _;

    const ALL: [Option<Algorithm>; 4] = [
        None,
        Some(Algorithm::Crc64Nvme),
        Some(Algorithm::Crc32c),
        Some(Algorithm::Sha256),
    ];

    fn body(
        frames: Vec<Result<Vec<u8>>>,
        len: u64,
        algorithm: Option<Algorithm>,
    ) -> (Streaming, Arc<Mutex<Told>>) {
        let told = Arc::default();
        let sending = Sending {
            len,
            body: futures::stream::iter(frames)
                .map(|frame| frame.map(Bytes::from))
                .boxed(),
            algorithm,
            kept: None,
        };
        (Streaming::new(sending, &Progress::default(), &told), told)
    }

    /// Undoes the framing: payload and trailer.
    fn decode(mut wire: &[u8]) -> (Vec<u8>, String) {
        let mut payload = Vec::new();
        loop {
            let at = wire.windows(2).position(|two| two == b"\r\n").unwrap();
            let len = std::str::from_utf8(&wire[..at]).unwrap();
            let len = usize::from_str_radix(len, 16).unwrap();
            wire = &wire[at + 2..];
            if len == 0 {
                return (payload, String::from_utf8(wire.to_vec()).unwrap());
            }
            payload.extend_from_slice(&wire[..len]);
            assert_eq!(&wire[len..len + 2], b"\r\n");
            wire = &wire[len + 2..];
        }
    }

    #[tokio::test]
    async fn a_part_is_framed_and_its_length_announced() {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            for algorithm in ALL {
                let frames = bytes.chunks(100_000).map(|frame| Ok(frame.to_vec()));
                let (body, told) = body(frames.collect(), len, algorithm);
                assert_eq!(body.size_hint().exact(), Some(encoded_len(len, algorithm)));
                let wire = body.collect().await.unwrap().to_bytes();
                assert_eq!(wire.len() as u64, encoded_len(len, algorithm));
                let Some(algorithm) = algorithm else {
                    assert_eq!(wire, bytes);
                    continue;
                };
                let (payload, trailer) = decode(&wire);
                assert!(payload == bytes, "{len} bytes");
                let mut hasher = Hasher::new(algorithm);
                hasher.update(&bytes);
                let sum = hasher.finish();
                let name = checksum_header(algorithm);
                assert_eq!(trailer, format!("{name}:{}\r\n\r\n", sum.to_base64()));
                assert_eq!(told.lock().unwrap().checksum, Some(sum));
            }
        }
    }

    #[tokio::test]
    async fn bytes_that_do_not_fit_end_in_an_error() {
        let gone = || Error::new(Side::Source, ErrorKind::Changed, "it changed");
        for algorithm in ALL {
            for (frames, kind) in [
                (vec![Ok(vec![1; 9])], ErrorKind::Corrupt),
                (vec![Ok(vec![1; 11])], ErrorKind::Corrupt),
                (vec![Ok(vec![1; 10]), Ok(vec![2])], ErrorKind::Corrupt),
                (vec![Ok(vec![1; 5]), Err(gone())], ErrorKind::Changed),
                (vec![Ok(vec![1; 10]), Err(gone())], ErrorKind::Changed),
            ] {
                let (body, told) = body(frames, 10, algorithm);
                assert!(body.collect().await.is_err());
                let told = std::mem::take(&mut *told.lock().unwrap());
                assert_eq!(told.error.unwrap().kind, kind);
                assert_eq!(told.checksum, None, "no trailer was sent");
            }
        }
    }

    #[tokio::test]
    async fn bytes_that_their_source_does_not_keep_get_no_trailer() {
        let bytes = || futures::stream::iter([Ok(Bytes::from_static(b"bytes"))]).boxed();
        let sum = |bytes: &[u8]| {
            let mut hasher = Hasher::new(Algorithm::Crc64Nvme);
            hasher.update(bytes);
            hasher.finish()
        };
        for (kept, fits) in [(&b"bytes"[..], true), (b"Bytes", false)] {
            let told = Arc::default();
            let sending = Sending {
                len: 5,
                body: bytes(),
                algorithm: Some(Algorithm::Crc64Nvme),
                kept: Some(sum(kept)),
            };
            let body = Streaming::new(sending, &Progress::default(), &told);
            assert_eq!(body.collect().await.is_ok(), fits);
            let told = std::mem::take(&mut *told.lock().unwrap());
            assert_eq!(told.checksum.is_some(), fits);
            assert_eq!(
                told.error.map(|error| error.kind),
                (!fits).then_some(ErrorKind::Corrupt)
            );
        }
    }
}
