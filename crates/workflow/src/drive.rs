//! Driving a transfer through its phases in this process. Every phase is idempotent, so that a run
//! begins where an earlier one stopped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use skyhaul_engine::copy::worker::{self, Feed};
use skyhaul_engine::copy::{complete, leases};
use skyhaul_engine::engine::EngineParts;
use skyhaul_engine::listing::pool;
use skyhaul_engine::meter::Meter;
use skyhaul_engine::{Engine, Limits, ServiceCopy, StepEnd};
use skyhaul_model::filter::Filters;
use skyhaul_model::outcome::Outcome;
use skyhaul_model::{Error, ErrorKind, Result, TransferId, TransferSpec};
use skyhaul_state::{
    Phase, Progress, SegmentStore, TransferChange, TransferRow, TransferState, TransferStatus,
    UploadStatus,
};
use skyhaul_stores::Store;
use skyhaul_stores::open::{self, Ambient, Opens};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::compare::Place;
use crate::delete::{self, Deletions, Verdict};
use crate::embedded::Start;
use crate::fleet::{self, Fleet, Sent};
use crate::home::Home;
use crate::records::Records;
use crate::settings::Settings;
use crate::summary::{Event, ProgressEvent, Summary};
use crate::{cleanup, plan, report, verify};

/// Failed objects that a summary names.
const NAMED_FAILURES: usize = 20;

/// The engine's bounds of a run.
pub(crate) fn limits(settings: &Settings, keep_skipped: bool) -> Limits {
    Limits {
        transfers: settings.transfers,
        checkers: settings.checkers,
        max_memory: settings.max_memory,
        bwlimit: settings.bwlimit,
        attempts: settings.attempts,
        slice_pages: settings.slice_pages,
        slice_chunks: settings.slice_chunks,
        term: None,
        read_to_compare: true,
        keep_skipped,
    }
}

/// A run of a transfer.
struct Run {
    engine: Arc<Engine>,
    row: TransferRow,
    began: Instant,
    /// Bytes that earlier runs wrote.
    resumed: u64,
    deletions: Deletions,
    verification_failed: bool,
    fleet: Option<Fleet>,
    /// The transfer's folder.
    folder: PathBuf,
    sent: Option<Sent>,
    notes: Vec<String>,
}

/// Opens both sides of a transfer and makes its engine, whose segments are in its folder.
pub(crate) async fn engine(
    home: &Home,
    state: &Arc<dyn TransferState>,
    row: &TransferRow,
    limits: Limits,
    meter: Meter,
    cancel: CancellationToken,
) -> Result<Arc<Engine>> {
    let segments = Arc::new(home.segments(&row.id)?);
    let places = Places {
        opens: &Ambient,
        state,
        segments,
    };
    let engine = engine_at(places, row, limits, meter, cancel).await?;
    Ok(Arc::new(engine))
}

/// Whether one service holds both sides and may copy between them by itself.
pub(crate) fn copies_by_itself(
    spec: &TransferSpec,
    source: &dyn Store,
    destination: &dyn Store,
) -> bool {
    let one_service = source.service().is_some() && source.service() == destination.service();
    one_service && !spec.stream
}

/// Where an engine finds what is not in its transfer's row.
pub(crate) struct Places<'a> {
    pub opens: &'a dyn Opens,
    pub state: &'a Arc<dyn TransferState>,
    pub segments: Arc<dyn SegmentStore>,
}

/// The same with all of it elsewhere.
pub(crate) async fn engine_at(
    places: Places<'_>,
    row: &TransferRow,
    limits: Limits,
    meter: Meter,
    cancel: CancellationToken,
) -> Result<Engine> {
    let (source, destination) = open::both(places.opens, &row.spec, &row.id).await?;
    let itself = copies_by_itself(&row.spec, &*source, &*destination);
    Ok(Engine::new(EngineParts {
        id: row.id.clone(),
        spec: row.spec.clone(),
        state: Arc::clone(places.state),
        segments: places.segments,
        source,
        destination,
        limits,
        meter: Arc::new(meter),
        cancel,
        service_copy: if itself {
            ServiceCopy::On
        } else {
            ServiceCopy::Off
        },
    }))
}

