//! Transfer state behind one trait: SQLite on one machine, DynamoDB with the control plane. One
//! model-based suite checks every backend.

mod calls;
pub mod control;
mod dynamodb;
mod fault;
pub mod operation;
pub mod pages;
mod rules;
pub mod segments;
pub mod service;
mod sqlite;
pub mod state;
pub mod suite;

pub use calls::Calls;
pub use dynamodb::{Consumed, DynamoDbControl, DynamoDbState};
pub use segments::{SegmentKind, SegmentStore, Segments};
pub use sqlite::SqliteState;
pub use state::*;
