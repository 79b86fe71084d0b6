//! Writing parts and objects while they are read: nothing is held to be sent again, and the checksum
//! follows the bytes (`chunked.rs`).
//!
//! A service that does not know trailers might store the framing as content, so none is trusted
//! before it has confirmed one: AWS is known to, any other is asked with the first part, which is
//! written again if the answer is no. A whole object would be visible meanwhile: none asks.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_types::body::SdkBody;
use http::request::Builder;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, Pin, Result};

use super::attributes::encode_query;
use super::body::Progress;
use super::bucket::Bucket;
use super::chunked::{Sending, Streaming, Told, encoded_len};
use super::errors::Failed;
use super::put;
use super::replies::{self, checksum_header};
use super::retry::Call;
use crate::store::{Condition, PartStream, PutReceipt, PutStream, UploadToken};

const UNKNOWN: u8 = 0;
const ASKING: u8 = 1;
const YES: u8 = 2;
const NO: u8 = 3;

/// Whether the service takes checksums as trailers.
#[derive(Debug)]
pub(super) struct Trailers {
    takes: AtomicU8,
    /// Whether objects do not keep [`FRAMED`] as their content encoding.
    clean: AtomicU8,
}

impl Trailers {
    /// Known of AWS; any other service has to show it.
    pub(super) fn new(aws: bool) -> Self {
        let known = if aws { YES } else { UNKNOWN };
        Self {
            takes: AtomicU8::new(known),
            clean: AtomicU8::new(known),
        }
    }

    /// Whether a part may be streamed now.
    fn usable(&self) -> bool {
        matches!(self.takes.load(Ordering::Relaxed), UNKNOWN | YES)
    }

    /// Begins a part: `Some(true)` for the one that asks, `None` if it must not be streamed.
    fn begin(&self) -> Option<bool> {
        let asks =
            self.takes
                .compare_exchange(UNKNOWN, ASKING, Ordering::Relaxed, Ordering::Relaxed);
        match asks {
            Ok(_) => Some(true),
            Err(YES) => Some(false),
            Err(_) => None,
        }
    }

    /// Whether whole objects may be streamed: it is known to, and not to keep what it should not.
    fn usable_for_objects(&self) -> bool {
        self.takes.load(Ordering::Relaxed) == YES && self.clean.load(Ordering::Relaxed) != NO
    }

    /// What the part that asked has shown.
    fn settle(&self, answer: bool) {
        let answer = if answer { YES } else { NO };
        self.takes.store(answer, Ordering::Relaxed);
    }
}

