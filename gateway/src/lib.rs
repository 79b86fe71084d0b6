//! Gateways: machines that read, seal, stripe, relay, open and write, between two stores. What is
//! on the wire is specified in `docs/WIRE.md`.

pub mod id;
pub mod secret;
pub mod wire;

pub use id::GatewayId;
