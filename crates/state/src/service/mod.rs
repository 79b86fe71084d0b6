//! The state as a service, so that several processes share one backend: a server that wraps any
//! [`TransferState`](crate::TransferState) and a client that is one.
//!
//! One call is one `POST` of an [`Operation`] as JSON to [`PATH`], answered by a [`Reply`] or the
//! backend's error. Who calls shows a [`Token`]. A call that changes something has a number of its
//! own: asked again under the same number (the reply was lost), the server gives the reply of the
//! first time and changes nothing. That also holds for calls that say something else when they are
//! repeated, as long as the server lives; after it was started anew they are what a repetition is
//! by the trait.
//!
//! The connection itself is in clear: it belongs on a loopback address, or inside a channel that
//! is authenticated and encrypted.

mod client;
mod server;
mod status;
mod token;

use serde::{Deserialize, Serialize};

use crate::operation::{Operation, Reply};

pub use client::{Patience, RemoteState};
pub use server::{Scope, Service};
pub use token::Token;

/// Where calls are posted to; the version is the protocol's.
pub const PATH: &str = "/state/v1";

/// Names a call, so that it is made once.
const NUMBER: &str = "x-skyhaul-call";

/// Bytes of a call or of an answer at most: a publication of the largest slice has a hundredth.
const MOST: usize = 64 << 20;

/// What is posted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Call {
    /// What kind of backend it is. The first call of every client.
    Describe,
    /// A call of the trait.
    State(Box<Operation>),
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// To `Describe`.
    Described {
        /// See [`TransferState::shards`](crate::TransferState::shards).
        shards: u32,
    },
    /// The backend's reply.
    Reply(Reply),
    /// The backend's error, or the service's own.
    Error(skyhaul_model::Fault),
}
