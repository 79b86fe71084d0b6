//! Leases that nobody works under: one that shows no sign of life for a whole term, by this process's
//! own clock, is taken over. No clock is compared with another machine's.

use std::collections::HashMap;
use std::time::Duration;

use futures::TryStreamExt as _;
use skyhaul_model::group::{GroupId, GroupStatus, Lease};
use skyhaul_model::{Error, ErrorKind, HolderId, Result};
use skyhaul_state::{GroupRow, pages};
use tokio::time::Instant;

use crate::engine::Engine;

/// What was seen of others' leases, and since when it is the same.
#[derive(Debug, Default)]
pub struct Observer {
    seen: HashMap<GroupId, (Lease, Instant)>,
}

impl Observer {
    /// Looks at leases, and frees those that are as they were a term ago. How many.
    pub async fn look(&mut self, engine: &Engine, term: Duration) -> Result<u64> {
        let now = Instant::now();
        let mut seen = HashMap::new();
        let mut freed = 0;
        // Its own, too: work that could not prove its lease in time has ended, and a lease that is
        // worked under changes.
        for (group, lease) in observed(engine).await? {
            let since = match self.seen.get(&group) {
                Some((known, since)) if *known == lease => *since,
                _ => now,
            };
            if now.duration_since(since) < term {
                seen.insert(group, (lease, since));
            } else if free(engine, group, &lease).await? {
                tracing::warn!(%group, holder = lease.holder.0, "a lease has expired");
                freed += 1;
            }
        }
        self.seen = seen;
        Ok(freed)
    }
}

/// A leased group with its lease.
fn held(row: GroupRow) -> Result<(GroupId, Lease)> {
    let none = || Error::control(ErrorKind::Internal, "a leased group has no lease");
    Ok((row.id, row.lease.ok_or_else(none)?))
}

/// All groups that are leased, each with its lease.
async fn leased(engine: &Engine) -> Result<Vec<(GroupId, Lease)>> {
    let groups = pages::groups(&*engine.state, &engine.id, Some(GroupStatus::Leased));
    groups
        .and_then(|row| std::future::ready(held(row)))
        .try_collect()
        .await
}

/// Those that are looked at again and again: what is missing now is there when its time has come.
async fn observed(engine: &Engine) -> Result<Vec<(GroupId, Lease)>> {
    let mut all = Vec::new();
    for shard in 0..engine.state.shards() {
        let rows = engine.state.leased(&engine.id, shard).await?;
        let held: Result<Vec<_>> = rows.into_iter().map(held).collect();
        all.extend(held?);
    }
    Ok(all)
}

/// Frees a group whose lease is still the one that was seen.
async fn free(engine: &Engine, group: GroupId, seen: &Lease) -> Result<bool> {
    let (id, holder) = (&engine.id, &engine.holder);
    let row = match engine.state.take_over(id, group, seen, holder).await {
        Ok(row) => row,
        Err(error) if error.kind == ErrorKind::LeaseLost => return Ok(false),
        Err(error) => return Err(error),
    };
    if let Some(lease) = &row.lease {
        engine.state.release(id, group, lease).await?;
    }
    Ok(true)
}

/// Frees the groups that a holder has whose work is proved to have ended. How many.
pub async fn reclaim_of(engine: &Engine, ended: &HolderId) -> Result<u64> {
    let mut freed = 0;
    for (group, lease) in leased(engine).await? {
        if lease.holder == *ended && free(engine, group, &lease).await? {
            freed += 1;
        }
    }
    Ok(freed)
}

/// Frees the groups that a dead run holds. Only for callers that have proved that no other process
/// works on the transfer.
pub async fn reclaim(engine: &Engine) -> Result<()> {
    for (group, lease) in leased(engine).await? {
        if !free(engine, group, &lease).await? {
            let message = format!("another process works on group {group}");
            return Err(Error::control(ErrorKind::LeaseLost, message));
        }
    }
    Ok(())
}
