//! How many vCPUs of a kind an account uses, how many a machine takes, and how many there may be.

use aws_sdk_ec2::error::DisplayErrorContext;
use aws_sdk_ec2::types::{Filter, Instance, InstanceLifecycleType, InstanceType, Reservation};
use skyhaul_model::machine::Market;
use skyhaul_model::{Error, ErrorKind, Result};

use super::{Ec2, failure};
use crate::Room;
use crate::region::Architecture;

/// Types that share the quota of standard machines, by the first letters of their names:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-quotas.html>.
const STANDARD: &str = "acdhimrtz";

/// The quota of a kind of machine.
fn code(market: Market, instance_type: &str) -> Option<&'static str> {
    is_standard(instance_type).then_some(match market {
        Market::OnDemand => "L-1216C47A",
        Market::Spot => "L-34B43A08",
    })
}

/// `c7gn.large` and `im4gn.large` are, `inf1.xlarge`, `trn1.2xlarge`, `hpc7g.4xlarge`, `dl1.24xlarge`,
/// `mac2.metal` and `u-6tb1.metal` are not.
fn is_standard(instance_type: &str) -> bool {
    let letters: String = instance_type
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .collect();
    let special = ["inf", "trn", "hpc", "dl", "mac"];
    let first = letters.chars().next();
    first.is_some_and(|first| STANDARD.contains(first)) && !special.contains(&letters.as_str())
}

pub(super) async fn room(ec2: &Ec2, market: Market, instance_type: &str) -> Result<Room> {
    let architecture = Architecture::of(instance_type);
    if !ec2.region.images.contains_key(&architecture) {
        let message = "gateways were not built for the processors of this type";
        return Err(Error::control(ErrorKind::NotFound, message)
            .object(instance_type)
            .hint("types without a `g` behind their generation have x86-64 processors"));
    }
    let failed = "the room for machines cannot be looked at";
    let types = ec2
        .client
        .describe_instance_types()
        .instance_types(InstanceType::from(instance_type))
        .send()
        .await
        .map_err(|error| failure::of(&error, failed, instance_type))?;
    let each = types
        .instance_types()
        .first()
        .and_then(|one| one.v_cpu_info()?.default_v_cpus())
        .and_then(|count| u32::try_from(count).ok())
        .ok_or_else(|| {
            let message = "the region has no such type of machine";
            Error::control(ErrorKind::NotFound, message).object(instance_type)
        })?;
    let quota = code(market, instance_type);
    let mut pages = ec2
        .client
        .describe_instances()
        .filters(
            Filter::builder()
                .name("instance-state-name")
                .values("pending")
                .values("running")
                .build(),
        )
        .into_paginator()
        .send();
    let mut used = 0;
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| failure::of(&error, failed, instance_type))?;
        let all = page.reservations().iter().flat_map(Reservation::instances);
        let same = all.filter(|one| {
            let market = if one.instance_lifecycle() == Some(&InstanceLifecycleType::Spot) {
                Market::Spot
            } else {
                Market::OnDemand
            };
            let name = one.instance_type().map_or("", InstanceType::as_str);
            quota.is_some() && code(market, name) == quota
        });
        used += same.map(|one| vcpus(one, each)).sum::<u32>();
    }
    Ok(Room {
        each,
        used,
        quota: match quota {
            Some(code) => allowed(ec2, "ec2", code).await,
            None => None,
        },
        code: quota.unwrap_or("unknown").to_owned(),
    })
}

/// Inbound rules of a security group, and how many there may be where nothing else is told:
/// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups>.
const RULES: (&str, u32) = ("L-0EA8095F", 60);

/// How many addresses the rules of a security group have room for.
pub(super) async fn addresses(ec2: &Ec2) -> (u32, &'static str) {
    let (code, usual) = RULES;
    (allowed(ec2, "vpc", code).await.unwrap_or(usual), code)
}

/// What the account may use. Who may not ask for it finds out at the launch.
async fn allowed(ec2: &Ec2, service: &str, code: &str) -> Option<u32> {
    let request = ec2.quotas.get_service_quota();
    let reply = request.service_code(service).quota_code(code).send().await;
    match reply {
        // The service tells whole numbers as floating ones; what is no such number bounds nothing.
        Ok(reply) => format!("{:.0}", reply.quota()?.value()?).parse().ok(),
        Err(error) => {
            let error = DisplayErrorContext(error);
            tracing::warn!(code, "a quota cannot be looked at: {error}");
            None
        }
    }
}

/// As the machine tells, or as `otherwise` where it does not.
fn vcpus(instance: &Instance, otherwise: u32) -> u32 {
    let told = instance.cpu_options().and_then(|options| {
        let (cores, threads) = (options.core_count()?, options.threads_per_core()?);
        u32::try_from(cores * threads).ok()
    });
    told.filter(|count| *count > 0).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_share_a_quota() {
        for (name, standard) in [
            ("c7gn.large", true),
            ("m6i.metal", true),
            ("im4gn.large", true),
            ("t3.micro", true),
            ("inf1.xlarge", false),
            ("trn1.2xlarge", false),
            ("hpc7g.4xlarge", false),
            ("dl1.24xlarge", false),
            ("p5.48xlarge", false),
            ("g5.xlarge", false),
            ("x2idn.metal", false),
            ("u-6tb1.metal", false),
            ("", false),
        ] {
            assert_eq!(is_standard(name), standard, "{name}");
        }
        let code = |market| code(market, "c5.large");
        assert_ne!(code(Market::Spot), code(Market::OnDemand));
    }
}
