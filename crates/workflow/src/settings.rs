//! Settings of one run: they change how fast and with what resources, never what a transfer does.

use std::path::PathBuf;
use std::time::Duration;

use crate::fleet::Fleet;

/// See each field; defaults are [`Settings::default`].
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Folder of transfer state, logs and segments.
    pub state_dir: PathBuf,
    /// Objects and parts moved at the same time.
    pub transfers: usize,
    /// Listings and stats at the same time.
    pub checkers: usize,
    /// Bytes of object data held in memory at most.
    pub max_memory: u64,
    /// Bytes a second at most.
    pub bwlimit: Option<u64>,
    /// How long uploads of interrupted transfers are kept.
    pub keep_partial: Duration,
    /// List pages after which a listing slice ends (tests use 1; `None` is by time).
    pub slice_pages: Option<u32>,
    /// Chunks after which a copying slice ends (tests use 1).
    pub slice_chunks: Option<u32>,
    /// Times an object is begun anew after it changed or failed retryably.
    pub attempts: u32,
    /// Gateways that copy, instead of this process.
    pub fleet: Option<Fleet>,
    /// How often progress events are sent.
    pub progress_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from(".skyhaul"),
            transfers: 32,
            checkers: 32,
            max_memory: 512 << 20,
            bwlimit: None,
            keep_partial: Duration::from_hours(168),
            slice_pages: None,
            slice_chunks: None,
            attempts: 3,
            fleet: None,
            progress_interval: Duration::from_millis(200),
        }
    }
}
