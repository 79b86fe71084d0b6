//! `skyhaul deploy`.

use skyhaul_model::{Error, Result};
use skyhaul_stack::{Deploy, Network};

use super::deployment;
use crate::args::DeployArgs;
use crate::context::Context;
use crate::exit;

/// Runs it.
pub(crate) async fn run(context: &Context, args: &DeployArgs) -> Result<u8> {
    let config = context.config(args.place.overrides())?;
    let place = deployment::place(&config)?;
    if args.vpc.is_some() && args.regions.len() > 1 {
        return Err(Error::invalid("a network is in one region")
            .hint("deploy region by region: --only-regions --region R --vpc V --subnet Z=S"));
    }
    let deploy = Deploy {
        place: place.clone(),
        from: args.from.clone(),
        buckets: args.buckets.clone(),
        roles: args.roles.clone(),
        secrets: args.secrets.clone(),
        parameters: args.parameters.clone(),
        tags: args.tags.clone(),
    };
    if !args.only_regions {
        context.unless_cancelled(Box::pin(deploy.control())).await?;
    }
    let regions = if args.regions.is_empty() {
        let outputs = context.unless_cancelled(place.outputs()).await?;
        let region = outputs.config().region().map(ToString::to_string);
        region.into_iter().collect()
    } else {
        args.regions.clone()
    };
    let network = args.vpc.as_ref().map(|vpc| Network {
        vpc: vpc.clone(),
        subnets: args.subnets.iter().cloned().collect(),
        public: !args.private,
    });
    let mut lines = context.lines();
    for region in &regions {
        let deployed = Box::pin(deploy.region(region, network.as_ref()));
        let deployed = context.unless_cancelled(deployed).await?;
        if !context.global.quiet && !context.global.json {
            let (ec2, gateway) = (&deployed.ec2, &deployed.gateway);
            let zones: Vec<_> = ec2.subnets.keys().map(String::as_str).collect();
            let (zones, sha256) = (zones.join(", "), &gateway.sha256);
            lines.line(format_args!(
                "{region}: {} in {zones}, gateway {sha256}",
                ec2.vpc
            ));
        }
    }
    lines.end().map(|()| exit::DONE)
}
