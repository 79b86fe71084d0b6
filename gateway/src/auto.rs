//! Which compression is worth its time: each is tried on a sample, and what it takes is set against what
//! the bytes that it saves would take on the link.

use std::time::Instant;

use crate::body::Compress;

/// Bytes of a sample, from the middle of a piece.
const SAMPLE: usize = 64 << 10;

/// Pieces that are sent as the sample said before the next one is taken. So sampling costs about a
/// hundredth of what zstd would.
const PIECES: u32 = 15;

/// What reading costs at the other end beside writing: LZ4 a fifth, zstd a third (measured).
const READING: [(Compress, f64); 2] = [(Compress::Lz4, 1.2), (Compress::Zstd, 1.3)];

/// Chooses for the pieces of one body.
#[derive(Debug)]
pub(crate) struct Chooser {
    chosen: Compress,
    left: u32,
}

impl Chooser {
    pub(crate) fn new() -> Self {
        Self {
            chosen: Compress::None,
            left: 0,
        }
    }

    /// What is to be done with a piece, where a byte takes the link `link` seconds.
    pub(crate) fn choose(&mut self, piece: &[u8], link: f64) -> Compress {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return self.chosen;
        }
        if link <= 0.0 {
            return Compress::None;
        }
        if piece.len() < SAMPLE {
            // A sample would be all of it.
            return Compress::Lz4;
        }
        self.left = PIECES;
        let start = (piece.len() - SAMPLE) / 2;
        let sample = &piece[start..start + SAMPLE];
        let tried = READING.map(|(compress, reading)| {
            let began = Instant::now();
            let ratio = compress.ratio(sample);
            let took = began.elapsed().as_secs_f64() / SAMPLE as f64;
            (compress, took * reading + ratio * link)
        });
        self.chosen = best(link, tried);
        self.chosen
    }
}

/// The cheapest, in seconds a byte; nothing costs the link alone.
fn best(link: f64, tried: [(Compress, f64); 2]) -> Compress {
    let all = [(Compress::None, link)].into_iter().chain(tried);
    all.min_by(|(_, one), (_, other)| one.total_cmp(other))
        .map_or(Compress::None, |(compress, _)| compress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_decides() {
        let text = b"never lose a byte, never send one twice. ".repeat(30_000);
        let noise: Vec<u8> = (0..1 << 20).map(|_| rand::random()).collect();
        // A megabyte a second: any byte that is saved is worth it. Nothing at all: none is.
        for (link, of_text) in [(1e-6, true), (0.0, false)] {
            let chosen = Chooser::new().choose(&text, link);
            assert_eq!(chosen != Compress::None, of_text);
            assert_eq!(Chooser::new().choose(&noise, link), Compress::None);
        }
    }

    #[test]
    fn one_sample_is_for_many_pieces() {
        let text = b"never lose a byte. ".repeat(30_000);
        let mut chooser = Chooser::new();
        assert_ne!(chooser.choose(&text, 1e-6), Compress::None);
        for _ in 0..PIECES {
            assert_ne!(chooser.choose(b"?", 0.0), Compress::None);
        }
        assert_eq!(chooser.choose(&text, 0.0), Compress::None);
    }
}
