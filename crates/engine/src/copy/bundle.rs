//! Copying a bundle: its objects are read concurrently and written each by itself, or all by one
//! call where a call takes a long way. What was staged is committed together.

use std::ops::Range;
use std::sync::Arc;

use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_model::segment::{ObjectTask, Segment};
use skyhaul_model::{Error, ErrorKind, Result, Side};
use skyhaul_stores::{PutReceipt, PutRequest, Staged};
use tokio::task::JoinSet;

use super::object::{self, ObjectEnd, Ready};
use super::turn::Turn;
use crate::budget::{Demand, Memory};
use crate::engine::Engine;
use crate::trace;

/// How a bundle ended.
#[derive(Debug, Default)]
pub(crate) struct BundleEnd {
    /// Its objects' lines of the report.
    pub outcomes: Vec<Outcome>,
    /// Those to be copied under a group of their own.
    pub regroup: Vec<ObjectTask>,
}

/// What has come of a bundle's objects so far.
#[derive(Debug, Default)]
struct Gathered {
    end: BundleEnd,
    staged: Vec<Staged>,
    staged_outcomes: Vec<Outcome>,
}

/// Copies the objects of a bundle; `None` if it was given to another holder before it was begun.
/// Fails only when the run is interrupted.
pub(crate) async fn copy(
    engine: &Arc<Engine>,
    segment: &Arc<Segment>,
    objects: Range<u32>,
    demand: Demand,
    turn: &Arc<Turn>,
) -> Result<Option<BundleEnd>> {
    let sizes = objects
        .clone()
        .map(|index| segment.objects[index as usize].size);
    let bytes: u64 = sizes.sum();
    let together = objects.len() > 1
        && bytes <= engine.limits.max_memory
        && engine.destination.writes_together()
        && !engine.copies_in_service();
    let ended = if together {
        // All of it at once: nobody waits for memory who holds some.
        let Some(memory) = turn.wait(engine.budget.memory(bytes)).await else {
            return Ok(None);
        };
        together_copied(engine, segment, objects, memory, demand).await?
    } else {
        let objects = objects.map(|index| (index, ()));
        let turn = Arc::clone(turn);
        let ended = concurrently(engine, segment, objects, demand, move |of, (), demand| {
            let turn = Arc::clone(&turn);
            async move {
                let task = of.task();
                let permit = turn.wait(of.engine.budget.acquire(task.size)).await;
                drop(demand);
                let Some(_permit) = permit else {
                    return Ok(None);
                };
                object::copy(&of.engine, task).await.map(Some)
            }
        });
        // It is given away as a whole.
        let Some(ended) = ended.await?.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        ended
    };
    let mut gathered = Gathered::default();
    for end in ended {
        gathered.add(end);
    }
    Ok(Some(gathered.commit(engine).await))
}

/// Reads all objects, writes them by one call, then goes on with each: those that could not be read
/// or written are begun anew by themselves.
async fn together_copied(
    engine: &Arc<Engine>,
    segment: &Arc<Segment>,
    objects: Range<u32>,
    memory: Memory,
    demand: Demand,
) -> Result<Vec<ObjectEnd>> {
    let read = concurrently(
        engine,
        segment,
        objects.map(|index| (index, ())),
        demand,
        async |of, (), demand| {
            let _slot = of.engine.budget.slot().await;
            drop(demand);
            Ok((of.index, object::ready(&of.engine, of.task()).await))
        },
    )
    .await?;
    engine.check_cancelled()?;
    let mut ends = Vec::with_capacity(read.len());
    let (mut puts, mut sent) = (
        Vec::with_capacity(read.len()),
        Vec::with_capacity(read.len()),
    );
    for (index, ready) in read {
        match ready {
            Ok(Ready { request, proof }) => {
                let key = &segment.objects[index as usize].destination_key;
                puts.push((key.clone(), request));
                sent.push((index, proof));
            }
            Err(error) => ends.push((index, Err(error))),
        }
    }
    let receipts = put_many(engine, puts).await;
    drop(memory);
    for ((index, proof), receipt) in sent.into_iter().zip(receipts) {
        ends.push((index, receipt.map(|receipt| (receipt, proof))));
    }
    let demand = engine.budget.demand();
    let ends = ends.into_iter();
    concurrently(
        engine,
        segment,
        ends,
        demand,
        async |of, written, demand| {
            let task = of.task();
            drop(demand);
            let end = match written {
                Ok((receipt, proof)) => object::written(&of.engine, task, receipt, proof).await,
                Err(error) => Err(error),
            };
            let error = match end {
                Ok(end) => return Ok(end),
                Err(error) => error,
            };
            let _permit = of.engine.budget.acquire(task.size).await;
            object::go_on(&of.engine, task.clone(), Err(error)).await
        },
    )
    .await
}

