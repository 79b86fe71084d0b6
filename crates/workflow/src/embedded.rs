//! The embedded driver: every step of a transfer in this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use skyhaul_engine::Limits;
use skyhaul_model::compare::{Compare, IfExists};
use skyhaul_model::guard::DeletePolicy;
use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_model::spec::{Endpoint, Mode};
use skyhaul_model::{Error, ErrorKind, ObjectEntry, Result, TransferId, TransferSpec};
use skyhaul_state::{Phase, Progress, Submitted, TransferRow, TransferState, TransferStatus};
use skyhaul_stores::Access;
use skyhaul_stores::open::{self, Ambient};
use tokio_util::sync::CancellationToken;

use crate::home::Home;
use crate::request::CopyRequest;
use crate::settings::Settings;
use crate::summary::{ConfirmDelete, Events, ProgressEvent, Summary};
use crate::{cleanup, compare, drive, ls, plan};

/// Runs transfers on this machine.
#[derive(Debug)]
pub struct Embedded {
    settings: Settings,
}

/// How a transfer is started.
pub struct Start {
    /// Ignore an unfinished transfer of the same specification.
    pub fresh: bool,
    /// Where to write the per-object report.
    pub report: Option<PathBuf>,
    /// Asked before a sync deletes; `None` deletes without asking.
    pub confirm: Option<ConfirmDelete>,
    /// Receives events.
    pub events: Events,
    /// Stops the run cleanly.
    pub cancel: CancellationToken,
}

/// One transfer, for `skyhaul status`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TransferInfo {
    /// The row.
    #[serde(flatten)]
    pub row: TransferRow,
    /// How far it is.
    pub progress: Progress,
    /// Whether a process works on it now.
    pub active: bool,
    /// Its log file.
    pub log: PathBuf,
}

/// A difference that `verify` found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// At the source only.
    Missing,
    /// At the destination only.
    Extra,
    /// Sizes differ.
    Size,
    /// Checksums differ.
    Checksum,
    /// Could not be compared: the text says why.
    Unknown(String),
}

/// What `verify` compared.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Comparison {
    /// Objects that are equal on both sides.
    pub equal: u64,
    /// Of these, proved by checksum (the others by size alone).
    pub by_checksum: u64,
    /// Objects that differ or could not be compared.
    pub different: u64,
}

/// What `cleanup` removed.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Cleaned {
    /// Transfers whose leftovers were removed.
    pub transfers: u64,
    /// Uploads aborted and temporary files removed.
    pub uploads: u64,
    /// What could not be removed, and why.
    pub problems: Vec<String>,
}

/// Whether a transfer can go on.
fn is_unfinished(row: &TransferRow) -> bool {
    row.phase != Phase::Ended
        && matches!(row.status, TransferStatus::Running | TransferStatus::Failed)
}

impl Embedded {
    /// A driver with these settings; creates the state folder.
    pub fn open(settings: Settings) -> Result<Self> {
        Home::open(&settings.state_dir)?;
        Ok(Self { settings })
    }

    pub(crate) fn home(&self) -> Result<(Home, Arc<dyn TransferState>)> {
        let home = Home::open(&self.settings.state_dir)?;
        let state = Arc::new(home.state()?);
        Ok((home, state))
    }

    /// Looks at both sides and makes a specification: key mapping, both sides checked, helpful
    /// errors for a prefix without `-r` and for an empty source.
    pub async fn plan(&self, request: CopyRequest) -> Result<TransferSpec> {
        plan::plan(&Ambient, request, Access::Write, None).await
    }

    /// Runs a transfer, or goes on with the unfinished one of the same specification.
    pub async fn run(&self, spec: TransferSpec, start: Start) -> Result<Summary> {
        let (home, state) = self.home()?;
        let fingerprint = spec.fingerprint();
        let unfinished = state.transfers().await?.into_iter().find(|row| {
            !start.fresh
                && row.fingerprint == fingerprint
                && is_unfinished(row)
                && !home.is_active(&row.id)
        });
        let row = match unfinished {
            Some(row) => row,
            None => match state.submit(&TransferId::generate(), &spec).await? {
                Submitted::Created(row) | Submitted::Existing(row) => row,
            },
        };
        drive::drive(&home, state, row, &self.settings, start).await
    }

    /// Goes on with a transfer; without an id with the latest unfinished one.
    pub async fn resume(&self, id: Option<TransferId>, start: Start) -> Result<Summary> {
        let (home, state) = self.home()?;
        let row = match id {
            Some(id) => {
                let row = state.transfer(&id).await?;
                if !is_unfinished(&row) {
                    return Err(Error::invalid(format!("transfer {id} has ended"))
                        .hint("run the command again to begin a new one"));
                }
                row
            }
            None => state
                .transfers()
                .await?
                .into_iter()
                .find(|row| is_unfinished(row) && !home.is_active(&row.id))
                .ok_or_else(|| {
                    Error::invalid("there is no unfinished transfer")
                        .hint("`skyhaul status` lists the transfers")
                })?,
        };
        drive::drive(&home, state, row, &self.settings, start).await
    }

