//! What `cp` and `sync` have in common.

use std::path::PathBuf;

use clap::Args;
use skyhaul_model::compare::{Compare, IfExists};
use skyhaul_model::guard::DeletePolicy;
use skyhaul_model::spec::Mode;
use skyhaul_model::{Location, Result};
use skyhaul_workflow::CopyRequest;

use super::{AttributeArgs, FilterArgs, PartArgs, SidesArgs, SpeedArgs, SubmitArgs};
use crate::config::{Config, Name, Value};

/// Where reports go.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct ToReportArgs {
    /// Write a JSON line for each object to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// What is moved from where to where.
#[derive(Debug, Clone, Args)]
pub(crate) struct WhatArgs {
    /// Show what would happen, an object a line, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Start anew even if the same transfer was interrupted before
    #[arg(long)]
    pub(crate) fresh: bool,
    #[command(flatten)]
    sides: SidesArgs,
    #[command(flatten)]
    filters: FilterArgs,
    /// Copy what matches before all else (repeatable)
    #[arg(
        long,
        value_name = "PATTERN",
        help_heading = "Filters (the first rule that matches decides)"
    )]
    first: Vec<String>,
}

/// How it is moved. Apart from [`WhatArgs`] because help shows what lies between the two.
#[derive(Debug, Clone, Args)]
pub(crate) struct HowArgs {
    #[command(flatten)]
    attributes: AttributeArgs,
    #[command(flatten)]
    pub(crate) speed: SpeedArgs,
    #[command(flatten)]
    parts: PartArgs,
    #[command(flatten)]
    pub(crate) submit: SubmitArgs,
    #[command(flatten)]
    pub(crate) report: ToReportArgs,
}

/// In what `cp` and `sync` differ.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Copy or sync.
    pub(crate) mode: Mode,
    /// Whether `-r` was said.
    pub(crate) recursive: bool,
    /// How a sync compares.
    pub(crate) compare: Compare,
    /// More destinations.
    pub(crate) also: Vec<Location>,
    /// What a copy does with existing objects.
    pub(crate) if_exists: IfExists,
    /// Whether a sync deletes.
    pub(crate) delete: Option<DeletePolicy>,
}

impl HowArgs {
    /// What these flags override.
    pub(crate) fn overrides(&self) -> Vec<(Name, Value)> {
        let mut all = self.speed.overrides();
        all.extend(self.parts.overrides());
        all.extend(self.submit.place.overrides());
        all
    }
}

impl WhatArgs {
    /// What is asked for.
    pub(crate) fn request(
        &self,
        kind: Kind,
        how: &HowArgs,
        config: &Config,
    ) -> Result<CopyRequest> {
        let mut destinations = vec![self.sides.destination(config)?];
        for place in &kind.also {
            destinations.push(self.sides.as_destination(place, config)?);
        }
        Ok(CopyRequest {
            mode: kind.mode,
            source: self.sides.source(config)?,
            destinations,
            recursive: kind.recursive,
            filters: self.filters.spec()?,
            first: self.first.clone(),
            compare: kind.compare,
            if_exists: kind.if_exists,
            delete: kind.delete,
            attributes: how.attributes.policy()?,
            parts: config.parts(),
            checksum: config.checksum(),
            encryption: how.attributes.encryption()?,
            stream: config.switch(Name::Stream),
            follow_symlinks: config.switch(Name::FollowSymlinks),
            durability: config.durability(),
        })
    }
}
