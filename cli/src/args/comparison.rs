//! When an object that the destination has is copied again.

use clap::{Args, ValueEnum};
use skyhaul_model::compare::{Compare, IfExists};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompareBy {
    Size,
    Mtime,
    Checksum,
}

/// How a sync compares.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Comparison")]
#[group(id = "comparison", multiple = false)]
pub(crate) struct CompareArgs {
    /// Copy what differs by: size, mtime (size, or newer) [default], checksum
    #[arg(long, value_name = "BY", hide_possible_values = true)]
    compare: Option<CompareBy>,
    /// As --compare checksum
    #[arg(short = 'c', long)]
    checksum: bool,
    /// As --compare size
    #[arg(long)]
    size_only: bool,
}

impl CompareArgs {
    /// What was said, or `otherwise`.
    pub(crate) fn policy(&self, otherwise: Compare) -> Compare {
        match (self.compare, self.checksum, self.size_only) {
            (Some(CompareBy::Size), ..) | (_, _, true) => Compare::Size,
            (Some(CompareBy::Checksum), ..) | (_, true, _) => Compare::Checksum,
            (Some(CompareBy::Mtime), ..) => Compare::Mtime,
            (None, false, false) => otherwise,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Existing {
    Skip,
    Overwrite,
    Newer,
}

/// What a copy does with objects that the destination has.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Comparison")]
#[group(id = "existing", multiple = false)]
pub(crate) struct IfExistsArgs {
    /// Objects that exist: skip, overwrite [default], or newer: overwrite when the source is newer
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    if_exists: Option<Existing>,
    /// As --if-exists skip
    #[arg(long)]
    ignore_existing: bool,
    /// As --if-exists newer
    #[arg(short = 'u', long)]
    update: bool,
}

impl IfExistsArgs {
    /// What was said.
    pub(crate) fn policy(&self) -> IfExists {
        match (self.if_exists, self.ignore_existing, self.update) {
            (Some(Existing::Skip), ..) | (_, true, _) => IfExists::Skip,
            (Some(Existing::Newer), ..) | (_, _, true) => IfExists::Newer,
            (Some(Existing::Overwrite) | None, ..) => IfExists::Overwrite,
        }
    }
}