/// Runs a transfer from its present phase to its end.
pub(crate) async fn drive(
    home: &Home,
    state: Arc<dyn TransferState>,
    row: TransferRow,
    settings: &Settings,
    start: Start,
) -> Result<Summary> {
    let Start {
        report,
        confirm,
        mut events,
        cancel,
        fresh: _,
    } = start;
    let id = row.id.clone();
    let _lock = home.lock(&id)?;
    // Read again under the lock: another process may have ended it meanwhile.
    let row = state.transfer(&id).await?;
    if row.phase == Phase::Ended {
        return Err(Error::invalid(format!("transfer {id} has ended already"))
            .hint("run the command again to begin a new one"));
    }
    let resumed = row.updated != row.created || row.revision > 1;
    events(Event::Started {
        transfer: id.clone(),
        resumed,
        log: home.log(&id),
    });
    let (meter, mut failures) = Meter::new();
    let engine = engine(
        home,
        &state,
        &row,
        limits(settings, report.is_some()),
        meter,
        cancel,
    );
    let engine = engine.await?;
    let change = TransferChange {
        status: Some(TransferStatus::Running),
        attempt: resumed.then_some(row.attempt + 1),
        error: Some(None),
        phase: None,
    };
    let row = state.change(&id, row.revision, change).await?;
    let mut run = Run {
        resumed: bytes_so_far(&*engine.state, &id).await?,
        engine: Arc::clone(&engine),
        row,
        began: Instant::now(),
        deletions: Deletions::default(),
        verification_failed: false,
        fleet: settings.fleet.clone(),
        folder: home.transfer_dir(&id),
        sent: None,
        notes: Vec::new(),
    };
    let (began, before) = (run.began, run.resumed);
    let mut named = Vec::new();
    let ended = {
        let work = run.phases(resumed, report.as_deref(), confirm.as_ref());
        tokio::pin!(work);
        let mut tick = tokio::time::interval(settings.progress_interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = &mut work => break ended,
                Some(outcome) = failures.recv() => name(&mut named, &mut events, outcome),
                _ = tick.tick() => {
                    let progress = state.progress(&id).await?;
                    events(Event::Progress(numbers(&engine, &progress, before, began)));
                }
            }
        }
    };
    drain(&mut failures, &mut named, &mut events);
    if let Err(error) = ended {
        // Kept for resume, whatever it was; an interruption is no failure.
        let interrupted = error.kind == ErrorKind::Interrupted;
        let row = state.transfer(&id).await?;
        let change = TransferChange {
            status: (!interrupted).then_some(TransferStatus::Failed),
            error: Some((!interrupted).then(|| error.to_string())),
            ..TransferChange::default()
        };
        state.change(&id, row.revision, change).await?;
        return Err(match row.phase {
            Phase::Ended => error,
            _ => resumable(error, &id),
        });
    }
    let progress = state.progress(&id).await?;
    let mut numbers = numbers(&engine, &progress, before, began);
    numbers.deleted = run.deletions.deleted;
    numbers.failed += run.deletions.failed;
    events(Event::Progress(numbers));
    Ok(run.summary(resumed, &progress, numbers, named))
}

/// The error of a transfer that can go on, saying so.
fn resumable(error: Error, id: &TransferId) -> Error {
    let resume = format!("`skyhaul resume {id}` goes on");
    let hint = match &error.hint {
        Some(hint) => format!("{hint}; {resume}"),
        None => resume,
    };
    error.hint(hint)
}

fn name(named: &mut Vec<Outcome>, events: &mut (dyn FnMut(Event) + Send), outcome: Outcome) {
    if named.len() < NAMED_FAILURES {
        named.push(outcome.clone());
    }
    events(Event::Failed(outcome));
}

