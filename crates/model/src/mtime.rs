//! The text form of a modification time in user metadata: seconds since 1970 with up to nine
//! decimals, as rclone writes it. Exact to the nanosecond: never through a float.

use jiff::Timestamp;

use crate::attributes::{Attributes, MTIME_KEY};

const NANOS: i128 = 1_000_000_000;

/// Writes a time as `seconds[.fraction]`, without trailing zeros.
#[must_use]
pub fn format(time: Timestamp) -> String {
    let nanos = time.as_nanosecond();
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, fraction) = (
        nanos.unsigned_abs() / 1_000_000_000,
        nanos.unsigned_abs() % 1_000_000_000,
    );
    if fraction == 0 {
        return format!("{sign}{seconds}");
    }
    let digits = format!("{fraction:09}");
    format!("{sign}{seconds}.{}", digits.trim_end_matches('0'))
}

/// Reads a time; digits beyond the ninth decimal are cut off. `None` if the text is no such time:
/// metadata is the user's, so a foreign value under this key is no error.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || !numeric(seconds) || !numeric(fraction) {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(9)];
    let nanos: i128 = format!("{fraction:0<9}").parse().ok()?;
    let total = seconds
        .parse::<i128>()
        .ok()?
        .checked_mul(NANOS)?
        .checked_add(nanos)?;
    Timestamp::from_nanosecond(if negative { -total } else { total }).ok()
}

/// The time that an object carries in its user metadata, if any.
#[must_use]
pub fn of(attributes: &Attributes) -> Option<Timestamp> {
    attributes
        .metadata
        .get(MTIME_KEY)
        .and_then(|text| parse(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_that_rclone_writes() {
        for (text, nanos) in [
            ("1595255999.123456789", 1_595_255_999_123_456_789),
            ("1595255999", 1_595_255_999_000_000_000),
            ("1595255999.5", 1_595_255_999_500_000_000),
            ("0", 0),
            ("-1.25", -1_250_000_000),
            ("1.0000000019", 1_000_000_001),
            ("12.", 12_000_000_000),
        ] {
            assert_eq!(
                parse(text).map(Timestamp::as_nanosecond),
                Some(nanos),
                "{text}"
            );
        }
        for text in [
            "",
            "-",
            ".",
            ".5",
            "1e9",
            "2020-01-01T00:00:00Z",
            "1.2.3",
            "١",
            "1,5",
            "+1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("99999999999999999999999999999999999999999999"), None);
    }

    #[test]
    fn an_object_without_a_readable_time_has_none() {
        let mut attributes = Attributes::default();
        assert_eq!(of(&attributes), None);
        attributes
            .metadata
            .insert(MTIME_KEY.into(), "yesterday".into());
        assert_eq!(of(&attributes), None);
        attributes.metadata.insert(MTIME_KEY.into(), "1.5".into());
        assert_eq!(of(&attributes), parse("1.5"));
    }

    proptest! {
        #[test]
        fn every_time_round_trips(
            nanos in Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond()
        ) {
            let time = Timestamp::from_nanosecond(nanos).unwrap();
            prop_assert_eq!(parse(&format(time)), Some(time));
        }
    }
}
