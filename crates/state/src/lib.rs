//! Transfer state behind one trait: SQLite here, DynamoDB with the control plane. One model-based
//! suite checks every backend.

mod calls;
mod fault;
pub mod operation;
pub mod segments;
pub mod service;
mod sqlite;
pub mod state;
pub mod suite;

pub use calls::Calls;
pub use segments::{SegmentKind, SegmentStore, Segments};
pub use sqlite::SqliteState;
pub use state::*;