fn drain(
    failures: &mut mpsc::UnboundedReceiver<Outcome>,
    named: &mut Vec<Outcome>,
    events: &mut (dyn FnMut(Event) + Send),
) {
    while let Ok(outcome) = failures.try_recv() {
        name(named, events, outcome);
    }
}

/// Bytes that are at the destination already: of objects that ended and of parts that were
/// recorded.
pub(crate) async fn bytes_so_far(state: &dyn TransferState, id: &TransferId) -> Result<u64> {
    let done = state.progress(id).await?.done.bytes;
    Ok(done + bytes_under_way(state, id).await?)
}

/// Bytes of parts that are recorded, of uploads that are still open.
pub(crate) async fn bytes_under_way(state: &dyn TransferState, id: &TransferId) -> Result<u64> {
    let (mut bytes, mut after) = (0, None);
    loop {
        let open = [UploadStatus::Open];
        let rows = state.uploads(id, &open, after.as_ref(), 256).await?;
        let Some(last) = rows.last() else {
            return Ok(bytes);
        };
        after = Some(last.key.clone());
        for row in rows {
            let task: skyhaul_model::segment::ObjectTask = serde_json::from_str(&row.task)
                .map_err(|error| Error::invalid("damaged task in an upload's row").cause(error))?;
            let parts = u64::from(row.parts_done()) * task.part_size.unwrap_or(task.size);
            bytes += parts.min(task.size);
        }
    }
}

/// The numbers of a run: what the state counts, and bytes as they are written.
fn numbers(engine: &Engine, progress: &Progress, before: u64, began: Instant) -> ProgressEvent {
    ProgressEvent {
        bytes_resumed: before,
        deleted: engine.meter.deleted(),
        elapsed_s: began.elapsed().as_secs_f64(),
        ..ProgressEvent::of(progress, before + engine.meter.bytes())
    }
}

/// How a transfer ended whose work is done.
pub(crate) fn end_status(
    progress: &Progress,
    deletions: &Deletions,
    verification_failed: bool,
) -> TransferStatus {
    let failed = progress.listed.failed + progress.done.failed + deletions.failed;
    if failed > 0 || verification_failed {
        TransferStatus::Incomplete
    } else {
        TransferStatus::Succeeded
    }
}

/// Lists until all is listed, or the engine drains.
pub(crate) async fn listing(engine: &Arc<Engine>, feed: &watch::Sender<Feed>) -> Result<StepEnd> {
    let filters = Filters::compile(&engine.spec.filters, engine.spec.now)?;
    loop {
        let end = pool::run(engine, filters.clone(), feed.clone()).await?;
        // A slice that was thought dead may have cut a range in two meanwhile.
        if end == StepEnd::Done && engine.state.progress(&engine.id).await?.listing_done {
            break;
        }
        if engine.drain.is_cancelled() {
            return Ok(StepEnd::More);
        }
    }
    feed.send_modify(|feed| feed.ended = true);
    Ok(StepEnd::Done)
}

