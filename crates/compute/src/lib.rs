//! Machines for gateways: one trait of five verbs, EC2 behind it, and one suite that every backend passes.
//! What is tried next, how long is waited and what is given up are steps of the workflow, and so the same
//! for every provider.

pub mod compute;
pub mod conformance;
#[cfg(feature = "ec2")]
pub mod ec2;
pub mod region;
pub mod simulated;

pub use compute::{Compute, Launch, Launched, Room};
