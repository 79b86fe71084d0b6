//! Who is in the dataplane, by the state: a gateway tells of itself there, and finds the others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use skyhaul_engine::Engine;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::{ControlAddress, GatewayRole, GatewayRow, TransferState};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::GatewayId;
use crate::node::{Node, lock};
use crate::pace::{self, Pace};
use crate::routes::Names;

/// How often the others are looked for, while something happens.
const LOOK: Duration = Duration::from_millis(500);

/// A gateway that cannot reach the state for this long stops by itself: nobody may know of it.
pub(crate) const GRACE: Duration = Duration::from_mins(5);

/// What a gateway says of itself.
#[derive(Clone)]
pub(crate) struct Own {
    pub(crate) name: String,
    pub(crate) address: Option<String>,
    /// If it claims groups.
    pub(crate) engine: Option<Arc<Engine>>,
    pub(crate) role: GatewayRole,
    pub(crate) control: Option<ControlAddress>,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Directory {
    addresses: watch::Sender<HashMap<String, String>>,
    names: watch::Sender<Names>,
    /// All who told of themselves, also those that drain.
    known: Mutex<HashMap<GatewayId, String>>,
    beats: AtomicU64,
    /// What was told last, and when.
    told: Mutex<Option<(Said, Instant)>>,
    /// The last beat of each that claims groups and has nothing to do.
    idle: Mutex<HashMap<String, u64>>,
}

/// What others wait for: told at once when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    draining: bool,
    idle: bool,
    claims: bool,
}

impl Directory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            addresses: watch::Sender::default(),
            names: watch::Sender::default(),
            known: Mutex::default(),
            beats: AtomicU64::new(0),
            told: Mutex::default(),
            idle: Mutex::default(),
        })
    }

    pub(crate) fn names(&self) -> watch::Receiver<Names> {
        self.names.subscribe()
    }

    /// What a gateway is called, once it is known.
    pub(crate) fn name_of(&self, gateway: &GatewayId) -> Option<String> {
        lock(&self.known).get(gateway).cloned()
    }

    /// Where a gateway is, as soon as that is known.
    pub(crate) async fn address(&self, name: &str) -> String {
        let mut addresses = self.addresses.subscribe();
        let known = addresses.wait_for(|known| known.contains_key(name)).await;
        // The sender is in `self`: waiting does not fail.
        known.map_or_else(|_| String::new(), |known| known[name].clone())
    }

    /// Tells of `node` and looks for the others, until the state is lost for too long.
    pub(crate) async fn keep(
        &self,
        state: &dyn TransferState,
        transfer: &TransferId,
        node: &Node,
        own: &Own,
    ) -> Result<()> {
        let mut reached = Instant::now();
        let mut pace = Pace::of(state, LOOK);
        loop {
            match self.once(state, transfer, node, own).await {
                Ok(changed) => {
                    reached = Instant::now();
                    if changed {
                        pace.quicken();
                    }
                }
                Err(error) if error.kind == ErrorKind::NotFound => return Err(error),
                Err(error) if reached.elapsed() < GRACE => {
                    tracing::warn!("the state cannot be reached: {error}");
                }
                Err(error) => {
                    let message = "the state was lost for too long: this gateway stops";
                    return Err(Error::control(ErrorKind::Unreachable, message).cause(error));
                }
            }
            tokio::time::sleep(pace.next()).await;
        }
    }

    fn said(node: &Node, own: &Own) -> Said {
        let engine = own.engine.as_ref();
        Said {
            draining: node.is_draining(),
            idle: engine.is_some_and(|engine| engine.is_idle()),
            claims: engine.is_some(),
        }
    }

    /// Whether there is something to tell: something new, or that it lives.
    fn is_due(&self, state: &dyn TransferState, said: Said) -> bool {
        let told = lock(&self.told);
        told.is_none_or(|(last, at)| last != said || at.elapsed() >= pace::silence(state))
    }

    /// Tells of `node`, once.
    pub(crate) async fn tell(
        &self,
        state: &dyn TransferState,
        transfer: &TransferId,
        node: &Node,
        own: &Own,
    ) -> Result<()> {
        let (traffic, said) = (&node.traffic, Self::said(node, own));
        let row = GatewayRow {
            name: own.name.clone(),
            gateway: node.id.to_string(),
            holder: own.engine.as_ref().map(|engine| engine.holder.clone()),
            address: own.address.clone(),
            beat: self.beats.fetch_add(1, Ordering::Relaxed) + 1,
            connections: node.connections() as u64,
            logical_bytes: traffic.logical.load(Ordering::Relaxed),
            wire_bytes: traffic.wire.load(Ordering::Relaxed),
            passed_bytes: traffic.passed.load(Ordering::Relaxed),
            written_bytes: traffic.written.load(Ordering::Relaxed),
            role: Some(own.role),
            draining: said.draining,
            idle: said.idle,
            told: Some(Timestamp::now()),
            control: own.control.clone(),
        };
        state.announce(transfer, &row).await?;
        *lock(&self.told) = Some((said, Instant::now()));
        Ok(())
    }

    async fn once(
        &self,
        state: &dyn TransferState,
        transfer: &TransferId,
        node: &Node,
        own: &Own,
    ) -> Result<bool> {
        if self.is_due(state, Self::said(node, own)) {
            self.tell(state, transfer, node, own).await?;
        }
        let rows = state.gateways(transfer).await?;
        if let Some(engine) = &own.engine {
            engine.idle.tell_others(self.idle(&rows, &own.name));
        }
        let id = |row: &GatewayRow| GatewayId::parse(&row.gateway);
        *lock(&self.known) = rows
            .iter()
            .filter_map(|row| Some((id(row)?, row.name.clone())))
            .collect();
        // Who drains is on no way any more.
        let names: Names = rows
            .iter()
            .filter(|row| !row.draining)
            .filter_map(|row| Some((row.name.clone(), id(row)?)))
            .collect();
        let addresses: HashMap<_, _> = rows
            .into_iter()
            .filter_map(|row| Some((row.name, row.address?)))
            .collect();
        let names = self.names.send_if_modified(|known| renew(known, names));
        let addresses = self
            .addresses
            .send_if_modified(|known| renew(known, addresses));
        Ok(names || addresses)
    }

    /// How many others have nothing to do. Those that did not tell of themselves since the last look
    /// may be gone: they are not counted.
    fn idle(&self, rows: &[GatewayRow], own: &str) -> u32 {
        let idle = rows.iter().filter(|row| row.idle && row.name != own);
        let now: HashMap<_, _> = idle.map(|row| (row.name.clone(), row.beat)).collect();
        let mut known = lock(&self.idle);
        let told = |(name, beat): &(&String, &u64)| known.get(*name) != Some(*beat);
        let count = now.iter().filter(told).count();
        *known = now;
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

fn renew<T: PartialEq>(known: &mut T, now: T) -> bool {
    let changed = *known != now;
    *known = now;
    changed
}
