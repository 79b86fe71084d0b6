//! The contents of generated objects: one shared buffer, served by reference.
//!
//! An object's bytes are the buffer read cyclically from a start that its key's last part
//! decides. The period is a prime near 4 MiB, so that parts of a usual size never have equal
//! contents, and the starts are 256, so that digests of small objects can be made beforehand.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const PERIOD: usize = 4_194_301;
const STEP: usize = 16_381;
const SEED: u64 = 0x5eed_0f5e_ed0f_5eed;

/// Largest piece served at once, in bytes.
pub(crate) const FRAME: usize = 1 << 20;

/// Number of different contents.
pub(crate) const VARIANTS: usize = 256;

/// Which of the [`VARIANTS`] contents an object has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant(pub(crate) u8);

impl Variant {
    /// The contents of `key`: those of its last part, so that a copy under another prefix has
    /// the same.
    pub(crate) fn of(key: &str) -> Self {
        let name = key.rsplit('/').next().unwrap_or(key);
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        Self((hash ^ (hash >> 32)) as u8)
    }
}

/// The shared buffer.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    buffer: Bytes,
}

impl Pattern {
    /// Fills the buffer from a fixed seed.
    pub(crate) fn new() -> Self {
        let mut buffer = vec![0; PERIOD];
        SmallRng::seed_from_u64(SEED).fill_bytes(&mut buffer);
        // The first frame repeated at the end makes every piece contiguous.
        buffer.extend_from_within(..FRAME);
        Self {
            buffer: buffer.into(),
        }
    }

    /// Up to [`FRAME`] bytes of an object from `offset`; at most `limit`. Copies nothing.
    pub(crate) fn piece(&self, variant: Variant, offset: u64, limit: u64) -> Bytes {
        let at = (usize::from(variant.0) * STEP + (offset % PERIOD as u64) as usize) % PERIOD;
        let len = limit.min(FRAME as u64) as usize;
        self.buffer.slice(at..at + len)
    }

    /// Calls `f` with the bytes of `offset..offset + len` piece by piece.
    pub(crate) fn for_each(
        &self,
        variant: Variant,
        offset: u64,
        len: u64,
        mut f: impl FnMut(&[u8]),
    ) {
        let mut done = 0;
        while done < len {
            let piece = self.piece(variant, offset + done, len - done);
            f(&piece);
            done += piece.len() as u64;
        }
    }

    /// CRC64NVME of `offset..offset + len`.
    pub(crate) fn crc(&self, variant: Variant, offset: u64, len: u64) -> u64 {
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        self.for_each(variant, offset, len, |piece| digest.update(piece));
        digest.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(pattern: &Pattern, variant: Variant, offset: u64, len: u64) -> Vec<u8> {
        let mut out = Vec::new();
        pattern.for_each(variant, offset, len, |p| out.extend_from_slice(p));
        out
    }

    #[test]
    fn a_range_is_a_part_of_the_whole() {
        let pattern = Pattern::new();
        let whole = bytes(&pattern, Variant(255), 0, 9 << 20);
        for (offset, len) in [
            (0, 1),
            (4_194_300, 5),
            (1 << 20, 3 << 20),
            ((9 << 20) - 7, 7),
        ] {
            let end = (offset + len) as usize;
            assert_eq!(
                bytes(&pattern, Variant(255), offset, len),
                whole[offset as usize..end]
            );
        }
    }

    #[test]
    fn variants_and_equal_parts_differ() {
        let pattern = Pattern::new();
        assert_ne!(
            pattern.crc(Variant(0), 0, 4096),
            pattern.crc(Variant(1), 0, 4096)
        );
        let part = 16 << 20;
        assert_ne!(
            pattern.crc(Variant(0), 0, part),
            pattern.crc(Variant(0), part, part)
        );
    }

    #[test]
    fn contents_follow_the_last_part_of_the_key() {
        assert_eq!(Variant::of("a/b/obj-1"), Variant::of("obj-1"));
        assert_ne!(Variant::of("obj-0000001"), Variant::of("obj-0000002"));
    }
}
