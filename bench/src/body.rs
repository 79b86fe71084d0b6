//! Reply bodies: a short text, or generated object bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::pattern::Variant;
use crate::server::Server;

/// Body of a reply.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Given bytes, once.
    Text(Bytes),
    /// Object bytes, generated as the connection takes them.
    Object {
        /// Holds the pattern and the counters.
        server: Arc<Server>,
        /// Which contents.
        variant: Variant,
        /// Offset of the next byte in the object.
        offset: u64,
        /// Bytes to come.
        left: u64,
    },
}

impl Reply {
    /// No body.
    pub(crate) fn empty() -> Self {
        Self::Text(Bytes::new())
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = match self.get_mut() {
            Self::Text(text) => std::mem::take(text),
            Self::Object {
                server,
                variant,
                offset,
                left,
            } => {
                let piece = server.pattern.piece(*variant, *offset, *left);
                let len = piece.len() as u64;
                *offset += len;
                *left -= len;
                server.stats.sent(len);
                piece
            }
        };
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Object { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Text(text) => text.len() as u64,
            Self::Object { left, .. } => *left,
        })
    }
}
