//! Exit codes: what the command tells the shell.

use std::process::ExitCode;

use skyhaul_model::{Error, ErrorKind};
use skyhaul_state::TransferStatus;
use skyhaul_workflow::Summary;

/// Everything was done.
pub(crate) const DONE: u8 = 0;
/// Some objects failed.
pub(crate) const INCOMPLETE: u8 = 1;
/// Verification found a difference.
pub(crate) const DIFFERENT: u8 = 5;
/// Stopped by the user or the system.
pub(crate) const INTERRUPTED: u8 = 130;

/// The code for the shell. A command that ended leaves nothing behind that could matter.
pub(crate) fn code(code: u8) -> ExitCode {
    ExitCode::from(code)
}

/// The code of an error.
pub(crate) fn of_error(error: &Error) -> u8 {
    skyhaul_workflow::summary::exit_code(error)
}

/// The code of a run that came to its end.
pub(crate) fn of_summary(summary: &Summary) -> u8 {
    match summary.status {
        TransferStatus::Running | TransferStatus::Cancelled => INTERRUPTED,
        _ if summary.verification_failed => DIFFERENT,
        TransferStatus::Incomplete | TransferStatus::Failed => INCOMPLETE,
        TransferStatus::Succeeded if summary.progress.failed > 0 => INCOMPLETE,
        TransferStatus::Succeeded => DONE,
    }
}

/// The error of a command that was asked to stop.
pub(crate) fn interrupted() -> Error {
    Error::control(ErrorKind::Interrupted, "interrupted")
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhaul_model::Side;
    use skyhaul_workflow::summary::ProgressEvent;

    fn summary(status: TransferStatus) -> Summary {
        Summary {
            transfer: None,
            resumed: false,
            status,
            progress: ProgressEvent::default(),
            retries: 0,
            source_verified: 0,
            transport_verified: 0,
            elapsed: std::time::Duration::ZERO,
            failures: Vec::new(),
            verification_failed: false,
            sent: None,
            notes: Vec::new(),
        }
    }

    #[test]
    fn errors_have_the_documented_codes() {
        for (side, kind, code) in [
            (Side::Control, ErrorKind::Invalid, 2),
            (Side::Control, ErrorKind::Unsupported, 2),
            (Side::Source, ErrorKind::NotFound, 3),
            (Side::Source, ErrorKind::AccessDenied, 3),
            (Side::Destination, ErrorKind::Unreachable, 4),
            (Side::Control, ErrorKind::Interrupted, 130),
            (Side::Control, ErrorKind::Full, 1),
        ] {
            assert_eq!(
                of_error(&Error::new(side, kind, "x")),
                code,
                "{side} {kind:?}"
            );
        }
    }

    #[test]
    fn runs_have_the_documented_codes() {
        assert_eq!(of_summary(&summary(TransferStatus::Succeeded)), 0);
        assert_eq!(of_summary(&summary(TransferStatus::Incomplete)), 1);
        assert_eq!(of_summary(&summary(TransferStatus::Failed)), 1);
        assert_eq!(of_summary(&summary(TransferStatus::Running)), 130);
        let mut wrong = summary(TransferStatus::Incomplete);
        wrong.verification_failed = true;
        assert_eq!(of_summary(&wrong), 5);
    }
}
