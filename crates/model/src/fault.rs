//! An error on its way from one process to another.

use crate::{Error, ErrorKind, Side};
use serde::{Deserialize, Serialize};

/// An [`Error`] without its cause, whose text is in the message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    /// Where it happened.
    pub side: Side,
    /// What class of failure it is.
    pub kind: ErrorKind,
    /// Whether making the same call again can help.
    pub retryable: bool,
    /// What happened, and why.
    message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    object: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    hint: Option<String>,
}

impl Fault {
    /// The same error as often as something failed by it.
    pub fn copies(self, count: usize) -> impl Iterator<Item = Error> {
        std::iter::repeat_n(self, count).map(Error::from)
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
