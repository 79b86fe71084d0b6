//! Speed and resources.

use clap::Args;
use skyhaul_model::spec::ChecksumPolicy;

use crate::config::{Name, Value};
use crate::values;

/// What changes how fast a transfer is, and nothing else: also for `resume`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Performance")]
pub(crate) struct SpeedArgs {
    /// Objects and parts moved at the same time [default: 32]
    #[arg(long, value_name = "N", value_parser = values::parallelism)]
    transfers: Option<u64>,
    #[command(flatten)]
    checkers: CheckersArgs,
    /// Object data held in memory at most [default: 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    max_memory: Option<u64>,
    /// Bytes a second at most (50M is 50 MiB/s), or off
    #[arg(long, value_name = "RATE", value_parser = rate)]
    bwlimit: Option<Rate>,
    #[command(flatten)]
    pub(crate) gateways: super::gateways::GatewayArgs,
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) slice_pages: Option<u32>,
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) slice_chunks: Option<u32>,
}

/// A rate: a type of its own, for clap sees more in an `Option` than a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate(Option<u64>);

fn rate(text: &str) -> Result<Rate, String> {
    values::rate(text).map(Rate)
}

impl SpeedArgs {
    /// What these flags override.
    pub(crate) fn overrides(&self) -> Vec<(Name, Value)> {
        [
            self.transfers
                .map(|count| (Name::Transfers, Value::Count(count))),
            self.max_memory
                .map(|bytes| (Name::MaxMemory, Value::Bytes(bytes))),
            self.bwlimit
                .map(|rate| (Name::Bwlimit, Value::Rate(rate.0))),
        ]
        .into_iter()
        .flatten()
        .chain(self.checkers.overrides())
        .collect()
    }
}

/// How much is listed at once.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Performance")]
pub(crate) struct CheckersArgs {
    /// Listings and stats at the same time [default: 32]
    #[arg(long, value_name = "N", value_parser = values::parallelism)]
    checkers: Option<u64>,
}

impl CheckersArgs {
    /// What this overrides.
    pub(crate) fn overrides(&self) -> Option<(Name, Value)> {
        self.checkers
            .map(|count| (Name::Checkers, Value::Count(count)))
    }
}

/// How objects are moved: part of what the transfer is.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Performance")]
pub(crate) struct PartArgs {
    /// Part size [default: 16MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::positive_size)]
    part_size: Option<u64>,
    /// Objects of at least this size are cut into parts [default: 32MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::positive_size)]
    multipart_threshold: Option<u64>,
    /// Write every object in one piece
    #[arg(long, conflicts_with_all = ["part_size", "multipart_threshold"])]
    no_multipart: bool,
    /// Checksum: auto [default], none, crc64nvme, crc32c, crc32, sha1, sha256, md5
    #[arg(long, value_name = "NAME", value_parser = values::checksum)]
    checksum_algorithm: Option<ChecksumPolicy>,
    /// Never let the service copy by itself
    #[arg(
        long, value_name = "BOOL", value_parser = values::switch,
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    stream: Option<bool>,
    /// Flush files to disk before they count as done: on [default], off
    #[arg(long, value_name = "ON|OFF", value_parser = values::switch)]
    fsync: Option<bool>,
    /// Follow symbolic links in a local source
    #[arg(
        long, value_name = "BOOL", value_parser = values::switch,
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    follow_symlinks: Option<bool>,
}

impl PartArgs {
    /// What these flags override.
    pub(crate) fn overrides(&self) -> Vec<(Name, Value)> {
        let checksum = self.checksum_algorithm;
        [
            self.part_size
                .map(|bytes| (Name::MultipartChunkSize, Value::Mebibytes(bytes))),
            self.multipart_threshold
                .map(|bytes| (Name::MultipartThreshold, Value::Mebibytes(bytes))),
            self.no_multipart
                .then_some((Name::MultipartEnabled, Value::Switch(false))),
            checksum.map(|policy| (Name::ChecksumAlgorithm, Value::Checksum(policy))),
            // An algorithm that is asked for now is not turned off by what was set before.
            checksum.map(|policy| {
                (
                    Name::VerifyChecksums,
                    Value::Switch(policy != ChecksumPolicy::Off),
                )
            }),
            self.stream.map(|on| (Name::Stream, Value::Switch(on))),
            self.fsync.map(|on| (Name::Fsync, Value::Switch(on))),
            self.follow_symlinks
                .map(|on| (Name::FollowSymlinks, Value::Switch(on))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
