//! The security group of a dataplane: from its members' addresses, on the gateways' port. It goes with the
//! dataplane.
//!
//! No rule lets ICMP in: gateways find the path's MTU by probing (`net.ipv4.tcp_mtu_probing`), so nothing
//! has to be open to routers that nobody can list.

use std::collections::BTreeSet;
use std::net::IpAddr;

use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, ResourceType, SecurityGroup};
use skyhaul_model::machine::DataplaneId;
use skyhaul_model::{Error, ErrorKind, Result};

use super::{Ec2, failure, filter, launch, tagged};
use crate::region::{DATAPLANE_TAG, STACK_TAG};

/// What the rules say to people.
const DESCRIPTION: &str = "skyhaul gateway";

fn name(ec2: &Ec2, dataplane: &DataplaneId) -> String {
    format!("skyhaul-{}-{dataplane}", ec2.region.stack)
}

/// The dataplane's group, if there is one.
async fn find(ec2: &Ec2, dataplane: &DataplaneId) -> Result<Option<SecurityGroup>> {
    let request = ec2
        .client
        .describe_security_groups()
        .filters(filter("vpc-id", &ec2.region.vpc))
        .filters(filter("group-name", name(ec2, dataplane)))
        .filters(tagged(STACK_TAG, &ec2.region.stack))
        .filters(tagged(DATAPLANE_TAG, dataplane.as_str()));
    let reply = request.send().await.map_err(|error| {
        failure::of(
            &error,
            "the firewall cannot be looked at",
            dataplane.as_str(),
        )
    })?;
    Ok(reply.security_groups.unwrap_or_default().into_iter().next())
}

/// The name of the dataplane's group, which is made if there is none.
pub(super) async fn group(ec2: &Ec2, dataplane: &DataplaneId) -> Result<String> {
    let named = |group: &SecurityGroup| group.group_id().map(ToOwned::to_owned);
    if let Some(id) = find(ec2, dataplane).await?.as_ref().and_then(named) {
        return Ok(id);
    }
    let made = ec2
        .client
        .create_security_group()
        .group_name(name(ec2, dataplane))
        .description(format!("gateways of dataplane {dataplane}"))
        .vpc_id(&ec2.region.vpc)
        .tag_specifications(launch::specification(
            ResourceType::SecurityGroup,
            &ec2.tags(dataplane),
        ))
        .send()
        .await;
    let id = match made {
        Ok(made) => made.group_id,
        // Somebody else made it at the same time, or an earlier call whose reply was lost.
        Err(error) if failure::code(&error) == "InvalidGroup.Duplicate" => {
            find(ec2, dataplane).await?.as_ref().and_then(named)
        }
        Err(error) => {
            let what = "the firewall cannot be made";
            return Err(failure::of(&error, what, dataplane.as_str()));
        }
    };
    id.ok_or_else(|| {
        let message = "the firewall was made and cannot be found yet";
        Error::control(ErrorKind::Service, message).object(dataplane.as_str())
    })
}

/// A group's rules: those that are ours, by address, and all others.
fn rules(group: &SecurityGroup, port: u16) -> (BTreeSet<IpAddr>, Vec<IpPermission>) {
    let (mut ours, mut others) = (BTreeSet::new(), Vec::new());
    let port = Some(i32::from(port));
    for permission in group.ip_permissions() {
        let is_port = permission.ip_protocol() == Some("tcp")
            && permission.from_port() == port
            && permission.to_port() == port;
        let single = |range: Option<&str>, bits: &str| {
            let address = range.and_then(|range| range.strip_suffix(bits));
            address.and_then(|address| address.parse::<IpAddr>().ok())
        };
        let mut foreign = permission.clone();
        if is_port {
            let v4 = foreign.ip_ranges.take().unwrap_or_default();
            let v6 = foreign.ipv6_ranges.take().unwrap_or_default();
            let (v4, left4): (Vec<_>, Vec<_>) = v4
                .into_iter()
                .partition(|range| single(range.cidr_ip(), "/32").is_some());
            let (v6, left6): (Vec<_>, Vec<_>) = v6
                .into_iter()
                .partition(|range| single(range.cidr_ipv6(), "/128").is_some());
            ours.extend(v4.iter().filter_map(|range| single(range.cidr_ip(), "/32")));
            ours.extend(
                v6.iter()
                    .filter_map(|range| single(range.cidr_ipv6(), "/128")),
            );
            foreign.ip_ranges = Some(left4);
            foreign.ipv6_ranges = Some(left6);
        }
        let is_empty = foreign.ip_ranges().is_empty()
            && foreign.ipv6_ranges().is_empty()
            && foreign.prefix_list_ids().is_empty()
            && foreign.user_id_group_pairs().is_empty();
        if !is_empty {
            others.push(foreign);
        }
    }
    (ours, others)
}

