//! The steps of a transfer (plan, list, copy, complete, delete, verify, report, cleanup) over the
//! store and state traits, and the driver that runs them all in one process.

pub mod account;
pub mod ceiling;
mod cleanup;
mod compare;
mod delete;
pub mod deployed;
pub mod deprovision;
mod drive;
pub mod embedded;
pub mod fleet;
pub mod formation;
pub mod guest;
mod home;
pub mod inspect;
mod ls;
pub mod machines;
pub mod order;
mod plan;
pub mod records;
pub mod report;
pub mod request;
pub mod settings;
pub mod staging;
pub mod steps;
pub mod summary;
mod tokens;
pub mod triggers;
mod verify;

pub use account::Account;
pub use deployed::Deployed;
pub use embedded::Embedded;
pub use order::Order;
pub use plan::here;
pub use request::CopyRequest;
pub use settings::Settings;
pub use summary::{Event, Events, Summary};
