//! The guard on deletions: evaluated once, on the totals, before the first of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// Whether and how much a sync deletes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeletePolicy {
    /// Refuse to delete anything if more than this would be deleted.
    pub max: Option<DeleteLimit>,
    /// Also delete objects that filters exclude.
    pub excluded: bool,
    /// Delete even though the source is empty or partly unreadable.
    pub force: bool,
}

/// A limit on deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteLimit {
    /// This many objects.
    Count(u64),
    /// This many per cent of the objects at the destination.
    Percent(u8),
}

/// How much of the two sides a sync has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listing {
    /// Both listings ended without error.
    Complete,
    /// Both listings ended, but the source has names that could not be read (an unreadable
    /// directory): what is under them may look deleted and is not.
    Partial,
    /// A listing failed or was stopped.
    Failed,
}

/// What a sync is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteTotals {
    /// Objects to delete.
    pub deletes: u64,
    /// Objects at the destination under the mapped prefix, whether filters take them or not.
    pub destination_objects: u64,
    /// Objects at the source that the filters take.
    pub source_objects: u64,
    /// How much was seen.
    pub listing: Listing,
}

/// Whether these deletions may be carried out: all or none. Fails with
/// [`ErrorKind::Refused`], which names the rule and how to overrule it.
///
/// A percentage is exact: 10 % of 19 objects lets 1 deletion pass and refuses 2, for 2 is more
/// than 1.9.
pub fn allow(policy: &DeletePolicy, totals: &DeleteTotals) -> Result<()> {
    let DeleteTotals {
        deletes,
        destination_objects,
        source_objects,
        listing,
    } = *totals;
    if deletes == 0 {
        return Ok(());
    }
    let refuse = |why: &str, hint: &str| {
        Err(Error::control(
            ErrorKind::Refused,
            format!("nothing was deleted: {why}; {deletes} of {destination_objects} objects at the destination would go"),
        )
        .hint(hint))
    };
    match listing {
        Listing::Failed => {
            return refuse("a listing did not end", "run the same command again");
        }
        Listing::Partial if !policy.force => {
            return refuse(
                "parts of the source could not be read",
                "the report names them; make them readable, or delete all the same with --force",
            );
        }
        _ => {}
    }
    if source_objects == 0 && !policy.force {
        return refuse(
            "the source has no object, or the filters leave out all of them",
            "check the source; if it is meant to be empty, use --force",
        );
    }
    match policy.max {
        Some(limit) if limit.is_exceeded(deletes, destination_objects) => refuse(
            &format!("that is more than --max-delete {limit}"),
            "look at them with --dry-run; raise --max-delete if they are right",
        ),
        _ => Ok(()),
    }
}

impl DeleteLimit {
    /// Whether `deletes` of `destination_objects` objects are more than this.
    #[must_use]
    pub fn is_exceeded(self, deletes: u64, destination_objects: u64) -> bool {
        match self {
            Self::Count(count) => deletes > count,
            Self::Percent(percent) => {
                u128::from(deletes) * 100 > u128::from(percent) * u128::from(destination_objects)
            }
        }
    }
}

impl FromStr for DeleteLimit {
    type Err = Error;

    /// `50` objects or `10%`.
    fn from_str(text: &str) -> Result<Self> {
        let parsed = match text.strip_suffix('%') {
            Some(percent) => percent
                .parse()
                .ok()
                .filter(|&value| value <= 100)
                .map(Self::Percent),
            None => text.parse().ok().map(Self::Count),
        };
        parsed.ok_or_else(|| {
            Error::invalid(format!("`{text}` is no limit on deletions"))
                .hint("a number of objects (`50`) or a share of the destination (`10%`)")
        })
    }
}

impl fmt::Display for DeleteLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOTALS: DeleteTotals = DeleteTotals {
        deletes: 10,
        destination_objects: 100,
        source_objects: 90,
        listing: Listing::Complete,
    };

    fn policy(max: Option<&str>, force: bool) -> DeletePolicy {
        let max = max.map(|text| text.parse().unwrap());
        DeletePolicy {
            max,
            force,
            ..DeletePolicy::default()
        }
    }

    fn refusal(policy: &DeletePolicy, totals: &DeleteTotals) -> String {
        let error = allow(policy, totals).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
        assert!(error.hint.is_some());
        error.to_string()
    }

    #[test]
    fn a_failed_listing_never_deletes() {
        let totals = DeleteTotals {
            listing: Listing::Failed,
            ..TOTALS
        };
        for force in [false, true] {
            assert!(refusal(&policy(None, force), &totals).contains("a listing did not end"));
        }
    }

    #[test]
    fn a_partly_unreadable_or_empty_source_deletes_only_by_force() {
        let partial = DeleteTotals {
            listing: Listing::Partial,
            ..TOTALS
        };
        let empty = DeleteTotals {
            source_objects: 0,
            ..TOTALS
        };
        for totals in [partial, empty] {
            assert!(refusal(&policy(None, false), &totals).contains("--force"));
            assert!(allow(&policy(None, true), &totals).is_ok());
            assert!(refusal(&policy(Some("9"), true), &totals).contains("--max-delete 9"));
        }
    }

    #[test]
    fn limits_refuse_the_whole_when_one_too_many() {
        for (max, allowed) in [
            ("10", true),
            ("9", false),
            ("0", false),
            ("10%", true),
            ("9%", false),
            ("0%", false),
        ] {
            assert_eq!(
                allow(&policy(Some(max), false), &TOTALS).is_ok(),
                allowed,
                "{max}"
            );
        }
        assert_eq!(
            refusal(&policy(Some("9%"), false), &TOTALS),
            "control: nothing was deleted: that is more than --max-delete 9%; 10 of 100 objects \
             at the destination would go (look at them with --dry-run; raise --max-delete if they \
             are right)"
        );
    }

    #[test]
    fn a_percentage_is_not_rounded() {
        let limit = DeleteLimit::Percent(10);
        assert!(!limit.is_exceeded(1, 19) && limit.is_exceeded(2, 19));
        assert!(!limit.is_exceeded(2, 20) && limit.is_exceeded(1, 9));
        assert!(!DeleteLimit::Percent(100).is_exceeded(u64::MAX, u64::MAX));
    }

    #[test]
    fn nothing_to_delete_is_never_refused() {
        let totals = DeleteTotals {
            deletes: 0,
            source_objects: 0,
            listing: Listing::Failed,
            ..TOTALS
        };
        assert!(allow(&policy(Some("0"), false), &totals).is_ok());
    }

    #[test]
    fn limits_are_counts_or_percentages() {
        for text in ["0", "50", "0%", "100%"] {
            assert_eq!(text.parse::<DeleteLimit>().unwrap().to_string(), text);
        }
        for text in ["", "%", "-1", "101%", "10 %", "1.5%", "ten"] {
            assert!(text.parse::<DeleteLimit>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_a_limit_allows_it_allows_for_fewer(
            deletes in 1_u64.., fewer in any::<u64>(), all in any::<u64>(), percent in 0_u8..=100
        ) {
            let limit = DeleteLimit::Percent(percent);
            if !limit.is_exceeded(deletes, all) {
                prop_assert!(!limit.is_exceeded(fewer % deletes, all));
            }
        }
    }
}