fn permission<'a>(port: u16, from: impl Iterator<Item = &'a IpAddr>) -> Option<IpPermission> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in from {
        match address {
            IpAddr::V4(address) => v4.push(
                IpRange::builder()
                    .cidr_ip(format!("{address}/32"))
                    .description(DESCRIPTION)
                    .build(),
            ),
            IpAddr::V6(address) => v6.push(
                Ipv6Range::builder()
                    .cidr_ipv6(format!("{address}/128"))
                    .description(DESCRIPTION)
                    .build(),
            ),
        }
    }
    if v4.is_empty() && v6.is_empty() {
        return None;
    }
    let port = i32::from(port);
    let permission = IpPermission::builder()
        .ip_protocol("tcp")
        .from_port(port)
        .to_port(port)
        .set_ip_ranges((!v4.is_empty()).then_some(v4))
        .set_ipv6_ranges((!v6.is_empty()).then_some(v6));
    Some(permission.build())
}

pub(super) async fn set(
    ec2: &Ec2,
    dataplane: &DataplaneId,
    from: Option<&BTreeSet<IpAddr>>,
) -> Result<()> {
    match from {
        Some(from) => allow(ec2, dataplane, from).await,
        None => remove(ec2, dataplane).await,
    }
}

async fn allow(ec2: &Ec2, dataplane: &DataplaneId, from: &BTreeSet<IpAddr>) -> Result<()> {
    let id = group(ec2, dataplane).await?;
    let found = find(ec2, dataplane).await?;
    let port = ec2.region.port;
    let (there, others) = found
        .as_ref()
        .map(|group| rules(group, port))
        .unwrap_or_default();
    // What is too much goes first: the service bounds how many there are.
    let old: Vec<&IpAddr> = there.difference(from).collect();
    let gone = permission(port, old.iter().copied());
    let gone: Vec<_> = gone.into_iter().chain(others.clone()).collect();
    if !revoke(ec2, dataplane, &id, gone).await? {
        // Somebody else has revoked one of them: then all of the call was refused.
        let single = old.into_iter().map(std::iter::once);
        let single = single.filter_map(|one| permission(port, one));
        for one in single.chain(others) {
            revoke(ec2, dataplane, &id, vec![one]).await?;
        }
    }
    // One by one where somebody else adds the same: a rule that is there refuses all of a call.
    let new: Vec<&IpAddr> = from.difference(&there).collect();
    let all = permission(port, new.iter().copied());
    if add(ec2, dataplane, &id, all).await? {
        return Ok(());
    }
    for address in new {
        let one = permission(port, std::iter::once(address));
        add(ec2, dataplane, &id, one).await?;
    }
    Ok(())
}

/// False if one of the rules is not there.
async fn revoke(
    ec2: &Ec2,
    dataplane: &DataplaneId,
    group: &str,
    rules: Vec<IpPermission>,
) -> Result<bool> {
    if rules.is_empty() {
        return Ok(true);
    }
    let request = ec2.client.revoke_security_group_ingress().group_id(group);
    match request.set_ip_permissions(Some(rules)).send().await {
        Ok(_) => Ok(true),
        Err(error) if failure::code(&error) == "InvalidPermission.NotFound" => Ok(false),
        Err(error) => {
            let what = "the firewall cannot be changed";
            Err(failure::of(&error, what, dataplane.as_str()))
        }
    }
}

/// False if one of the rules is there already.
async fn add(
    ec2: &Ec2,
    dataplane: &DataplaneId,
    group: &str,
    rules: Option<IpPermission>,
) -> Result<bool> {
    let Some(rules) = rules else {
        return Ok(true);
    };
    let request = ec2.client.authorize_security_group_ingress();
    match request.group_id(group).ip_permissions(rules).send().await {
        Ok(_) => Ok(true),
        Err(error) if failure::code(&error) == "InvalidPermission.Duplicate" => Ok(false),
        Err(error) => {
            let what = "the firewall cannot be changed";
            Err(failure::of(&error, what, dataplane.as_str()))
        }
    }
}

async fn remove(ec2: &Ec2, dataplane: &DataplaneId) -> Result<()> {
    let Some(group) = find(ec2, dataplane).await? else {
        return Ok(());
    };
    let request = ec2.client.delete_security_group();
    match request.set_group_id(group.group_id).send().await {
        Err(error) if !failure::is_gone(failure::code(&error)) => {
            let what = "the firewall cannot be removed yet";
            Err(failure::of(&error, what, dataplane.as_str()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn rules_of_others_are_told_from_ours() {
        let ours = addresses(&["10.0.0.1", "10.0.0.2", "fd00::1"]);
        let wide = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(7)
            .to_port(7)
            .ip_ranges(IpRange::builder().cidr_ip("0.0.0.0/0").build());
        let ssh = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(22)
            .to_port(22)
            .ip_ranges(IpRange::builder().cidr_ip("10.0.0.1/32").build());
        let group = SecurityGroup::builder()
            .ip_permissions(permission(7, ours.iter()).unwrap())
            .ip_permissions(wide.build())
            .ip_permissions(ssh.build())
            .build();
        let (found, others) = rules(&group, 7);
        assert_eq!(found, ours);
        assert_eq!(others.len(), 2, "{others:?}");
        let none = SecurityGroup::builder().build();
        assert_eq!(rules(&none, 7), (BTreeSet::new(), Vec::new()));
        assert!(permission(7, std::iter::empty()).is_none());
    }
}
