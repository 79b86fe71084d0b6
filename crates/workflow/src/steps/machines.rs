//! Provision: the machines of a transfer's dataplane, each told what to do.

use std::net::{Ipv4Addr, SocketAddr};

use jiff::Timestamp;
use skyhaul_engine::StepEnd;
use skyhaul_gateway::config::{Config, DRAIN, LimitsConfig, StateConfig};
use skyhaul_gateway::wire::header::Cipher;
use skyhaul_model::{Error, ErrorKind, Result, Side};
use skyhaul_state::control::SubmissionStep;
use skyhaul_state::{Phase, TransferRow};

use super::plan::region_of;
use super::{Attempt, failed};
use crate::account::Account;
use crate::machines::{self, Assignment, Provisioned};
use crate::order::{FleetOrder, Order};

/// The instance metadata service, which tells when a machine is about to be taken away.
const NOTICES: &str = "http://169.254.169.254";

/// Objects and parts that a gateway moves at the same time.
const TRANSFERS: usize = 64;

/// Bytes of object data that a gateway holds: a fourth of the smallest machine that is asked for.
const MEMORY: u64 = 2 << 30;

/// Times an object is begun at most.
const ATTEMPTS: u32 = 5;

/// Seconds after which a lease without a sign of life is taken over.
const TERM: u64 = 60;

/// One pass: replaces what is lost, launches what is missing, assigns who is there. `More` while some are not:
/// call again after some seconds.
pub async fn provision(account: &Account, attempt: &Attempt, now: Timestamp) -> Result<StepEnd> {
    let submission = attempt.live(account).await?;
    // Whoever has the source may have found that there is nothing to do, before there was a machine.
    if let Some(failure) = &submission.failure {
        return Err(failed(attempt, failure.clone()));
    }
    let Some(id) = &submission.dataplane else {
        let message = "the transfer has no dataplane";
        return Err(Error::control(ErrorKind::Internal, message).object(attempt.transfer.as_str()));
    };
    let row = attempt.row(account).await?;
    if row.phase == Phase::Ended {
        let message = "the transfer has ended";
        return Err(
            Error::control(ErrorKind::Interrupted, message).object(attempt.transfer.as_str())
        );
    }
    let (control, regions) = (&*account.control, &account.regions);
    if !submission.lost.is_empty() {
        machines::replace(control, regions, id, &submission.lost).await?;
        let replaced = SubmissionStep::Replaced(submission.lost.clone());
        attempt.step(account, replaced).await?;
    }
    let dataplane = match machines::provision(control, regions, &*account.boot, id, now).await {
        Ok(Provisioned::Ready(row)) => row,
        Ok(Provisioned::More(_)) => return Ok(StepEnd::More),
        // What has begun waits for machines that can be had now and then.
        Err(error) if error.kind == ErrorKind::Full && !submission.gateways.is_empty() => {
            tracing::warn!(transfer = %attempt.transfer, "tried again: {error}");
            machines::try_again(control, id).await?;
            return Ok(StepEnd::More);
        }
        Err(error) => return Err(error),
    };
    let order = Order::parse(&submission.order)?;
    let mut sites = Vec::new();
    for destination in &row.spec.destinations {
        sites.push(region_of(account, destination, Side::Destination).await?);
    }
    let port = account.port.ok_or_else(|| {
        Error::invalid("gateways listen on another port in each region")
            .hint("deploy all regions with the same")
    })?;
    let assignment = Assignment {
        transfer: &attempt.transfer,
        base: &base(account, &order.fleet, &row),
        sites: &sites,
        connections: order.fleet.connections,
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
    };
    let end = machines::assign(control, regions, &*account.vault, id, &assignment).await?;
    if end == StepEnd::Done {
        let working = machines::working(&dataplane, &sites)?;
        attempt
            .step(account, SubmissionStep::Gateways(working))
            .await?;
    }
    Ok(end)
}

/// What the configurations of all gateways have in common.
fn base(account: &Account, fleet: &FleetOrder, row: &TransferRow) -> Config {
    let limits = LimitsConfig {
        transfers: TRANSFERS,
        max_memory: MEMORY,
        bwlimit: fleet.bwlimit,
        attempts: ATTEMPTS,
        term: TERM,
        drain: DRAIN,
    };
    let state = StateConfig::Table(account.table.clone());
    Config {
        segments: Some(account.segments_of(&row.id)),
        cipher: fleet.cipher.unwrap_or_else(Cipher::suited),
        compress: fleet.compress,
        socket_tls: fleet.socket_tls,
        notices: Some(NOTICES.to_owned()),
        ..Config::new(row.id.clone(), state, limits)
    }
}
