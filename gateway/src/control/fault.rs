//! The errors of the control API: a name that does not change, and what people read.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// The body of every reply that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What went wrong.
    pub error: Problem,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Its name.
    pub name: Name,
    /// What happened and what can be done.
    pub message: String,
}

/// The names of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// The token is missing, or another one.
    Unauthorized,
    /// There is no such path.
    NotFound,
    /// The path takes another method.
    MethodNotAllowed,
    /// A parameter is not one of those that there are.
    Invalid,
    /// The chunk is not, or no longer, among the recent ones.
    UnknownChunk,
    /// The body of the request is too long.
    TooLarge,
    /// The body of the request did not come in time.
    Timeout,
    /// The gateway itself failed.
    Internal,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Unauthorized,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Invalid,
        Self::UnknownChunk,
        Self::TooLarge,
        Self::Timeout,
        Self::Internal,
    ];

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound | Self::UnknownChunk => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) fn because(self, message: impl Into<String>) -> Problem {
        Problem {
            name: self,
            message: message.into(),
        }
    }
}
