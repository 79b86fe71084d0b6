//! `skyhaul verify`.

use clap::Args;
use skyhaul_model::Result;
use skyhaul_model::attributes::AttributePolicy;
use skyhaul_model::compare::{Compare, IfExists};
use skyhaul_model::spec::Mode;
use skyhaul_workflow::CopyRequest;

use super::{FilterArgs, SidesArgs, SpeedArgs};
use crate::config::{Config, Name, Value};

/// Compare two sides without copying
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Compares everything under SRC and DST: names, sizes, and checksums that both
sides keep. The exit code is 5 if anything differs.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) sides: SidesArgs,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
    /// Read the bytes where checksums that are kept cannot be compared
    #[arg(
        short = 'c',
        long,
        help_heading = "Comparison",
        conflicts_with = "size_only"
    )]
    pub(crate) checksum: bool,
    /// Compare names and sizes only
    #[arg(long, help_heading = "Comparison")]
    pub(crate) size_only: bool,
    #[command(flatten)]
    pub(crate) speed: SpeedArgs,
    /// Follow symbolic links in a local source
    #[arg(long, help_heading = "Performance")]
    pub(crate) follow_symlinks: bool,
}

impl VerifyArgs {
    /// What these flags override.
    pub(crate) fn overrides(&self) -> Vec<(Name, Value)> {
        let mut all = self.speed.overrides();
        if self.follow_symlinks {
            all.push((Name::FollowSymlinks, Value::Switch(true)));
        }
        all
    }

    /// What is asked for.
    pub(crate) fn request(&self, config: &Config) -> Result<CopyRequest> {
        Ok(CopyRequest {
            mode: Mode::Sync,
            source: self.sides.source(config)?,
            destinations: vec![self.sides.destination(config)?],
            recursive: true,
            filters: self.filters.spec()?,
            first: Vec::new(),
            compare: match (self.checksum, self.size_only) {
                (true, _) => Compare::Checksum,
                (_, true) => Compare::Size,
                _ => Compare::Mtime,
            },
            if_exists: IfExists::Overwrite,
            delete: None,
            attributes: AttributePolicy::default(),
            parts: config.parts(),
            checksum: config.checksum(),
            encryption: None,
            stream: false,
            follow_symlinks: config.switch(Name::FollowSymlinks),
            durability: config.durability(),
        })
    }
}
