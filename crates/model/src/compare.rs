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

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: Verdict = Verdict::Copy("newer at the source");
    const SAME: Verdict = Verdict::Same("not newer at the source");

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanosecond(1_700_000_000_000_000_000 + i128::from(nanos)).unwrap()
    }

    fn facts(clock: MtimeSupport, nanos: i64) -> Facts<'static> {
        Facts {
            size: 10,
            mtime: at(nanos),
            clock,
            metadata_mtime: MetadataTime::Unknown,
            etag: None,
            checksums: &[],
        }
    }

    fn file(nanos: i64) -> Facts<'static> {
        facts(MtimeSupport::Native, nanos)
    }

    fn object(nanos: i64) -> Facts<'static> {
        facts(MtimeSupport::Metadata, nanos)
    }

    fn carrying(nanos: i64, carried: Option<i64>) -> Facts<'static> {
        Facts {
            metadata_mtime: MetadataTime::seen(carried.map(at)),
            ..object(nanos)
        }
    }

    fn by_mtime(source: Facts<'_>, destination: Facts<'_>) -> Verdict {
        needs_copy(Compare::Mtime, &source, &destination)
    }

    const S: i64 = 1_000_000_000;

    #[test]
    fn another_size_is_always_copied() {
        let larger = Facts {
            size: 11,
            ..file(-5 * S)
        };
        for compare in [Compare::Size, Compare::Mtime, Compare::Checksum] {
            assert_eq!(
                needs_copy(compare, &larger, &file(0)),
                Verdict::Copy("size differs")
            );
        }
        assert_eq!(
            needs_copy(Compare::Size, &file(5 * S), &file(0)),
            Verdict::Same("same size")
        );
    }

    #[test]
    fn files_are_compared_to_the_nanosecond() {
        assert_eq!(by_mtime(file(2), file(1)), COPY);
        assert_eq!(by_mtime(file(1), file(1)), SAME);
        assert_eq!(by_mtime(file(1), file(2)), SAME);
        // A destination of whole seconds cannot hold the fraction.
        assert_eq!(by_mtime(file(S / 2), file(0)), SAME);
        assert_eq!(by_mtime(file(S + 1), file(0)), COPY);
    }

    #[test]
    fn a_file_older_than_its_upload_needs_no_request() {
        assert_eq!(by_mtime(file(3), object(S)), SAME);
        assert_eq!(by_mtime(file(S), object(S)), SAME);
    }

    #[test]
    fn a_file_newer_than_its_upload_is_judged_by_the_time_that_the_object_carries() {
        assert_eq!(
            by_mtime(file(S + 5), object(S)),
            Verdict::NeedsDestinationMtime
        );
        assert_eq!(by_mtime(file(S + 5), carrying(S, Some(S + 5))), SAME);
        assert_eq!(by_mtime(file(S + 5), carrying(S, Some(S + 4))), COPY);
        assert_eq!(
            by_mtime(file(90 * S + 1), carrying(S, Some(90 * S + 1))),
            SAME
        );
        // Uploaded by another tool: the upload time is all there is.
        assert_eq!(by_mtime(file(S + 5), carrying(S, None)), SAME);
        assert_eq!(by_mtime(file(2 * S + 5), carrying(S, None)), COPY);
    }

    #[test]
    fn an_object_newer_than_its_file_is_judged_by_the_time_that_it_carries() {
        assert_eq!(by_mtime(object(9 * S), file(3)), Verdict::NeedsSourceMtime);
        assert_eq!(by_mtime(carrying(9 * S, Some(3)), file(3)), SAME);
        assert_eq!(by_mtime(carrying(9 * S, Some(4)), file(3)), COPY);
        assert_eq!(by_mtime(carrying(9 * S, None), file(3)), COPY);
        // The file was given the upload time itself.
        assert_eq!(by_mtime(object(9 * S), file(9 * S)), SAME);
        assert_eq!(
            by_mtime(object(9 * S + 7), file(9 * S)),
            SAME,
            "listed finer than read"
        );
    }

    #[test]
    fn objects_are_compared_by_upload_time_alone() {
        assert_eq!(by_mtime(object(2 * S), object(S)), COPY);
        assert_eq!(by_mtime(object(S), object(2 * S)), SAME);
        assert_eq!(
            by_mtime(object(S + 900), object(S)),
            SAME,
            "whole seconds at one side"
        );
        assert_eq!(by_mtime(object(S + 900), object(S + 100)), COPY);
    }

    fn sums(algorithm: Algorithm, byte: u8) -> Vec<Checksum> {
        vec![Checksum::new(algorithm, vec![byte; algorithm.len()]).unwrap()]
    }

    #[test]
    fn checksums_are_compared_by_a_common_algorithm() {
        let (one, two, crc) = (
            sums(Algorithm::Sha256, 1),
            sums(Algorithm::Sha256, 2),
            sums(Algorithm::Crc32c, 1),
        );
        let mixed = [crc.clone(), one.clone()].concat();
        let by_checksum = |source: &[Checksum], destination: &[Checksum]| {
            needs_copy(
                Compare::Checksum,
                &Facts {
                    checksums: source,
                    ..object(9 * S)
                },
                &Facts {
                    checksums: destination,
                    ..object(0)
                },
            )
        };
        assert_eq!(by_checksum(&one, &one), Verdict::Same("same checksum"));
        assert_eq!(by_checksum(&one, &two), Verdict::Copy("checksum differs"));
        assert_eq!(by_checksum(&mixed, &one), Verdict::Same("same checksum"));
        assert_eq!(by_checksum(&crc, &one), Verdict::NeedsChecksums);
        assert_eq!(by_checksum(&[], &[]), Verdict::NeedsChecksums);
        let empty = Facts {
            size: 0,
            ..object(0)
        };
        assert_eq!(
            needs_copy(Compare::Checksum, &empty, &empty),
            Verdict::Same("both are empty")
        );
    }

    #[test]
    fn equal_md5_tags_prove_equality_and_different_ones_nothing() {
        let (a, b) = ("0".repeat(32), "1".repeat(32));
        let parts = format!("{a}-3");
        let by_tag = |source: &str, destination: &str| {
            let source = Facts {
                etag: Some(source),
                ..object(0)
            };
            let destination = Facts {
                etag: Some(destination),
                ..object(0)
            };
            needs_copy(Compare::Checksum, &source, &destination)
        };
        assert_eq!(by_tag(&a, &a), Verdict::Same("same MD5"));
        assert_eq!(by_tag(&a, &b), Verdict::NeedsChecksums);
        assert_eq!(by_tag(&parts, &parts), Verdict::NeedsChecksums);
    }

    #[test]
    fn existing_objects_are_skipped_overwritten_or_replaced_by_newer_ones() {
        let (old, new) = (
            file(1),
            Facts {
                size: 11,
                ..file(2)
            },
        );
        let copy = |if_exists, source, destination| {
            verdict(Mode::Copy, Compare::Mtime, if_exists, &source, &destination)
        };
        assert_eq!(copy(IfExists::Skip, new, old), Verdict::Same("exists"));
        assert_eq!(
            copy(IfExists::Overwrite, old, new),
            Verdict::Copy("overwrite")
        );
        assert_eq!(copy(IfExists::Newer, new, old), COPY);
        assert_eq!(copy(IfExists::Newer, old, new), SAME, "though sizes differ");
    }

    #[test]
    fn a_sync_obeys_if_exists_too() {
        let (old, new) = (
            file(1),
            Facts {
                size: 11,
                ..file(2)
            },
        );
        let sync = |if_exists, source, destination| {
            verdict(Mode::Sync, Compare::Size, if_exists, &source, &destination)
        };
        assert_eq!(sync(IfExists::Skip, new, old), Verdict::Same("exists"));
        assert_eq!(
            sync(IfExists::Overwrite, old, new),
            Verdict::Copy("size differs")
        );
        assert_eq!(sync(IfExists::Newer, old, new), SAME);
        assert_eq!(sync(IfExists::Newer, new, old), COPY);
        assert_eq!(
            sync(IfExists::Newer, file(9), old),
            Verdict::Same("same size")
        );
    }
}
