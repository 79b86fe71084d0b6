//! Writing a part while it is read: nothing is held to be sent again, and the checksum, known only
//! at the end, follows the bytes as a trailer (`aws-chunked`, see
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>).
//!
//! A service that does not know trailers might store the framing as content, so none is trusted
//! before it has confirmed one: AWS is known to, any other is asked with the first part, which is
//! written again if the answer is no.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll, ready};

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use futures::Stream as _;
use futures::stream::BoxStream;
use http_body::{Body, Frame, SizeHint};
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, Hasher, Result, Side};

use super::attributes::encode_query;
use super::body::Progress;
use super::bucket::Bucket;
use super::put;
use super::replies::{self, checksum_header};
use super::retry::Call;
use crate::store::{PartStream, UploadToken};

/// Bytes of payload in each `aws-chunked` chunk but the last. AWS wants at least 8 KiB, MinIO at
/// most 16 MiB.
const CHUNK: u64 = 256 << 10;

const UNKNOWN: u8 = 0;
const ASKING: u8 = 1;
const YES: u8 = 2;
const NO: u8 = 3;

/// Whether the service takes checksums as trailers.
#[derive(Debug)]
pub(super) struct Trailers(AtomicU8);

impl Trailers {
    /// Known of AWS; any other service has to show it.
    pub(super) fn new(aws: bool) -> Self {
        Self(AtomicU8::new(if aws { YES } else { UNKNOWN }))
    }

    /// Whether a part may be streamed now.
    fn usable(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed), UNKNOWN | YES)
    }

    /// Begins a part: `Some(true)` for the one that asks, `None` if it must not be streamed.
    fn begin(&self) -> Option<bool> {
        let asks = self
            .0
            .compare_exchange(UNKNOWN, ASKING, Ordering::Relaxed, Ordering::Relaxed);
        match asks {
            Ok(_) => Some(true),
            Err(YES) => Some(false),
            Err(_) => None,
        }
    }

    /// What the part that asked has shown.
    fn settle(&self, answer: bool) {
        let answer = if answer { YES } else { NO };
        self.0.store(answer, Ordering::Relaxed);
    }
}

/// What became known while a body was sent.
#[derive(Debug, Default)]
struct Told {
    checksum: Option<Checksum>,
    /// Why the bytes stopped.
    error: Option<Error>,
}

/// The bytes ended with an error, which is told beside the body.
#[derive(Debug, thiserror::Error)]
#[error("the bytes to send ended with an error")]
struct Broken;

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
struct Streaming {
    /// Never locked: what is sent must be `Sync`.
    source: Mutex<BoxStream<'static, Result<Bytes>>>,
    /// Computed over the payload and sent as a trailer; without one there is no framing.
    hasher: Option<Hasher>,
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
fn encoded_len(len: u64, algorithm: Option<Algorithm>) -> u64 {
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
    fn new(part: PartStream, progress: &Progress, told: &Arc<Mutex<Told>>) -> Self {
        Self {
            source: Mutex::new(part.body),
            hasher: part.algorithm.map(Hasher::new),
            len: part.len,
            left: part.len,
            chunk_left: 0,
            frame: Bytes::new(),
            at: At::Header,
            encoded_left: encoded_len(part.len, part.algorithm),
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

    /// What stands between two chunks, or ends the last one.
    fn header(&mut self) -> Option<Bytes> {
        let begins = if self.left < self.len { "\r\n" } else { "" };
        if self.left > 0 {
            self.at = At::Data;
            if self.hasher.is_none() {
                self.chunk_left = self.left;
                return None;
            }
            self.chunk_left = self.left.min(CHUNK);
            return Some(format!("{begins}{:x}\r\n", self.chunk_left).into());
        }
        self.at = At::End;
        let checksum = self.hasher.take()?.finish();
        let text = format!("{begins}{}", trailer(&checksum));
        self.tell(|told| told.checksum = Some(checksum));
        Some(text.into())
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
                    if let Some(text) = this.header() {
                        return this.send(text);
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

impl Bucket {
    /// Whether parts with this checksum can be written while they are read.
    pub(super) fn streams_parts(&self, algorithm: Option<Algorithm>) -> bool {
        match algorithm {
            None => true,
            Some(Algorithm::Md5) => false,
            Some(_) => {
                !self.plain_uploads.load(Ordering::Relaxed)
                    && self.wire.is_signed()
                    && self.trailers.usable()
            }
        }
    }

    /// UploadPart, made once.
    pub(super) async fn stream_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartStream,
    ) -> Result<PartReceipt> {
        let not_now = || {
            let message = "the service takes no checksums as trailers";
            Error::new(self.context.side, ErrorKind::Unsupported, message)
                .object(self.context.uri(key))
        };
        let asks = match part.algorithm {
            None => false,
            Some(_) => self.trailers.begin().ok_or_else(not_now)?,
        };
        let (number, algorithm, size) = (part.number, part.algorithm, part.len);
        let query = format!("?partNumber={number}&uploadId={}", encode_query(&token.0));
        let mut put = self
            .wire
            .request(http::Method::PUT, key, &query)
            .header("content-length", encoded_len(size, algorithm));
        if let Some(algorithm) = algorithm {
            put = put
                .header("content-encoding", "aws-chunked")
                .header("x-amz-decoded-content-length", size)
                .header("x-amz-trailer", checksum_header(algorithm));
        }
        if self.context.requester_pays {
            put = put.header("x-amz-request-payer", "requester");
        }
        let progress = Progress::default();
        let told = Arc::new(Mutex::new(Told::default()));
        let body = SdkBody::from_body_1_x(Streaming::new(part, &progress, &told));
        let call = Call::object(key).progress(&progress);
        let request = Box::pin(self.wire.send(&self.context, Some(key), put, body));
        let reply = self.once(call, request).await;
        let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
        let receipt = match reply {
            Ok(reply) => {
                let receipt = replies::receipt(reply.headers(), told.checksum.as_ref());
                put::drain(reply).await;
                receipt
            }
            Err(failed) => {
                if asks {
                    self.trailers.settle(false);
                }
                return Err(told.error.unwrap_or(failed.error));
            }
        };
        if asks {
            self.trailers.settle(receipt.verified);
            tracing::debug!(
                service = self.context.service(),
                takes = receipt.verified,
                "checksums as trailers"
            );
        }
        if told.checksum.is_some() && !receipt.verified {
            // What it stored may be anything: the part is to be written again.
            return Err(not_now());
        }
        Ok(PartReceipt {
            number,
            size,
            etag: receipt.etag,
            checksum: told.checksum,
            verified: receipt.verified,
        })
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
        let part = PartStream {
            number: 1,
            offset: 0,
            len,
            body: futures::stream::iter(frames)
                .map(|frame| frame.map(Bytes::from))
                .boxed(),
            algorithm,
        };
        (Streaming::new(part, &Progress::default(), &told), told)
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

    #[test]
    fn a_service_is_asked_once() {
        assert_eq!(Trailers::new(true).begin(), Some(false));
        for answer in [true, false] {
            let trailers = Trailers::new(false);
            assert!(trailers.usable());
            assert_eq!(trailers.begin(), Some(true));
            assert_eq!(trailers.begin(), None, "while it is asked");
            assert!(!trailers.usable());
            trailers.settle(answer);
            assert_eq!(trailers.begin(), answer.then_some(false));
        }
    }
}