/// Writes objects by one call. One result for each.
async fn put_many(
    engine: &Arc<Engine>,
    puts: Vec<(String, PutRequest)>,
) -> Vec<Result<PutReceipt>> {
    let count = puts.len();
    #[cfg(mutant)]
    if skyhaul_model::mutant::Mutant::RecordUnacknowledged.is_chosen() {
        let engine = Arc::clone(engine);
        tokio::spawn(async move { engine.destination.put_many(puts).await });
        let receipt = PutReceipt {
            verified: true,
            ..PutReceipt::default()
        };
        return (0..count).map(|_| Ok(receipt.clone())).collect();
    }
    one_for_each(engine.destination.put_many(puts).await, count)
}

/// The results of a call for `count` objects: those that a store left out are not known to be written.
fn one_for_each<T>(mut results: Vec<Result<T>>, count: usize) -> Vec<Result<T>> {
    results.truncate(count);
    results.resize_with(count, || {
        let message = "the store did not say what became of it";
        Err(Error::new(Side::Destination, ErrorKind::Internal, message))
    });
    results
}

/// One object of a bundle.
struct Of {
    engine: Arc<Engine>,
    segment: Arc<Segment>,
    index: u32,
}

impl Of {
    fn task(&self) -> &ObjectTask {
        &self.segment.objects[self.index as usize]
    }
}

/// Works on objects, as many at a time as there may be transfers. The first error ends all.
async fn concurrently<T, E, F, W>(
    engine: &Arc<Engine>,
    segment: &Arc<Segment>,
    mut objects: impl Iterator<Item = (u32, T)>,
    demand: Demand,
    work: W,
) -> Result<Vec<E>>
where
    E: Send + 'static,
    F: Future<Output = Result<E>> + Send + 'static,
    W: Fn(Of, T, Demand) -> F,
{
    let mut demand = Some(demand);
    let mut running = JoinSet::new();
    let mut ended = Vec::with_capacity(objects.size_hint().0);
    loop {
        while running.len() < engine.limits.transfers
            && let Some((index, item)) = objects.next()
        {
            let of = Of {
                engine: Arc::clone(engine),
                segment: Arc::clone(segment),
                index,
            };
            running.spawn(trace::inherit(work(of, item, engine.budget.demand())));
        }
        drop(demand.take());
        let Some(joined) = running.join_next().await else {
            return Ok(ended);
        };
        let end = joined.map_err(|error| {
            Error::control(ErrorKind::Internal, "an object's task ended").cause(error)
        })??;
        ended.push(end);
    }
}

impl Gathered {
    fn add(&mut self, end: ObjectEnd) {
        match end {
            ObjectEnd::Ended(outcome) => self.end.outcomes.push(outcome),
            ObjectEnd::Staged(token, outcome) => {
                self.staged.push(token);
                self.staged_outcomes.push(outcome);
            }
            ObjectEnd::Regroup(task) => self.end.regroup.push(task),
        }
    }

    /// Commits what was staged.
    async fn commit(self, engine: &Engine) -> BundleEnd {
        let mut end = self.end;
        if !self.staged.is_empty() {
            let count = self.staged.len();
            let committed = engine.destination.commit(self.staged).await;
            let committed = one_for_each(committed, count);
            for (result, outcome) in committed.into_iter().zip(self.staged_outcomes) {
                end.outcomes
                    .push(committed_outcome(engine, outcome, result));
            }
        }
        end
    }
}

fn committed_outcome(engine: &Engine, mut outcome: Outcome, result: Result<PutReceipt>) -> Outcome {
    match result {
        Ok(receipt) => {
            engine.meter.add_object();
            outcome.etag = receipt.etag.or(outcome.etag);
        }
        Err(error)
            if error.kind == ErrorKind::PreconditionFailed && object::skips_existing(engine) =>
        {
            outcome.action = Action::Skipped;
            outcome.verified = None;
            outcome.reason = Some("it exists at the destination".to_owned());
        }
        Err(error) => {
            outcome.action = Action::Failed;
            outcome.verified = None;
            outcome.error = Some((&error).into());
            tracing::error!(key = outcome.destination_key, "{error}");
            engine.meter.failed(outcome.clone());
        }
    }
    outcome
}