    /// Tells what `run` would do, object by object, and does nothing.
    pub async fn dry_run(
        &self,
        spec: TransferSpec,
        show: &mut (dyn FnMut(Outcome) + Send),
        cancel: CancellationToken,
    ) -> Result<Summary> {
        let began = Instant::now();
        let (source, destination) = open::both(&Ambient, &spec, &TransferId::generate()).await?;
        let limits = drive::limits(&self.settings, true);
        let listed = compare::list(spec, source, destination, limits, cancel).await?;
        // What the guard would refuse is refused here too, after it was shown.
        let allowed = crate::delete::guard(&listed.engine, &listed.progress);
        let mut failures = Vec::new();
        listed
            .outcomes(&mut |outcome| {
                if outcome.action == Action::Failed {
                    failures.push(outcome.clone());
                }
                show(outcome);
            })
            .await?;
        allowed?;
        plan::something_matched(&listed.engine.spec, &listed.progress)?;
        let counts = listed.progress.listed;
        let status = if counts.failed > 0 {
            TransferStatus::Incomplete
        } else {
            TransferStatus::Succeeded
        };
        Ok(Summary {
            transfer: None,
            resumed: false,
            status,
            progress: ProgressEvent {
                listing_done: true,
                objects_total: counts.copy_objects,
                bytes_total: counts.copy_bytes,
                bytes_remaining: Some(counts.copy_bytes),
                skipped: counts.skipped,
                failed: counts.failed,
                deleted: counts.deletes,
                elapsed_s: began.elapsed().as_secs_f64(),
                ..ProgressEvent::default()
            },
            retries: 0,
            source_verified: 0,
            transport_verified: 0,
            elapsed: began.elapsed(),
            failures,
            verification_failed: false,
            sent: None,
            notes: Vec::new(),
        })
    }

    /// Compares two sides without copying; with [`Compare::Checksum`] in the request it reads bytes
    /// where no stored checksums are comparable, else it compares stored checksums where both have
    /// them and sizes.
    pub async fn verify(
        &self,
        request: CopyRequest,
        show: &mut (dyn FnMut(String, Difference) + Send),
        cancel: CancellationToken,
    ) -> Result<Comparison> {
        let read_to_compare = request.compare == Compare::Checksum;
        let only_sizes = request.compare == Compare::Size;
        let mut spec = plan::plan(&Ambient, request, Access::Read, None).await?;
        spec.mode = Mode::Sync;
        spec.if_exists = IfExists::Overwrite;
        spec.compare = if only_sizes {
            Compare::Size
        } else {
            Compare::Checksum
        };
        spec.delete = Some(DeletePolicy::default());
        let (source, destination) = open::both(&Ambient, &spec, &TransferId::generate()).await?;
        let limits = Limits {
            read_to_compare,
            ..drive::limits(&self.settings, true)
        };
        let listed = compare::list(spec, source, destination, limits, cancel).await?;
        let mut comparison = Comparison::default();
        listed
            .outcomes(&mut |outcome| {
                if compare::was_compared(&outcome) {
                    comparison.equal += 1;
                    let proved = ["same checksum", "same MD5", "both are empty"];
                    let reason = outcome.reason.as_deref();
                    comparison.by_checksum +=
                        u64::from(reason.is_some_and(|reason| proved.contains(&reason)));
                } else {
                    comparison.different += 1;
                    compare::tell(outcome, show);
                }
            })
            .await?;
        Ok(comparison)
    }

    /// Lists objects under a location; not recursive stops at slashes and shows folders once.
    /// Entries come in key order if `ordered` or not recursive, else as they arrive (faster).
    pub async fn ls(
        &self,
        endpoint: &Endpoint,
        recursive: bool,
        ordered: bool,
        show: &mut (dyn FnMut(LsEntry) + Send),
    ) -> Result<()> {
        ls::ls(endpoint, recursive, ordered, self.settings.checkers, show).await
    }

    pub(crate) async fn info(
        &self,
        home: &Home,
        state: &Arc<dyn TransferState>,
        row: TransferRow,
    ) -> Result<TransferInfo> {
        Ok(TransferInfo {
            progress: state.progress(&row.id).await?,
            active: home.is_active(&row.id),
            log: home.log(&row.id),
            row,
        })
    }

    /// All transfers, newest first.
    pub async fn transfers(&self) -> Result<Vec<TransferInfo>> {
        let (home, state) = self.home()?;
        let mut all = Vec::new();
        for row in state.transfers().await? {
            all.push(self.info(&home, &state, row).await?);
        }
        Ok(all)
    }

    /// One transfer.
    pub async fn transfer(&self, id: &TransferId) -> Result<TransferInfo> {
        let (home, state) = self.home()?;
        let row = state.transfer(id).await.map_err(|error| match error.kind {
            ErrorKind::NotFound => error.hint("`skyhaul status` lists the transfers"),
            _ => error,
        })?;
        self.info(&home, &state, row).await
    }

    /// Aborts uploads and removes temporary files of transfers that ended or were interrupted
    /// longer than `keep_partial` ago (with `all`: whenever); with `id`, of that transfer at once.
    /// A transfer that was cleaned up is forgotten.
    pub async fn cleanup(&self, id: Option<&TransferId>, all: bool) -> Result<Cleaned> {
        let (home, state) = self.home()?;
        cleanup::cleanup(&home, state, &self.settings, id, all).await
    }
}

/// One line of `ls`.
#[derive(Debug, Clone)]
pub enum LsEntry {
    /// An object.
    Object(ObjectEntry),
    /// A folder (not recursive only): a common prefix ending in a slash.
    Folder(String),
}
