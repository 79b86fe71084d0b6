//! The JSON events, version 1. `docs/COMMANDS.md` describes every field and is tested against
//! what is written here. Fields may be added; a change of meaning raises the version.

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;
use skyhaul_model::object::ObjectEntry;
use skyhaul_model::outcome::Outcome;
use skyhaul_model::{Error, ErrorKind, Side, TransferId};
use skyhaul_state::TransferStatus;
use skyhaul_state::control::{DataplaneRow, Overlap, Rule, Schedule};
use skyhaul_workflow::Summary;
use skyhaul_workflow::deployed::Standing;
use skyhaul_workflow::embedded::{Cleaned, Comparison, Difference, TransferInfo};
use skyhaul_workflow::inspect::chunks::ChunkInfo;
use skyhaul_workflow::inspect::top::Snapshot;
use skyhaul_workflow::summary::ProgressEvent;

use super::rate::Speed;
use crate::config::Origin;

/// The version of this schema.
pub(crate) const SCHEMA: u32 = 1;

/// One line. The transfer's id comes first; it is null where there is none.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    transfer: Option<&'a TransferId>,
    schema: u32,
    #[serde(flatten)]
    event: Body<'a>,
}

impl<'a> Line<'a> {
    /// A line of a transfer, or of none.
    pub(crate) fn new(transfer: Option<&'a TransferId>, event: Body<'a>) -> Self {
        Self {
            transfer,
            schema: SCHEMA,
            event,
        }
    }
}

/// What a line tells.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Body<'a> {
    /// A transfer began; always its first line.
    Started {
        /// Whether an unfinished transfer goes on.
        resumed: bool,
        /// Its log file.
        log: &'a Path,
        /// Null: nothing is known before the listing begins.
        bytes_remaining: Option<u64>,
    },
    /// Something the user should know.
    Note {
        /// What.
        text: &'a str,
    },
    /// The numbers so far.
    Progress {
        /// As the driver tells them.
        #[serde(flatten)]
        numbers: ProgressEvent,
        /// Bytes a second, smoothed.
        bytes_per_s: f64,
        /// Objects a second, smoothed.
        objects_per_s: f64,
        /// Seconds to go; null until the totals are final.
        eta_s: Option<f64>,
    },
    /// An object failed for good.
    Failed {
        /// Its line of the report.
        object: &'a Outcome,
    },
    /// What became of an object of `report`.
    Outcome {
        /// Its line of the report.
        object: &'a Outcome,
    },
    /// What a dry run would do with an object.
    Planned {
        /// Its line of the report, as it would be.
        object: &'a Outcome,
    },
    /// The run ended.
    Summary(Ended<'a>),
    /// The command failed.
    Error {
        /// What happened.
        message: &'a str,
        /// Where.
        side: Side,
        /// What class of failure.
        kind: ErrorKind,
        /// Whether trying again can help.
        retryable: bool,
        /// The object, bucket or file concerned.
        object: Option<&'a str>,
        /// What the user can do.
        hint: Option<&'a str>,
        /// Everything in one sentence, with causes.
        text: String,
        /// The command's exit code.
        exit_code: u8,
    },
    /// An object of `ls`.
    Object {
        /// Its key.
        key: &'a str,
        /// Size in bytes.
        size: u64,
        /// Last modification.
        mtime: Timestamp,
        /// Entity tag, where the store has one.
        etag: Option<&'a str>,
        /// Storage class, where it is told and not the default.
        storage_class: Option<&'a str>,
        /// Whether it must be restored before it can be read.
        archived: bool,
    },
    /// A folder of `ls`.
    Folder {
        /// Common prefix, ending in a slash.
        key: &'a str,
    },
    /// The end of `ls --summarize`.
    Total {
        /// Objects listed.
        objects: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A transfer of `status`.
    Transfer {
        /// Its row, progress, log, and whether a process works on it.
        info: &'a TransferInfo,
    },
    /// A transfer was submitted to a deployment, or is followed there; always its first line.
    Following {
        /// The deployment.
        stack: &'a str,
        /// Which attempt at it.
        attempt: u32,
    },
    /// A transfer of `status --stack`.
    Submitted {
        /// What was submitted, its row, how far it is.
        #[serde(flatten)]
        standing: &'a Standing,
    },
    /// A rule of `trigger list`.
    Rule {
        /// The rule: `name`, `source`, `destinations`, `filters`, `deletes`, `enabled`, `owner`.
        rule: &'a Rule,
    },
    /// A schedule of `schedule list`; the transfer is its last run.
    Schedule {
        /// Its name.
        name: &'a str,
        /// When it fires, as the service takes it; null: the service has no such schedule.
        times: Option<&'a str>,
        /// Whether it fires.
        enabled: bool,
        /// `refuse` or `queue`.
        overlap: Overlap,
        /// Who asked for it.
        owner: &'a str,
        /// The run that begins when the last one has ended.
        waiting: Option<&'a TransferId>,
        /// The run that was not begun last, because the one before it went on.
        refused: Option<&'a TransferId>,
    },
    /// A dataplane of `dataplane`.
    Dataplane {
        /// Its identifier.
        id: &'a str,
        /// `idle`, `busy`, `ending` or `ended`.
        status: &'static str,
        /// Who asked for it.
        owner: &'a str,
        /// When it was made.
        created: Timestamp,
        /// Minutes that it is kept without a transfer; null: it goes with its transfer.
        autoshutdown_minutes: Option<u32>,
        /// Transfers that use it.
        transfers: Vec<&'a str>,
        /// Its gateways.
        gateways: Vec<&'a str>,
    },
    /// Something that `doctor` looked at.
    Check {
        /// What.
        what: &'a str,
        /// Whether it is as it should be.
        ok: bool,
        /// What was found.
        found: &'a str,
        /// What the user can do.
        hint: Option<&'a str>,
    },
    /// A transfer of `top`.
    Top {
        /// How far it and its gateways are.
        #[serde(flatten)]
        top: &'a Snapshot,
    },
    /// A chunk of `chunks`.
    Chunk {
        /// What it is and what came of it.
        #[serde(flatten)]
        chunk: &'a ChunkInfo,
    },
    /// A line of `logs`.
    Log {
        /// The gateway's name, or `command`.
        from: &'a str,
        /// The line.
        text: &'a str,
    },
    /// A difference that `verify` found.
    Difference {
        /// Key, relative to both sides.
        key: &'a str,
        /// What differs.
        difference: &'a Difference,
    },
    /// The end of `verify`.
    Comparison {
        /// The counts.
        #[serde(flatten)]
        counts: &'a Comparison,
        /// The command's exit code.
        exit_code: u8,
    },
    /// The end of `cleanup`.
    Cleaned {
        /// The counts, and what could not be removed.
        #[serde(flatten)]
        cleaned: &'a Cleaned,
    },
    /// A key of `config list` or `config get`.
    Config {
        /// Its name.
        key: &'a str,
        /// Its value as text.
        value: &'a str,
        /// Where that comes from.
        origin: Origin,
    },
}

/// What gateways sent.
#[derive(Debug, Serialize)]
struct Sent {
    logical_bytes: u64,
    wire_bytes: u64,
    saved_percent: f64,
}

impl Sent {
    fn of(sent: skyhaul_workflow::fleet::Sent) -> Self {
        Self {
            logical_bytes: sent.logical,
            wire_bytes: sent.wire,
            saved_percent: sent.saved(),
        }
    }
}

/// The end of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Ended<'a> {
    status: TransferStatus,
    exit_code: u8,
    #[serde(flatten)]
    numbers: ProgressEvent,
    retries: u64,
    source_verified: u64,
    transport_verified: u64,
    seconds: f64,
    verification_failed: bool,
    /// What gateways sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateways: Option<Sent>,
    failures: &'a [Outcome],
    notes: &'a [String],
}

