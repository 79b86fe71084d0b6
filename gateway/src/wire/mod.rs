//! The wire protocol, specified in `docs/WIRE.md`: [`handshake`] makes a connection of two members,
//! [`frame`] carries headers that only they can read, and [`seal`] protects what is in the frames
//! from one end of the way to the other, relays included.

pub mod fault;
pub mod frame;
pub mod handshake;
pub mod header;
pub mod replay;
pub mod seal;
#[cfg(test)]
mod tests;
pub mod tree;

/// The protocol's version. A peer of another is refused.
pub const VERSION: u8 = 1;

/// Begins every derivation of a key: keys of two versions never agree.
pub(crate) const LABEL: &[u8] = b"skyhaul wire 1";

/// Bytes of a segment before it is sealed, at most.
pub const SEGMENT: usize = 1 << 20;

/// Bytes that sealing adds to a segment.
pub const TAG: usize = 16;
