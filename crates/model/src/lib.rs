//! Skyhaul's domain types: locations, transfer specifications, key mapping, filters, chunks and
//! their lifecycle, receipts, errors. No I/O and no SDK, so that everything else can depend on it.

pub mod attributes;
pub mod capabilities;
pub mod checksum;
pub mod compare;
pub mod error;
pub mod fault;
pub mod filter;
pub mod first;
mod glob;
pub mod group;
pub mod guard;
pub mod hasher;
pub mod id;
pub mod keymap;
pub mod location;
pub mod machine;
pub mod mapping;
pub mod mtime;
#[cfg(mutant)]
pub mod mutant;
pub mod object;
pub mod outcome;
pub mod parts;
pub mod segment;
pub mod spec;

pub use attributes::Attributes;
pub use checksum::{Algorithm, Checksum, Verification};
pub use error::{Error, ErrorKind, Result, Side};
pub use fault::Fault;
pub use hasher::Hasher;
pub use id::{HolderId, TransferId};
pub use location::{Location, Scheme};
pub use object::{FileIdentity, ObjectEntry, ObjectInfo, Pin};
pub use spec::TransferSpec;
