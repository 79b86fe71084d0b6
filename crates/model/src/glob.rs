//! rclone's patterns as regular expressions.
//!
//! | pattern | matches |
//! |---|---|
//! | `*`, `?` | any run of characters, any one character, but `/` |
//! | `**` | any run of characters |
//! | `[a-z]`, `[^a-z]`, `[!a-z]`, `[[:alpha:]]`, `\d` | a character of the class, or none of it |
//! | `{a,b*}` | either alternative; alternatives may nest |
//! | `{{regexp}}` | a regular expression |
//! | `\*` | the character itself |
//! | leading `/` | the pattern starts at the root, else at any component |

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use crate::error::{Error, Result};

/// The regular expression that matches a whole path as the pattern does, in the syntax of the
/// `regex` crate.
pub(crate) fn to_regex(glob: &str) -> Result<String> {
    let fault = |why: &str| {
        Err(Error::invalid(format!("the pattern `{glob}` {why}"))
            .hint("a backslash before `*?[]{}\\` takes the character as it is"))
    };
    // `s`: keys may hold line feeds, and a star matches them.
    let mut regex = String::from("(?s)");
    let rest = glob.strip_prefix('/');
    regex.push_str(if rest.is_some() { "^" } else { "(?:^|/)" });
    let mut chars = rest.unwrap_or(glob).chars().peekable();
    let mut depth = 0_u32;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped) => escape(&mut regex, escaped),
                None => return fault("ends in a backslash"),
            },
            '*' => match run_of(&mut chars, '*') {
                0 => regex.push_str("[^/]*"),
                1 => regex.push_str(".*"),
                _ => return fault("has three or more stars in a row"),
            },
            '?' => regex.push_str("[^/]"),
            '[' => match class(&mut chars) {
                Some(class) => regex.push_str(&class),
                None => return fault("has a `[` without its `]`"),
            },
            ']' => return fault("has a `]` without its `[`"),
            '{' if chars.next_if_eq(&'{').is_some() => match raw(&mut chars) {
                Some(raw) => {
                    // Checked by itself, so that it cannot close our groups.
                    if let Err(error) = regex::Regex::new(&raw) {
                        return fault(&format!("holds no valid regular expression: {error}"));
                    }
                    let _ = write!(regex, "(?:{raw})");
                }
                None => return fault("has a `{{` without its `}}`"),
            },
            '{' => {
                depth += 1;
                regex.push_str("(?:");
            }
            '}' if depth == 0 => return fault("has a `}` without its `{`"),
            '}' => {
                depth -= 1;
                regex.push(')');
            }
            ',' if depth > 0 => regex.push('|'),
            _ => literal(&mut regex, c),
        }
    }
    if depth > 0 {
        return fault("has a `{` without its `}`");
    }
    regex.push('$');
    match regex::Regex::new(&regex) {
        Ok(_) => Ok(regex),
        Err(error) => fault(&format!("is not valid: {error}")),
    }
}

/// Takes further `wanted` characters; gives how many there were.
fn run_of(chars: &mut Peekable<Chars<'_>>, wanted: char) -> usize {
    std::iter::from_fn(|| chars.next_if_eq(&wanted)).count()
}

