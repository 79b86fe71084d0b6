//! `skyhaul cp`.

use skyhaul_model::Result;
use skyhaul_model::compare::Compare;
use skyhaul_model::spec::Mode;

use super::transfer;
use crate::args::{CpArgs, Kind};
use crate::context::Context;

/// Runs it.
pub(crate) async fn run(context: &Context, args: &CpArgs) -> Result<u8> {
    let config = context.config(args.how.overrides())?;
    let kind = Kind {
        mode: Mode::Copy,
        recursive: args.recursive,
        also: args.also.clone(),
        compare: Compare::default(),
        if_exists: args.existing.policy(),
        delete: None,
    };
    let request = args.what.request(kind, &args.how, &config)?;
    transfer::request(context, &args.what, &args.how, &config, request).await
}
