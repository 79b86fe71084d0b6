//! Listing: ranges that cut themselves, the ordered merge of two sides, and packing into groups.

pub mod classify;
pub mod entries;
pub mod pack;
pub mod parallel;
pub mod pool;
pub mod resolve;
pub mod scan;
#[cfg(test)]
mod simulated;
pub mod slice;
pub mod split;
