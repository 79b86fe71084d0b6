//! `skyhaul sync`.

use skyhaul_model::Result;
use skyhaul_model::compare::{Compare, IfExists};
use skyhaul_model::spec::Mode;

use super::transfer;
use crate::args::{Kind, SyncArgs};
use crate::context::Context;

/// Runs it.
pub(crate) async fn run(context: &Context, args: &SyncArgs) -> Result<u8> {
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
    transfer::request(context, &args.what, &args.how, &config, request).await
}
