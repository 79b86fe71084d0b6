//! How a call that lost a race tries again.

use std::time::Duration;

use skyhaul_model::{Error, ErrorKind, Result};

/// Lost races of one call before it is given up: by then something else is wrong.
const MOST: u32 = 200;
const LONGEST_PAUSE_MS: u64 = 500;

/// Races that one call lost.
#[derive(Debug, Default)]
pub(super) struct Contention {
    rounds: u32,
}

impl Contention {
    /// Waits a random time, longer with each lost race; `Throttled` after too many.
    pub(super) async fn lost(&mut self, message: &str) -> Result<()> {
        self.rounds += 1;
        if self.rounds >= MOST {
            return Err(Error::control(ErrorKind::Throttled, message.to_owned()));
        }
        let most = (u64::from(self.rounds) * 10).min(LONGEST_PAUSE_MS);
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..=most))).await;
        Ok(())
    }
}