/// Lists and copies until both are done.
pub(crate) async fn copy_phase(engine: &Arc<Engine>, copies: bool) -> Result<()> {
    let (feed, news) = watch::channel(Feed::default());
    let listing = async { listing(engine, &feed).await.map(drop) };
    if !copies {
        return listing.await;
    }
    let copying = async {
        while worker::run(engine, news.clone()).await? == StepEnd::More {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    futures::try_join!(listing, copying)?;
    Ok(())
}

impl Run {
    /// What came of it.
    fn summary(
        self,
        resumed: bool,
        progress: &Progress,
        numbers: ProgressEvent,
        failures: Vec<Outcome>,
    ) -> Summary {
        Summary {
            transfer: Some(self.row.id),
            resumed,
            status: self.row.status,
            progress: numbers,
            retries: progress.done.retries,
            source_verified: progress.done.source_verified,
            transport_verified: progress.done.transport_verified,
            elapsed: self.began.elapsed(),
            failures,
            verification_failed: self.verification_failed,
            sent: self.sent,
            notes: self.notes,
        }
    }

    async fn enter(&mut self, phase: Phase, status: Option<TransferStatus>) -> Result<()> {
        let change = TransferChange {
            phase: Some(phase),
            status,
            ..TransferChange::default()
        };
        let engine = &self.engine;
        self.row = engine
            .state
            .change(&engine.id, self.row.revision, change)
            .await?;
        engine.check_cancelled()
    }

    async fn phases(
        &mut self,
        resumed: bool,
        report: Option<&std::path::Path>,
        confirm: Option<&crate::summary::ConfirmDelete>,
    ) -> Result<()> {
        let engine = Arc::clone(&self.engine);
        if self.row.phase == Phase::Copy {
            if resumed {
                leases::reclaim(&engine).await?;
            }
            if let Some(fleet) = &self.fleet {
                let listing = copy_phase(&engine, false);
                self.sent = Some(fleet::copy(fleet, &engine, &self.folder, listing).await?);
            } else {
                copy_phase(&engine, true).await?;
            }
            let progress = engine.state.progress(&engine.id).await?;
            if let Err(error) = plan::something_matched(&engine.spec, &progress) {
                self.enter(Phase::Ended, Some(TransferStatus::Failed))
                    .await?;
                return Err(error);
            }
            self.enter(Phase::Complete, None).await?;
        }
        if self.row.phase == Phase::Complete {
            if let Some(open) = complete::sweep(&engine).await?
                && open > 0
            {
                self.notes.push(format!(
                    "{open} uploads that were given up could not be aborted: `skyhaul cleanup {}` \
                     tries again",
                    engine.id
                ));
            }
            let is_one = engine.spec.destinations.len() == 1;
            if resumed || self.fleet.is_some() || !is_one {
                // Nothing is under way any more: what is left under temporary names is of a dead
                // run, of a gateway that died, or of an object that another destination refused.
                for endpoint in &engine.spec.destinations {
                    cleanup::temporaries(endpoint, &engine.id).await?;
                }
            }
            self.enter(Phase::Delete, None).await?;
        }
        if self.row.phase == Phase::Delete {
            self.delete(resumed, confirm).await?;
            self.enter(Phase::Verify, None).await?;
        }
        // Again in a run that begins at the report: what was found is not in the row.
        if matches!(self.row.phase, Phase::Verify | Phase::Report) {
            let place = async || Place::temporary();
            let good = verify::after_copy(&engine, place, &mut self.notes).await?;
            self.verification_failed = good == Some(false);
            self.enter(Phase::Report, None).await?;
        }
        self.deletions = delete::deletions(Records::of(&engine)).await?;
        if let Some(path) = report {
            report::write(&engine, &self.deletions.segments, path).await?;
        }
        let progress = engine.state.progress(&engine.id).await?;
        let status = end_status(&progress, &self.deletions, self.verification_failed);
        self.enter(Phase::Ended, Some(status)).await
    }

    async fn delete(
        &mut self,
        resumed: bool,
        confirm: Option<&crate::summary::ConfirmDelete>,
    ) -> Result<()> {
        let engine = &self.engine;
        // What was listed long ago may be true no more.
        let listed_before = resumed || self.began.elapsed() > delete::FRESH;
        match delete::judge(engine, listed_before).await? {
            Verdict::Nothing => return Ok(()),
            Verdict::Refused(refusal) => {
                self.enter(Phase::Ended, Some(TransferStatus::Failed))
                    .await?;
                return Err(refusal);
            }
            Verdict::Kept(why) => {
                self.notes.push(why);
                return Ok(());
            }
            Verdict::Allowed { deletes, there } => {
                if confirm.is_some_and(|confirm| !confirm(deletes, there)) {
                    self.notes
                        .push(format!("{deletes} objects were not deleted, as you said"));
                    return Ok(());
                }
            }
        }
        delete::delete(engine, listed_before).await?;
        Ok(())
    }
}