impl<'a> Body<'a> {
    /// The end of a run.
    pub(crate) fn summary(summary: &'a Summary, exit_code: u8) -> Self {
        Self::Summary(Ended {
            status: summary.status,
            exit_code,
            numbers: summary.progress,
            retries: summary.retries,
            source_verified: summary.source_verified,
            transport_verified: summary.transport_verified,
            seconds: summary.elapsed.as_secs_f64(),
            verification_failed: summary.verification_failed,
            gateways: summary.sent.map(Sent::of),
            failures: &summary.failures,
            notes: &summary.notes,
        })
    }

    /// Numbers so far.
    pub(crate) fn progress(numbers: ProgressEvent, speed: Speed) -> Self {
        Self::Progress {
            numbers,
            bytes_per_s: speed.bytes,
            objects_per_s: speed.objects,
            eta_s: speed.eta,
        }
    }

    /// A schedule.
    pub(crate) fn schedule(row: &'a Schedule, times: Option<&'a str>, enabled: bool) -> Self {
        Self::Schedule {
            name: &row.name,
            times,
            enabled,
            overlap: row.overlap,
            owner: &row.owner,
            waiting: row.waiting.as_ref(),
            refused: row.refused.as_ref(),
        }
    }

    /// A dataplane.
    pub(crate) fn dataplane(row: &'a DataplaneRow) -> Self {
        Self::Dataplane {
            id: row.id.as_str(),
            status: crate::commands::dataplane::status(row),
            owner: &row.owner,
            created: row.created,
            autoshutdown_minutes: row.autoshutdown,
            transfers: row.transfers.iter().map(TransferId::as_str).collect(),
            gateways: row
                .members
                .iter()
                .map(|member| member.plan.name.as_str())
                .collect(),
        }
    }

    /// A failed command.
    pub(crate) fn error(error: &'a Error, exit_code: u8) -> Self {
        Self::Error {
            message: &error.message,
            side: error.side,
            kind: error.kind,
            retryable: error.retryable,
            object: error.object.as_deref(),
            hint: error.hint.as_deref(),
            text: error.to_string(),
            exit_code,
        }
    }

    /// An object of `ls`.
    pub(crate) fn object(entry: &'a ObjectEntry) -> Self {
        Self::Object {
            key: &entry.key,
            size: entry.size,
            mtime: entry.mtime,
            etag: entry.pin.etag.as_deref(),
            storage_class: entry.storage_class.as_deref(),
            archived: entry.archived,
        }
    }
}

#[cfg(test)]
mod tests;
