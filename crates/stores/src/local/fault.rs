//! From an operating system's error number to Skyhaul's typed error: one table.

use rustix::io::Errno;
use skyhaul_model::{Error, ErrorKind, Side};

/// The class of an error number, and what the user can do about it.
fn class(errno: Errno) -> (ErrorKind, Option<&'static str>) {
    match errno {
        Errno::NOENT => (ErrorKind::NotFound, None),
        Errno::ACCESS | Errno::PERM => (
            ErrorKind::AccessDenied,
            Some("check the owner and the permissions of the path"),
        ),
        Errno::ROFS => (
            ErrorKind::AccessDenied,
            Some("the file system is mounted read-only"),
        ),
        Errno::NOSPC => (ErrorKind::Full, Some("free some space on the file system")),
        Errno::DQUOT => (ErrorKind::Full, Some("the disk quota is used up")),
        Errno::FBIG => (
            ErrorKind::Refused,
            Some("the file system cannot hold a file this large"),
        ),
        Errno::NAMETOOLONG => (
            ErrorKind::Refused,
            Some("the file system cannot hold a name this long"),
        ),
        Errno::ILSEQ | Errno::INVAL => (
            ErrorKind::Refused,
            Some("the file system does not take such a name or size"),
        ),
        Errno::NOTDIR => (
            ErrorKind::Refused,
            Some("a file is where a directory is needed"),
        ),
        Errno::ISDIR | Errno::NOTEMPTY => (ErrorKind::Refused, Some("a directory is in the way")),
        Errno::LOOP => (
            ErrorKind::Refused,
            Some("a symbolic link is in the path; see --follow-symlinks"),
        ),
        Errno::XDEV => (
            ErrorKind::Refused,
            Some("a symbolic link leads out of the directory"),
        ),
        Errno::EXIST => (ErrorKind::PreconditionFailed, None),
        Errno::MFILE | Errno::NFILE => (
            ErrorKind::Service,
            Some("too many open files: raise `ulimit -n`"),
        ),
        Errno::TIMEDOUT => (ErrorKind::Timeout, None),
        _ => (ErrorKind::Service, None),
    }
}

/// The error for a system call that failed while `doing` something with `object`.
pub(super) fn fault(side: Side, object: String, doing: &str, errno: Errno) -> Error {
    let (kind, hint) = class(errno);
    let cause = std::io::Error::from(errno);
    let error = Error::new(side, kind, format!("cannot {doing}"))
        .object(object)
        .cause(cause);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The same for errors that come through the standard library.
pub(super) fn io_fault(side: Side, object: String, doing: &str, error: std::io::Error) -> Error {
    match Errno::from_io_error(&error) {
        Some(errno) => fault(side, object, doing, errno),
        None => Error::new(side, ErrorKind::Service, format!("cannot {doing}"))
            .object(object)
            .cause(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_quota_are_full_and_not_retried() {
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            let error = fault(Side::Destination, "/d/f".into(), "write", errno);
            assert_eq!(error.kind, ErrorKind::Full);
            assert!(!error.retryable);
            assert!(
                error
                    .to_string()
                    .starts_with("destination: /d/f: cannot write")
            );
        }
    }

    #[test]
    fn denied_read_only_and_refused_are_told_apart() {
        let kind = |errno| fault(Side::Source, String::new(), "x", errno).kind;
        assert_eq!(kind(Errno::ACCESS), ErrorKind::AccessDenied);
        assert_eq!(kind(Errno::ROFS), ErrorKind::AccessDenied);
        assert_eq!(kind(Errno::NOTDIR), ErrorKind::Refused);
        assert_eq!(kind(Errno::XDEV), ErrorKind::Refused);
        assert_eq!(kind(Errno::IO), ErrorKind::Service);
    }
}
