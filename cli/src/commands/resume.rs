//! `skyhaul resume`.

use skyhaul_model::Result;

use super::{deployment, transfer};
use crate::args::ResumeArgs;
use crate::config::Name;
use crate::confirm;
use crate::context::{Context, sliced_driver};

/// Runs it.
pub(crate) async fn run(context: &Context, args: ResumeArgs) -> Result<u8> {
    let mut overrides = args.speed.overrides();
    overrides.extend(args.consent.overrides());
    overrides.extend(args.place.overrides());
    let config = context.config(overrides)?;
    if let Some(place) = config.stack() {
        return deployment::resume(context, &config, &place, &args).await;
    }
    let embedded = sliced_driver(&config, &args.speed)?;
    if let Some(id) = &args.id
        && embedded.transfer(id).await?.row.spec.delete.is_some()
    {
        confirm::possible(config.switch(Name::Autoconfirm))?;
    }
    transfer::resume(context, &config, &embedded, args.id, args.report.report).await
}
