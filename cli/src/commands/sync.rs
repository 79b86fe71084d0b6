//! `skyhaul sync`.

use skyhaul_model::Result;
use skyhaul_model::compare::{Compare, IfExists};
use skyhaul_model::spec::Mode;
use skyhaul_workflow::CopyRequest;

use super::transfer;
use crate::args::{Kind, SyncArgs};
use crate::config::Config;
use crate::context::Context;

/// Runs it.
pub(crate) async fn run(context: &Context, args: &SyncArgs) -> Result<u8> {
    let (config, request) = request(context, args)?;
    transfer::request(context, &args.what, &args.how, &config, request).await
}

/// What is asked for, and what holds for it.
pub(super) fn request(context: &Context, args: &SyncArgs) -> Result<(Config, CopyRequest)> {
    let mut overrides = args.how.overrides();
    overrides.extend(args.consent.overrides());
    let config = context.config(overrides)?;
    let kind = Kind {
        mode: Mode::Sync,
        recursive: true,
        also: Vec::new(),
        compare: args.compare.policy(Compare::default()),
        if_exists: IfExists::Overwrite,
        delete: args.delete.policy(),
    };
    let request = args.what.request(kind, &args.how, &config)?;
    Ok((config, request))
}
