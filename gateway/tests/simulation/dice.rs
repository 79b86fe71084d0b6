//! Chance, from the run's seed.

use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A source of numbers that its clones share.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Arc<Mutex<StdRng>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A source of its own.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.0.lock().unwrap().random())
    }

    /// A number below `most`; 0 where there is none.
    pub(crate) fn below(&self, most: u64) -> u64 {
        if most == 0 {
            return 0;
        }
        self.0.lock().unwrap().random_range(0..most)
    }

    pub(crate) fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub(crate) fn one_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn bytes(&self, len: usize) -> bytes::Bytes {
        let mut bytes = vec![0; len];
        self.0.lock().unwrap().fill(&mut bytes[..]);
        bytes.into()
    }
}
