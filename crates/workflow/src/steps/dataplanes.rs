//! Dataplanes that are made before there is a transfer for them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skyhaul_engine::StepEnd;
use skyhaul_model::machine::DataplaneId;
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::control::{DataplaneChange, NewDataplane, check_open};

use crate::account::Account;
use crate::machines::{Provisioned, VERSION, choose, provision};
use crate::order::FleetOrder;

/// Machines that are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataplaneOrder {
    /// What it is called: the same order again makes nothing more.
    pub dataplane: DataplaneId,
    /// Who asks for it.
    pub owner: String,
    /// The region that is read in.
    pub source: String,
    /// The regions that are written in.
    pub destinations: BTreeSet<String>,
    /// How many machines, and of what kind.
    pub fleet: FleetOrder,
}

impl DataplaneOrder {
    /// Refuses (`Invalid`) what would be nothing, or end at once.
    pub fn check(&self) -> Result<()> {
        if self.destinations.is_empty() || self.fleet.per_region == 0 {
            return Err(Error::invalid("a dataplane needs a gateway in each region"));
        }
        if self.fleet.autoshutdown.is_none_or(|minutes| minutes == 0) {
            return Err(Error::invalid(
                "a dataplane without a transfer is kept for some minutes",
            ));
        }
        Ok(())
    }
}

/// Writes its row: from then on the reaper knows of it. Run again, it changes nothing.
pub async fn order(account: &Account, order: &DataplaneOrder, now: Timestamp) -> Result<()> {
    order.check()?;
    let id = &order.dataplane;
    if account.control.dataplane(id).await?.is_some() {
        return still_open(account, id).await;
    }
    check_open(&*account.control).await?;
    let (source, destinations) = (&order.source, &order.destinations);
    let (regions, zones) = (&account.regions, &account.zones);
    let members = choose::members(regions, zones, &order.fleet, source, destinations);
    let new = NewDataplane {
        id: id.clone(),
        owner: order.owner.clone(),
        members: members.await?,
        transfer: None,
        autoshutdown: order.fleet.autoshutdown,
        created: now,
        version: VERSION.to_owned(),
    };
    match account.control.create(&new).await {
        // Another run of this was quicker, and saw more or less room.
        Err(error) if error.kind == ErrorKind::Invalid => {
            let made = account.control.dataplane(id).await?;
            made.map(drop).ok_or(error)?;
        }
        made => drop(made?),
    }
    still_open(account, id).await
}

/// Ends what was made for a deployment of which it was said meanwhile that it is being removed: whoever said so has
/// looked for rows before this one was there, perhaps.
async fn still_open(account: &Account, id: &DataplaneId) -> Result<()> {
    match check_open(&*account.control).await {
        Err(closed) if closed.kind == ErrorKind::Invalid => {
            give_up(account, id).await?;
            Err(closed)
        }
        open => open,
    }
}

/// One pass: launches what is missing. `More` while some are not there: call again after some seconds.
pub async fn launch(account: &Account, id: &DataplaneId, now: Timestamp) -> Result<StepEnd> {
    let passed = provision(&*account.control, &account.regions, &*account.boot, id, now);
    Ok(match passed.await? {
        Provisioned::Ready(_) => StepEnd::Done,
        Provisioned::More(_) => StepEnd::More,
    })
}

/// It cannot be had whole: what there is of it goes. The reaper sees to its machines.
pub async fn give_up(account: &Account, id: &DataplaneId) -> Result<()> {
    let end = account.control.change(id, &DataplaneChange::EndIdle);
    match end.await {
        // It never was, or a transfer took what there is.
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::LeaseLost) => Ok(()),
        ended => ended.map(drop),
    }
}
