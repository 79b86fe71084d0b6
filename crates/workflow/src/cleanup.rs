//! Removing what transfers left behind: uploads, temporary files, state.

use std::sync::Arc;

use jiff::Timestamp;
use skyhaul_engine::copy::complete;
use skyhaul_engine::meter::Meter;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Result, Scheme, Side, TransferId};
use skyhaul_state::{TransferChange, TransferRow, TransferState, TransferStatus, UploadStatus};
use skyhaul_stores::local::{LocalOptions, LocalStore};
use tokio_util::sync::CancellationToken;

use crate::drive;
use crate::embedded::Cleaned;
use crate::home::Home;
use crate::settings::Settings;

/// Cleans up one transfer at once, or those older than the setting (`all`: whatever their age).
pub(crate) async fn cleanup(
    home: &Home,
    state: Arc<dyn TransferState>,
    settings: &Settings,
    id: Option<&TransferId>,
    all: bool,
) -> Result<Cleaned> {
    let rows = match id {
        Some(id) => vec![state.transfer(id).await?],
        None => state.transfers().await?,
    };
    let mut cleaned = Cleaned::default();
    let oldest = Timestamp::now() - settings.keep_partial;
    for row in rows {
        let written = home
            .last_written(&row.id)
            .and_then(|time| Timestamp::try_from(time).ok());
        if id.is_none() && !all && written.max(Some(row.updated)) > Some(oldest) {
            continue;
        }
        // One that is being worked on is nobody's leftover.
        let lock = match home.lock(&row.id) {
            Ok(lock) => lock,
            Err(error) if id.is_some() => return Err(error),
            Err(_) => continue,
        };
        match one(home, &state, settings, &row).await {
            Ok((uploads, problems)) if problems.is_empty() => {
                cleaned.uploads += uploads;
                cleaned.transfers += 1;
                state.purge(&row.id).await?;
                drop(lock);
                home.remove(&row.id)?;
            }
            Ok((uploads, problems)) => {
                cleaned.uploads += uploads;
                cleaned.problems.extend(problems);
            }
            Err(error) => cleaned.problems.push(format!("{}: {error}", row.id)),
        }
    }
    Ok(cleaned)
}

async fn one(
    home: &Home,
    state: &Arc<dyn TransferState>,
    settings: &Settings,
    row: &TransferRow,
) -> Result<(u64, Vec<String>)> {
    let succeeded = matches!(row.status, TransferStatus::Succeeded);
    if succeeded {
        // An object that changed meanwhile may have left an upload that could not be aborted.
        let unsettled = UploadStatus::UNSETTLED;
        if state
            .uploads(&row.id, &unsettled, None, 1)
            .await?
            .is_empty()
        {
            return Ok((0, Vec::new()));
        }
    }
    let (meter, _failures) = Meter::new();
    let limits = drive::limits(settings, false);
    let engine = drive::engine(home, state, row, limits, meter, CancellationToken::new()).await?;
    let change = TransferChange {
        status: (!succeeded).then_some(TransferStatus::Cancelled),
        ..TransferChange::default()
    };
    state.change(&row.id, row.revision, change).await?;
    let (mut removed, problems) = complete::abandon(&engine).await?;
    for endpoint in &row.spec.destinations {
        removed += temporaries(endpoint, &row.id).await?;
    }
    Ok((removed, problems))
}

/// Removes a transfer's temporary files under a local destination.
pub(crate) async fn temporaries(endpoint: &Endpoint, id: &TransferId) -> Result<u64> {
    if endpoint.location.scheme != Scheme::Local {
        return Ok(0);
    }
    let options = LocalOptions {
        transfer: Some(id.clone()),
        ..LocalOptions::default()
    };
    let store = LocalStore::open(&endpoint.location.path, Side::Destination, options)?;
    store.sweep_tree().await
}
