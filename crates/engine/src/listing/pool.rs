//! All ranges of a transfer's listing, as many at once as there are checkers.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use skyhaul_model::filter::Filters;
use skyhaul_model::first::First;
use skyhaul_model::segment::{MAX_GROUP_CHUNKS, ObjectTask};
use skyhaul_model::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::classify::Classifier;
use super::scan::Shared;
use super::slice::RangeTask;
use super::split;
use crate::copy::worker::Feed;
use crate::engine::{Engine, StepEnd};

/// Objects that are listed and not yet published, in all ranges: some 25 MB.
const HELD_OBJECTS: u64 = 1 << 16;

/// A range publishes no fewer, unless it ends: each publication is a file and a transaction.
const FEWEST_HELD: u64 = 1 << 10;

/// See the module documentation.
pub struct Pool {
    pub(crate) engine: Arc<Engine>,
    pub(crate) filters: Filters,
    first: First,
    pub(crate) shared: Arc<Shared>,
    feed: watch::Sender<Feed>,
    permits: Arc<Semaphore>,
    spawned: mpsc::UnboundedSender<(RangeTask, OwnedSemaphorePermit)>,
    groups: AtomicU64,
    /// Open ranges that nobody lists yet.
    waiting: AtomicUsize,
}

impl Pool {
    /// Permits for the ranges that one range may give away now: none while others wait to be
    /// listed at all.
    pub(crate) fn cuts(&self) -> Vec<OwnedSemaphorePermit> {
        let is_splittable = self.engine.source.capabilities().splittable_listing;
        let is_over = self.engine.drain.is_cancelled();
        if !is_splittable || is_over || self.waiting.load(Ordering::Relaxed) > 0 {
            return Vec::new();
        }
        split::take_permits(&self.permits, self.engine.limits.checkers)
    }

    /// A permit to begin another range, if one is free.
    fn idle_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Begins a range that was cut off another.
    pub(crate) fn spawn(&self, task: RangeTask, permit: OwnedSemaphorePermit) {
        // The receiver lives as long as any task; without it the run is over anyway.
        let _ = self.spawned.send((task, permit));
    }

    /// Chunks in the next groups: few at first, so that work begins at once and a small transfer
    /// has groups for every worker, then up to the limit.
    pub(crate) fn group_chunks(&self) -> usize {
        (self.groups.load(Ordering::Relaxed) as usize / 8).clamp(1, MAX_GROUP_CHUNKS)
    }

    /// Objects after which a range publishes even if no group is full, so that all ranges together
    /// hold no more than [`HELD_OBJECTS`].
    pub(crate) fn publish_objects(&self) -> u64 {
        let ranges = self
            .engine
            .limits
            .checkers
            .saturating_sub(self.permits.available_permits());
        (HELD_OBJECTS / ranges.max(1) as u64).max(FEWEST_HELD)
    }

    /// Whether an object is copied before all others.
    pub(crate) fn comes_first(&self, task: &ObjectTask) -> bool {
        let mapped = || self.engine.spec.keys.map(&task.source_key);
        !self.first.is_empty() && mapped().is_some_and(|mapped| self.first.has(mapped.relative))
    }

    /// What decides on keys.
    pub(crate) fn classifier(&self) -> Classifier<'_> {
        Classifier {
            engine: &self.engine,
            filters: &self.filters,
        }
    }

    /// Tells the workers of new groups.
    pub(crate) fn published(&self, groups: u64) {
        if groups > 0 {
            self.groups.fetch_add(groups, Ordering::Relaxed);
            self.feed.send_modify(|feed| feed.published += groups);
        }
    }
}

/// Lists a transfer's open ranges until they end, or each ran a slice, or the engine drains. Leases of dead runs are
/// taken over: the caller has proved that no other process works on the transfer. Does not set
/// `ended` in the feed: more slices may follow.
pub async fn run(
    engine: &Arc<Engine>,
    filters: Filters,
    feed: watch::Sender<Feed>,
) -> Result<StepEnd> {
    let (spawned, mut arriving) = mpsc::unbounded_channel();
    let permits = Arc::new(Semaphore::new(engine.limits.checkers.max(1)));
    let mut rows = engine.state.ranges(&engine.id).await?;
    rows.retain(|row| !row.done);
    rows.reverse();
    let pool = Arc::new(Pool {
        engine: Arc::clone(engine),
        filters,
        first: First::compile(&engine.spec.first)?,
        shared: Arc::default(),
        feed,
        permits: Arc::clone(&permits),
        spawned,
        groups: AtomicU64::new(engine.state.progress(&engine.id).await?.groups),
        waiting: AtomicUsize::new(rows.len()),
    });
    let mut tasks: JoinSet<Result<StepEnd>> = JoinSet::new();
    let mut end = StepEnd::Done;
    let weak: Weak<Pool> = Arc::downgrade(&pool);
    let spawn = |tasks: &mut JoinSet<_>, task: RangeTask, permit: OwnedSemaphorePermit| {
        let Some(pool) = weak.upgrade() else { return };
        tasks.spawn(async move {
            let _permit = permit;
            task.run(&pool).await
        });
    };
    loop {
        if engine.drain.is_cancelled() && !rows.is_empty() {
            rows.clear();
            end = StepEnd::More;
        }
        while !rows.is_empty()
            && let Some(permit) = pool.idle_permit()
            && let Some(row) = rows.pop()
        {
            pool.waiting.store(rows.len(), Ordering::Relaxed);
            let seen = row.lease.as_ref();
            let row = engine
                .state
                .lease_range(&engine.id, row.id, &engine.holder, seen)
                .await?;
            let lease = row.lease.clone().ok_or_else(|| {
                Error::control(ErrorKind::Internal, "a leased range has no lease")
            })?;
            spawn(&mut tasks, RangeTask::new(&pool, row, lease, None), permit);
        }
        while let Ok((task, permit)) = arriving.try_recv() {
            spawn(&mut tasks, task, permit);
        }
        if tasks.is_empty() {
            return Ok(end);
        }
        tokio::select! {
            Some((task, permit)) = arriving.recv() => spawn(&mut tasks, task, permit),
            Some(joined) = tasks.join_next() => {
                let ended = joined.map_err(|error| {
                    Error::control(ErrorKind::Internal, "a listing task ended").cause(error)
                })??;
                if ended == StepEnd::More {
                    end = StepEnd::More;
                }
            }
        }
    }
}
