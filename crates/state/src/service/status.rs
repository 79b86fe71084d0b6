//! Statuses that say of an error what the answer's body says, to those who only look at them.

use hyper::StatusCode;
use skyhaul_model::{ErrorKind, Fault};

/// The status of an answer that is this error.
pub(super) fn status(fault: &Fault) -> StatusCode {
    match fault.kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::AccessDenied => StatusCode::UNAUTHORIZED,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::LeaseLost | ErrorKind::PreconditionFailed => StatusCode::CONFLICT,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Throttled => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
        _ if fault.retryable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
