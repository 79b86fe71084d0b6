//! How a function fails: with a name that the state machine tells errors apart by, and a message without any
//! secret.

use lambda_runtime::Diagnostic;
use skyhaul_model::Error;

/// The name of whatever may succeed if it is simply tried again.
const PASSING: &str = "Passing";

/// The name of an error.
pub(crate) fn name(error: &Error) -> &'static str {
    if error.retryable {
        return PASSING;
    }
    error.kind.name()
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) Error);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Failed> for Diagnostic {
    fn from(Failed(error): Failed) -> Self {
        Self {
            error_type: name(&error).to_owned(),
            error_message: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use skyhaul_model::ErrorKind;

    use super::*;

    #[test]
    fn what_passes_has_one_name_and_all_else_its_own() {
        let passing = Error::control(ErrorKind::Throttled, "slow down");
        assert_eq!(name(&passing), "Passing");
        assert_eq!(name(&passing.retryable(false)), "Throttled");
        let diagnostic = Diagnostic::from(Failed(Error::invalid("no").object("x")));
        assert_eq!(diagnostic.error_type, "Invalid");
        assert!(diagnostic.error_message.contains('x'));
    }
}
