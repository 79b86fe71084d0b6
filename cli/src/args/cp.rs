//! `skyhaul cp`.

use clap::Args;
use skyhaul_model::Location;

use super::endpoint::location;
use super::{HowArgs, IfExistsArgs, WhatArgs};

/// Copy objects or files
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
An object goes to the name DST, or into DST if that ends in a slash. With -r
everything under SRC goes under DST; `foo` never touches `foobar`. To several
DST everything is copied to each, and SRC is read once. The same command again
goes on with a copy that was interrupted.

Examples:
  skyhaul cp s3://bucket/file.bin .
  skyhaul cp -r s3://bucket/logs/ /data/logs --include '*.gz'
  skyhaul cp -r s3://one/ s3://two/ --dst-endpoint minio --report copied.jsonl")]
pub(crate) struct CpArgs {
    /// Copy everything under SRC
    #[arg(short, long)]
    pub(crate) recursive: bool,
    #[command(flatten)]
    pub(crate) what: WhatArgs,
    /// More destinations: the source is read once for all of them
    #[arg(value_name = "DST", value_parser = location)]
    pub(crate) also: Vec<Location>,
    #[command(flatten)]
    pub(crate) existing: IfExistsArgs,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    // Scripts say it to every command that moves data.
    #[arg(short, long, hide = true)]
    yes: bool,
}
