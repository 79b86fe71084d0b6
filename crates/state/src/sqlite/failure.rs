//! What can go wrong inside a transaction, and how `SQLite`'s own failures are told.

use std::path::Path;

use rusqlite::ErrorCode;
use skyhaul_model::{Error, ErrorKind};

use crate::fault::FREE_SPACE;

/// A failure inside a transaction, which is rolled back.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The trait's own answer: the condition of a write did not hold.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    /// A column does not hold what it should.
    #[error("a row cannot be read: {0}")]
    Row(#[from] serde_json::Error),
}

/// Result of what runs in a transaction.
pub(super) type Outcome<T> = std::result::Result<T, Failure>;

impl Failure {
    /// The project's error, with the database's path where the database is to blame.
    pub(super) fn at(self, path: &Path) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Database(error) => database(error, path),
            Self::Row(error) => damaged(path).cause(error),
        }
    }
}

fn damaged(path: &Path) -> Error {
    Error::control(ErrorKind::Corrupt, "the state database is damaged")
        .object(path.display().to_string())
        .hint("move it away; transfers recorded in it can only be started again")
        .retryable(false)
}

fn database(error: rusqlite::Error, path: &Path) -> Error {
    let tell =
        |kind, message: &str| Error::control(kind, message).object(path.display().to_string());
    let failure = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            tell(ErrorKind::Full, "no space left for the state database").hint(FREE_SPACE)
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => tell(
            ErrorKind::Service,
            "another process keeps the state database locked",
        ),
        Some(ErrorCode::NotADatabase) => tell(ErrorKind::Invalid, "not a state database")
            .hint("move the file away or choose another state directory"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => tell(
            ErrorKind::AccessDenied,
            "cannot open the state database for writing",
        )
        .hint("check the permissions of the state directory"),
        None if matches!(error, rusqlite::Error::ToSqlConversionFailure(_)) => tell(
            ErrorKind::Invalid,
            "a number that the state database cannot hold",
        ),
        // Without a code it is a column of another type than was written.
        Some(ErrorCode::DatabaseCorrupt) | None => damaged(path),
        Some(_) => tell(ErrorKind::Service, "the state database failed"),
    };
    failure.cause(error)
}