fn literal(regex: &mut String, c: char) {
    regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

/// What follows a backslash: a letter or digit names a class (`\d`) as in regular expressions,
/// anything else is itself.
fn escape(regex: &mut String, c: char) {
    if c.is_ascii_alphanumeric() {
        regex.push('\\');
        regex.push(c);
    } else {
        literal(regex, c);
    }
}

/// A character class, after its `[`, up to and with its `]`. Set operations of the regex syntax
/// (`&&`, `--`, `~~`, nested classes) are no operations here.
fn class(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut class = String::from("[");
    if chars.next_if(|&c| c == '^' || c == '!').is_some() {
        class.push('^');
    }
    let mut last = '[';
    loop {
        let c = chars.next()?;
        match c {
            ']' => {
                class.push(']');
                return Some(class);
            }
            '\\' => escape(&mut class, chars.next()?),
            '[' if chars.peek() == Some(&':') => {
                class.push('[');
                loop {
                    let c = chars.next()?;
                    class.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '-' if last != '-' => class.push('-'),
            '[' | '&' | '~' | '-' | '^' => {
                class.push('\\');
                class.push(c);
            }
            _ => class.push(c),
        }
        last = c;
    }
}

/// A regular expression, after its `{{`, up to the last brace of the first run of two or more.
fn raw(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut raw = String::new();
    loop {
        let c = chars.next()?;
        if c == '}' && chars.next_if_eq(&'}').is_some() {
            let further = run_of(chars, '}');
            raw.extend(std::iter::repeat_n('}', further));
            return Some(raw);
        }
        raw.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(glob: &str) -> String {
        to_regex(glob)
            .unwrap()
            .trim_start_matches("(?s)")
            .to_owned()
    }

    #[test]
    fn patterns_become_the_expressions_of_rclone() {
        for (glob, wanted) in [
            ("potato", "(?:^|/)potato$"),
            ("potato,sausage", "(?:^|/)potato,sausage$"),
            ("/potato", "^potato$"),
            ("potato?sausage", "(?:^|/)potato[^/]sausage$"),
            ("potat[oa]", "(?:^|/)potat[oa]$"),
            ("potat[a-z]or", "(?:^|/)potat[a-z]or$"),
            ("potat[[:alpha:]]or", "(?:^|/)potat[[:alpha:]]or$"),
            (
                "'.' '+' '(' ')' '|' '^' '$'",
                r"(?:^|/)'\.' '\+' '\(' '\)' '\|' '\^' '\$'$",
            ),
            ("*.jpg", r"(?:^|/)[^/]*\.jpg$"),
            ("a{b,c,d}e", "(?:^|/)a(?:b|c|d)e$"),
            ("potato**sausage", "(?:^|/)potato.*sausage$"),
            ("*.p[lm]", r"(?:^|/)[^/]*\.p[lm]$"),
            (r"[\[\]]", r"(?:^|/)[\[\]]$"),
            ("*.{jpg,png,gif}", r"(?:^|/)[^/]*\.(?:jpg|png|gif)$"),
            (r"a\*b", r"(?:^|/)a\*b$"),
            (r"a\\b", r"(?:^|/)a\\b$"),
            (r"*.\d\d", r"(?:^|/)[^/]*\.\d\d$"),
            ("a{b{c,d},e}", "(?:^|/)a(?:b(?:c|d)|e)$"),
            ("*.{{jpe?g}}", r"(?:^|/)[^/]*\.(?:jpe?g)$"),
            ("/{{a{2}}}", "^(?:a{2})$"),
            (r"\{{a,b}", r"(?:^|/)\{(?:a|b)$"),
        ] {
            assert_eq!(regex(glob), wanted, "{glob}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused_with_their_fault() {
        for (glob, fault) in [
            ("***potato", "three or more stars"),
            ("ab]c", "`]` without"),
            ("ab[c", "`[` without"),
            ("ab[", "`[` without"),
            ("ab{{cd", "`{{` without"),
            ("ab{{cd}", "`{{` without"),
            ("ab{}}cd", "`}` without"),
            ("ab}c", "`}` without"),
            ("ab{c", "`{` without"),
            ("[a--b]", "is not valid"),
            ("[]", "is not valid"),
            ("{{(}}", "no valid regular expression"),
            ("{{)(}}", "no valid regular expression"),
            ("a\\", "ends in a backslash"),
        ] {
            let error = to_regex(glob).unwrap_err().to_string();
            assert!(error.contains(fault), "{glob}: {error}");
            assert!(error.contains(glob), "{glob}: {error}");
        }
    }

    #[test]
    fn classes_hold_no_set_operations() {
        let matches =
            |glob: &str, text: &str| regex::Regex::new(&regex(glob)).unwrap().is_match(text);
        for c in ["a", "&", "b"] {
            assert!(matches("[a&&b]", c), "{c}");
        }
        assert!(matches("[a~~b]", "~") && matches("[[a]", "[") && matches("[a^]", "^"));
        assert!(matches("[!ab]", "c") && !matches("[!ab]", "a"));
        assert!(matches("[^ab]", "!") && !matches("[^ab]", "b"));
        assert!(matches(r"[\d-]", "-") && matches(r"[\d-]", "7") && !matches(r"[\d-]", "d"));
    }
}
