//! Which objects a transfer leaves out.

use std::collections::HashSet;
use std::fmt;

use jiff::Timestamp;
use regex::{RegexSet, RegexSetBuilder};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::glob;

/// Filters as the user gave them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilterSpec {
    /// Rules in the order given; the first that matches decides, and what none matches is taken.
    pub rules: Vec<FilterRule>,
    /// Only these keys, relative to the source prefix. Rules are not looked at then; sizes and
    /// ages are.
    pub files: Option<Vec<String>>,
    /// Smallest size in bytes.
    pub min_size: Option<u64>,
    /// Largest size in bytes.
    pub max_size: Option<u64>,
    /// Youngest: leave out objects modified within this many seconds.
    pub min_age_s: Option<u64>,
    /// Oldest: leave out objects modified longer ago than this many seconds.
    pub max_age_s: Option<u64>,
}

/// One include or exclude rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRule {
    /// Whether a match takes the object in.
    pub include: bool,
    /// The pattern, in rclone's syntax.
    pub pattern: String,
}

impl FilterRule {
    /// A rule that takes matching objects in.
    pub fn include(pattern: impl Into<String>) -> Self {
        Self {
            include: true,
            pattern: pattern.into(),
        }
    }

    /// A rule that leaves matching objects out.
    pub fn exclude(pattern: impl Into<String>) -> Self {
        Self {
            include: false,
            pattern: pattern.into(),
        }
    }

    /// Parses `+ PATTERN` or `- PATTERN`. For lines that may also be `!` or comments, see
    /// [`FilterSpec::add_line`].
    pub fn parse(line: &str) -> Result<Self> {
        let rule = match line.split_at_checked(2) {
            Some(("+ ", pattern)) => Self::include(pattern),
            Some(("- ", pattern)) => Self::exclude(pattern),
            _ => return Err(malformed(line)),
        };
        if rule.pattern.is_empty() {
            Err(malformed(line))
        } else {
            Ok(rule)
        }
    }

    /// The pattern as a regular expression over relative keys.
    fn regex(&self) -> Result<String> {
        // Leaving out a folder leaves out what is in it.
        if !self.include && self.pattern.ends_with('/') {
            glob::to_regex(&format!("{}**", self.pattern))
        } else {
            glob::to_regex(&self.pattern)
        }
    }
}

fn malformed(line: &str) -> Error {
    Error::invalid(format!("`{line}` is no filter rule"))
        .hint("the forms are `+ PATTERN`, `- PATTERN` and `!`")
}

impl FilterSpec {
    /// Adds a line of a filter file or of `--filter`: a rule, `!` (forgets the rules so far), or
    /// nothing (empty, or a comment after `#` or `;`).
    pub fn add_line(&mut self, line: &str) -> Result<()> {
        let line = line.trim();
        match line.chars().next() {
            None | Some('#' | ';') => {}
            Some('!') if line.len() == 1 => self.rules.clear(),
            _ => self.rules.push(FilterRule::parse(line)?),
        }
        Ok(())
    }

    /// Whether these filters leave out nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the filters say of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It belongs to the transfer.
    Take,
    /// It does not.
    Leave(Leave),
}

/// Why an object is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It is not among the listed files.
    NotListed,
    /// The rule of this index, from 0.
    Rule(usize),
    /// Below the smallest size.
    TooSmall,
    /// Above the largest size.
    TooLarge,
    /// Modified too recently.
    TooYoung,
    /// Modified too long ago.
    TooOld,
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed => f.write_str("not among the listed files"),
            Self::Rule(index) => write!(f, "excluded by filter rule {}", index + 1),
            Self::TooSmall => f.write_str("smaller than --min-size"),
            Self::TooLarge => f.write_str("larger than --max-size"),
            Self::TooYoung => f.write_str("younger than --min-age"),
            Self::TooOld => f.write_str("older than --max-age"),
        }
    }
}

/// Filters ready for use: one pass over a key, however many rules there are.
#[derive(Debug, Clone)]
pub struct Filters {
    patterns: RegexSet,
    /// Whether the rule of the same index includes.
    includes: Vec<bool>,
    files: Option<HashSet<String>>,
    sizes: (u64, u64),
    ages_ns: (Option<i128>, Option<i128>),
    now: Timestamp,
}

impl Filters {
    /// Compiles the patterns. Ages are measured from `now`. Fails on a malformed pattern.
    pub fn compile(spec: &FilterSpec, now: Timestamp) -> Result<Self> {
        let patterns = spec
            .rules
            .iter()
            .map(FilterRule::regex)
            .collect::<Result<Vec<_>>>()?;
        let patterns = RegexSetBuilder::new(patterns)
            .size_limit(64 << 20)
            .dfa_size_limit(16 << 20)
            .build()
            .map_err(|error| {
                Error::invalid("the filter rules are too large together").cause(error)
            })?;
        let files = spec.files.as_ref().map(|files| {
            files
                .iter()
                .map(|file| file.strip_prefix('/').unwrap_or(file).to_owned())
                .collect()
        });
        let nanos = |seconds: u64| i128::from(seconds) * 1_000_000_000;
        Ok(Self {
            patterns,
            includes: spec.rules.iter().map(|rule| rule.include).collect(),
            files,
            sizes: (
                spec.min_size.unwrap_or(0),
                spec.max_size.unwrap_or(u64::MAX),
            ),
            ages_ns: (spec.min_age_s.map(nanos), spec.max_age_s.map(nanos)),
            now,
        })
    }

    /// Whether an object belongs to the transfer. The key is relative to the source prefix, the
    /// size in bytes, the time as the source lists it. Limits are inclusive.
    #[must_use]
    pub fn decide(&self, relative_key: &str, size: u64, mtime: Timestamp) -> Decision {
        if size < self.sizes.0 {
            return Decision::Leave(Leave::TooSmall);
        }
        if size > self.sizes.1 {
            return Decision::Leave(Leave::TooLarge);
        }
        let age = self.now.as_nanosecond() - mtime.as_nanosecond();
        if self.ages_ns.0.is_some_and(|youngest| age < youngest) {
            return Decision::Leave(Leave::TooYoung);
        }
        if self.ages_ns.1.is_some_and(|oldest| age > oldest) {
            return Decision::Leave(Leave::TooOld);
        }
        if let Some(files) = &self.files {
            let name = relative_key.strip_prefix('/').unwrap_or(relative_key);
            return if files.contains(name) {
                Decision::Take
            } else {
                Decision::Leave(Leave::NotListed)
            };
        }
        self.decide_name(relative_key)
    }

    /// What the rules alone say.
    fn decide_name(&self, relative_key: &str) -> Decision {
        if self.includes.is_empty() {
            return Decision::Take;
        }
        // Indices come in ascending order.
        match self.patterns.matches(relative_key).iter().next() {
            Some(rule) if !self.includes[rule] => Decision::Leave(Leave::Rule(rule)),
            _ => Decision::Take,
        }
    }
}
