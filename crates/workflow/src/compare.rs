//! Comparing two sides without copying: the listing of a transfer, mostly run over a throw-away state, for
//! `--dry-run`, `verify` and the verification of a sync. So they can never disagree with what a
//! transfer does.

use std::sync::Arc;

use futures::TryStreamExt as _;
use skyhaul_engine::copy::worker::Feed;
use skyhaul_engine::engine::EngineParts;
use skyhaul_engine::meter::Meter;
use skyhaul_engine::{Engine, Limits, ServiceCopy, StepEnd};
use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_model::{Error, ErrorKind, Result, TransferId, TransferSpec};
use skyhaul_state::{
    ListSegmentKind, Progress, SegmentStore, Segments, SqliteState, Submitted, TransferState, pages,
};
use skyhaul_stores::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::drive;
use crate::embedded::Difference;

/// Where a listing that copies nothing keeps what it finds, and as which transfer.
pub(crate) struct Place {
    pub id: TransferId,
    pub state: Arc<dyn TransferState>,
    pub segments: Arc<dyn SegmentStore>,
    /// Holds both until it is dropped, if they are thrown away.
    pub dir: Option<tempfile::TempDir>,
}

impl Place {
    /// One that is thrown away.
    pub(crate) fn temporary() -> Result<Self> {
        let dir = tempfile::tempdir().map_err(|error| {
            Error::control(ErrorKind::Full, "cannot create a temporary folder").cause(error)
        })?;
        Ok(Self {
            id: TransferId::generate(),
            state: Arc::new(SqliteState::open(dir.path().join("state.db"))?),
            segments: Arc::new(Segments::open(dir.path().join("segments"))?),
            dir: Some(dir),
        })
    }
}

/// Both sides of a listing.
pub(crate) struct Sides {
    pub source: Arc<dyn Store>,
    pub destination: Arc<dyn Store>,
}

/// A listing of both sides whose findings can be looked at.
pub(crate) struct Listed {
    pub engine: Arc<Engine>,
    pub progress: Progress,
    _dir: Option<tempfile::TempDir>,
}

/// Lists and merges both sides and copies nothing.
pub(crate) async fn list(
    spec: TransferSpec,
    source: Arc<dyn Store>,
    destination: Arc<dyn Store>,
    limits: Limits,
    cancel: CancellationToken,
) -> Result<Listed> {
    let sides = Sides {
        source,
        destination,
    };
    let never = CancellationToken::new();
    let place = Place::temporary()?;
    let listed = list_at(place, spec, sides, limits, (cancel, never)).await?;
    listed.ok_or_else(|| Error::control(ErrorKind::Internal, "a listing ended by itself"))
}

/// Goes on with a listing until it ends, or `None` until it drains: call again with the same place.
pub(crate) async fn list_at(
    place: Place,
    spec: TransferSpec,
    sides: Sides,
    limits: Limits,
    (cancel, drain): (CancellationToken, CancellationToken),
) -> Result<Option<Listed>> {
    let Place {
        id,
        state,
        segments,
        dir,
    } = place;
    let (Submitted::Created(_) | Submitted::Existing(_)) = state.submit(&id, &spec).await?;
    let (meter, _failures) = Meter::new();
    let mut engine = Engine::new(EngineParts {
        segments,
        id,
        spec,
        state,
        source: sides.source,
        destination: sides.destination,
        limits,
        meter: Arc::new(meter),
        cancel,
        service_copy: ServiceCopy::Off,
    });
    engine.drain = drain;
    let engine = Arc::new(engine);
    if drive::listing(&engine, &watch::channel(Feed::default()).0).await? == StepEnd::More {
        return Ok(None);
    }
    let progress = engine.state.progress(&engine.id).await?;
    Ok(Some(Listed {
        engine,
        progress,
        _dir: dir,
    }))
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
/// decide what counts), with the source key, or the destination key of what is only there. False if the
/// engine drained before all was listed.
pub(crate) async fn differences(
    like: &Engine,
    place: Place,
    spec: TransferSpec,
    show: &mut (dyn FnMut(String, Difference) + Send),
) -> Result<bool> {
    let limits = Limits {
        read_to_compare: false,
        keep_skipped: false,
        ..like.limits.clone()
    };
    let sides = Sides {
        source: Arc::clone(&like.source),
        destination: Arc::clone(&like.destination),
    };
    let tokens = (like.cancel.clone(), like.drain.clone());
    let Some(listed) = list_at(place, spec, sides, limits, tokens).await? else {
        return Ok(false);
    };
    listed.outcomes(&mut |outcome| tell(outcome, show)).await?;
    Ok(true)
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
