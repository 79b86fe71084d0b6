//! Which machines a transfer asks for: gateways of each role in the regions of both sides, as many as were
//! asked for and as the account has room for.

use std::collections::{BTreeMap, BTreeSet};

use skyhaul_compute::{Compute, Room};
use skyhaul_model::machine::{MemberName, Offer};
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::control::{DataplaneRow, MemberPlan, MemberRole};

use super::Regions;
use super::guests::{self, GUEST};
use super::provision::is_exhausted;
use crate::ceiling::MOST_GATEWAYS;
use crate::order::FleetOrder;

/// The members of a dataplane between the region of the source and those of the destinations.
///
/// Fails with `Full` where not even one gateway of each role fits, saying what is needed, what there is and
/// the quota's code.
pub async fn members(
    regions: &Regions,
    zones: &BTreeMap<String, Vec<String>>,
    fleet: &FleetOrder,
    source: &str,
    destinations: &BTreeSet<String>,
) -> Result<Vec<MemberPlan>> {
    let mut all = Vec::new();
    for (region, roles) in roles(source, destinations) {
        if region == GUEST {
            all.push(MemberPlan {
                name: name(GUEST, MemberRole::Source, 1)?,
                region: GUEST.to_owned(),
                role: MemberRole::Source,
                offers: vec![guests::offer()],
            });
            continue;
        }
        let compute = regions.of(region)?;
        let (first, room) = room(compute, fleet, region).await?;
        let count = fitting(&room, fleet.per_region, roles.len() as u32)
            .ok_or_else(|| no_room(&room, first, region, roles.len() as u32))?;
        let offers = offers(fleet, zones.get(region).map_or(&[], Vec::as_slice));
        if offers.is_empty() {
            let message = "there is no zone to launch gateways in";
            return Err(Error::control(ErrorKind::NotFound, message).object(region));
        }
        for role in roles {
            for number in 1..=count {
                all.push(MemberPlan {
                    name: name(region, role, number)?,
                    region: region.to_owned(),
                    role,
                    offers: offers.clone(),
                });
            }
        }
    }
    if all.len() > MOST_GATEWAYS {
        let message = format!(
            "{} gateways are asked for, and at most {MOST_GATEWAYS} may be",
            all.len()
        );
        return Err(Error::invalid(message).hint("say a smaller --max-instances"));
    }
    reachable(regions, all).await
}

/// Refuses (`Full`) more members than the firewall of a region has room for: each is let in by a rule of its own.
async fn reachable(regions: &Regions, all: Vec<MemberPlan>) -> Result<Vec<MemberPlan>> {
    let places: BTreeSet<_> = all.iter().map(|member| member.region.as_str()).collect();
    for region in places {
        if let Some((most, code)) = regions.of(region)?.most_addresses().await?
            && all.len() > most as usize
        {
            let message = format!(
                "{} gateways need as many rules of a security group, which may have {most} (quota {code})",
                all.len(),
            );
            return Err(Error::control(ErrorKind::Full, message)
                .object(region)
                .hint("have the quota raised, or say a smaller --max-instances"));
        }
    }
    Ok(all)
}

/// What gateways are needed in each region.
pub type Roles<'a> = BTreeMap<&'a str, Vec<MemberRole>>;

/// Those of a transfer between the region of the source and those of the destinations.
#[must_use]
pub fn roles<'a>(source: &'a str, destinations: &'a BTreeSet<String>) -> Roles<'a> {
    let mut roles = Roles::new();
    roles.entry(source).or_default().push(MemberRole::Source);
    for destination in destinations {
        let here = roles.entry(destination).or_default();
        here.push(MemberRole::Destination);
    }
    roles
}

/// Those that a dataplane has.
#[must_use]
pub fn roles_of(row: &DataplaneRow) -> Roles<'_> {
    let mut roles = Roles::new();
    for member in &row.members {
        let here = roles.entry(&member.plan.region).or_default();
        if !here.contains(&member.plan.role) {
            here.push(member.plan.role);
        }
    }
    roles
}

/// Whether machines that are kept are what a transfer asks for: in each region at least so many of each role, of no
/// other kind and market than those that it asks for.
#[must_use]
pub fn serves(row: &DataplaneRow, wanted: &Roles<'_>, fleet: &FleetOrder, least: u32) -> bool {
    let is_asked_for = |offer: &Offer| {
        offer.market == fleet.market && fleet.instance_types.contains(&offer.instance_type)
    };
    let launched = || row.members.iter().filter(|one| !guests::is_guest(one));
    let has = |region: &str, role: MemberRole| {
        let here = row.members.iter().filter(|one| {
            let plan = &one.plan;
            plan.region == region && plan.role == role && !is_exhausted(one)
        });
        let least = if region == GUEST { 1 } else { least };
        here.count() >= least as usize
    };
    roles_of(row) == *wanted
        && launched().all(|one| one.plan.offers.iter().all(is_asked_for))
        && wanted
            .iter()
            .all(|(region, roles)| roles.iter().all(|role| has(region, *role)))
}

