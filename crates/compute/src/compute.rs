//! The trait: launch, describe, terminate, firewall, room.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::IpAddr;

use async_trait::async_trait;
use skyhaul_model::Result;
use skyhaul_model::machine::{DataplaneId, IntentId, Machine, MachineId, Market, Offer};

/// One try to launch one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// What it is for.
    pub intent: IntentId,
    /// Which try, from 1. Raised before another offer is tried.
    pub number: u32,
    /// What is asked for.
    pub offer: Offer,
    /// What the machine is started with: the user data of EC2. Holds no secret.
    pub boot: String,
}

/// What became of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launched {
    /// The machine, now or by an earlier call with the same intent and number.
    Machine(Machine),
    /// The provider has none of the kind there now.
    NoCapacity(String),
    /// The account may have no more of the kind.
    OverQuota(String),
    /// This try had a machine, which has ended.
    Ended,
}

/// How many more machines of a kind an account may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// What one machine counts, in vCPUs.
    pub each: u32,
    /// What is used, in vCPUs, by whomever.
    pub used: u32,
    /// What may be used, in vCPUs; `None` where that is not known.
    pub quota: Option<u32>,
    /// What the provider calls the quota, to have it raised.
    pub code: String,
}

impl Room {
    /// Machines that fit; `None` where no bound is known.
    #[must_use]
    pub fn machines(&self) -> Option<u32> {
        let left = self.quota?.saturating_sub(self.used);
        Some(left / self.each.max(1))
    }
}

/// Machines of one region, of one account and one deployment.
///
/// What a provider says of its machines may be older than what was just done: a machine that was launched
/// a moment ago may be missing. Nothing may be concluded from one absence. Calls retry throttling and
/// passing faults themselves; errors (control side) are final for the call.
#[async_trait]
pub trait Compute: Debug + Send + Sync {
    /// Launches a machine. The same intent and number give the same machine, whatever became of earlier
    /// replies; with another offer or boot they are refused (`Invalid`).
    async fn launch(&self, launch: &Launch) -> Result<Launched>;

    /// The machines of a dataplane, or of the whole deployment, by their tags. Ended ones may be missing.
    async fn describe(&self, dataplane: Option<&DataplaneId>) -> Result<Vec<Machine>>;

    /// Tells machines to end. What has ended, or was never there, is no error.
    async fn terminate(&self, machines: &[MachineId]) -> Result<()>;

    /// Makes the gateways of a dataplane reachable from exactly these addresses on the gateways' port, and
    /// from nowhere else; with `None` removes whatever was made for that, which is refused (retryable)
    /// while machines are there.
    async fn firewall(
        &self,
        dataplane: &DataplaneId,
        from: Option<&BTreeSet<IpAddr>>,
    ) -> Result<()>;

    /// What the provider's policies call a machine: who has its credentials is known by this name.
    fn identity(&self, machine: &MachineId) -> String;

    /// From how many addresses a dataplane's gateways can be made reachable, and what the provider calls that quota;
    /// `None` where no bound is known.
    async fn most_addresses(&self) -> Result<Option<(u32, &'static str)>> {
        Ok(None)
    }

    /// How many more machines of a type there may be.
    async fn room(&self, market: Market, instance_type: &str) -> Result<Room>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_what_is_left() {
        let room = |each, used, quota| Room {
            each,
            used,
            quota,
            code: String::new(),
        };
        assert_eq!(room(4, 10, Some(32)).machines(), Some(5));
        assert_eq!(room(4, 40, Some(32)).machines(), Some(0));
        assert_eq!(room(0, 0, Some(3)).machines(), Some(3));
        assert_eq!(room(4, 0, None).machines(), None);
    }
}
