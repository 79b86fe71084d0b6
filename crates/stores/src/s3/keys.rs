//! Keys in listings. With `encoding-type=url` odd keys survive XML, but services disagree on what
//! a `+` is: AWS writes a space as `+` and a plus as `%2B`; others write a space as `%20` and leave
//! a plus alone; `SeaweedFS` does the one for folders and the other for names. So, except on AWS, a
//! page with a `+` in it is asked for unencoded too.

use percent_encoding::percent_decode_str;

/// Decodes a key in which a `+` is a space; `None` if it is not UTF-8.
pub(super) fn decode(key: &str) -> Option<String> {
    if memchr::memchr2(b'%', b'+', key.as_bytes()).is_none() {
        return Some(key.to_owned());
    }
    let spaced = key.replace('+', " ");
    Some(percent_decode_str(&spaced).decode_utf8().ok()?.into_owned())
}

/// Decodes the keys of a page, given the same page `plain`. `None` for a key that is not UTF-8, or
/// whose plain form cannot be told (the page changed between the two calls).
pub(super) fn decode_with(keys: &[&str], plain: &[&str]) -> Vec<Option<String>> {
    let fold = |key: &str| key.replace(' ', "+");
    let one = |(index, key): (usize, &&str)| {
        let decoded = decode(key)?;
        if !key.contains('+') {
            return Some(decoded);
        }
        let folded = fold(&decoded);
        let fits = |plain: &&&str| fold(plain) == folded;
        if keys.len() == plain.len()
            && let Some(same) = plain.get(index).filter(fits)
        {
            return Some((*same).to_owned());
        }
        let mut fitting = plain.iter().filter(fits);
        let found = fitting.next().filter(|_| fitting.next().is_none())?;
        Some((*found).to_owned())
    };
    keys.iter().enumerate().map(one).collect()
}

/// Whether XML 1.0 can carry a key.
pub(super) fn fits_xml(key: &str) -> bool {
    key.chars()
        .all(|c| c >= ' ' && c != '\u{7f}' && !matches!(c, '\u{fffe}' | '\u{ffff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(keys: &[&str], plain: &[&str]) -> Vec<Option<String>> {
        decode_with(keys, plain)
    }

    #[test]
    fn on_aws_a_plus_is_a_space() {
        assert_eq!(decode("a+b%2Bc").unwrap(), "a b+c");
        assert_eq!(decode("%C3%BC%25").unwrap(), "ü%");
        assert_eq!(decode("%ff"), None);
    }

    #[test]
    fn elsewhere_the_plain_page_tells_what_a_plus_is() {
        let keys = ["a%20b/c+d", "a+b/c%2Bd", "a+b", "%C3%BC"];
        let plain = ["a b/c d", "a+b/c+d", "a b", "ü"];
        let found: Vec<_> = decoded(&keys, &plain)
            .into_iter()
            .map(Option::unwrap)
            .collect();
        assert_eq!(found, plain);
    }

    #[test]
    fn a_page_that_changed_is_matched_by_what_cannot_be_confused() {
        assert_eq!(decoded(&["a+b"], &["0", "a b"]), [Some("a b".to_owned())]);
        assert_eq!(decoded(&["a+b"], &["a b", "a+b"]), [None]);
        assert_eq!(decoded(&["a+b", "c"], &["c"]), [None, Some("c".to_owned())]);
    }

    #[test]
    fn control_characters_do_not_fit() {
        assert!(fits_xml("a <&> ü") && !fits_xml("a\u{1}") && !fits_xml("a\nb"));
    }
}
