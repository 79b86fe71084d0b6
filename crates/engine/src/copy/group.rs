//! Working on one group: its chunks are moved concurrently, their outcomes recorded in batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use skyhaul_model::group::{Bitmap, Counts, Lease};
use skyhaul_model::outcome::{Action, Outcome, ReceiptRecord};
use skyhaul_model::segment::{Chunk, ObjectTask, Segment};
use skyhaul_model::{Error, ErrorKind, Result, Verification};
use skyhaul_state::{GroupRow, NewGroup, Record, UploadKey, UploadResult, UploadStatus};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bundle::{self, BundleEnd};
use super::complete;
use super::object;
use super::part::{self, PartEnd};
use super::turn::Turn;
use crate::budget::Demand;
use crate::engine::Engine;
use crate::listing::pack;

mod split;

/// The term of leases where nobody else could take them.
const TERM: Duration = Duration::from_mins(1);

/// How long ended chunks wait for others to be recorded with: so much more is sent again after a
/// crash.
const GATHERING: Duration = Duration::from_millis(20);

/// How many chunks may still be begun in this slice: none once the engine drains.
#[derive(Debug)]
pub(crate) struct Allowance {
    chunks: Option<AtomicI64>,
    drain: CancellationToken,
}

impl Allowance {
    pub(crate) fn new(chunks: Option<u32>, drain: CancellationToken) -> Self {
        let chunks = chunks.map(|chunks| AtomicI64::new(i64::from(chunks)));
        Self { chunks, drain }
    }

    fn take(&self) -> bool {
        let chunks = self.chunks.as_ref();
        !self.drain.is_cancelled()
            && chunks.is_none_or(|left| left.fetch_sub(1, Ordering::AcqRel) > 0)
    }

    pub(crate) fn is_spent(&self) -> bool {
        let chunks = self.chunks.as_ref();
        self.drain.is_cancelled() || chunks.is_some_and(|left| left.load(Ordering::Acquire) <= 0)
    }
}

/// How a chunk ended.
enum ChunkEnd {
    /// `None` if it was given away.
    Bundle(Option<BundleEnd>),
    Part(PartEnd),
}

/// What a group's task works with.
struct Work {
    engine: Arc<Engine>,
    segment: Arc<Segment>,
    row: GroupRow,
    lease: Lease,
    /// When the lease was last known to be ours, by this process's own clock.
    renewed: Instant,
    /// Chunks that went on in other groups.
    moved: Bitmap,
    /// Chunks that are not on their way yet, the first of them last.
    pending: Vec<u32>,
    /// Those that have not ended.
    turns: BTreeMap<u32, Arc<Turn>>,
}

/// Moves the chunks of a group that was claimed after `claimed` and are not done yet, as far as the
/// allowance goes; gives the group back if some are left.
pub(crate) async fn run(
    engine: Arc<Engine>,
    (row, claimed): (GroupRow, Instant),
    allowance: &Allowance,
    demand: Demand,
) -> Result<()> {
    let segment = Arc::new(engine.segments.read_manifest(&row.segment).await?);
    if segment.chunks.len() != row.chunks as usize {
        return Err(Error::invalid(format!(
            "manifest segment {} has {} chunks, its row says {}",
            row.segment,
            segment.chunks.len(),
            row.chunks
        )));
    }
    let lease = row
        .lease
        .clone()
        .ok_or_else(|| Error::control(ErrorKind::Internal, "a claimed group has no lease"))?;
    let pending = (0..row.chunks)
        .rev()
        .filter(|index| !row.done.contains(*index))
        .collect::<Vec<_>>();
    let turns = pending
        .iter()
        .map(|index| (*index, Arc::new(Turn::new(engine.idle.open()))));
    let mut work = Work {
        moved: split::moved(&*engine.segments, &segment, &row).await?,
        turns: turns.collect(),
        pending,
        engine,
        segment,
        row,
        lease,
        renewed: claimed,
    };
    let ended = work.run(allowance, demand).await;
    let is_done = work.row.done == Bitmap::full(work.row.chunks);
    if !is_done && !matches!(&ended, Err(error) if error.kind == ErrorKind::LeaseLost) {
        let engine = &work.engine;
        // The first error counts; a lease that cannot be given back ends by itself.
        if let Err(error) = engine
            .state
            .release(&engine.id, work.row.id, &work.lease)
            .await
        {
            tracing::warn!(group = %work.row.id, "cannot release a group: {error}");
        }
    }
    ended
}

