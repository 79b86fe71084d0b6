//! Comparing two sides without copying: the listing of a transfer, run over a throw-away state, for
//! `--dry-run`, `verify` and the verification of a sync. So they can never disagree with what a
//! transfer does.

use std::sync::Arc;

use futures::TryStreamExt as _;
use skyhaul_engine::engine::EngineParts;
use skyhaul_engine::meter::Meter;
use skyhaul_engine::{Engine, Limits, ServiceCopy};
use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_model::{Error, ErrorKind, Result, TransferId, TransferSpec};
use skyhaul_state::{
    ListSegmentKind, Progress, Segments, SqliteState, Submitted, TransferState as _, pages,
};
use skyhaul_stores::Store;
use tokio_util::sync::CancellationToken;

use crate::drive;
use crate::embedded::Difference;

/// A listing of both sides whose findings can be looked at.
pub(crate) struct Listed {
    pub engine: Arc<Engine>,
    pub progress: Progress,
    /// Holds the state and the segments until it is dropped.
    _dir: tempfile::TempDir,
}

/// Lists and merges both sides and copies nothing.
pub(crate) async fn list(
    spec: TransferSpec,
    source: Arc<dyn Store>,
    destination: Arc<dyn Store>,
    limits: Limits,
    cancel: CancellationToken,
) -> Result<Listed> {
    let dir = tempfile::tempdir().map_err(|error| {
        Error::control(ErrorKind::Full, "cannot create a temporary folder").cause(error)
    })?;
    let state = Arc::new(SqliteState::open(dir.path().join("state.db"))?);
    let id = TransferId::generate();
    let (Submitted::Created(_) | Submitted::Existing(_)) = state.submit(&id, &spec).await?;
    let (meter, _failures) = Meter::new();
    let engine = Arc::new(Engine::new(EngineParts {
        segments: Arc::new(Segments::open(dir.path().join("segments"))?),
        id,
        spec,
        state,
        source,
        destination,
        limits,
        meter: Arc::new(meter),
        cancel,
        service_copy: ServiceCopy::Off,
    }));
    drive::copy_phase(&engine, false).await?;
    let progress = engine.state.progress(&engine.id).await?;
    Ok(Listed {
        engine,
        progress,
        _dir: dir,
    })
}

impl Listed {
    /// What would be done with each object: copied, skipped (if kept), failed, deleted.
    pub(crate) async fn outcomes(&self, show: &mut (dyn FnMut(Outcome) + Send)) -> Result<()> {
        let engine = &self.engine;
        let groups = pages::groups(&*engine.state, &engine.id, None);
        futures::pin_mut!(groups);
        while let Some(row) = groups.try_next().await? {
            let segment = engine.segments.read_manifest(&row.segment).await?;
            for (index, task) in segment.objects.into_iter().enumerate() {
                // An object cut into parts stands in several groups: shown with its first.
                let begins = task.part_size.is_none()
                    || segment.chunks.iter().any(|chunk| {
                        matches!(chunk, skyhaul_model::segment::Chunk::Range { object, part: 1 }
                            if *object as usize == index)
                    });
                if begins {
                    show(Outcome {
                        source_key: Some(task.source_key),
                        size: task.size,
                        reason: task.reason.map(std::borrow::Cow::into_owned),
                        ..Outcome::new(Action::Copied, task.destination_key)
                    });
                }
            }
        }
        let outcomes = ListSegmentKind::Outcomes;
        for pointer in engine.state.list_segments(&engine.id, outcomes).await? {
            engine
                .segments
                .read_outcomes(&pointer)
                .await?
                .into_iter()
                .for_each(&mut *show);
        }
        let deletes = ListSegmentKind::Deletes;
        for pointer in engine.state.list_segments(&engine.id, deletes).await? {
            for key in engine.segments.read_deletes(&pointer).await? {
                show(Outcome::new(Action::Deleted, key));
            }
        }
        Ok(())
    }
}

/// Tells the differences between two sides under `spec` (its mode, comparison and deletion policy
/// decide what counts), with the source key, or the destination key of what is only there. Returns
/// the counts of the listing.
pub(crate) async fn differences(
    like: &Engine,
    spec: TransferSpec,
    read_to_compare: bool,
    show: &mut (dyn FnMut(String, Difference) + Send),
) -> Result<Progress> {
    let limits = Limits {
        read_to_compare,
        keep_skipped: false,
        ..like.limits.clone()
    };
    let (source, destination) = (Arc::clone(&like.source), Arc::clone(&like.destination));
    let listed = list(spec, source, destination, limits, like.cancel.clone()).await?;
    listed.outcomes(&mut |outcome| tell(outcome, show)).await?;
    Ok(listed.progress)
}

/// Whether an object was skipped because both sides have it alike. What a listing passes over is
/// skipped too, and has no key at the destination.
pub(crate) fn was_compared(outcome: &Outcome) -> bool {
    outcome.action == Action::Skipped && !outcome.destination_key.is_empty()
}

/// A listed outcome as a difference.
pub(crate) fn tell(outcome: Outcome, show: &mut (dyn FnMut(String, Difference) + Send)) {
    let compared = was_compared(&outcome);
    let key = outcome.source_key.unwrap_or(outcome.destination_key);
    match outcome.action {
        Action::Copied => {
            let difference = match outcome.reason.as_deref() {
                None => Difference::Missing,
                Some("size differs") => Difference::Size,
                Some(_) => Difference::Checksum,
            };
            show(key, difference);
        }
        Action::Deleted => show(key, Difference::Extra),
        Action::Failed => {
            let why = outcome.error.map_or(String::new(), |error| error.message);
            show(key, Difference::Unknown(why));
        }
        Action::Skipped if compared => {}
        Action::Skipped => show(key, Difference::Unknown(outcome.reason.unwrap_or_default())),
    }
}
