//! The bodies of test objects: any size from a seed, the same here and in `scripts/testdata.py`,
//! where the scheme is described.

use sha2::{Digest as _, Sha256};
use std::io::{self, Write};

/// Bytes after which the content repeats, but for its first 8 bytes.
pub const BLOCK: usize = 1 << 20;

/// A body named by seed and size, generated block by block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    /// What the content is made from.
    pub seed: u64,
    /// Bytes.
    pub size: u64,
}

impl Body {
    /// The body of `size` bytes from `seed`.
    #[must_use]
    pub fn new(seed: u64, size: u64) -> Self {
        Self { seed, size }
    }

    /// Writes the whole body, one block at a time.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let whole = prefix(self.seed, self.size.min(BLOCK as u64) as usize);
        let mut block = whole.clone();
        let mut left = self.size;
        let mut number: u64 = 0;
        while left > 0 {
            for (place, byte) in number.to_le_bytes().iter().enumerate().take(block.len()) {
                block[place] = whole[place] ^ byte;
            }
            let piece = &block[..left.min(BLOCK as u64) as usize];
            out.write_all(piece)?;
            left -= piece.len() as u64;
            number += 1;
        }
        Ok(())
    }

    /// The whole body in memory: for small ones.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.size as usize);
        self.write_to(&mut all).expect("a Vec takes everything");
        all
    }

    /// SHA-256 of the body, lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut out = HashingSink(Sha256::new());
        self.write_to(&mut out).expect("a digest takes everything");
        hex::encode(out.0.finalize())
    }
}

/// The first `length` bytes of the seed's block.
fn prefix(seed: u64, length: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(length + 32);
    for counter in 0_u64.. {
        if block.len() >= length {
            break;
        }
        let mut digest = Sha256::new();
        digest.update(seed.to_le_bytes());
        digest.update(counter.to_le_bytes());
        block.extend_from_slice(&digest.finalize());
    }
    block.truncate(length);
    block
}

/// Feeds what is written to a digest.
struct HashingSink(Sha256);

impl Write for HashingSink {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.update(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// SHA-256 of a file or other reader, lower-case hex, with its size in bytes.
pub fn sha256_of(reader: &mut impl io::Read) -> io::Result<(String, u64)> {
    let mut out = HashingSink(Sha256::new());
    let size = io::copy(reader, &mut out)?;
    Ok((hex::encode(out.0.finalize()), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_differ_and_a_short_body_is_a_prefix() {
        let long = Body::new(7, 2 * BLOCK as u64 + 100).bytes();
        assert_eq!(long.len(), 2 * BLOCK + 100);
        assert_ne!(long[..BLOCK], long[BLOCK..2 * BLOCK]);
        assert_eq!(long[8..BLOCK], long[BLOCK + 8..2 * BLOCK]);
        assert_eq!(Body::new(7, 100).bytes(), long[..100]);
        assert_eq!(Body::new(7, 0).bytes(), Vec::<u8>::new());
        assert_ne!(Body::new(8, 100).bytes(), long[..100]);
    }
}
