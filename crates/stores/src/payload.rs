//! Bytes on their way from a reader to a writer: frames as they came from the wire or the disk,
//! never joined, cheap to clone for a retry.

use bytes::Bytes;
use skyhaul_model::{Algorithm, Checksum, Hasher};

/// An immutable run of bytes in frames.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    frames: Vec<Bytes>,
    len: u64,
}

impl Payload {
    /// No bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a frame.
    pub fn push(&mut self, frame: Bytes) {
        if !frame.is_empty() {
            self.len += frame.len() as u64;
            self.frames.push(frame);
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The frames in order; none is empty.
    #[must_use]
    pub fn frames(&self) -> &[Bytes] {
        &self.frames
    }

    /// The checksum of all bytes.
    #[must_use]
    pub fn checksum(&self, algorithm: Algorithm) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        for frame in &self.frames {
            hasher.update(frame);
        }
        hasher.finish()
    }
}

impl From<Bytes> for Payload {
    fn from(frame: Bytes) -> Self {
        let mut payload = Self::new();
        payload.push(frame);
        payload
    }
}
