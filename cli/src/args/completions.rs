//! `skyhaul completions`.

use clap::Args;
use clap_complete::Shell;

/// Print or install shell completions
#[derive(Debug, Clone, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: Shell,
    /// Write it to the user's own place instead of stdout
    #[arg(long)]
    pub(crate) install: bool,
}
