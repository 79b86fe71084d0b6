//! Configuration: defaults, the TOML file, `SKYHAUL_*` variables and flags; the later wins, and
//! each value knows where it comes from.

pub(crate) mod absent;
pub(crate) mod document;
pub(crate) mod endpoints;
pub(crate) mod keys;
pub(crate) mod paths;
pub(crate) mod rclone;
pub(crate) mod resolved;
pub(crate) mod value;

pub(crate) use document::Document;
pub(crate) use keys::Name;
pub(crate) use resolved::{Config, Machines, Origin};
pub(crate) use value::Value;
