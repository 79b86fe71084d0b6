//! How much went over each connection in the last seconds.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::node::{Node, lock};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Looks that are kept: throughput is over so many seconds.
const KEPT: usize = 6;

/// Bytes sent and received at a moment.
type Look = (Instant, u64, u64);

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Rates {
    looks: Mutex<HashMap<u64, VecDeque<Look>>>,
}

impl Rates {
    /// Looks at all connections, again and again.
    pub(super) async fn measure(&self, node: &Node) {
        loop {
            self.look(node);
            tokio::time::sleep(LOOK).await;
        }
    }

    fn look(&self, node: &Node) {
        let now = Instant::now();
        let links = node.links();
        let mut looks = lock(&self.looks);
        looks.retain(|number, _| links.iter().any(|link| link.number == *number));
        for link in links {
            let of = looks.entry(link.number).or_default();
            let (sent, received) = link.bytes();
            of.push_back((now, sent, received));
            if of.len() > KEPT {
                of.pop_front();
            }
        }
    }

    /// Bytes a second that a connection sent and received, which has sent and received so many.
    pub(super) fn of(&self, connection: u64, (sent, received): (u64, u64)) -> (f64, f64) {
        let looks = lock(&self.looks);
        let Some((since, sent_then, received_then)) =
            looks.get(&connection).and_then(|looks| looks.front())
        else {
            return (0.0, 0.0);
        };
        let seconds = since.elapsed().as_secs_f64().max(0.001);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        (rate(sent, *sent_then), rate(received, *received_then))
    }
}
