//! `skyhaul chunks`.

use clap::Args;
use skyhaul_workflow::inspect::chunks::ChunkState;

/// List the chunks of a transfer: what they are, who works on them, what came of them
#[derive(Debug, Clone, Args)]
pub(crate) struct ChunksArgs {
    /// Which: an id of `skyhaul status`, or as much of its beginning as no other has
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Only those that are pending, leased, done or failed
    #[arg(long, value_name = "STATE", value_parser = state)]
    pub(crate) state: Option<ChunkState>,
}

fn state(text: &str) -> Result<ChunkState, String> {
    match text {
        "pending" => Ok(ChunkState::Pending),
        "leased" => Ok(ChunkState::Leased),
        "done" => Ok(ChunkState::Done),
        "failed" => Ok(ChunkState::Failed),
        _ => Err("one of pending, leased, done, failed".to_owned()),
    }
}
