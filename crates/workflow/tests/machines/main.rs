//! Provision, assign, teardown and reap over simulated machines: every call fails once, before and after it was
//! carried out; whoever runs them dies anywhere; they run side by side. At the end there is what should be
//! there and nothing else.
#![allow(clippy::unwrap_used)] // helpers of tests

mod assign;
mod reap;
mod saga;
mod world;
