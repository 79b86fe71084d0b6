//! The part plan: into which byte ranges an object is cut.

use serde::{Deserialize, Serialize};

use crate::capabilities::PartRules;
use crate::error::{Error, ErrorKind, Result, Side};

const MIB: u64 = 1 << 20;

/// What the user may say about parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartPolicy {
    /// Objects of at least this many bytes are cut into parts.
    pub threshold: u64,
    /// Preferred part size in bytes; raised where an object would have too many parts.
    pub part_size: u64,
    /// Whether objects are cut into parts at all.
    pub multipart: bool,
}

impl Default for PartPolicy {
    /// Parts of 16 MiB from 32 MiB on: small enough that a destination's memory is connections
    /// times window, large enough that requests do not dominate.
    fn default() -> Self {
        Self {
            threshold: 32 * MIB,
            part_size: 16 * MIB,
            multipart: true,
        }
    }
}

/// The part size for an object of `size` bytes, or `None` if it is written in one piece.
///
/// Parts are of one size (the last may be shorter), which also satisfies stores that demand it.
///
/// # Errors
/// Refused, if the store cannot hold an object of this size under this policy.
pub fn part_size(size: u64, policy: &PartPolicy, rules: &PartRules) -> Result<Option<u64>> {
    let refuse = |message: String| Err(Error::new(Side::Destination, ErrorKind::Refused, message));
    if size > rules.max_object {
        return refuse(format!(
            "an object of {size} bytes is larger than the store's limit of {} bytes",
            rules.max_object
        ));
    }
    if !policy.multipart {
        if size > rules.max_single {
            return refuse(format!(
                "an object of {size} bytes cannot be written in one piece (limit {} bytes): \
                 leave out --no-multipart",
                rules.max_single
            ));
        }
        return Ok(None);
    }
    if size <= rules.max_single && (size < policy.threshold || size <= policy.part_size) {
        return Ok(None);
    }
    let least = size.div_ceil(u64::from(rules.max_parts));
    // Raised sizes are whole MiB, so that ranges stay aligned.
    let least = if least > policy.part_size {
        least.next_multiple_of(MIB)
    } else {
        least
    };
    let part = policy
        .part_size
        .max(least)
        .max(rules.min_part)
        .min(rules.max_part);
    Ok((part < size).then_some(part))
}

/// How many parts an object of `size` bytes has.
#[must_use]
pub fn part_count(size: u64, part_size: u64) -> u32 {
    u32::try_from(size.div_ceil(part_size)).unwrap_or(u32::MAX)
}

/// Offset and length in bytes of part `number` (counted from 1).
#[must_use]
pub fn part_range(size: u64, part_size: u64, number: u32) -> (u64, u64) {
    let offset = u64::from(number - 1) * part_size;
    (offset, part_size.min(size - offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::Capabilities;
    use proptest::prelude::*;

    #[test]
    fn the_largest_object_of_s3_fits() {
        let rules = Capabilities::s3().parts;
        let size = 10_000 * (5 << 30);
        let part = part_size(size, &PartPolicy::default(), &rules)
            .unwrap()
            .unwrap();
        assert_eq!((part, part_count(size, part)), (5 << 30, 10_000));
        let error = part_size(size + 1, &PartPolicy::default(), &rules).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
    }

    #[test]
    fn small_objects_and_no_multipart_stay_whole() {
        let rules = Capabilities::s3().parts;
        let policy = PartPolicy::default();
        assert_eq!(part_size(0, &policy, &rules).unwrap(), None);
        assert_eq!(
            part_size(policy.threshold - 1, &policy, &rules).unwrap(),
            None
        );
        let single = PartPolicy {
            multipart: false,
            ..policy
        };
        assert_eq!(part_size(5 << 30, &single, &rules).unwrap(), None);
        assert!(part_size((5 << 30) + 1, &single, &rules).is_err());
    }

    proptest! {
        #[test]
        fn parts_cover_the_object_within_the_rules(
            size in 0_u64..=10_000 * (5 << 30),
            part in 1_u64..=(6 << 30),
            threshold in 0_u64..=(1 << 40),
        ) {
            let rules = Capabilities::s3().parts;
            let policy = PartPolicy { threshold, part_size: part, multipart: true };
            if let Some(part) = part_size(size, &policy, &rules).unwrap() {
                let count = part_count(size, part);
                prop_assert!(count >= 2 && count <= rules.max_parts);
                prop_assert!(part >= rules.min_part && part <= rules.max_part);
                let (offset, len) = part_range(size, part, count);
                prop_assert!(len > 0 && offset + len == size);
            } else {
                prop_assert!(size <= rules.max_single);
            }
        }
    }
}
