//! The embedded driver: every step of a transfer in this process.

use std::path::PathBuf;

use skyhaul_model::outcome::Outcome;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{ObjectEntry, Result, TransferId, TransferSpec};
use skyhaul_state::{Progress, TransferRow};
use tokio_util::sync::CancellationToken;

use crate::request::CopyRequest;
use crate::settings::Settings;
use crate::summary::{ConfirmDelete, Events, Summary};

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

impl Embedded {
    /// A driver with these settings; creates the state folder.
    pub fn open(settings: Settings) -> Result<Self> {
        Ok(Self { settings })
    }

    /// Looks at both sides and makes a specification: key mapping, both sides checked, helpful
    /// errors for a prefix without `-r` and for an empty source.
    pub async fn plan(&self, request: CopyRequest) -> Result<TransferSpec> {
        unimplemented!()
    }

    /// Runs a transfer, or goes on with the unfinished one of the same specification.
    pub async fn run(&self, spec: TransferSpec, start: Start) -> Result<Summary> {
        unimplemented!()
    }

    /// Goes on with a transfer; without an id with the latest unfinished one.
    pub async fn resume(&self, id: Option<TransferId>, start: Start) -> Result<Summary> {
        unimplemented!()
    }

    /// Tells what `run` would do, object by object, and does nothing.
    pub async fn dry_run(
        &self,
        spec: TransferSpec,
        show: &mut (dyn FnMut(Outcome) + Send),
        cancel: CancellationToken,
    ) -> Result<Summary> {
        unimplemented!()
    }

    /// Compares two sides without copying; `checksum` reads bytes where no stored checksums are
    /// comparable.
    pub async fn verify(
        &self,
        request: CopyRequest,
        show: &mut (dyn FnMut(String, Difference) + Send),
        cancel: CancellationToken,
    ) -> Result<Comparison> {
        unimplemented!()
    }

    /// Lists objects under a location; not recursive stops at slashes and shows folders once.
    /// Entries come page by page in key order if `ordered`, else as they arrive (faster).
    pub async fn ls(
        &self,
        endpoint: &Endpoint,
        recursive: bool,
        ordered: bool,
        show: &mut (dyn FnMut(LsEntry) + Send),
    ) -> Result<()> {
        unimplemented!()
    }

    /// All transfers, newest first.
    pub async fn transfers(&self) -> Result<Vec<TransferInfo>> {
        unimplemented!()
    }

    /// One transfer.
    pub async fn transfer(&self, id: &TransferId) -> Result<TransferInfo> {
        unimplemented!()
    }

    /// Aborts uploads and removes temporary files of transfers that ended or were interrupted
    /// longer than `keep_partial` ago; with `id`, of that transfer at once (it is cancelled).
    pub async fn cleanup(&self, id: Option<&TransferId>, all: bool) -> Result<Cleaned> {
        unimplemented!()
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
