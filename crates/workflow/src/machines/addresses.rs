//! Where the machines of a dataplane reach each other: what each announces, and what firewalls let in.

use std::collections::BTreeSet;
use std::net::IpAddr;

use skyhaul_state::control::{DataplaneRow, MemberRow};

use super::is_guest;

/// Where a member can be reached by all others: inside their network, if that is one. A guest with an address of such a
/// network is in it.
pub(super) fn announced(row: &DataplaneRow, member: &MemberRow) -> Option<IpAddr> {
    let is_near = |other: &MemberRow| {
        other.plan.region == member.plan.region
            || (is_guest(other) && other.private_address.is_some_and(is_private))
    };
    if row.members.iter().all(is_near) {
        member.private_address
    } else {
        member.public_address.or(member.private_address)
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

/// The addresses that the members come from. Who connects to what is announced inside a network comes from inside, and
/// to what is announced outside from outside: so one for each, and rules of a security group are few.
pub(super) fn of(row: &DataplaneRow) -> BTreeSet<IpAddr> {
    let members = row.members.iter();
    members
        .filter_map(|member| announced(row, member))
        .collect()
}
