//! The one error type of every crate: what went wrong, on which side, with which object, and
//! whether trying again can help.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which part of a transfer an error belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The store that is read.
    Source,
    /// The store that is written.
    Destination,
    /// A machine between the two.
    Relay,
    /// State, configuration, this machine: everything that is not the data path.
    Control,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Relay => "relay",
            Self::Control => "control",
        })
    }
}

/// What went wrong, in the classes that callers act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The bucket, directory or object does not exist.
    NotFound,
    /// Credentials are missing, wrong, or do not permit this.
    AccessDenied,
    /// The bucket is in another region than the one asked.
    WrongRegion,
    /// No connection to the service (name, route, refused, reset, TLS).
    Unreachable,
    /// The service asks to slow down.
    Throttled,
    /// The service failed by itself (5xx).
    Service,
    /// No answer in time.
    Timeout,
    /// The source object is no longer the version that the transfer pinned.
    Changed,
    /// A conditional write found something else at the destination.
    PreconditionFailed,
    /// The object is in an archive tier and must be restored first.
    Archived,
    /// Bytes do not match their checksum or length.
    Corrupt,
    /// The store cannot hold such an object or name.
    Refused,
    /// No space or quota left.
    Full,
    /// An argument, file or reply is malformed.
    Invalid,
    /// This build or store cannot do what was asked.
    Unsupported,
    /// Another holder has the lease (or the fence moved on).
    LeaseLost,
    /// The user or the system asked the process to stop.
    Interrupted,
    /// A multipart upload no longer exists.
    UploadGone,
    /// An invariant of Skyhaul itself does not hold.
    Internal,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::NotFound,
        Self::AccessDenied,
        Self::WrongRegion,
        Self::Unreachable,
        Self::Throttled,
        Self::Service,
        Self::Timeout,
        Self::Changed,
        Self::PreconditionFailed,
        Self::Archived,
        Self::Corrupt,
        Self::Refused,
        Self::Full,
        Self::Invalid,
        Self::Unsupported,
        Self::LeaseLost,
        Self::Interrupted,
        Self::UploadGone,
        Self::Internal,
    ];

    /// The name by which other programs tell it from the others; it never changes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::AccessDenied => "AccessDenied",
            Self::WrongRegion => "WrongRegion",
            Self::Unreachable => "Unreachable",
            Self::Throttled => "Throttled",
            Self::Service => "Service",
            Self::Timeout => "Timeout",
            Self::Changed => "Changed",
            Self::PreconditionFailed => "PreconditionFailed",
            Self::Archived => "Archived",
            Self::Corrupt => "Corrupt",
            Self::Refused => "Refused",
            Self::Full => "NoRoom",
            Self::Invalid => "Invalid",
            Self::Unsupported => "Unsupported",
            Self::LeaseLost => "Superseded",
            Self::Interrupted => "Interrupted",
            Self::UploadGone => "UploadGone",
            Self::Internal => "Internal",
        }
    }

    /// Whether the same call may succeed if it is simply made again.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Throttled | Self::Service | Self::Timeout | Self::Corrupt
        )
    }
}

/// An error with everything its reader needs: see the crate documentation.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    /// Where it happened.
    pub side: Side,
    /// What class of failure it is.
    pub kind: ErrorKind,
    /// Whether making the same call again can help.
    pub retryable: bool,
    /// The object (or bucket, file, row) concerned, as a URI or key.
    pub object: Option<String>,
    /// What happened, in one sentence without a full stop.
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// The cause, if another library reported one.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new error; retryability follows from `kind`.
    pub fn new(side: Side, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            side,
            kind,
            retryable: kind.is_retryable(),
            object: None,
            message: message.into(),
            hint: None,
            cause: None,
        }
    }

    /// An error of Skyhaul's own bookkeeping.
    pub fn control(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::new(Side::Control, kind, message)
    }

    /// An error that happened elsewhere, from the name of its kind and its text as [`fmt::Display`] writes it.
    #[must_use]
    pub fn told(name: &str, text: &str) -> Self {
        let mut kinds = ErrorKind::ALL.into_iter();
        let kind = kinds.find(|kind| kind.name() == name);
        let sides = [Side::Source, Side::Destination, Side::Relay, Side::Control];
        let mut sides = sides.into_iter().filter_map(|side| {
            let rest = text.strip_prefix(&side.to_string())?;
            Some((side, rest.strip_prefix(": ")?))
        });
        let (side, message) = sides.next().unwrap_or((Side::Control, text));
        let message = match kind {
            Some(_) => message.to_owned(),
            None => format!("{name}: {message}"),
        };
        Self::new(side, kind.unwrap_or(ErrorKind::Service), message).retryable(false)
    }

    /// A malformed argument, file, reply.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::control(ErrorKind::Invalid, message)
    }

    /// Names the object concerned (kept if one is already named).
    #[must_use]
    pub fn object(mut self, object: impl Into<String>) -> Self {
        self.object.get_or_insert_with(|| object.into());
        self
    }

    /// Says what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Attaches the cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Overrides retryability where the kind alone does not decide it.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Whether what was asked is denied or unknown there: another call of the kind would not get further.
    #[must_use]
    pub fn is_not_offered(&self) -> bool {
        matches!(self.kind, ErrorKind::AccessDenied | ErrorKind::Unsupported)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.side)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.message)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !self.message.contains(&text) {
                write!(f, ": {text}")?;
            }
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_side_object_cause_and_hint() {
        let error = Error::new(Side::Source, ErrorKind::AccessDenied, "access denied")
            .object("s3://b/k")
            .cause(std::io::Error::other("403"))
            .hint("check --src-profile");
        assert_eq!(
            error.to_string(),
            "source: s3://b/k: access denied: 403 (check --src-profile)"
        );
        assert!(!error.retryable);
    }

    #[test]
    fn what_happened_elsewhere_keeps_side_kind_and_text() {
        for kind in ErrorKind::ALL {
            for side in [Side::Source, Side::Control] {
                let error = Error::new(side, kind, "what: happened").object("s3://b/k");
                let told = Error::told(kind.name(), &error.to_string());
                assert_eq!((told.side, told.kind), (side, kind));
                assert_eq!(told.to_string(), error.to_string());
            }
        }
        let other = Error::told("States.Timeout", "late");
        assert_eq!(other.kind, ErrorKind::Service);
        assert_eq!(other.to_string(), "control: States.Timeout: late");
    }

    #[test]
    fn the_innermost_object_name_wins() {
        let error = Error::control(ErrorKind::Invalid, "x")
            .object("inner")
            .object("outer");
        assert_eq!(error.object.as_deref(), Some("inner"));
    }
}
