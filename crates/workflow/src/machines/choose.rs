//! Which machines a transfer asks for: gateways of each role in the regions of both sides, as many as were
//! asked for and as the account has room for.

use std::collections::{BTreeMap, BTreeSet};

use skyhaul_compute::{Compute, Room};
use skyhaul_model::machine::{MemberName, Offer};
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::control::{DataplaneRow, MemberPlan, MemberRole};

use super::Regions;
use super::guests::{self, GUEST};
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
