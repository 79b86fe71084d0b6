//! Plan: what is to be done, and on which machines.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use skyhaul_engine::copy::leases;
use skyhaul_model::machine::DataplaneId;
use skyhaul_model::spec::{Endpoint, TransferSpec};
use skyhaul_model::{Error, ErrorKind, Result, Scheme, Side};
use skyhaul_state::control::{
    Base, DataplaneChange, DataplaneRow, DataplaneStatus, NewDataplane, Submission,
    SubmissionChange, SubmissionStep, check_open,
};
use skyhaul_state::{Phase, Submitted, TransferChange, TransferRow, TransferStatus};
use skyhaul_stores::Access;
use skyhaul_stores::open::{self, Use};
use tokio::time::Instant;

use super::Attempt;
use super::elsewhere::is_of_guest;
use crate::account::Account;
use crate::drive;
use crate::machines::{GUEST, VERSION, choose};
use crate::order::{FleetOrder, Order};
use crate::plan as sides;

/// How long leases of an attempt that is over are freed in one go.
const RECLAIM: Duration = Duration::from_mins(2);

/// What was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Machines that carry it out; none if the service copies by itself.
    pub machines: usize,
    /// Whether it is looked first at how much there is: little is copied without a machine.
    pub survey: bool,
    /// Whether all is done already.
    pub ended: bool,
    /// Seconds that the attempt may take.
    pub seconds: u64,
}

/// A bit more than the hours of an attempt's ceiling, which is looked at each minute; at most a year, which is what an
/// execution may take.
fn seconds(order: &Order) -> u64 {
    let hours = u64::from(order.fleet.ceiling.hours) + 1;
    (hours * 3_600).min(365 * 24 * 3_600)
}

/// Looks at both sides, and says what is done on which machines; `surveyed`: that there is too much for functions
/// alone is known. Run again, it says the same.
pub async fn plan(
    account: &Account,
    attempt: &Attempt,
    surveyed: bool,
    now: Timestamp,
) -> Result<Planned> {
    let transfer = &attempt.transfer;
    // After its submission, which whoever closes a deployment looks for after saying so: one of the two sees the other.
    // One that was surveyed has begun.
    if !surveyed {
        check_open(&*account.control).await?;
    }
    let begin = SubmissionChange::Begin(attempt.attempt);
    account.control.change_submission(transfer, &begin).await?;
    let submission = attempt.live(account).await?;
    let order = Order::parse(&submission.order)?;
    let row = match account.state.transfer(transfer).await {
        Ok(row) => row,
        Err(error) if error.kind == ErrorKind::NotFound => {
            let spec = Box::pin(sides::plan(
                &*account.opens,
                order.request.clone(),
                Access::Write,
                order.here.as_ref().map(|here| here.seen),
            ))
            .await?;
            let (Submitted::Created(row) | Submitted::Existing(row)) =
                account.state.submit(transfer, &spec).await?;
            row
        }
        Err(error) => return Err(error),
    };
    if row.status == TransferStatus::Cancelled && row.phase != Phase::Ended {
        let message = "the transfer was given up, and what it had left half done is being removed";
        return Err(Error::control(ErrorKind::Interrupted, message).object(transfer.as_str()));
    }
    if row.phase == Phase::Ended {
        return Ok(Planned {
            machines: 0,
            survey: false,
            ended: true,
            seconds: seconds(&order),
        });
    }
    if row.attempt < attempt.attempt {
        // An attempt begins when the one before it is over, and its machines have ended: what they held is free. Should
        // one be alive after all, its fences keep it from recording anything more.
        let slice = account.engine(&row, Some(attempt), Instant::now() + RECLAIM);
        leases::reclaim(&slice.await?.engine).await?;
    }
    if row.attempt < attempt.attempt || row.status != TransferStatus::Running {
        let change = TransferChange {
            status: Some(TransferStatus::Running),
            attempt: Some(attempt.attempt),
            error: Some(None),
            phase: None,
        };
        account.state.change(transfer, row.revision, change).await?;
    }
    let regions = Regions::of(account, &row.spec).await?;
    if submission.base.is_none() {
        let base = base(account, &row, &regions, now).await?;
        attempt.step(account, SubmissionStep::Base(base)).await?;
    }
    // Nobody but the guest can copy what it has.
    let (itself, survey) = if is_of_guest(&row.spec) {
        (false, false)
    } else {
        let (source, destination) = open::both(&*account.opens, &row.spec, &row.id).await?;
        let itself = drive::copies_by_itself(&row.spec, &*source, &*destination);
        (itself, !itself && order.fleet.alone && !surveyed)
    };
    let machines = if itself || survey {
        0
    } else {
        let asked = (&submission, &order);
        let dataplane = dataplane(account, attempt, asked, &row, &regions, now).await?;
        dataplane.members.len()
    };
    Ok(Planned {
        machines,
        survey,
        ended: false,
        seconds: seconds(&order),
    })
}

