//! Ways to the destination gateways of a transfer: which there are, and which one is next.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::GatewayId;
use crate::ask::{Path, Slot};
use crate::node::Node;

/// A way that failed is the last choice for this long.
const REST: Duration = Duration::from_secs(2);

/// A body that found no slot for this long shares the idlest link with those that have them.
const CROWD: Duration = Duration::from_secs(30);

/// Names of gateways and who has them now. A gateway that was started anew has another id.
pub type Names = HashMap<String, GatewayId>;

/// A way by names.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Who is to be passed; the last is a destination gateway.
    pub hops: Vec<String>,
    /// Its share of the bytes, beside the others' shares.
    #[serde(default = "one")]
    pub weight: u32,
    /// Which destinations of the transfer the last one writes to. Ways that share one share all.
    #[serde(default = "first")]
    pub destinations: Vec<u32>,
}

impl Route {
    /// A way to the first destination.
    #[must_use]
    pub fn to_first(hops: Vec<String>) -> Self {
        Self {
            hops,
            weight: one(),
            destinations: first(),
        }
    }
}

fn one() -> u32 {
    1
}

fn first() -> Vec<u32> {
    vec![0]
}

/// One way, and what is under way on it.
#[derive(Debug)]
struct Lane {
    route: Route,
    under_way: AtomicU64,
    /// Milliseconds since the start of the process at which it has rested.
    rested: AtomicU64,
}

/// All ways to a destination.
#[derive(Debug)]
pub struct Routes {
    node: Arc<Node>,
    names: watch::Receiver<Names>,
    lanes: Vec<Lane>,
    began: Instant,
    gathered: AtomicBool,
}

/// A way that was chosen, for so many bytes.
pub(crate) struct Chosen<'a> {
    pub(crate) path: Path,
    /// On its first link, for a body.
    pub(crate) slot: Option<Slot>,
    routes: &'a Routes,
    lane: &'a Lane,
    bytes: u64,
}

impl Drop for Chosen<'_> {
    fn drop(&mut self) {
        self.lane.under_way.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Chosen<'_> {
    /// The gateways on it, by name.
    pub(crate) fn hops(&self) -> &[String] {
        &self.lane.route.hops
    }

    /// Where it was chosen.
    pub(crate) fn routes(&self) -> &Routes {
        self.routes
    }

    /// A reply came over it: it need not rest.
    pub(crate) fn works(&self) {
        self.lane.rested.store(0, Ordering::Relaxed);
    }

    /// Lets the way rest, because a call was lost on it.
    pub(crate) fn rest(&self) {
        let until = self.routes.now() + REST.as_millis() as u64;
        self.lane.rested.store(until, Ordering::Relaxed);
    }
}

impl Routes {
    /// Ways of `node`, over gateways that `names` tells of.
    #[must_use]
    pub fn new(node: Arc<Node>, routes: Vec<Route>, names: watch::Receiver<Names>) -> Self {
        let lane = |route| Lane {
            route,
            under_way: AtomicU64::new(0),
            rested: AtomicU64::new(0),
        };
        Self {
            node,
            names,
            lanes: routes.into_iter().map(lane).collect(),
            began: Instant::now(),
            gathered: AtomicBool::new(false),
        }
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn path(&self, lane: &Lane) -> Option<Path> {
        let names = self.names.borrow();
        let hops = lane.route.hops.iter().map(|name| names.get(name).copied());
        let hops: Vec<_> = hops.collect::<Option<_>>()?;
        let link = self.node.idlest(hops.first()?)?;
        Some(Path { link, hops })
    }

    /// The way that has the least under way for its weight, of those of `lanes` that can be used; first
    /// those that share most edges with one of the ways of `beside`.
    fn choose<'a>(
        &'a self,
        lanes: &'a [Lane],
        bytes: u64,
        beside: &[Path],
        takes_slot: bool,
    ) -> Option<Chosen<'a>> {
        let now = self.now();
        let usable = lanes.iter().filter_map(|lane| {
            let path = self.path(lane)?;
            if takes_slot && !path.link.has_slot() {
                return None;
            }
            let resting = lane.rested.load(Ordering::Relaxed) > now;
            let shared = beside.iter().map(|other| path.shares(other)).max();
            let load = lane.under_way.load(Ordering::Relaxed) / u64::from(lane.route.weight.max(1));
            Some(((resting, Reverse(shared), load), lane, path))
        });
        let (_, lane, path) = usable.min_by_key(|(order, _, _)| *order)?;
        let slot = if takes_slot {
            Some(Slot::take(&self.node, &path.link)?)
        } else {
            None
        };
        // So that ways share what costs nothing, too.
        let bytes = bytes + 1_024;
        lane.under_way.fetch_add(bytes, Ordering::Relaxed);
        Some(Chosen {
            path,
            slot,
            routes: self,
            lane,
            bytes,
        })
    }

    /// How many ways are to be waited for: for the first who asks, if there is more than one.
    pub(crate) fn to_gather(&self) -> usize {
        match self.lanes.len() {
            1 => 0,
            _ if self.gathered.swap(true, Ordering::Relaxed) => 0,
            many => many,
        }
    }

    /// One of them, for what has no body, if it can be used.
    pub(crate) fn one(&self, way: usize) -> Option<Chosen<'_>> {
        self.choose(self.lanes.get(way..=way)?, 0, &[], false)
    }

    /// Chooses a way, as soon as there is one; `None` if there is none until `deadline`. What has a body
    /// takes a slot of its link, unless it goes beside others: two that wait for each other's slots would
    /// wait for ever.
    pub(crate) async fn find(
        &self,
        bytes: u64,
        beside: &[Path],
        deadline: Instant,
    ) -> Option<Chosen<'_>> {
        let (mut links, mut names) = (self.node.changes(), self.names.clone());
        let crowds = Instant::now() + CROWD;
        let mut takes_slot = bytes > 0 && beside.is_empty();
        let changed = async {
            loop {
                links.borrow_and_update();
                names.borrow_and_update();
                if let Some(chosen) = self.choose(&self.lanes, bytes, beside, takes_slot) {
                    return chosen;
                }
                tokio::select! {
                    _ = links.changed() => {}
                    Ok(()) = names.changed() => {}
                    () = tokio::time::sleep_until(crowds), if takes_slot => takes_slot = false,
                }
            }
        };
        tokio::time::timeout_at(deadline, changed).await.ok()
    }
}
