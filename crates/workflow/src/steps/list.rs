//! List: finds what is to be copied; and copy, for what the service copies by itself, and for what is little,
//! without any machine.

use skyhaul_engine::StepEnd;
use skyhaul_engine::copy::leases;
use skyhaul_engine::copy::worker::{self, Feed};
use skyhaul_model::Result;
use skyhaul_state::{Phase, TransferRow};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Attempt, elsewhere, fail};
use crate::account::Account;
use crate::{drive, plan};

/// Lists until all is listed or the time is up.
///
/// Fails with `NotFound` if nothing matches, which ends the transfer.
pub async fn list(account: &Account, attempt: &Attempt, until: Instant) -> Result<StepEnd> {
    attempt.live(account).await?;
    let row = attempt.row(account).await?;
    if row.phase != Phase::Copy {
        return Ok(StepEnd::Done);
    }
    if elsewhere::is_elsewhere(account, &row) {
        let is_listed = async |row: &TransferRow| {
            let progress = account.state.progress(&row.id).await?;
            Ok(row.phase != Phase::Copy || progress.listing_done)
        };
        return elsewhere::wait(account, attempt, until, is_listed).await;
    }
    let slice = account.engine(&row, Some(attempt), until).await?;
    let feed = watch::channel(Feed::default()).0;
    if drive::listing(&slice.engine, &feed).await? == StepEnd::More {
        return Ok(StepEnd::More);
    }
    let progress = account.state.progress(&row.id).await?;
    if let Err(error) = plan::something_matched(&row.spec, &progress) {
        fail(account, &row, &error).await?;
        return Err(error);
    }
    Ok(StepEnd::Done)
}

/// What functions copy without a machine at most: some seconds of one of them, where a machine takes a minute to
/// start, and is paid for that long.
const MOST_BYTES: u64 = 256 << 20;
const MOST_OBJECTS: u64 = 5_000;

/// Lists as [`list`] does, for as long as nobody should wait for machines. Whether all is listed, and is so little that
/// functions copy it alone.
pub async fn survey(account: &Account, attempt: &Attempt, until: Instant) -> Result<bool> {
    if list(account, attempt, until).await? == StepEnd::More {
        return Ok(false);
    }
    let listed = account.state.progress(&attempt.transfer).await?.listed;
    Ok(listed.copy_bytes <= MOST_BYTES && listed.copy_objects <= MOST_OBJECTS)
}

/// Copies what was listed, until all is copied or the time is up. Groups of an earlier slice that died are
/// taken over: should it be alive after all, its fences keep it from recording anything more.
pub async fn copy(account: &Account, attempt: &Attempt, until: Instant) -> Result<StepEnd> {
    attempt.live(account).await?;
    let row = attempt.row(account).await?;
    if row.phase != Phase::Copy {
        return Ok(StepEnd::Done);
    }
    let slice = account.engine(&row, Some(attempt), until).await?;
    leases::reclaim(&slice.engine).await?;
    let feed = Feed {
        ended: true,
        ..Feed::default()
    };
    worker::run(&slice.engine, watch::channel(feed).1).await?;
    // Somebody who was thought dead may still hold what is left.
    Ok(if account.state.progress(&row.id).await?.is_copied() {
        StepEnd::Done
    } else {
        StepEnd::More
    })
}
