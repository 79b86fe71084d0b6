//! The delete step: only after both listings ended and the guard was asked about the total.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use skyhaul_engine::{Engine, StepEnd};
use skyhaul_model::guard::{self, DeleteTotals, Listing};
use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_model::{Error, ErrorKind, Pin, Result};
use skyhaul_state::{ListSegmentKind, Progress, SegmentKind, SegmentStore};

use crate::plan;
use crate::records::Records;

/// How long a listing is taken for the present: after that each key is looked at again before it
/// is deleted.
pub(crate) const FRESH: Duration = Duration::from_mins(5);

/// Delete calls under way at the same time.
const CALLS: usize = 8;

/// What was deleted.
#[derive(Debug, Default)]
pub(crate) struct Deletions {
    /// Segments with one outcome a key.
    pub segments: Vec<String>,
    pub deleted: u64,
    pub failed: u64,
}

/// What is to become of the deletions that the listing found.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// There are none.
    Nothing,
    /// They are not carried out, and this is why.
    Kept(String),
    /// They may not be; going on with the same listing would be refused again.
    Refused(Error),
    /// They may be carried out.
    Allowed {
        deletes: u64,
        /// Objects at the destination.
        there: u64,
    },
}

/// Decides on the deletions. `listed_before`: what was listed may be true no more.
pub(crate) async fn judge(engine: &Engine, listed_before: bool) -> Result<Verdict> {
    let Some(policy) = &engine.spec.delete else {
        return Ok(Verdict::Nothing);
    };
    let mut progress = engine.state.progress(&engine.id).await?;
    let deletes = progress.listed.deletes;
    if deletes > 0 && listed_before && source_is_empty(engine).await? {
        progress.listed.source_objects = 0;
    }
    if let Err(refusal) = guard(engine, &progress) {
        return Ok(Verdict::Refused(refusal));
    }
    if deletes == 0 {
        return Ok(Verdict::Nothing);
    }
    // What failed to arrive may be what is about to go, under another name.
    let failed = progress.listed.failed + progress.done.failed;
    if failed > 0 && !policy.force {
        return Ok(Verdict::Kept(format!(
            "{deletes} objects were not deleted, because {failed} objects were not copied \
             (--force deletes all the same)"
        )));
    }
    Ok(Verdict::Allowed {
        deletes,
        there: progress.listed.destination_objects,
    })
}

/// Whether the deletions that the listing found may be carried out.
pub(crate) fn guard(engine: &Engine, progress: &Progress) -> Result<()> {
    let Some(policy) = &engine.spec.delete else {
        return Ok(());
    };
    let listing = match (progress.listing_done, progress.listed.unlisted) {
        (false, _) => Listing::Failed,
        (true, 0) => Listing::Complete,
        (true, _) => Listing::Partial,
    };
    guard::allow(
        policy,
        &DeleteTotals {
            deletes: progress.listed.deletes,
            destination_objects: progress.listed.destination_objects,
            source_objects: progress.listed.source_objects,
            listing,
        },
    )
}

/// Whether the source has nothing at all now: a disk that is not mounted any more, say, whatever an
/// earlier run saw of it.
async fn source_is_empty(engine: &Engine) -> Result<bool> {
    let prefix = engine.spec.keys.source_prefix().to_owned();
    let (objects, _) = plan::count(&engine.source, prefix).await?;
    Ok(objects == 0)
}

/// Where it is told what became of the keys of a segment.
fn told(deletes: &str) -> String {
    let name = deletes.rsplit('/').next().unwrap_or(deletes);
    format!("{}/deleted-{name}", SegmentKind::Outcomes)
}

