//! The verify step: after a copy the receipts prove each object; a sync also lists both sides once more.

use std::collections::HashSet;
use std::sync::Arc;

use skyhaul_engine::Engine;
use skyhaul_model::compare::{Compare, IfExists};
use skyhaul_model::outcome::Action;
use skyhaul_model::spec::Mode;
use skyhaul_model::{Pin, Result};

use crate::compare;
use crate::compare::Place;
use crate::embedded::Difference;
use crate::records::{self, Records};

/// Most differences that are looked into one by one.
const MOST: usize = 10_000;

/// Whether everything that was counted as copied is at the destination; `None` if the engine drained before
/// that was known. A sync is listed once more, at `place`.
pub(crate) async fn after_copy(
    engine: &Arc<Engine>,
    place: impl AsyncFnOnce() -> Result<Place>,
    notes: &mut Vec<String>,
) -> Result<Option<bool>> {
    let progress = engine.state.progress(&engine.id).await?;
    let (listed, done) = (progress.listed, progress.done);
    if listed.copy_objects != done.objects + done.failed + done.skipped {
        notes.push(format!(
            "{} objects were to be copied, but {} were copied, {} failed and {} were skipped",
            listed.copy_objects, done.objects, done.failed, done.skipped
        ));
        return Ok(Some(false));
    }
    if engine.spec.mode != Mode::Sync || done.objects == 0 {
        return Ok(Some(true));
    }
    let mut spec = engine.spec.clone();
    spec.compare = Compare::Size;
    spec.if_exists = IfExists::Overwrite;
    spec.delete = None;
    let mut suspects = HashSet::new();
    let listed = compare::differences(engine, place().await?, spec, &mut |key, difference| {
        if matches!(difference, Difference::Missing | Difference::Size) && suspects.len() < MOST {
            suspects.insert(key);
        }
    })
    .await?;
    if !listed {
        return Ok(None);
    }
    if suspects.is_empty() {
        return Ok(Some(true));
    }
    // What differs and was copied by us must have changed at the source since, or it is lost.
    let mut copied = Vec::new();
    records::outcomes(Records::of(engine), &[], &mut |outcome| {
        if outcome.action == Action::Copied
            && let Some(key) = outcome.source_key
            && suspects.contains(&key)
        {
            copied.push((key, outcome.size));
        }
        Ok(())
    })
    .await?;
    let mut good = true;
    for (key, size) in copied {
        let now = engine.source.stat(&key, &Pin::default(), false).await?;
        if now.is_some_and(|info| info.size == size) {
            notes.push(format!(
                "{}: not at the destination as it was written",
                engine.source.uri(&key)
            ));
            good = false;
        }
    }
    Ok(Some(good))
}
