//! The steps of a control plane's transfer: over real S3 servers, machines that are simulated and a state in
//! SQLite. Each is run twice, meets a fault at every call, and is cut short; whatever happens, every object
//! arrives or the attempt ends with its cause, and nothing is left.
#![allow(clippy::unwrap_used)] // helpers of tests

mod closing;
mod deployed;
mod ends;
mod guest;
mod leftovers;
mod lost;
mod reuse;
mod schedules;
mod triggers;
mod whole;
mod world;
