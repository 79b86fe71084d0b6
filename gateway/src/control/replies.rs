//! What the control API answers. Sizes are bytes, times seconds unless the name says otherwise.

use serde::{Deserialize, Serialize};
use skyhaul_engine::trace::{Stage, Traced};
use skyhaul_model::TransferId;
use skyhaul_state::GatewayRole;

/// `GET /health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, or `draining`.
    pub status: String,
    /// The gateway's name.
    pub name: String,
    /// Who it is on the wire; new at each start.
    pub gateway: String,
    /// What it is.
    pub role: GatewayRole,
    /// The program's version.
    pub version: String,
    /// Since its start.
    pub uptime_s: f64,
}

/// `GET /progress`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What it does for each of its transfers.
    pub transfers: Vec<TransferProgress>,
}

/// What a gateway does for a transfer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransferProgress {
    /// The transfer.
    pub transfer: TransferId,
    /// Bytes of objects that it sent, before compression.
    pub logical_bytes: u64,
    /// Bytes that it sent for them over the network.
    pub wire_bytes: u64,
    /// Bytes that it passed on for others.
    pub passed_bytes: u64,
    /// Bytes that it wrote to a store.
    pub written_bytes: u64,
    /// Chunks that it recorded as done.
    pub chunks_done: u64,
    /// Groups that it works on.
    pub claims_held: u64,
    /// Requests of others that it works on.
    pub requests: u64,
    /// Sent to neighbours and not used up by them.
    pub bytes_under_way: u64,
}

/// `GET /connections`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// One for each.
    pub connections: Vec<Connection>,
}

/// Who made a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The other side.
    In,
    /// This gateway.
    Out,
}

/// A connection to a neighbour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Its number in this process.
    pub connection: u64,
    /// The neighbour's name, once it is known.
    pub peer: Option<String>,
    /// Who the neighbour is on the wire.
    pub gateway: String,
    /// Who made it.
    pub direction: Direction,
    /// Bytes of segments that were sent.
    pub sent_bytes: u64,
    /// Bytes of segments that came.
    pub received_bytes: u64,
    /// Sent a second, over the last seconds.
    pub sent_bytes_per_s: f64,
    /// Came a second, over the last seconds.
    pub received_bytes_per_s: f64,
    /// Credit of the neighbour that is spent: sent and not used up.
    pub bytes_under_way: u64,
    /// How long the last ping took, there and back; null before the first.
    pub round_trip_ms: Option<f64>,
    /// Whether the neighbour takes no new requests.
    pub draining: bool,
}

/// `GET /chunks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunks {
    /// How many recent chunks are kept at most.
    pub most: u64,
    /// The oldest first.
    pub chunks: Vec<ChunkSummary>,
}

/// A recent chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkSummary {
    /// Names it in `/chunks/{id}`.
    pub id: String,
    /// Its group.
    pub group: String,
    /// Its number in the group, from 0.
    pub chunk: u32,
    /// The last stage that it has reached.
    pub state: Stage,
}

/// `GET /chunks/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Which.
    #[serde(flatten)]
    pub summary: ChunkSummary,
    /// Gateways that it took its way over: each way once, eight at most.
    pub paths: Vec<Vec<String>>,
    /// What happened to it since its group was claimed.
    pub history: Vec<Step>,
}

/// That a chunk came to a stage; one of many objects comes there with each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The stage.
    pub state: Stage,
    /// When first, since the start of the gateway.
    pub first_s: f64,
    /// When last.
    pub last_s: f64,
    /// How often.
    pub times: u64,
}

/// `POST /drain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Draining {
    /// Always true.
    pub draining: bool,
}

/// What a chunk is called.
pub(super) fn chunk_id(chunk: &Traced) -> String {
    format!("{}.{}", chunk.group, chunk.chunk)
}

impl From<&Traced> for ChunkSummary {
    fn from(chunk: &Traced) -> Self {
        Self {
            id: chunk_id(chunk),
            group: chunk.group.to_string(),
            chunk: chunk.chunk,
            state: chunk.stage(),
        }
    }
}

impl From<&Traced> for Chunk {
    fn from(chunk: &Traced) -> Self {
        let step = |step: &skyhaul_engine::trace::Step| Step {
            state: step.stage,
            first_s: step.first.as_secs_f64(),
            last_s: step.last.as_secs_f64(),
            times: step.times,
        };
        Self {
            summary: chunk.into(),
            paths: chunk.paths.clone(),
            history: chunk.steps.iter().map(step).collect(),
        }
    }
}
