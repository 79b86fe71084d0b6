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
    /// Only these keys, relative to the source prefix. Cannot be combined with rules; sizes and
    /// ages hold too.
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
    /// Compiles the patterns. Ages are measured from `now`. Fails on a malformed pattern, and on
    /// a list of files together with rules.
    pub fn compile(spec: &FilterSpec, now: Timestamp) -> Result<Self> {
        if spec.files.is_some() && !spec.rules.is_empty() {
            return Err(Error::invalid("a list of files excludes filter rules")
                .hint("use either --files-from or --include, --exclude and --filter"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn rules(lines: &[&str]) -> Filters {
        let mut spec = FilterSpec::default();
        for line in lines {
            spec.add_line(line).unwrap();
        }
        Filters::compile(&spec, at(0)).unwrap()
    }

    fn takes(filters: &Filters, key: &str) -> bool {
        filters.decide(key, 1, at(0)) == Decision::Take
    }

    #[test]
    fn the_documented_examples_of_rclone() {
        for (pattern, matching, other) in [
            (
                "file.jpg",
                "file.jpg directory/file.jpg",
                "afile.jpg directory/afile.jpg",
            ),
            ("/file.jpg", "file.jpg", "afile.jpg directory/file.jpg"),
            (
                "*.jpg",
                "file.jpg dir/file.jpg",
                "file.png dir/file.png dir/jpg",
            ),
            ("/*.jpg", "file.jpg file2.jpg", "file.png dir/file.jpg"),
            (
                "*.{jpg,png}",
                "file.jpg dir/file.png",
                "file.gif dir/file.gif",
            ),
            (
                "dir/**",
                "dir/anyfile subdir/dir/subsubdir/anyfile",
                "file.png subdir/file.png mydir/f",
            ),
            (
                "*.t?t",
                "file.txt dir/file.tzt",
                "file.qxt dir/file.png file.t/t",
            ),
            ("*.[a-z]", "file.a dir/file.b", "file.0 dir/file.1"),
            (
                r"*.\?\?\?",
                "file.??? dir/file.???",
                "file.abc dir/file.def",
            ),
            (
                r"*.\d\d\d",
                "file.012 dir/file.345",
                "file.abc dir/file.def",
            ),
            (
                "*.{{jpe?g}}",
                "file.jpeg dir/file.jpg",
                "file.png dir/file.jpeeg",
            ),
            (r"/{{.*\.jpe?g}}", "file.jpeg file.jpg", "file.png"),
            (
                "{{start[^/]*end\\.jpg}}",
                "start-end.jpg d/startend.jpg",
                "start/end.jpg",
            ),
            ("*.{{(?i)jpg}}", "file.jpg file.JPG", "file.png"),
            ("potato", "potato", "POTATO potato/x"),
            (r"*\[{JP,KR,HK}\]*", "a[JP]b d/[HK]", "aJPb [US]"),
            ("{dir1/**,dir2/**}", "dir1/a x/dir2/b/c", "dir3/a"),
            ("/dir/**", "dir/a dir/b/c dir/", "a/dir/b dirx"),
            (".*{,/**}", ".git .git/config a/.x/y", "a.git/b"),
            ("dir/", "dir/a x/dir/b/c dir/", "dir dirx/a"),
        ] {
            let excluding = rules(&[&format!("- {pattern}")]);
            for key in matching.split(' ') {
                assert!(!takes(&excluding, key), "{pattern} should match {key}");
            }
            for key in other.split(' ') {
                assert!(takes(&excluding, key), "{pattern} should not match {key}");
            }
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let filters = rules(&[
            "+ cleared",
            "# a comment",
            "; another",
            "",
            "!",
            "- /file1.jpg",
            "+ /file2.png",
            "+ /*.jpg",
            "- /*.png",
            "+ /sausage2*",
            "+ /sausage3**",
            "+ /a/*.jpg",
            "- *",
        ]);
        for key in [
            "file2.png",
            "file3.jpg",
            "sausage2potato",
            "sausage3/potato",
            "a/one.jpg",
        ] {
            assert!(takes(&filters, key), "{key}");
        }
        for key in [
            "cleared",
            "file1.jpg",
            "FILE2.png",
            "afile2.png",
            "file4.png",
            "sausage2/potato",
            "a/one.png",
            "unicorn",
        ] {
            assert!(!takes(&filters, key), "{key}");
        }
        assert_eq!(
            filters.decide("file1.jpg", 1, at(0)),
            Decision::Leave(Leave::Rule(0))
        );
        assert_eq!(
            filters.decide("unicorn", 1, at(0)),
            Decision::Leave(Leave::Rule(7))
        );
    }

    #[test]
    fn a_folder_rule_covers_the_subtree_and_its_marker() {
        let filters = rules(&["+ /keep/this.txt", "- /keep/", "- b/"]);
        assert!(takes(&filters, "keep/this.txt"));
        for key in [
            "keep/",
            "keep/other",
            "keep/x/this.txt",
            "b/",
            "a/b/c",
            "a/b/c/d",
        ] {
            assert!(!takes(&filters, key), "{key}");
        }
        assert!(takes(&filters, "keep") && takes(&filters, "a/b") && takes(&filters, "a/bb/c"));
    }

    #[test]
    fn what_no_rule_matches_is_taken() {
        assert!(takes(&rules(&["+ *.jpg"]), "a.png"));
        assert!(takes(&rules(&[]), "anything\nat all"));
        assert!(!takes(&rules(&["+ *.jpg", "- **"]), "dir/a\nb.png"));
    }

    #[test]
    fn listed_files_are_exact_and_exclude_rules() {
        let spec = FilterSpec {
            files: Some(vec!["file1.jpg".into(), "/d/file2.jpg".into(), "*".into()]),
            max_size: Some(10),
            ..FilterSpec::default()
        };
        let filters = Filters::compile(&spec, at(0)).unwrap();
        assert!(takes(&filters, "file1.jpg") && takes(&filters, "d/file2.jpg"));
        assert!(takes(&filters, "*"));
        assert_eq!(
            filters.decide("x", 1, at(0)),
            Decision::Leave(Leave::NotListed)
        );
        assert!(!takes(&filters, "potato/file1.jpg"));
        assert_eq!(
            filters.decide("file1.jpg", 11, at(0)),
            Decision::Leave(Leave::TooLarge)
        );
        let both = FilterSpec {
            rules: vec![FilterRule::exclude("a")],
            ..spec
        };
        assert!(Filters::compile(&both, at(0)).is_err());
    }

    #[test]
    fn sizes_are_inclusive() {
        let spec = FilterSpec {
            min_size: Some(100),
            max_size: Some(200),
            ..FilterSpec::default()
        };
        let filters = Filters::compile(&spec, at(0)).unwrap();
        let decide = |size| filters.decide("k", size, at(0));
        assert_eq!(decide(99), Decision::Leave(Leave::TooSmall));
        assert_eq!((decide(100), decide(200)), (Decision::Take, Decision::Take));
        assert_eq!(decide(201), Decision::Leave(Leave::TooLarge));
    }

    #[test]
    fn ages_are_inclusive_and_measured_from_the_given_instant() {
        let spec = FilterSpec {
            min_age_s: Some(10),
            max_age_s: Some(20),
            ..FilterSpec::default()
        };
        let filters = Filters::compile(&spec, at(1000)).unwrap();
        let decide = |seconds| filters.decide("k", 1, at(seconds));
        assert_eq!(decide(979), Decision::Leave(Leave::TooOld));
        assert_eq!((decide(980), decide(990)), (Decision::Take, Decision::Take));
        assert_eq!(decide(991), Decision::Leave(Leave::TooYoung));
        assert_eq!(
            decide(2000),
            Decision::Leave(Leave::TooYoung),
            "from the future"
        );
        let endless = FilterSpec {
            max_age_s: Some(u64::MAX),
            ..FilterSpec::default()
        };
        let filters = Filters::compile(&endless, Timestamp::MAX).unwrap();
        assert_eq!(filters.decide("k", 1, Timestamp::MIN), Decision::Take);
    }

    #[test]
    fn malformed_rules_are_refused() {
        for line in ["x", "+", "-", "+  ", "*.jpg", "-*.jpg", "!x", "é"] {
            assert!(FilterSpec::default().add_line(line).is_err(), "{line}");
        }
        let spec = FilterSpec {
            rules: vec![FilterRule::exclude("[")],
            ..FilterSpec::default()
        };
        assert!(Filters::compile(&spec, at(0)).is_err());
    }

    /// The same rules evaluated one after the other.
    fn one_by_one(rules: &[FilterRule], key: &str) -> bool {
        let first = rules.iter().find(|rule| {
            regex::Regex::new(&rule.regex().unwrap())
                .unwrap()
                .is_match(key)
        });
        first.is_none_or(|rule| rule.include)
    }

    proptest! {
        #[test]
        fn all_rules_at_once_decide_as_one_after_the_other(
            patterns in prop::collection::vec((any::<bool>(), r"/?([ab*?/]|\*\*|\{a,b\}){1,5}/?"), 0..6),
            keys in prop::collection::vec("[ab/]{0,6}", 1..8),
        ) {
            let rules: Vec<_> = patterns
                .into_iter()
                .map(|(include, pattern)| FilterRule { include, pattern })
                .filter(|rule| rule.regex().is_ok())
                .collect();
            let spec = FilterSpec { rules: rules.clone(), ..FilterSpec::default() };
            let filters = Filters::compile(&spec, at(0)).unwrap();
            for key in keys {
                prop_assert_eq!(takes(&filters, &key), one_by_one(&rules, &key));
            }
        }

        #[test]
        fn an_escaped_key_matches_itself_alone(key in r"[a-z*?{}\[\],.\\ ()^$|+&~-]{1,12}", other in "[a-z*?]{1,12}") {
            let escaped: String = key
                .chars()
                .flat_map(|c| (!c.is_alphanumeric()).then_some('\\').into_iter().chain([c]))
                .collect();
            let rules = vec![FilterRule::exclude(format!("/{escaped}"))];
            let spec = FilterSpec { rules, ..FilterSpec::default() };
            let filters = Filters::compile(&spec, at(0)).unwrap();
            prop_assert!(!takes(&filters, &key));
            prop_assert_eq!(takes(&filters, &other), key != other);
        }
    }
}
