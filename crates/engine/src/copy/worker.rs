//! The worker: claims groups as long as there are any, keeps every slot busy.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::GroupRow;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::group::{self, Allowance};
use crate::engine::{Engine, StepEnd};

/// Most groups worked on at the same time, or as many as there may be transfers: a group may have one
/// chunk only.
const GROUPS: usize = 16;

/// How far the listing is, as the worker needs to know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Feed {
    /// Raised with every publication.
    pub published: u64,
    /// No more groups will be published.
    pub ended: bool,
}

/// Copies until no group is left and the listing has ended, or until the slice's chunks are used
/// up or the engine drains. Every lease is given back or recorded on return.
pub async fn run(engine: &Arc<Engine>, mut feed: watch::Receiver<Feed>) -> Result<StepEnd> {
    let allowance = Arc::new(Allowance::new(
        engine.limits.slice_chunks,
        engine.drain.clone(),
    ));
    let mut groups: JoinSet<Result<()>> = JoinSet::new();
    let mut shards = Shards::new(engine);
    let most = GROUPS.max(engine.limits.transfers);
    let mut failed = None;
    loop {
        // What is published before this look is found by the claim after it.
        let listing_ended = feed.borrow_and_update().ended;
        let mut dry = false;
        while failed.is_none()
            && groups.len() < most
            && !allowance.is_spent()
            && !engine.cancel.is_cancelled()
        {
            let before = Instant::now();
            let claimed = shards.claim(engine).await?;
            engine.idle.set_dry(claimed.is_none() && listing_ended);
            let Some(row) = claimed else {
                dry = true;
                break;
            };
            let (engine, allowance) = (Arc::clone(engine), Arc::clone(&allowance));
            // Before it runs, so that the next look counts it.
            let demand = engine.budget.demand();
            let held = engine.trace.claimed(row.id, row.chunks, row.done);
            groups.spawn(async move {
                let _held = held;
                group::run(engine, (row, before), &allowance, demand).await
            });
            if groups.len() > 1 {
                break; // one more is begun when nobody waits
            }
        }
        if groups.is_empty() {
            if let Some(error) = failed {
                return Err(error);
            }
            engine.check_cancelled()?;
            if allowance.is_spent() {
                return Ok(StepEnd::More);
            }
            if dry && listing_ended {
                return Ok(StepEnd::Done);
            }
        }
        let may_claim = !dry && failed.is_none() && groups.len() < most && !allowance.is_spent();
        tokio::select! {
            Some(ended) = groups.join_next() => {
                let ended = ended.unwrap_or_else(|error| {
                    Err(Error::control(ErrorKind::Internal, "a group's task ended").cause(error))
                });
                if let Err(error) = ended {
                    if error.kind == ErrorKind::LeaseLost {
                        tracing::warn!("a group went to another holder: {error}");
                    } else if failed.is_none() {
                        failed = Some(error);
                    }
                }
            }
            () = engine.budget.all_served(), if may_claim => {}
            Ok(()) = feed.changed(), if dry => {}
            () = engine.cancel.cancelled(), if groups.is_empty() => {}
            () = engine.drain.cancelled(), if groups.is_empty() => {}
        }
    }
}

/// Where this holder looks for groups.
struct Shards {
    /// What was claimed last in each.
    cursors: Vec<Option<u64>>,
    /// The one that had a group last.
    at: usize,
    /// Where what comes first is, if the transfer has such.
    first: Option<First>,
}

/// The shard of what is claimed first.
struct First {
    shard: u32,
    /// What was claimed last there.
    cursor: Option<u64>,
    /// When it is looked at again.
    next: Option<Instant>,
}

/// Between two looks at an empty shard: so many times as long as a look took, which reads all that others have claimed.
const FIRST_AGAIN: u32 = 10;

impl Shards {
    /// Holders begin in different ones, so that they do not race for the same groups.
    fn new(engine: &Engine) -> Self {
        let first = engine.state.shards().saturating_sub(1);
        let count = first.max(1) as usize;
        let mut hasher = DefaultHasher::new();
        engine.holder.hash(&mut hasher);
        Self {
            cursors: vec![None; count],
            at: (hasher.finish() % count as u64) as usize,
            first: (!engine.spec.first.is_empty()).then_some(First {
                shard: first,
                cursor: None,
                next: None,
            }),
        }
    }

    /// Claims a group: of those that come first, then behind the cursors, then one that was given back
    /// before them.
    async fn claim(&mut self, engine: &Engine) -> Result<Option<GroupRow>> {
        for from_cursor in [true, false] {
            if let Some(row) = self.claim_first(engine, from_cursor).await? {
                return Ok(Some(row));
            }
            for _ in 0..self.cursors.len() {
                let cursor = &mut self.cursors[self.at];
                if from_cursor || cursor.is_some() {
                    let after = cursor.filter(|_| from_cursor);
                    let (state, shard) = (&engine.state, self.at as u32);
                    let claimed = state.claim(&engine.id, shard, &engine.holder, after);
                    if let Some(row) = claimed.await? {
                        *cursor = Some(row.sequence);
                        return Ok(Some(row));
                    }
                }
                self.at = (self.at + 1) % self.cursors.len();
            }
        }
        Ok(None)
    }

    /// Claims one of those that come first: of what was found since, then of what was given back. While there are
    /// others, it is not looked at each time.
    async fn claim_first(&mut self, engine: &Engine, others: bool) -> Result<Option<GroupRow>> {
        let Some(first) = &mut self.first else {
            return Ok(None);
        };
        let began = Instant::now();
        if others && first.next.is_some_and(|next| began < next) {
            return Ok(None);
        }
        let (state, id, holder) = (&engine.state, &engine.id, &engine.holder);
        let mut claimed = state.claim(id, first.shard, holder, first.cursor).await?;
        if claimed.is_none() && first.cursor.is_some() {
            claimed = state.claim(id, first.shard, holder, None).await?;
        }
        if let Some(row) = &claimed {
            first.cursor = Some(row.sequence);
            first.next = None;
        } else {
            first.next = Some(Instant::now() + began.elapsed() * FIRST_AGAIN);
        }
        Ok(claimed)
    }
}
