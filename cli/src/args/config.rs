//! `skyhaul config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Read and change the configuration
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

/// What to do with it.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show the value of one key
    Get {
        /// KEY, endpoints.NAME.FIELD or buckets.BUCKET
        key: String,
    },
    /// Set one key in the file; comments stay
    Set {
        /// KEY, endpoints.NAME.FIELD or buckets.BUCKET
        key: String,
        /// Its value
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Show every key with its value and where that comes from; -v says what it means
    List,
    /// Show where the file is
    Path,
    /// Take over what another tool knows
    #[command(subcommand)]
    Import(ImportSource),
}

/// Which tool.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ImportSource {
    /// S3 remotes of rclone, as named endpoints
    Rclone {
        /// Its configuration file [default: where rclone keeps it]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Also write access keys as profiles to the AWS credentials file
        #[arg(long)]
        with_credentials: bool,
        /// Replace endpoints that exist under the same name
        #[arg(long)]
        force: bool,
    },
}
