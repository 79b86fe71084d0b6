//! Keys in listings. With `encoding-type=url` odd keys survive XML, but services disagree on what
//! a `+` is: AWS writes a space as `+` and a plus as `%2B`, others write a space as `%20` and leave
//! a plus alone. Which one it is shows by itself, or by asking for the same page unencoded.

use percent_encoding::percent_decode_str;

/// How a service encodes keys in listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Not seen yet.
    Unknown = 0,
    /// `+` is a space.
    Query = 1,
    /// `+` is a plus.
    Path = 2,
}

impl Dialect {
    pub(super) fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Query,
            2 => Self::Path,
            _ => Self::Unknown,
        }
    }

    /// What an encoded text gives away.
    pub(super) fn seen_in(text: &str) -> Option<Self> {
        if text.contains("%20") {
            Some(Self::Path)
        } else if text.contains("%2B") || text.contains("%2b") {
            Some(Self::Query)
        } else {
            None
        }
    }

    /// What the same key, encoded and not, gives away.
    pub(super) fn compare(encoded: &str, plain: &str) -> Self {
        let spaces = |text: &str| text.matches(' ').count();
        if encoded.contains('+') && spaces(plain) > spaces(encoded) {
            Self::Query
        } else {
            Self::Path
        }
    }
}

/// Decodes a key; `None` if it is not UTF-8.
pub(super) fn decode(key: &str, dialect: Dialect) -> Option<String> {
    if !key.contains(['%', '+']) {
        return Some(key.to_owned());
    }
    let spaced = if dialect == Dialect::Query {
        key.replace('+', " ")
    } else {
        key.to_owned()
    };
    Some(percent_decode_str(&spaced).decode_utf8().ok()?.into_owned())
}

/// Whether XML 1.0 can carry a key.
pub(super) fn fits_xml(key: &str) -> bool {
    key.chars()
        .all(|c| c >= ' ' && c != '\u{7f}' && !matches!(c, '\u{fffe}' | '\u{ffff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_decode() {
        assert_eq!(Dialect::seen_in("a%20b"), Some(Dialect::Path));
        assert_eq!(Dialect::seen_in("a%2Bb"), Some(Dialect::Query));
        assert_eq!(Dialect::seen_in("a+b"), None);
        assert_eq!(decode("a+b%2Bc", Dialect::Query).unwrap(), "a b+c");
        assert_eq!(
            decode("a+b%20c%25%C3%BC", Dialect::Path).unwrap(),
            "a+b c%ü"
        );
        assert_eq!(Dialect::compare("a+b", "a b"), Dialect::Query);
        assert_eq!(Dialect::compare("a+b", "a+b"), Dialect::Path);
        assert_eq!(decode("%ff", Dialect::Path), None);
    }

    #[test]
    fn control_characters_do_not_fit() {
        assert!(fits_xml("a <&> ü") && !fits_xml("a\u{1}") && !fits_xml("a\nb"));
    }
}
