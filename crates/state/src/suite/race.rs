//! Holders at once: what one at a time cannot show.

use std::collections::BTreeSet;
use std::sync::Arc;

use skyhaul_model::group::{Bitmap, Counts, GroupId, RangeId};
use skyhaul_model::{Error, ErrorKind, HolderId, Result, TransferId};
use tokio::task::JoinSet;

use super::generate::plain_spec;
use crate::{ListCounts, NewGroup, Publication, Record, TransferState};

const GROUPS: u32 = 40;

/// Several holders, each with a handle of its own from `make`, lease one range and claim and
/// record its groups at once: the range is leased once, each group claimed once, each chunk
/// counted once.
pub async fn race<F, O>(make: F, holders: u32) -> Result<(), String>
where
    F: Fn() -> O,
    O: Future<Output = Arc<dyn TransferState>>,
{
    let id = TransferId::generate();
    let state = make().await;
    state.submit(&id, &plain_spec()).await.map_err(told)?;

    let mut leases = JoinSet::new();
    for number in 0..holders {
        let (state, id, holder) = (make().await, id.clone(), name(number));
        leases.spawn(async move { state.lease_range(&id, RangeId(0), &holder, None).await });
    }
    let mut lease = None;
    while let Some(result) = leases.join_next().await {
        match result.map_err(|error| error.to_string())? {
            Ok(row) if lease.is_none() => lease = row.lease,
            Ok(row) => return Err(format!("the range was leased twice: {lease:?}, {row:?}")),
            Err(error) if error.kind == ErrorKind::LeaseLost => {}
            Err(error) => return Err(told(error)),
        }
    }
    let lease = lease.ok_or("nobody got the range")?;
    let publication = Publication {
        cursor: None,
        groups: (0..GROUPS)
            .map(|number| NewGroup {
                chunks: 2,
                bytes: 1,
                segment: number.to_string(),
            })
            .collect(),
        first: Vec::new(),
        segments: Vec::new(),
        counts: ListCounts::default(),
        done: true,
    };
    state
        .publish(&id, RangeId(0), &lease, publication)
        .await
        .map_err(told)?;

    let mut workers = JoinSet::new();
    for number in 0..holders {
        let (state, id) = (make().await, id.clone());
        workers.spawn(async move { work(state, id, name(number)).await });
    }
    let mut claimed = BTreeSet::new();
    while let Some(result) = workers.join_next().await {
        for group in result.map_err(|error| error.to_string())?.map_err(told)? {
            if !claimed.insert(group) {
                return Err(format!("group {group} was claimed twice"));
            }
        }
    }
    let progress = state.progress(&id).await.map_err(told)?;
    let found = (
        claimed.len() as u64,
        progress.groups_done,
        progress.done.objects,
    );
    let groups = u64::from(GROUPS);
    if found == (groups, groups, 2 * groups) {
        Ok(())
    } else {
        Err(format!(
            "claimed, done and counted {found:?} of {groups} groups"
        ))
    }
}

async fn work(
    state: Arc<dyn TransferState>,
    id: TransferId,
    holder: HolderId,
) -> Result<Vec<GroupId>> {
    let mut claimed = Vec::new();
    for shard in 0..state.shards() {
        while let Some(row) = state.claim(&id, shard, &holder, None).await? {
            claimed.push(row.id);
            let lease = row
                .lease
                .ok_or_else(|| Error::control(ErrorKind::Internal, "a claim without a lease"))?;
            for chunk in [0b01, 0b10] {
                let record = Record {
                    done: Bitmap(chunk),
                    counts: Counts {
                        objects: 1,
                        ..Counts::default()
                    },
                    receipts: None,
                    follow_up: Vec::new(),
                    supersede: None,
                };
                state.record(&id, row.id, &lease, record).await?;
            }
        }
    }
    Ok(claimed)
}

fn name(number: u32) -> HolderId {
    HolderId(format!("holder-{number}"))
}

#[allow(clippy::needless_pass_by_value)] // fits `map_err`
fn told(error: Error) -> String {
    error.to_string()
}