/// The first type that the region has at all, and what room there is for it.
pub async fn room<'a>(
    compute: &dyn Compute,
    fleet: &'a FleetOrder,
    region: &str,
) -> Result<(&'a str, Room)> {
    let mut missing = None;
    for instance_type in &fleet.instance_types {
        match compute.room(fleet.market, instance_type).await {
            Ok(room) => return Ok((instance_type, room)),
            Err(error) if error.kind == ErrorKind::NotFound => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    let none = || Error::invalid("no type of machine is asked for").object(region);
    Err(missing.unwrap_or_else(none))
}

/// How many of each of so many roles fit; `None` if not one does.
fn fitting(room: &Room, wanted: u32, roles: u32) -> Option<u32> {
    let fit = room.machines().map_or(wanted, |most| most / roles.max(1));
    Some(fit.min(wanted)).filter(|count| *count > 0)
}

fn no_room(room: &Room, instance_type: &str, region: &str, roles: u32) -> Error {
    let message = format!(
        "{roles} machines of type {instance_type} need {} vCPUs; the account may have {} and uses {} \
         (quota {})",
        room.each * roles,
        room.quota.unwrap_or_default(),
        room.used,
        room.code,
    );
    Error::control(ErrorKind::Full, message)
        .object(region)
        .hint("have the quota raised, or ask for a smaller type (--instance-type)")
}

/// Every type in every zone before the next type.
fn offers(fleet: &FleetOrder, zones: &[String]) -> Vec<Offer> {
    let mut all = Vec::new();
    for instance_type in &fleet.instance_types {
        all.extend(zones.iter().map(|zone| Offer {
            market: fleet.market,
            instance_type: instance_type.clone(),
            zone: zone.clone(),
        }));
    }
    all
}

fn name(region: &str, role: MemberRole, number: u32) -> Result<MemberName> {
    let role = match role {
        MemberRole::Source => "src",
        MemberRole::Relay => "via",
        MemberRole::Destination => "dst",
    };
    format!("{region}-{role}-{number}").parse()
}

#[cfg(test)]
mod tests {
    use skyhaul_model::machine::{DataplaneId, Market};
    use skyhaul_state::control::MemberStatus;
    use skyhaul_state::suite::control::plan;

    use super::*;

    #[test]
    fn as_many_are_asked_for_as_fit() {
        let room = |used, quota| Room {
            each: 4,
            used,
            quota,
            code: "L-1".to_owned(),
        };
        assert_eq!(fitting(&room(0, Some(64)), 4, 2), Some(4));
        assert_eq!(fitting(&room(40, Some(64)), 4, 2), Some(3));
        assert_eq!(fitting(&room(60, Some(64)), 4, 1), Some(1));
        assert_eq!(fitting(&room(60, Some(64)), 4, 2), None);
        assert_eq!(fitting(&room(0, None), 4, 2), Some(4));
        let error = no_room(&room(60, Some(64)), "c6in.xlarge", "eu-west-1", 2).to_string();
        for part in ["8 vCPUs", "may have 64", "uses 60", "L-1"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_is_kept_serves_if_it_is_what_is_asked_for() {
        let fleet = |types: &[&str], market| FleetOrder {
            market,
            instance_types: types.iter().map(|&name| name.to_owned()).collect(),
            ..FleetOrder::default()
        };
        let mut new = plan(DataplaneId::generate(), &["one-src-1", "two-dst-1"], 1);
        for (member, (region, role)) in new.members.iter_mut().zip([
            ("one", MemberRole::Source),
            ("two", MemberRole::Destination),
        ]) {
            member.region = region.to_owned();
            member.role = role;
            member.offers = offers(&fleet(&["a"], Market::OnDemand), &["z".to_owned()]);
        }
        let mut row = DataplaneRow::new(new).unwrap();
        let (there, elsewhere) = (["two".to_owned()].into(), ["three".to_owned()].into());
        let wanted = roles("one", &there);
        let either = fleet(&["b", "a"], Market::OnDemand);
        assert!(serves(&row, &wanted, &either, 1));
        assert!(!serves(&row, &wanted, &either, 2));
        assert!(!serves(&row, &roles("one", &elsewhere), &either, 1));
        assert!(!serves(&row, &wanted, &fleet(&["b"], Market::OnDemand), 1));
        assert!(!serves(&row, &wanted, &fleet(&["a"], Market::Spot), 1));
        row.members[1].status = MemberStatus::Exhausted;
        assert!(!serves(&row, &wanted, &either, 1));
    }

    #[test]
    fn a_type_is_tried_everywhere_before_the_next() {
        let fleet = FleetOrder {
            instance_types: vec!["a".to_owned(), "b".to_owned()],
            ..FleetOrder::default()
        };
        let offers = offers(&fleet, &["1".to_owned(), "2".to_owned()]);
        let tried: Vec<_> = offers
            .iter()
            .map(|offer| format!("{}{}", offer.instance_type, offer.zone))
            .collect();
        assert_eq!(tried, ["a1", "a2", "b1", "b2"]);
    }
}
