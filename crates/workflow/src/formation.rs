//! How the gateways of a transfer stand to each other: who connects to whom, and over which ways groups
//! reach the destinations. Direct ways; over a relay where there is one.

use std::net::SocketAddr;

use skyhaul_gateway::Route;
use skyhaul_gateway::config::Config;
use skyhaul_state::control::MemberRole;

/// A gateway of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// What it does.
    pub role: MemberRole,
    /// The destinations that it writes to, by their index; of a destination gateway.
    pub destinations: Vec<u32>,
}

/// The configuration of each gateway, made from what all have in common. `connections` are those of a
/// gateway to all its neighbours together; who is connected to listens at `listen`.
#[must_use]
pub fn configure(
    base: &Config,
    gateways: &[Standing],
    connections: usize,
    listen: SocketAddr,
) -> Vec<Config> {
    let named = |role| {
        let of = gateways.iter().filter(move |gateway| gateway.role == role);
        of.map(|gateway| gateway.name.clone()).collect::<Vec<_>>()
    };
    let (relays, destinations) = (named(MemberRole::Relay), named(MemberRole::Destination));
    let near = if relays.is_empty() {
        &destinations
    } else {
        &relays
    };
    let share = |peers: &[String]| connections.div_ceil(peers.len().max(1)).max(1);
    let mut routes = Vec::new();
    for gateway in gateways {
        if gateway.role != MemberRole::Destination {
            continue;
        }
        let mut way = |hops| {
            routes.push(Route {
                hops,
                weight: 1,
                destinations: gateway.destinations.clone(),
            });
        };
        if relays.is_empty() {
            way(vec![gateway.name.clone()]);
        }
        for relay in &relays {
            way(vec![relay.clone(), gateway.name.clone()]);
        }
    }
    let config = |gateway: &Standing| {
        let named = Config {
            name: gateway.name.clone(),
            ..base.clone()
        };
        match gateway.role {
            MemberRole::Source => Config {
                connections: share(near),
                peers: near.clone(),
                routes: routes.clone(),
                ..named
            },
            MemberRole::Relay => Config {
                listen: Some(listen),
                // It can read nothing of what passes.
                data: None,
                segments: None,
                connections: share(&destinations),
                peers: destinations.clone(),
                ..named
            },
            MemberRole::Destination => Config {
                listen: Some(listen),
                segments: None,
                ..named
            },
        }
    };
    gateways.iter().map(config).collect()
}
