//! Which objects of a transfer are copied before all others.

use regex::RegexSet;

use crate::error::{Error, Result};
use crate::glob;

/// Patterns of keys, in the syntax of filters, ready for use.
#[derive(Debug, Clone)]
pub struct First(Option<RegexSet>);

impl First {
    /// Compiles patterns. Fails (`Invalid`) on a malformed one.
    pub fn compile(patterns: &[String]) -> Result<Self> {
        if patterns.is_empty() {
            return Ok(Self(None));
        }
        let regexes = patterns.iter().map(|pattern| glob::to_regex(pattern));
        let set = RegexSet::new(regexes.collect::<Result<Vec<_>>>()?).map_err(|error| {
            Error::invalid("the patterns of `--first` are too large together").cause(error)
        })?;
        Ok(Self(Some(set)))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether an object comes first. The key is relative to the source prefix.
    #[must_use]
    pub fn has(&self, relative_key: &str) -> bool {
        self.0
            .as_ref()
            .is_some_and(|set| set.is_match(relative_key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(patterns: &[&str]) -> Result<First> {
        let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        First::compile(&patterns)
    }

    #[test]
    fn any_of_the_patterns_is_enough() {
        let some = first(&["*.idx", "/meta/**"]).unwrap();
        for (key, comes_first) in [
            ("a/b.idx", true),
            ("meta/x/y", true),
            ("b/meta/x", false),
            ("a/b.dat", false),
        ] {
            assert_eq!(some.has(key), comes_first, "{key}");
        }
        let none = first(&[]).unwrap();
        assert!(none.is_empty() && !some.is_empty() && !none.has(""));
    }

    #[test]
    fn a_malformed_pattern_is_refused() {
        let error = first(&["ok", "[a"]).unwrap_err();
        assert!(error.to_string().contains("[a"), "{error}");
    }
}
