//! Whether an object that the destination has is copied again.
//!
//! Two kinds of clock meet here. A file system keeps the time that it is told
//! ([`MtimeSupport::Native`]); an object store shows when the object was uploaded, and the time
//! that belongs to the content is at best in its user metadata. Verdicts are made from listings
//! alone wherever that is safe; where it is not, the verdict says what to look up, and the caller
//! asks again with it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::capabilities::MtimeSupport;
use crate::checksum::{Algorithm, Checksum};
use crate::spec::Mode;

/// How a sync compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// Copy when sizes differ.
    Size,
    /// Copy when sizes differ or the source is newer.
    #[default]
    Mtime,
    /// Copy when sizes or checksums differ.
    Checksum,
}

/// What a copy does with an object that the destination has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfExists {
    /// Leave it.
    Skip,
    /// Write over it.
    #[default]
    Overwrite,
    /// Write over it when the source is newer.
    Newer,
}

/// A modification time in user metadata.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetadataTime {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// The object was looked at and carries none.
    Absent,
    /// The object carries this one.
    At(Timestamp),
}

impl MetadataTime {
    /// What a stat told.
    #[must_use]
    pub fn seen(time: Option<Timestamp>) -> Self {
        time.map_or(Self::Absent, Self::At)
    }
}

/// What is known of one object.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Size in bytes.
    pub size: u64,
    /// Modification time as the store lists it.
    pub mtime: Timestamp,
    /// Whose clock that is: the capability of the store.
    pub clock: MtimeSupport,
    /// The time in the object's metadata (object stores only).
    pub metadata_mtime: MetadataTime,
    /// The `ETag`, where the store gives one.
    pub etag: Option<&'a str>,
    /// Checksums of the full object that are known: kept by the store, an MD5 `ETag` that a stat
    /// proved to be one, or computed.
    pub checksums: &'a [Checksum],
}

/// What to do with an object that the destination has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Leave it; the reason is for the report.
    Same(&'static str),
    /// Copy it; the reason is for the report.
    Copy(&'static str),
    /// Stat the source for its metadata time, then ask again.
    NeedsSourceMtime,
    /// Stat the destination for its metadata time, then ask again.
    NeedsDestinationMtime,
    /// Get a checksum of both sides by one algorithm, then ask again: first by a stat of each;
    /// when that gives no common one, by reading.
    NeedsChecksums,
}

/// The verdict on an object that both sides have.
#[must_use]
pub fn verdict(
    mode: Mode,
    compare: Compare,
    if_exists: IfExists,
    source: &Facts<'_>,
    destination: &Facts<'_>,
) -> Verdict {
    match (if_exists, mode) {
        (IfExists::Skip, _) => Verdict::Same("exists"),
        (IfExists::Overwrite, Mode::Copy) => Verdict::Copy("overwrite"),
        (IfExists::Overwrite, Mode::Sync) => needs_copy(compare, source, destination),
        (IfExists::Newer, Mode::Copy) => newer(source, destination),
        // Both must hold: what the comparison finds equal stays, and so does what is newer there.
        (IfExists::Newer, Mode::Sync) => match needs_copy(compare, source, destination) {
            Verdict::Copy(_) => newer(source, destination),
            other => other,
        },
    }
}

/// The rules of a sync.
#[must_use]
pub fn needs_copy(compare: Compare, source: &Facts<'_>, destination: &Facts<'_>) -> Verdict {
    if source.size != destination.size {
        return Verdict::Copy("size differs");
    }
    match compare {
        Compare::Size => Verdict::Same("same size"),
        Compare::Mtime => newer(source, destination),
        Compare::Checksum => checksums(source, destination),
    }
}

/// Copy if the source is newer, whatever the sizes.
fn newer(source: &Facts<'_>, destination: &Facts<'_>) -> Verdict {
    const NEWER: Verdict = Verdict::Copy("newer at the source");
    const NOT_NEWER: Verdict = Verdict::Same("not newer at the source");
    let pick = |is_newer| if is_newer { NEWER } else { NOT_NEWER };
    let native = |facts: &Facts<'_>| facts.clock == MtimeSupport::Native;
    match (native(source), native(destination)) {
        (true, true) | (false, false) => pick(is_after(source.mtime, destination.mtime)),
        // An upload happens after the modification that it carries, so an older upload time means
        // a modification since; unless that time was in the future, or in the same second as the
        // upload, where only the metadata can tell.
        (true, false) => match destination.metadata_mtime {
            _ if source.mtime <= destination.mtime => NOT_NEWER,
            MetadataTime::Unknown => Verdict::NeedsDestinationMtime,
            MetadataTime::At(carried) => pick(is_after(source.mtime, carried)),
            MetadataTime::Absent => pick(is_after(source.mtime, destination.mtime)),
        },
        // The file was given the source's metadata time, which is before the upload time that the
        // listing shows: only the metadata can tell.
        (false, true) => match source.metadata_mtime {
            _ if !is_after(source.mtime, destination.mtime) => NOT_NEWER,
            MetadataTime::Unknown => Verdict::NeedsSourceMtime,
            MetadataTime::At(carried) => pick(is_after(carried, destination.mtime)),
            MetadataTime::Absent => NEWER,
        },
    }
}

/// Whether `a` is after `b`, by the coarser clock of the two: a time without a fraction is taken
/// as one of whole seconds, for HTTP dates and some file systems keep no more.
fn is_after(a: Timestamp, b: Timestamp) -> bool {
    if a.subsec_nanosecond() == 0 || b.subsec_nanosecond() == 0 {
        floor_seconds(a) > floor_seconds(b)
    } else {
        a > b
    }
}

fn floor_seconds(time: Timestamp) -> i128 {
    time.as_nanosecond().div_euclid(1_000_000_000)
}

fn checksums(source: &Facts<'_>, destination: &Facts<'_>) -> Verdict {
    if source.size == 0 {
        return Verdict::Same("both are empty");
    }
    for ours in source.checksums {
        if let Some(theirs) = destination
            .checksums
            .iter()
            .find(|sum| sum.algorithm == ours.algorithm)
        {
            return if ours == theirs {
                Verdict::Same("same checksum")
            } else {
                Verdict::Copy("checksum differs")
            };
        }
    }
    // Equal MD5 tags prove equal bytes. Different ones prove nothing yet: a tag under KMS
    // encryption looks the same and is no MD5, and a listing does not tell.
    match (
        source.etag.and_then(md5_etag),
        destination.etag.and_then(md5_etag),
    ) {
        (Some(ours), Some(theirs)) if ours == theirs => Verdict::Same("same MD5"),
        _ => Verdict::NeedsChecksums,
    }
}

/// The MD5 that an `ETag` (without quotes) may be, by its form: 32 hexadecimal digits.
#[must_use]
pub fn md5_etag(etag: &str) -> Option<Checksum> {
    Checksum::from_hex(Algorithm::Md5, etag).ok()
}
