//! Objects that are too large for a function: a transfer copies each, and its key is looked at when that has ended.

use jiff::Timestamp;
use serde_json::json;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Error, ErrorKind, ObjectInfo, Result, TransferId};
use skyhaul_state::TransferStatus;
use skyhaul_state::control::{Carried, DirtyChange, DirtyKey, RuleKey, Stage, Submission};

use super::converge::{self, Looked};
use super::{Open, Worker};
use crate::order::{FleetOrder, Order};

/// What a submission's owner begins with that copies for a rule; the rule and the key follow as JSON.
const OWNER: &str = "trigger ";

/// The key that a transfer was submitted for, if it was for one.
#[must_use]
pub fn carried_for(submission: &Submission) -> Option<RuleKey> {
    let of = submission.owner.strip_prefix(OWNER)?;
    serde_json::from_str(of).ok()
}

impl Worker<'_> {
    /// Whether a transfer goes on that copies the key to a destination, or failed and is not begun again. One that has
    /// ended is forgotten, and what it made is noted.
    pub(super) async fn carries(
        &self,
        open: &Open<'_>,
        row: &mut DirtyKey,
        destination: usize,
        source: Option<&ObjectInfo>,
        there: Option<&ObjectInfo>,
    ) -> Result<bool> {
        let at = destination as u32;
        let Some(carried) = row.transfers.get(&at).cloned() else {
            return Ok(false);
        };
        let control = &*self.deployed.control;
        let submission = control.submission(&carried.transfer).await?;
        let is_live = |found: &Submission| found.stage == Stage::Live;
        if submission.as_ref().is_some_and(is_live) {
            return Ok(true);
        }
        let done = match self.deployed.state.transfer(&carried.transfer).await {
            Ok(row) if row.status == TransferStatus::Succeeded => Some(row.updated),
            Ok(_) => None,
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let is_same = |source: &&ObjectInfo| source.pin.etag.as_ref() == Some(&carried.source);
        let source = source.filter(is_same);
        // One that was noted and never submitted has not failed.
        if let (Some(source), None, Some(_)) = (source, done, &submission) {
            let transfer = &carried.transfer;
            tracing::warn!(key = row.of.key, %transfer, "the transfer of a large object failed");
            if open.again {
                let failed = carried.failed + 1;
                self.hand(open, row, destination, (source, failed)).await?;
            }
            return Ok(true);
        }
        // What came there after its end is somebody else's.
        if let (Some(ended), Some(source), Some(there)) = (done, source, there)
            && source.size == there.size
            && there.mtime >= source.mtime
            && there.mtime <= ended
        {
            let written = converge::written(source, there);
            self.wrote(row, destination, Some(written)).await?;
        }
        let forget = DirtyChange::Hands {
            fence: row.fence,
            destination: at,
            transfer: None,
        };
        self.note(row, forget).await?;
        Ok(false)
    }

    /// Submits the transfer of a large object, of which so many have failed.
    pub(super) async fn hand(
        &self,
        open: &Open<'_>,
        row: &mut DirtyKey,
        destination: usize,
        (source, failed): (&ObjectInfo, u32),
    ) -> Result<Looked> {
        let at = destination as u32;
        let run = run_of(&row.of, at, source);
        let place = &open.rule.destinations[destination];
        let request = json!({
            "mode": "copy",
            "source": at_key(&open.rule.source, &row.of.key),
            "destinations": [at_key(place, &row.of.key)],
        });
        let request = serde_json::from_value(request).map_err(|error| {
            Error::control(ErrorKind::Internal, "a transfer cannot be asked for").cause(error)
        })?;
        let fleet = FleetOrder {
            alone: true,
            ..FleetOrder::default()
        };
        let order = Order {
            request,
            fleet,
            here: None,
        }
        .text()?;
        let of = serde_json::to_string(&row.of).map_err(|error| {
            Error::control(ErrorKind::Internal, "a key cannot be written").cause(error)
        })?;
        let control = &*self.deployed.control;
        // What was copied so and is not there any more is copied once more.
        let run = match control.submission(&run).await? {
            Some(known) if known.stage == Stage::Over => TransferId::generate(),
            _ => run,
        };
        // Noted before it is submitted: one that was noted and never submitted has ended.
        let hands = DirtyChange::Hands {
            fence: row.fence,
            destination: at,
            transfer: Some(Carried {
                transfer: run.clone(),
                failed,
                source: source.pin.etag.clone().unwrap_or_default(),
            }),
        };
        self.note(row, hands).await?;
        let new = Submission::new(run, order, format!("{OWNER}{of}"), Timestamp::now())?;
        let submitted = match control.submission(&new.transfer).await? {
            Some(known) => self.deployed.submit(&known).await?,
            None => self.deployed.submit(&new).await?,
        };
        tracing::info!(key = row.of.key, transfer = %submitted.transfer, "too large for a function");
        Ok(Looked::Carried)
    }
}

fn at_key(endpoint: &Endpoint, below: &str) -> Endpoint {
    let location = &endpoint.location;
    Endpoint {
        location: location.with_path(format!("{}{below}", location.path)),
        connection: endpoint.connection.clone(),
    }
}

/// What the transfer of a version to a destination is called, always the same.
fn run_of(of: &RuleKey, destination: u32, source: &ObjectInfo) -> TransferId {
    let milliseconds = u64::try_from(source.mtime.as_millisecond()).unwrap_or_default();
    let version = source.pin.etag.as_deref().unwrap_or_default();
    let RuleKey { rule, key } = of;
    TransferId::at(
        milliseconds,
        &format!("trigger {rule} {destination} {version} {key}"),
    )
}
