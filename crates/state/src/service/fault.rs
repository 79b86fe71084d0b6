//! Errors on their way from the server to the client.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use skyhaul_model::{Error, ErrorKind, Side};

/// An [`Error`] without its cause, whose text is in the message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Fault {
    side: Side,
    kind: ErrorKind,
    retryable: bool,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    object: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    hint: Option<String>,
}

impl Fault {
    /// The status that says the same to those who only look at that.
    pub(super) fn status(&self) -> StatusCode {
        match self.kind {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::AccessDenied => StatusCode::UNAUTHORIZED,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::LeaseLost | ErrorKind::PreconditionFailed => StatusCode::CONFLICT,
            ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::Throttled => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
            _ if self.retryable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let mut message = error.message;
        let mut cause = error
            .cause
            .as_deref()
            .map(|cause| cause as &dyn std::error::Error);
        while let Some(next) = cause {
            let text = next.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = next.source();
        }
        Self {
            side: error.side,
            kind: error.kind,
            retryable: error.retryable,
            message,
            object: error.object,
            hint: error.hint,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let mut error = Self::new(fault.side, fault.kind, fault.message).retryable(fault.retryable);
        error.object = fault.object;
        error.hint = fault.hint;
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_with_all_it_said() {
        let error = Error::control(ErrorKind::Full, "cannot write")
            .object("state.db")
            .cause(std::io::Error::other("no space"))
            .hint("free some")
            .retryable(true);
        let text = error.to_string();
        let json = serde_json::to_string(&Fault::from(error)).unwrap();
        let arrived = Error::from(serde_json::from_str::<Fault>(&json).unwrap());
        assert_eq!(arrived.to_string(), text);
        assert!(arrived.retryable && arrived.kind == ErrorKind::Full);
    }
}
