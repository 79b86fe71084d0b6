//! Computing checksums over bytes as they pass, and combining part CRCs into the whole's.

use crc_fast::{CrcAlgorithm, Digest as CrcDigest};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::checksum::{Algorithm, Checksum};

/// A running checksum of one run of bytes.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    state: State,
    len: u64,
}

#[derive(Clone)]
enum State {
    Crc(CrcDigest),
    Sha1(Sha1),
    Sha256(Sha256),
    Md5(Md5),
}

fn crc(algorithm: Algorithm) -> CrcAlgorithm {
    match algorithm {
        Algorithm::Crc32c => CrcAlgorithm::Crc32Iscsi,
        Algorithm::Crc32 => CrcAlgorithm::Crc32IsoHdlc,
        _ => CrcAlgorithm::Crc64Nvme,
    }
}

impl Hasher {
    /// A hasher over no bytes yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Crc64Nvme | Algorithm::Crc32c | Algorithm::Crc32 => {
                State::Crc(CrcDigest::new(crc(algorithm)))
            }
            Algorithm::Sha1 => State::Sha1(Sha1::new()),
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Md5 => State::Md5(Md5::new()),
        };
        Self {
            algorithm,
            state,
            len: 0,
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        match &mut self.state {
            State::Crc(digest) => digest.update(bytes),
            State::Sha1(digest) => digest.update(bytes),
            State::Sha256(digest) => digest.update(bytes),
            State::Md5(digest) => digest.update(bytes),
        }
    }

    /// How many bytes were added.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no bytes were added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The checksum of all bytes added.
    #[must_use]
    pub fn finish(self) -> Checksum {
        let algorithm = self.algorithm;
        let bytes: Box<[u8]> = match self.state {
            State::Crc(digest) => return Checksum::from_crc(algorithm, digest.finalize()),
            State::Sha1(digest) => digest.finalize().as_slice().into(),
            State::Sha256(digest) => digest.finalize().as_slice().into(),
            State::Md5(digest) => digest.finalize().as_slice().into(),
        };
        // The digest's length is the algorithm's by construction.
        Checksum::new(algorithm, bytes).unwrap_or_else(|_| Checksum::from_crc(algorithm, 0))
    }
}

/// Combines the checksums of consecutive parts, given in order with their lengths in bytes, into
/// the checksum of the whole. `None` if there are no parts, or if their algorithm does not combine
/// or is not the same for all.
#[must_use]
pub fn combine<'a>(parts: impl IntoIterator<Item = (&'a Checksum, u64)>) -> Option<Checksum> {
    let mut parts = parts.into_iter();
    let (first, _) = parts.next()?;
    let algorithm = first.algorithm;
    if !algorithm.combines() {
        return None;
    }
    let mut whole = first.as_crc();
    for (part, len) in parts {
        if part.algorithm != algorithm {
            return None;
        }
        whole = crc_fast::checksum_combine(crc(algorithm), whole, part.as_crc(), len);
    }
    Some(Checksum::from_crc(algorithm, whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn check_values_of_the_catalogue() {
        // "123456789": the check values of the CRC catalogue, RFC 1321 and FIPS 180.
        let check = |algorithm| sum(algorithm, b"123456789").to_hex();
        assert_eq!(check(Algorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(check(Algorithm::Crc32c), "e3069283");
        assert_eq!(check(Algorithm::Crc32), "cbf43926");
        assert_eq!(check(Algorithm::Md5), "25f9e794323b453885f5181f1b624d0b");
        assert_eq!(
            check(Algorithm::Sha1),
            "f7c3bc1d808e04732adf679965ccc34ca7ae3441"
        );
        assert!(check(Algorithm::Sha256).starts_with("15e2b0d3c33891eb"));
    }

    proptest! {
        #[test]
        fn combined_parts_equal_the_whole(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
            pick in 0..3_usize,
        ) {
            let algorithm = [Algorithm::Crc64Nvme, Algorithm::Crc32c, Algorithm::Crc32][pick];
            let sums: Vec<_> =
                parts.iter().map(|part| (sum(algorithm, part), part.len() as u64)).collect();
            let combined = combine(sums.iter().map(|(sum, len)| (sum, *len)));
            prop_assert_eq!(combined, Some(sum(algorithm, &parts.concat())));
        }
    }
}