/// The regions of both sides.
struct Regions {
    source: String,
    destinations: BTreeSet<String>,
}

impl Regions {
    async fn of(account: &Account, spec: &TransferSpec) -> Result<Self> {
        let source = region_of(account, &spec.source, Side::Source).await?;
        let mut destinations = BTreeSet::new();
        for destination in &spec.destinations {
            destinations.insert(region_of(account, destination, Side::Destination).await?);
        }
        Ok(Self {
            source,
            destinations,
        })
    }

    /// Regions into which bytes leave another. What comes from outside costs nothing.
    fn far(&self) -> u32 {
        if self.source == GUEST {
            return 0;
        }
        let far = self.destinations.iter();
        far.filter(|region| **region != self.source).count() as u32
    }
}

/// What an attempt begins from: what it takes counts from here.
async fn base(
    account: &Account,
    row: &TransferRow,
    regions: &Regions,
    now: Timestamp,
) -> Result<Base> {
    Ok(Base {
        since: now,
        bytes: account.state.progress(&row.id).await?.done.bytes,
        far: regions.far(),
    })
}

/// The region of AWS in which a side is; that of the deployment for what is in none, and [`GUEST`] for what is on the
/// machine of who submits.
pub(super) async fn region_of(
    account: &Account,
    endpoint: &Endpoint,
    side: Side,
) -> Result<String> {
    if endpoint.location.scheme == Scheme::Local {
        return Ok(GUEST.to_owned());
    }
    // As that side: a session of another account's role may do no more than the side needs.
    let store = account.opens.open(endpoint, side, Use::default()).await?;
    let named = || endpoint.connection.region.clone();
    let region = store.region().or_else(named);
    let known = |region: &String| account.zones.contains_key(region);
    // A service elsewhere may call its region as it likes.
    Ok(match region {
        Some(region) if endpoint.connection.endpoint_url.is_none() || known(&region) => region,
        _ => account.region.clone(),
    })
}

