//! Flags of every command.

use std::path::PathBuf;

use clap::Args;

/// See each flag.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct GlobalArgs {
    /// One JSON event a line on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "Configuration file [env: SKYHAUL_CONFIG]"
    )]
    pub(crate) config: Option<PathBuf>,
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        help = "State and log folder [env: SKYHAUL_STATE_DIR]"
    )]
    pub(crate) state_dir: Option<PathBuf>,
}
