//! Filters: rules keep the order in which they were given, across all flags that make rules.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use skyhaul_model::Result;
use skyhaul_model::filter::{FilterRule, FilterSpec};

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
        let flags = &self.flags;
        let mut spec = FilterSpec {
            min_size: flags.min_size,
            max_size: flags.max_size,
            min_age_s: flags.min_age.map(|age| age.as_secs()),
            max_age_s: flags.max_age.map(|age| age.as_secs()),
            ..FilterSpec::default()
        };
        let mut includes = false;
        for source in &self.ordered {
            match source {
                Source::Include(pattern) => spec.rules.push(FilterRule::include(pattern)),
                Source::Exclude(pattern) => spec.rules.push(FilterRule::exclude(pattern)),
                Source::Filter(line) => spec.add_line(line)?,
                Source::FilterFrom(path) => {
                    for line in files::lines(&files::read(path)?) {
                        spec.add_line(line)
                            .map_err(|error| error.object(path.display().to_string()))?;
                    }
                }
                Source::IncludeFrom(path) => {
                    let text = files::read(path)?;
                    spec.rules
                        .extend(files::lines(&text).map(FilterRule::include));
                }
                Source::ExcludeFrom(path) => {
                    let text = files::read(path)?;
                    spec.rules
                        .extend(files::lines(&text).map(FilterRule::exclude));
                }
            }
            includes |= matches!(source, Source::Include(_) | Source::IncludeFrom(_));
        }
        // As rclone: whoever says what to include means nothing else.
        if includes {
            spec.rules.push(FilterRule::exclude("**"));
        }
        for path in &flags.files_from {
            let text = files::read(path)?;
            let names = files::lines(&text).map(str::to_owned);
            spec.files.get_or_insert_default().extend(names);
        }
        Ok(spec)
    }
}
