//! How failures of this machine become the project's errors.

use std::io;
use std::path::Path;

use skyhaul_model::{Error, ErrorKind};

/// An error of the file system at `path`.
pub(crate) fn io(error: io::Error, message: &str, path: &Path) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::AccessDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::Full
        }
        _ => ErrorKind::Service,
    };
    let failure = Error::control(kind, message)
        .object(path.display().to_string())
        .cause(error);
    if kind == ErrorKind::Full {
        failure.hint(FREE_SPACE)
    } else {
        failure
    }
}

/// What to do when the state's disk is full.
pub(crate) const FREE_SPACE: &str = "free some space, then `skyhaul resume`";

/// A background thread that died.
pub(crate) fn internal(
    what: &str,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::control(ErrorKind::Internal, format!("{what} was cut short")).cause(cause)
}