/// The content encoding that says that there is framing.
const FRAMED: &str = "aws-chunked";

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

    /// Whether whole objects with this checksum can be written while they are read. Without one
    /// there is no framing, and an object whose source changed at its last byte might be there.
    pub(super) fn streams_objects(&self, algorithm: Option<Algorithm>) -> bool {
        algorithm.is_some() && self.streams_parts(algorithm) && self.trailers.usable_for_objects()
    }

    /// UploadPart, made once.
    pub(super) async fn stream_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartStream,
    ) -> Result<PartReceipt> {
        let asks = match part.algorithm {
            None => false,
            Some(_) => self
                .trailers
                .begin()
                .ok_or_else(|| self.takes_no_trailers(key))?,
        };
        let (number, size) = (part.number, part.len);
        let query = format!("?partNumber={number}&uploadId={}", encode_query(&token.0));
        let mut put = self.wire.request(http::Method::PUT, key, &query);
        if part.algorithm.is_some() {
            put = put.header("content-encoding", FRAMED);
        }
        let sending = Sending {
            len: part.len,
            body: part.body,
            algorithm: part.algorithm,
            kept: None,
        };
        let sent = self.stream(key, put, sending).await;
        if asks {
            let takes = sent.as_ref().is_ok_and(|(receipt, _)| receipt.verified);
            self.trailers.settle(takes);
            let service = self.context.service();
            tracing::debug!(service, takes, "checksums as trailers");
        }
        let (receipt, checksum) = sent?;
        if checksum.is_some() && !receipt.verified {
            // What it stored may be anything: the part is to be written again.
            return Err(self.takes_no_trailers(key));
        }
        Ok(PartReceipt {
            number,
            size,
            etag: receipt.etag,
            checksum,
            verified: receipt.verified,
        })
    }

    /// PUT of a whole object, made once.
    pub(super) async fn stream_put(&self, key: &str, put: PutStream) -> Result<PutReceipt> {
        if !self.streams_objects(Some(put.algorithm)) {
            return Err(self.takes_no_trailers(key));
        }
        let mut request = self.wire.request(http::Method::PUT, key, "");
        let mut framed = FRAMED.to_owned();
        for (name, value) in self.write_headers(&put.attributes, put.mtime, None, &Condition::None)
        {
            if name == "content-encoding" {
                framed = format!("{FRAMED},{value}");
            } else {
                request = request.header(name.as_ref(), value);
            }
        }
        request = request.header("content-encoding", framed);
        let sending = Sending {
            len: put.len,
            body: put.body,
            algorithm: Some(put.algorithm),
            kept: put.kept,
        };
        let (mut receipt, checksum) = self.stream(key, request, sending).await?;
        if !receipt.verified {
            // What it stored may be anything: the object is to be written again.
            return Err(self.takes_no_trailers(key));
        }
        self.check_encoding(key).await?;
        receipt.checksum = checksum;
        Ok(receipt)
    }

    /// Looks once, at a service that is not known, whether it took the framing for the object's own
    /// encoding.
    async fn check_encoding(&self, key: &str) -> Result<()> {
        let clean = &self.trailers.clean;
        if clean.load(Ordering::Relaxed) == YES {
            return Ok(());
        }
        let written = self.head(key, &Pin::default()).await?;
        let encoding = written.and_then(|info| info.attributes.content_encoding);
        if encoding.is_some_and(|encoding| encoding.contains(FRAMED)) {
            clean.store(NO, Ordering::Relaxed);
            return Err(self.takes_no_trailers(key));
        }
        clean.store(YES, Ordering::Relaxed);
        Ok(())
    }

    fn takes_no_trailers(&self, key: &str) -> Error {
        let message = "the service takes no checksums as trailers";
        Error::new(self.context.side, ErrorKind::Unsupported, message).object(self.context.uri(key))
    }

    /// Sends a body while it is read: what the service says, and the checksum that was sent.
    async fn stream(
        &self,
        key: &str,
        mut put: Builder,
        sending: Sending,
    ) -> Result<(PutReceipt, Option<Checksum>)> {
        put = put.header(
            "content-length",
            encoded_len(sending.len, sending.algorithm),
        );
        if let Some(algorithm) = sending.algorithm {
            put = put
                .header("x-amz-decoded-content-length", sending.len)
                .header("x-amz-trailer", checksum_header(algorithm));
        }
        let progress = Progress::default();
        let told = Arc::new(Mutex::new(Told::default()));
        let body = SdkBody::from_body_1_x(Streaming::new(sending, &progress, &told));
        let call = Call::object(key).progress(&progress);
        let request = Box::pin(self.wire.send(&self.context, Some(key), put, body));
        let reply = self.once(call, request).await;
        let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
        match reply {
            Ok(reply) => {
                let receipt = replies::receipt(reply.headers(), told.checksum.as_ref());
                put::drain(reply).await;
                Ok((receipt, told.checksum))
            }
            Err(Failed { error, .. }) => Err(told.error.unwrap_or(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_once() {
        assert_eq!(Trailers::new(true).begin(), Some(false));
        for answer in [true, false] {
            let trailers = Trailers::new(false);
            assert!(trailers.usable());
            assert_eq!(trailers.begin(), Some(true));
            assert_eq!(trailers.begin(), None, "while it is asked");
            assert!(!trailers.usable());
            assert!(!trailers.usable_for_objects(), "while it is asked");
            trailers.settle(answer);
            assert_eq!(trailers.usable_for_objects(), answer);
            assert_eq!(trailers.begin(), answer.then_some(false));
        }
    }
}
