//! Filters: rules keep the order in which they were given, across all flags that make rules.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use skyhaul_model::filter::{FilterRule, FilterSpec};
use skyhaul_model::{Error, Result};

use crate::{files, values};

/// The flags as clap sees them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters (the first rule that matches decides)")]
struct Flags {
    /// Take what matches; everything that no rule takes is left out
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out what matches
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// A rule: `+ PATTERN` takes, `- PATTERN` leaves out
    #[arg(long, value_name = "RULE", allow_hyphen_values = true)]
    filter: Vec<String>,
    /// Rules, a line each; `-` is stdin
    #[arg(long, value_name = "FILE")]
    filter_from: Vec<PathBuf>,
    /// Patterns to take, a line each
    #[arg(long, value_name = "FILE")]
    include_from: Vec<PathBuf>,
    /// Patterns to leave out, a line each
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
    /// Only the names in this file, relative to the source; `-` is stdin
    #[arg(long, value_name = "FILE")]
    files_from: Vec<PathBuf>,
    /// Leave out what is smaller
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    min_size: Option<u64>,
    /// Leave out what is larger
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    max_size: Option<u64>,
    /// Leave out what is younger (24h, 7d) [alias: --older-than]
    #[arg(long, value_name = "AGE", alias = "older-than", value_parser = values::duration)]
    min_age: Option<Duration>,
    /// Leave out what is older (24h, 7d) [alias: --newer-than]
    #[arg(long, value_name = "AGE", alias = "newer-than", value_parser = values::duration)]
    max_age: Option<Duration>,
}

/// One flag that makes rules.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Include(String),
    Exclude(String),
    Filter(String),
    FilterFrom(PathBuf),
    IncludeFrom(PathBuf),
    ExcludeFrom(PathBuf),
}

/// Filters as given.
#[derive(Debug, Clone, Default)]
pub(crate) struct FilterArgs {
    flags: Flags,
    ordered: Vec<Source>,
}

impl FromArgMatches for FilterArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut this = Self::default();
        this.update_from_arg_matches(matches)?;
        Ok(this)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let mut found = Vec::new();
        let mut texts = |name: &str, make: fn(String) -> Source| {
            let places = matches.indices_of(name).into_iter().flatten();
            let values = matches.get_many::<String>(name).into_iter().flatten();
            found.extend(places.zip(values.cloned().map(make)));
        };
        texts("include", Source::Include);
        texts("exclude", Source::Exclude);
        texts("filter", Source::Filter);
        let mut paths = |name: &str, make: fn(PathBuf) -> Source| {
            let places = matches.indices_of(name).into_iter().flatten();
            let values = matches.get_many::<PathBuf>(name).into_iter().flatten();
            found.extend(places.zip(values.cloned().map(make)));
        };
        paths("filter_from", Source::FilterFrom);
        paths("include_from", Source::IncludeFrom);
        paths("exclude_from", Source::ExcludeFrom);
        found.sort_by_key(|(place, _)| *place);
        self.ordered = found.into_iter().map(|(_, source)| source).collect();
        self.flags = Flags::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for FilterArgs {
    fn augment_args(command: Command) -> Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args_for_update(command)
    }
}

impl FilterArgs {
    /// Reads the files named and puts the rules in order.
    pub(crate) fn spec(&self) -> Result<FilterSpec> {
        let mut rules = Vec::new();
        let mut includes = false;
        let rule = |include: bool, pattern: &str| FilterRule {
            include,
            pattern: pattern.to_owned(),
        };
        for source in &self.ordered {
            match source {
                Source::Include(pattern) => rules.push(rule(true, pattern)),
                Source::Exclude(pattern) => rules.push(rule(false, pattern)),
                Source::Filter(line) => add(&mut rules, line)?,
                Source::FilterFrom(path) => {
                    for line in files::lines(&files::read(path)?) {
                        add(&mut rules, line)
                            .map_err(|error| error.object(path.display().to_string()))?;
                    }
                }
                Source::IncludeFrom(path) => {
                    rules.extend(files::lines(&files::read(path)?).map(|line| rule(true, line)));
                }
                Source::ExcludeFrom(path) => {
                    rules.extend(files::lines(&files::read(path)?).map(|line| rule(false, line)));
                }
            }
            includes |= matches!(source, Source::Include(_) | Source::IncludeFrom(_));
        }
        // As rclone: whoever says what to include means nothing else.
        if includes {
            rules.push(rule(false, "**"));
        }
        let mut names: Option<Vec<String>> = None;
        for path in &self.flags.files_from {
            let text = files::read(path)?;
            names
                .get_or_insert_default()
                .extend(files::lines(&text).map(str::to_owned));
        }
        Ok(FilterSpec {
            rules,
            files: names,
            min_size: self.flags.min_size,
            max_size: self.flags.max_size,
            min_age_s: self.flags.min_age.map(|age| age.as_secs()),
            max_age_s: self.flags.max_age.map(|age| age.as_secs()),
        })
    }
}

/// Adds a rule as `--filter` takes it; `!` forgets the rules before it.
fn add(rules: &mut Vec<FilterRule>, line: &str) -> Result<()> {
    let (sign, pattern) = line.split_at_checked(2).unwrap_or((line, ""));
    match (sign, pattern) {
        ("+ ", pattern) if !pattern.is_empty() => {
            rules.push(FilterRule {
                include: true,
                pattern: pattern.to_owned(),
            });
        }
        ("- ", pattern) if !pattern.is_empty() => {
            rules.push(FilterRule {
                include: false,
                pattern: pattern.to_owned(),
            });
        }
        ("!", "") => rules.clear(),
        _ => {
            return Err(Error::invalid(format!("`{line}` is not a filter rule"))
                .hint("`+ PATTERN`, `- PATTERN` or `!`"));
        }
    }
    Ok(())
}
