//! A file's state as the operating system tells it, in the model's terms.

use jiff::Timestamp;
use rustix::fs::{FileType, Stat, Timespec, Timestamps, UTIME_OMIT};
use skyhaul_model::{FileIdentity, Pin};

const NANOS: i128 = 1_000_000_000;

/// What identifies the state of a file's content.
pub(super) fn identity(stat: &Stat) -> FileIdentity {
    let ns = |seconds: i64, nanos: u64| i128::from(seconds) * NANOS + i128::from(nanos);
    FileIdentity {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: size(stat),
        mtime_ns: ns(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: ns(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// The version of a file as a pin.
pub(super) fn pin(identity: FileIdentity) -> Pin {
    Pin {
        file: Some(identity),
        ..Pin::default()
    }
}

/// Size in bytes.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// What kind of thing it is.
pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Nanoseconds since 1970 as a time; times that the calendar cannot hold become its nearest.
pub(super) fn timestamp(ns: i128) -> Timestamp {
    Timestamp::from_nanosecond(ns).unwrap_or(if ns < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// Sets the modification time and leaves the access time.
pub(super) fn modified_at(time: Timestamp) -> Timestamps {
    let ns = time.as_nanosecond();
    let part = |value: i128| i64::try_from(value).unwrap_or(0);
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: part(ns.div_euclid(NANOS)),
            tv_nsec: part(ns.rem_euclid(NANOS)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let times = modified_at(timestamp(-1));
        assert_eq!(times.last_modification.tv_sec, -1);
        assert_eq!(times.last_modification.tv_nsec, 999_999_999);
        assert_eq!(timestamp(i128::from(i64::MAX) * NANOS), Timestamp::MAX);
    }
}