/// What became of the keys of a segment, if that was told.
async fn find(segments: &dyn SegmentStore, deletes: &str) -> Result<Option<Vec<Outcome>>> {
    match segments.read_outcomes(&told(deletes)).await {
        Ok(outcomes) => Ok(Some(outcomes)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Segments are worked on in their order: those before this one are done.
async fn first_left(engine: &Engine, pointers: &[String]) -> Result<usize> {
    let (mut done, mut left) = (0, pointers.len());
    while done < left {
        let middle = usize::midpoint(done, left);
        if find(&*engine.segments, &pointers[middle]).await?.is_some() {
            done = middle + 1;
        } else {
            left = middle;
        }
    }
    Ok(done)
}

/// Deletes what the listing found and earlier slices left, until the engine drains. `recheck` looks at the
/// source again before each: for a listing that was made long ago.
pub(crate) async fn delete(engine: &Engine, recheck: bool) -> Result<StepEnd> {
    let listed = ListSegmentKind::Deletes;
    let pointers = engine.state.list_segments(&engine.id, listed).await?;
    let first = first_left(engine, &pointers).await?;
    for pointer in &pointers[first..] {
        if engine.drain.is_cancelled() {
            return Ok(StepEnd::More);
        }
        let keys = engine.segments.read_deletes(pointer).await?;
        let batch = engine.destination.capabilities().delete_batch.max(1);
        let outcomes: Vec<Vec<Outcome>> = stream::iter(keys.chunks(batch))
            .map(|keys| delete_batch(engine, keys, recheck))
            .buffered(CALLS)
            .try_collect()
            .await?;
        let told = told(pointer);
        engine
            .segments
            .keep_outcomes(&told, &outcomes.concat())
            .await?;
    }
    Ok(StepEnd::Done)
}

/// What all slices of this transfer deleted.
pub(crate) async fn deletions(records: Records<'_>) -> Result<Deletions> {
    let mut all = Deletions::default();
    let listed = ListSegmentKind::Deletes;
    for pointer in records.state.list_segments(records.id, listed).await? {
        // In their order: behind one that is left there is none.
        let Some(outcomes) = find(records.segments, &pointer).await? else {
            break;
        };
        for outcome in outcomes {
            match outcome.action {
                Action::Deleted => all.deleted += 1,
                Action::Failed => all.failed += 1,
                _ => {}
            }
        }
        all.segments.push(told(&pointer));
    }
    Ok(all)
}

fn outcome(key: String, action: Action) -> Outcome {
    Outcome {
        attempts: 1,
        ..Outcome::new(action, key)
    }
}

async fn delete_batch(engine: &Engine, keys: &[String], recheck: bool) -> Result<Vec<Outcome>> {
    engine.check_cancelled()?;
    let (mut keys, mut outcomes) = (keys.to_vec(), Vec::new());
    if recheck {
        let looked: Vec<(String, bool)> = stream::iter(keys)
            .map(|key| async move {
                let exists = match engine.spec.keys.unmap(&key) {
                    Some(source) => {
                        match engine.source.stat(&source, &Pin::default(), false).await {
                            Ok(found) => found.is_some(),
                            // On disk: what is there is no object, as the listing found. Of a
                            // service a refusal says nothing.
                            Err(error)
                                if error.kind == ErrorKind::Refused
                                    && engine.source.place().is_none() =>
                            {
                                false
                            }
                            Err(error) => return Err(error),
                        }
                    }
                    None => false,
                };
                Ok::<_, Error>((key, exists))
            })
            .buffered(engine.limits.checkers.max(1))
            .try_collect()
            .await?;
        keys = Vec::new();
        for (key, exists) in looked {
            if exists {
                let mut kept = outcome(key, Action::Skipped);
                kept.reason = Some("it came back at the source".to_owned());
                outcomes.push(kept);
            } else {
                keys.push(key);
            }
        }
    }
    for deleted in engine.destination.delete(&keys).await {
        match deleted.result {
            Ok(()) => {
                engine.meter.add_deleted(1);
                outcomes.push(outcome(deleted.key, Action::Deleted));
            }
            Err(error) if error.kind == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                tracing::error!(key = deleted.key, "{error}");
                let mut failed = outcome(deleted.key, Action::Failed);
                failed.error = Some((&error).into());
                engine.meter.failed(failed.clone());
                outcomes.push(failed);
            }
        }
    }
    Ok(outcomes)
}
