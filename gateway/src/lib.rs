//! Gateways: machines that read, seal, stripe, relay, open and write, between two stores. What is
//! on the wire is specified in `docs/WIRE.md`.

mod ask;
pub mod assignment;
mod auto;
mod body;
mod broadcast;
mod call;
pub mod config;
pub mod control;
mod directory;
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
mod hosting;
pub mod id;
mod link;
pub mod node;
mod notice;
pub mod orders;
mod pace;
mod peers;
mod perform;
mod places;
pub mod remote;
pub mod routes;
pub mod run;
pub mod secret;
pub mod serve;
pub mod shipping;
mod socket;
mod tls;
pub mod wire;
pub mod world;

pub use ask::Sealing;
pub use body::Compress;
pub use broadcast::Broadcast;
pub use id::GatewayId;
pub use node::{Identity, Node};
pub use remote::RemoteStore;
pub use routes::{Names, Route, Routes};
