//! Recent chunks of this process and what happened to each, for whoever looks into it. Kept in a ring of
//! bounded size; nothing depends on it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use skyhaul_model::group::{Bitmap, GroupId};

/// Ways that are kept of a chunk; each of its objects may take another.
const PATHS: usize = 8;

/// Where a chunk is, as this process knows it. It is at the last of these that it has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its group was claimed.
    Queued,
    /// It was begun.
    Reading,
    /// All bytes of an object or part of it were sent.
    Sent,
    /// The destination confirmed an object or part of it.
    Acknowledged,
    /// It is done in the state.
    Recorded,
    /// It, or an object of it, failed.
    Failed,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Reading,
        Self::Sent,
        Self::Acknowledged,
        Self::Recorded,
        Self::Failed,
    ];
}

/// That a chunk came to a stage. One with many objects comes there many times.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The stage.
    pub stage: Stage,
    /// When it came there first, since the trace began.
    pub first: Duration,
    /// When it came there last.
    pub last: Duration,
    /// How often.
    pub times: u64,
}

/// What is known of a chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// Its group.
    pub group: GroupId,
    /// Its number in the group, from 0.
    pub chunk: u32,
    /// Gateways that it took its way over, each way once.
    pub paths: Vec<Vec<String>>,
    /// What happened to it since its group was claimed, in order of stages.
    pub steps: Vec<Step>,
}

impl Traced {
    /// Where it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.steps.last().map_or(Stage::Queued, |step| step.stage)
    }
}

type ChunkId = (GroupId, u32);

#[derive(Debug, Default)]
struct Ring {
    chunks: HashMap<ChunkId, Traced>,
    order: VecDeque<ChunkId>,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Trace {
    most: usize,
    began: Instant,
    ring: Mutex<Ring>,
    recorded: AtomicU64,
    held: AtomicU64,
}

tokio::task_local! {
    /// The chunk that this task works for.
    static CURRENT: Option<(Arc<Trace>, ChunkId)>;
}

impl Trace {
    /// A trace of `most` chunks. 0 keeps none.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            began: Instant::now(),
            ring: Mutex::default(),
            recorded: AtomicU64::new(0),
            held: AtomicU64::new(0),
        })
    }

    /// How many chunks are kept.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Chunks that this process has recorded.
    #[must_use]
    pub fn recorded_chunks(&self) -> u64 {
        self.recorded.load(Ordering::Relaxed)
    }

    /// Groups that this process works on.
    #[must_use]
    pub fn held_groups(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// What is kept, the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Traced> {
        let ring = self.lock();
        let ids = ring.order.iter();
        ids.filter_map(|id| ring.chunks.get(id).cloned()).collect()
    }

    /// One chunk, if it is kept.
    #[must_use]
    pub fn get(&self, group: GroupId, chunk: u32) -> Option<Traced> {
        self.lock().chunks.get(&(group, chunk)).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group was claimed, of whose chunks these are done. It is held until what is returned is
    /// dropped.
    pub(crate) fn claimed(self: &Arc<Self>, group: GroupId, chunks: u32, done: Bitmap) -> Held {
        self.held.fetch_add(1, Ordering::Relaxed);
        for chunk in (0..chunks).filter(|chunk| !done.contains(*chunk)) {
            self.begin((group, chunk));
        }
        Held(Arc::clone(self))
    }

    fn begin(&self, id: ChunkId) {
        if self.most == 0 {
            return;
        }
        let ring = &mut *self.lock();
        let fresh = Traced {
            group: id.0,
            chunk: id.1,
            paths: Vec::new(),
            steps: Vec::new(),
        };
        if ring.chunks.insert(id, fresh).is_some() {
            ring.order.retain(|other| *other != id);
        } else if ring.order.len() == self.most
            && let Some(oldest) = ring.order.pop_front()
        {
            ring.chunks.remove(&oldest);
        }
        ring.order.push_back(id);
        self.step(ring, id, Stage::Queued);
    }

    fn step(&self, ring: &mut Ring, id: ChunkId, stage: Stage) {
        let now = self.began.elapsed();
        let Some(chunk) = ring.chunks.get_mut(&id) else {
            return;
        };
        match chunk.steps.binary_search_by_key(&stage, |step| step.stage) {
            Ok(index) => {
                chunk.steps[index].last = now;
                chunk.steps[index].times += 1;
            }
            Err(index) => {
                let (first, last) = (now, now);
                let times = 1;
                chunk.steps.insert(
                    index,
                    Step {
                        stage,
                        first,
                        last,
                        times,
                    },
                );
            }
        }
    }

    fn reached(&self, id: ChunkId, stage: Stage) {
        if self.most == 0 {
            return;
        }
        self.step(&mut self.lock(), id, stage);
    }

    /// Does a chunk's work, which may tell of it.
    pub(crate) async fn work<T>(
        self: Arc<Self>,
        (group, chunk): ChunkId,
        work: impl Future<Output = T>,
    ) -> T {
        self.reached((group, chunk), Stage::Reading);
        CURRENT.scope(Some((self, (group, chunk))), work).await
    }

    /// Chunks are done in the state.
    pub(crate) fn recorded(&self, group: GroupId, done: Bitmap) {
        let count = u64::from(done.count());
        self.recorded.fetch_add(count, Ordering::Relaxed);
        for chunk in (0..64).filter(|chunk| done.contains(*chunk)) {
            self.reached((group, chunk), Stage::Recorded);
        }
    }

    /// Chunks went on in other groups: whoever works on those tells of them.
    pub(crate) fn moved(&self, group: GroupId, chunks: Bitmap) {
        let ring = &mut *self.lock();
        ring.chunks
            .retain(|(of, chunk), _| *of != group || !chunks.contains(*chunk));
        ring.order.retain(|id| ring.chunks.contains_key(id));
    }

    /// A chunk failed, or an object of it.
    pub(crate) fn failed(&self, group: GroupId, chunk: u32) {
        self.reached((group, chunk), Stage::Failed);
    }
}

