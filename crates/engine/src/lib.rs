//! The engine: lists, merges, cuts into chunks, and copies them over the store and state traits.
//! One pipeline for one process and for fleets: a worker claims groups, reads, checks, writes,
//! records.

pub mod budget;
pub mod copy;
pub mod engine;
pub mod idle;
pub mod listing;
pub mod meter;
pub mod staging;
pub mod trace;
mod tuning;

pub use engine::{Engine, Limits, ServiceCopy, StepEnd};