impl Work {
    async fn run(&mut self, allowance: &Allowance, demand: Demand) -> Result<()> {
        let mut demand = Some(demand);
        let width = self.width();
        let mut running: JoinSet<(u32, Result<ChunkEnd>)> = JoinSet::new();
        let term = self.engine.limits.term.unwrap_or(TERM);
        let mut renewal = tokio::time::interval(term / 3);
        renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        renewal.tick().await;
        let engine = Arc::clone(&self.engine);
        loop {
            while running.len() < width
                && !self.engine.cancel.is_cancelled()
                && self.pending.last().is_some_and(|_| allowance.take())
                && let Some(index) = self.pending.pop()
                && let Some(turn) = self.turns.get(&index).map(Arc::clone)
            {
                let (engine, segment) = (Arc::clone(&self.engine), Arc::clone(&self.segment));
                let demand = engine.budget.demand();
                let (trace, id) = (Arc::clone(&engine.trace), (self.row.id, index));
                running.spawn(trace.work(id, async move {
                    (index, chunk(&engine, &segment, index, demand, &turn).await)
                }));
            }
            drop(demand.take());
            if running.is_empty() {
                return self.engine.check_cancelled();
            }
            tokio::select! {
                biased;
                () = self.engine.cancel.cancelled() => {
                    // What is under way is dropped; what is done was recorded.
                    running.shutdown().await;
                    return Err(Engine::interrupted());
                }
                // Told once a look. Chunks may end so often that what stands below never has its turn.
                idle = engine.idle.others(), if self.can_split() => {
                    self.while_held(async |work| work.split(idle).await).await?;
                }
                Some(first) = running.join_next() => {
                    let mut batch = vec![first];
                    if !running.is_empty() {
                        // A record is a file and a transaction: what ends soon shares them.
                        tokio::time::sleep(GATHERING).await;
                    }
                    while let Some(next) = running.try_join_next() {
                        batch.push(next);
                    }
                    self.while_held(async |work| work.record(batch).await).await?;
                }
                _ = renewal.tick() => {
                    self.while_held(async |work| work.renew().await).await?;
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<()> {
        let (engine, asked) = (&self.engine, Instant::now());
        self.lease = engine
            .state
            .renew(&engine.id, self.row.id, &self.lease)
            .await?;
        self.renewed = asked;
        Ok(())
    }

    /// Does what proves that the lease is still ours. At two thirds of its term without a proof
    /// the work ends, before anybody else may begin it.
    async fn while_held(&mut self, work: impl AsyncFnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let Some(term) = self.engine.limits.term else {
            return work(self).await;
        };
        let deadline = self.renewed + term * 2 / 3;
        match tokio::time::timeout_at(deadline, work(self)).await {
            Ok(done) => done,
            Err(_) => Err(Error::control(
                ErrorKind::LeaseLost,
                format!(
                    "the lease of group {} could not be renewed in time",
                    self.row.id
                ),
            )),
        }
    }

    /// How many chunks are worked on at the same time: enough to keep all slots busy.
    fn width(&self) -> usize {
        let objects: usize = self
            .segment
            .chunks
            .iter()
            .map(|chunk| match chunk {
                Chunk::Range { .. } => 1,
                Chunk::Bundle { count, .. } => *count as usize,
            })
            .sum();
        let a_chunk = objects.div_ceil(self.segment.chunks.len().max(1)).max(1);
        (2 * self.engine.limits.transfers).div_ceil(a_chunk).max(2)
    }

    async fn record(
        &mut self,
        batch: Vec<Result<(u32, Result<ChunkEnd>), tokio::task::JoinError>>,
    ) -> Result<()> {
        let mut done = Bitmap::default();
        let mut counts = Counts::default();
        let mut receipts = Vec::new();
        let mut regroup = Vec::new();
        let mut special = Vec::new();
        let mut first_error = None;
        for joined in batch {
            let (index, ended) = joined.map_err(|error| {
                Error::control(ErrorKind::Internal, "a chunk's task ended").cause(error)
            })?;
            self.turns.remove(&index);
            match ended {
                Ok(ChunkEnd::Bundle(None) | ChunkEnd::Part(PartEnd::Given)) => {}
                Ok(ChunkEnd::Bundle(Some(end))) => {
                    for outcome in end.outcomes {
                        if outcome.action == Action::Failed {
                            self.engine.trace.failed(self.row.id, index);
                        }
                        counts += count(&outcome);
                        receipts.push(ReceiptRecord::Object(outcome));
                    }
                    counts.retries += end.regroup.len() as u64;
                    regroup.extend(end.regroup);
                    done.insert(index);
                }
                Ok(ChunkEnd::Part(PartEnd::Written(receipt))) => {
                    let task = self.task_of(index);
                    receipts.push(ReceiptRecord::Part {
                        destination_key: task.destination_key.clone(),
                        destination: 0,
                        attempt: task.attempt,
                        receipt,
                    });
                    done.insert(index);
                }
                Ok(ChunkEnd::Part(PartEnd::ObjectEnded)) => done.insert(index),
                Ok(ChunkEnd::Part(end)) => special.push((index, end)),
                Err(error) => {
                    self.engine.trace.failed(self.row.id, index);
                    first_error = first_error.or(Some(error));
                }
            }
        }
        if done.count() > 0 {
            let pointer = if receipts.is_empty() {
                None
            } else {
                Some(self.engine.segments.write_receipts(&receipts).await?)
            };
            let follow_up = follow_up(&self.engine, regroup).await?;
            let record = Record {
                done,
                counts,
                receipts: pointer,
                follow_up,
                supersede: None,
            };
            self.put(record).await?;
        }
        for (index, end) in special {
            self.end_object(index, end).await?;
        }
        self.count_slices(done).await?;
        first_error.map_or(Ok(()), Err)
    }

    async fn put(&mut self, record: Record) -> Result<()> {
        let (engine, asked, done) = (&self.engine, Instant::now(), record.done);
        let moved = record.counts.moved_chunks > 0;
        self.row = engine
            .state
            .record(&engine.id, self.row.id, &self.lease, record)
            .await?;
        if moved {
            engine.trace.moved(self.row.id, done);
        } else {
            engine.trace.recorded(self.row.id, done);
        }
        self.renewed = asked;
        Ok(())
    }

    fn task_of(&self, chunk: u32) -> &ObjectTask {
        let index = match self.segment.chunks[chunk as usize] {
            Chunk::Range { object, .. } => object,
            Chunk::Bundle { first, .. } => first,
        };
        &self.segment.objects[index as usize]
    }

    /// Records that a large object failed or is begun anew, and gives its upload up.
    async fn end_object(&mut self, index: u32, end: PartEnd) -> Result<()> {
        let task = self.task_of(index).clone();
        let key = UploadKey::of(&task);
        let mut done = Bitmap::default();
        done.insert(index);
        if self.engine.uploads.is_ended(&key).await {
            // Another part was first.
            return self
                .put(Record {
                    done,
                    counts: Counts::default(),
                    receipts: None,
                    follow_up: Vec::new(),
                    supersede: None,
                })
                .await;
        }
        let (follow_up, result) = match end {
            PartEnd::BeginAnew(next) => (follow_up(&self.engine, vec![*next]).await?, None),
            PartEnd::Failed(error) => {
                self.engine.trace.failed(self.row.id, index);
                let outcome = object::failure(&task, &error);
                let result = UploadResult {
                    counts: count(&outcome),
                    outcome,
                };
                (Vec::new(), Some(result))
            }
            PartEnd::Written(_) | PartEnd::ObjectEnded | PartEnd::Given => return Ok(()),
        };
        let retries = u64::from(result.is_none());
        let failed = result.as_ref().map(|result| result.outcome.clone());
        self.put(Record {
            done,
            counts: Counts {
                retries,
                ..Counts::default()
            },
            receipts: None,
            follow_up,
            supersede: Some((key.clone(), result)),
        })
        .await?;
        let engine = &self.engine;
        if engine.uploads.end(&key).await
            && let Some(outcome) = failed
        {
            object::tell(engine, outcome);
        }
        if let Some(row) = engine.state.upload(&engine.id, &key).await?
            && row.status == UploadStatus::Superseded
            && let Err(error) = complete::abort_at_store(engine, &row).await
        {
            // The sweep tries again.
            tracing::warn!(key = key.key, "cannot abort an upload: {error}");
        }
        Ok(())
    }

    /// Tells the uploads of large objects all of whose parts in this group are done, and completes
    /// those that were the last.
    async fn count_slices(&self, now_done: Bitmap) -> Result<()> {
        let mut parts_of: BTreeMap<u32, Bitmap> = BTreeMap::new();
        for (index, chunk) in self.segment.chunks.iter().enumerate() {
            if let Chunk::Range { object, .. } = chunk {
                parts_of.entry(*object).or_default().insert(index as u32);
            }
        }
        for (object, parts) in parts_of {
            let key = UploadKey::of(&self.segment.objects[object as usize]);
            let own = parts.count() - parts.intersection(self.moved).count();
            if own == 0
                || parts.intersection(self.row.done) != parts
                || parts.intersection(now_done).count() == 0
                || self.engine.uploads.is_ended(&key).await
            {
                continue;
            }
            let engine = &self.engine;
            let Some(row) = engine.state.upload(&engine.id, &key).await? else {
                continue;
            };
            if row.status != UploadStatus::Open {
                continue;
            }
            let row = engine
                .state
                .upload_slice(&engine.id, &key, self.row.id, own)
                .await?;
            if row.parts_done() == row.parts_total {
                complete::complete(engine, &row, false).await?;
            }
        }
        Ok(())
    }
}

async fn follow_up(engine: &Engine, tasks: Vec<ObjectTask>) -> Result<Vec<NewGroup>> {
    let mut groups = Vec::new();
    for segment in pack::pack(tasks) {
        groups.push(new_group(engine, &segment).await?);
    }
    Ok(groups)
}

/// Writes a group's manifest.
pub(crate) async fn new_group(engine: &Engine, segment: &Segment) -> Result<NewGroup> {
    Ok(NewGroup {
        chunks: segment.chunks.len() as u32,
        bytes: segment
            .chunks
            .iter()
            .map(|chunk| segment.chunk_bytes(chunk))
            .sum(),
        segment: engine.segments.write_manifest(segment).await?,
    })
}

/// What an ended object counts.
pub(crate) fn count(outcome: &Outcome) -> Counts {
    let retries = u64::from(outcome.attempts.saturating_sub(1));
    let one = |is: bool| u64::from(is);
    match outcome.action {
        Action::Copied => Counts {
            objects: 1,
            bytes: outcome.size,
            retries,
            source_verified: one(outcome.verified == Some(Verification::SourceVerified)),
            transport_verified: one(outcome.verified == Some(Verification::TransportVerified)),
            ..Counts::default()
        },
        Action::Skipped => Counts {
            skipped: 1,
            ..Counts::default()
        },
        Action::Deleted => Counts {
            deleted: 1,
            ..Counts::default()
        },
        Action::Failed => Counts {
            failed: 1,
            retries,
            ..Counts::default()
        },
    }
}

async fn chunk(
    engine: &Arc<Engine>,
    segment: &Arc<Segment>,
    index: u32,
    demand: Demand,
    turn: &Arc<Turn>,
) -> Result<ChunkEnd> {
    match segment.chunks[index as usize] {
        Chunk::Range { object, part } => {
            let task = &segment.objects[object as usize];
            // Its upload may take long to open: others go on meanwhile.
            drop(demand);
            let copied = part::copy(engine, task, part, turn);
            copied.await.map(ChunkEnd::Part)
        }
        Chunk::Bundle { first, count } => {
            let objects = first..first + count;
            let end = bundle::copy(engine, segment, objects, demand, turn).await?;
            Ok(ChunkEnd::Bundle(end))
        }
    }
}