/// The dataplane of an attempt: the one that was named, an idle one, or one that is made for it.
async fn dataplane(
    account: &Account,
    attempt: &Attempt,
    (submission, order): (&Submission, &Order),
    row: &TransferRow,
    Regions {
        source,
        destinations,
    }: &Regions,
    now: Timestamp,
) -> Result<DataplaneRow> {
    let control = &account.control;
    if let Some(wanted) = &order.fleet.dataplane {
        if let Some(row) = control.dataplane(wanted).await? {
            knows(&row)?;
        }
        uses(account, attempt, wanted).await?;
        let bind = DataplaneChange::Bind(row.id.clone());
        return control.change(wanted, &bind).await;
    }
    if let Some(used) = &submission.dataplane
        && let Some(used) = control.dataplane(used).await?
        && (used.made_for.as_ref() == Some(&row.id) || used.transfers.contains(&row.id))
    {
        return Ok(used);
    }
    let (wanted, fleet) = (choose::roles(source, destinations), &order.fleet);
    if fleet.reuse
        && let Some(idle) = idle(account, attempt, (&wanted, fleet, fleet.per_region)).await?
    {
        return Ok(idle);
    }
    let id = uses(account, attempt, &DataplaneId::generate()).await?;
    if let Some(made) = control.dataplane(&id).await? {
        return Ok(made);
    }
    let (regions, zones) = (&account.regions, &account.zones);
    let members = match choose::members(regions, zones, fleet, source, destinations).await {
        Ok(members) => members,
        // What there is room for may be there already, idle.
        Err(full) if full.kind == ErrorKind::Full && fleet.reuse => {
            attempt.step(account, SubmissionStep::Declines(id)).await?;
            return idle(account, attempt, (&wanted, fleet, 1))
                .await?
                .ok_or(full);
        }
        Err(error) => return Err(error),
    };
    let new = NewDataplane {
        id: id.clone(),
        owner: submission.owner.clone(),
        members,
        transfer: Some(row.id.clone()),
        autoshutdown: fleet.autoshutdown,
        created: now,
        version: VERSION.to_owned(),
    };
    match control.create(&new).await {
        // Somebody else was quicker, and saw more or less room.
        Err(error) if error.kind == ErrorKind::Invalid => {
            control.dataplane(&id).await?.ok_or(error)
        }
        made => made,
    }
}

/// Refuses (`Invalid`) machines whose gateways are of another version: what a transfer asks for may be unknown to them.
fn knows(row: &DataplaneRow) -> Result<()> {
    if row.version == VERSION {
        return Ok(());
    }
    let message = format!(
        "the gateways of the dataplane are of version {}, the deployment is of {VERSION}",
        if row.version.is_empty() {
            "0"
        } else {
            &row.version
        },
    );
    Err(Error::invalid(message)
        .object(row.id.as_str())
        .hint("`skyhaul dataplane delete` ends them, `skyhaul dataplane create` makes new ones"))
}

/// Notes that an attempt uses a dataplane, before that is made or bound, so that whoever tears down knows of it.
/// The one that it uses, for the first counts.
async fn uses(account: &Account, attempt: &Attempt, id: &DataplaneId) -> Result<DataplaneId> {
    let used = SubmissionStep::Uses(id.clone());
    let used = attempt.step(account, used).await?.dataplane;
    used.ok_or_else(|| {
        let message = "a dataplane was noted and is not there";
        Error::control(ErrorKind::Internal, message).object(attempt.transfer.as_str())
    })
}

/// A dataplane that is kept, that nothing uses and that has what is asked for, bound; `None` if there is none.
async fn idle(
    account: &Account,
    attempt: &Attempt,
    (wanted, fleet, least): (&choose::Roles<'_>, &FleetOrder, u32),
) -> Result<Option<DataplaneRow>> {
    for row in account.control.dataplanes().await? {
        let kept = row.autoshutdown.is_some() && row.status == DataplaneStatus::Active;
        if !kept
            || knows(&row).is_err()
            || !row.transfers.is_empty()
            || !choose::serves(&row, wanted, fleet, least)
        {
            continue;
        }
        let used = uses(account, attempt, &row.id).await?;
        let bind = DataplaneChange::Bind(attempt.transfer.clone());
        let refused = match account.control.change(&used, &bind).await {
            Ok(bound) => return Ok(Some(bound)),
            Err(refused) => refused,
        };
        match refused.kind {
            // Something else was quicker, or it has ended.
            ErrorKind::Throttled | ErrorKind::LeaseLost | ErrorKind::NotFound => {
                tracing::debug!(dataplane = %used, "not used again: {refused}");
                let declined = SubmissionStep::Declines(used);
                attempt.step(account, declined).await?;
            }
            _ => return Err(refused),
        }
    }
    Ok(None)
}
