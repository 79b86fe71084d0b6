//! Transfer state behind one trait: SQLite here, DynamoDB with the control plane. One model-based
//! suite checks every backend.

pub mod segments;
pub mod state;

pub use state::*;
