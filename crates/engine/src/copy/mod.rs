//! Copying: claim a group, move its chunks, record them.

pub mod attributes;
pub mod bundle;
pub mod complete;
pub mod group;
pub mod leases;
pub mod object;
pub mod part;
pub mod read;
pub mod service;
pub mod steady;
mod turn;
pub mod uploads;
pub mod worker;