/// A group that is worked on, until this is dropped.
pub(crate) struct Held(Arc<Trace>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Has another task work for the chunk of this one.
pub(crate) fn inherit<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let current = CURRENT.try_with(Clone::clone).ok().flatten();
    CURRENT.scope(current, work)
}

/// The chunk of this task has come to a stage.
pub fn reached(stage: Stage) {
    let _ = CURRENT.try_with(|current| {
        if let Some((trace, id)) = current {
            trace.reached(*id, stage);
        }
    });
}

/// The chunk of this task takes its way over these gateways.
pub fn takes(path: &[String]) {
    let _ = CURRENT.try_with(|current| {
        let Some((trace, id)) = current else { return };
        if let Some(chunk) = trace.lock().chunks.get_mut(id)
            && chunk.paths.len() < PATHS
            && !chunk.paths.iter().any(|known| known == path)
        {
            chunk.paths.push(path.to_vec());
        }
    });
}

#[cfg(test)]
mod tests {
    use skyhaul_model::group::RangeId;

    use super::*;

    fn group(ordinal: u32) -> GroupId {
        let range = RangeId(0);
        GroupId { range, ordinal }
    }

    #[tokio::test]
    async fn a_chunk_is_at_the_last_stage_it_has_reached() {
        let trace = Trace::new(10);
        let mut done = Bitmap::default();
        done.insert(0);
        let held = trace.claimed(group(1), 2, done);
        assert_eq!(trace.held_groups(), 1);
        assert!(trace.get(group(1), 0).is_none());
        Arc::clone(&trace)
            .work((group(1), 1), async {
                inherit(async {
                    for _ in 0..2 {
                        takes(&["relay-1".to_owned(), "dst-1".to_owned()]);
                        reached(Stage::Sent);
                        reached(Stage::Acknowledged);
                    }
                })
                .await;
            })
            .await;
        // Nobody's.
        reached(Stage::Sent);
        let chunk = trace.get(group(1), 1).unwrap();
        assert_eq!(chunk.stage(), Stage::Acknowledged);
        assert_eq!(chunk.paths, [["relay-1", "dst-1"]]);
        let times: Vec<_> = chunk
            .steps
            .iter()
            .map(|step| (step.stage, step.times))
            .collect();
        let wanted = [
            (Stage::Queued, 1),
            (Stage::Reading, 1),
            (Stage::Sent, 2),
            (Stage::Acknowledged, 2),
        ];
        assert_eq!(times, wanted);
        trace.failed(group(1), 1);
        trace.recorded(group(1), Bitmap(2));
        assert_eq!(trace.get(group(1), 1).unwrap().stage(), Stage::Failed);
        assert_eq!(trace.recorded_chunks(), 1);
        drop(held);
        assert_eq!(trace.held_groups(), 0);
        // Claimed again: from the beginning.
        let _held = trace.claimed(group(1), 2, done);
        assert_eq!(trace.get(group(1), 1).unwrap().steps.len(), 1);
    }

    #[test]
    fn no_more_chunks_are_kept_than_is_said() {
        let trace = Trace::new(100);
        for ordinal in 0..10 {
            drop(trace.claimed(group(ordinal), 64, Bitmap::default()));
        }
        let all = trace.all();
        assert_eq!(all.len(), 100);
        assert_eq!(all[99].group, group(9));
        assert!(trace.get(group(0), 0).is_none());
        let none = Trace::new(0);
        drop(none.claimed(group(0), 64, Bitmap::default()));
        assert!(none.all().is_empty());
    }
}
