//! How far a transfer and its gateways are at a moment.

use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde::Serialize;
use skyhaul_gateway::control::client;
use skyhaul_gateway::control::replies::{Connection, Connections};
use skyhaul_model::group::GroupStatus;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::{
    GatewayRole, GatewayRow, Phase, Progress, TransferRow, TransferState, TransferStatus, pages,
};

use crate::deployed::Deployed;
use crate::embedded::Embedded;
use crate::{drive, tokens};

/// A gateway that has told nothing of itself for this long is shown as silent.
const SILENT: Duration = Duration::from_secs(10);

/// Groups or chunks, by where they are in their life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ByState {
    /// Nobody works on them.
    pub pending: u64,
    /// A holder works on them.
    pub leased: u64,
    /// They are recorded.
    pub done: u64,
}

/// How a gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayState {
    /// It tells of itself.
    Up,
    /// It finishes what it has begun, and ends.
    Draining,
    /// It has told nothing of itself for ten seconds.
    Silent,
    /// Nobody works on the transfer any more.
    Ended,
}

/// A gateway.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatewayInfo {
    /// Its name.
    pub name: String,
    /// What it is.
    pub role: Option<GatewayRole>,
    /// How it is.
    pub state: GatewayState,
    /// Seconds since it told of itself, by the clocks of both.
    pub age_s: Option<f64>,
    /// Groups that it holds.
    pub groups: u64,
    /// Connections to other gateways.
    pub connections: u64,
    /// Bytes of objects that it sent, before compression.
    pub logical_bytes: u64,
    /// Bytes that it sent for them over the network.
    pub wire_bytes: u64,
    /// Bytes that it passed on for others.
    pub passed_bytes: u64,
    /// Bytes that it wrote to a store.
    pub written_bytes: u64,
    /// Its connections, as it tells of them over its control API; null: it cannot be asked.
    pub links: Option<Vec<Connection>>,
}

/// A transfer at a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// The transfer.
    #[serde(skip)]
    pub id: TransferId,
    /// Whether a process works on it.
    pub active: bool,
    /// Where it is in its life.
    pub status: TransferStatus,
    /// What it is at.
    pub phase: Phase,
    /// Whether the totals are final.
    pub listing_done: bool,
    /// Objects to copy, found so far.
    pub objects_total: u64,
    /// Objects copied.
    pub objects_done: u64,
    /// Their bytes.
    pub bytes_total: u64,
    /// Bytes written and recorded.
    pub bytes_done: u64,
    /// Of the bytes to copy, per cent; null before the listing found something.
    pub percent: Option<f64>,
    /// Objects skipped.
    pub skipped: u64,
    /// Objects failed.
    pub failed: u64,
    /// Its groups.
    pub groups: ByState,
    /// Their chunks, as listed.
    pub chunks: ByState,
    /// Its gateways, by name.
    pub gateways: Vec<GatewayInfo>,
}

impl Embedded {
    /// A transfer as it is now.
    pub async fn snapshot(&self, id: &TransferId) -> Result<Snapshot> {
        let (home, state) = self.home()?;
        let row = state.transfer(id).await?;
        let active = home.is_active(id);
        let rows = state.gateways(id).await?;
        let folder = home.transfer_dir(id).join("gateways");
        let links = rows.iter().map(|row| links(row, &folder, active));
        let links = futures::future::join_all(links).await;
        let mut snapshot = now(&*state, &row, &rows, active).await?;
        for (info, links) in snapshot.gateways.iter_mut().zip(links) {
            info.links = links;
        }
        Ok(snapshot)
    }
}

impl Deployed {
    /// A transfer as it is now; `None`: an attempt at it goes on, and it has not been planned yet. Its gateways are in
    /// networks of their own, and cannot be asked for their connections.
    pub async fn snapshot(&self, id: &TransferId) -> Result<Option<Snapshot>> {
        let standing = self.standing(id).await?;
        let active = standing.is_live();
        let Some(row) = &standing.row else {
            let why = standing.failure();
            let unknown =
                || Error::control(ErrorKind::NotFound, "it was never planned").object(id.as_str());
            return if active {
                Ok(None)
            } else {
                Err(why.unwrap_or_else(unknown))
            };
        };
        let rows = self.state.gateways(id).await?;
        now(&*self.state, row, &rows, active).await.map(Some)
    }
}

/// What its rows say of a transfer and its gateways.
async fn now(
    state: &dyn TransferState,
    row: &TransferRow,
    gateways: &[GatewayRow],
    active: bool,
) -> Result<Snapshot> {
    let progress = state.progress(&row.id).await?;
    let bytes = progress.done.bytes + drive::bytes_under_way(state, &row.id).await?;
    let leased = Leased::of(state, &row.id).await?;
    let now = Timestamp::now();
    let gateways = gateways.iter();
    let gateways = gateways
        .map(|row| gateway(row, &leased, active, now))
        .collect();
    Ok(snapshot(row, &progress, bytes, &leased, active, gateways))
}

/// What is leased.
#[derive(Debug, Default)]
struct Leased {
    groups: u64,
    /// Chunks in them that are not done.
    chunks: u64,
    /// Groups by who holds them.
    holders: std::collections::HashMap<String, u64>,
}

impl Leased {
    async fn of(state: &dyn TransferState, id: &TransferId) -> Result<Self> {
        let mut all = Self::default();
        let groups = pages::groups(state, id, Some(GroupStatus::Leased));
        futures::pin_mut!(groups);
        while let Some(row) = groups.try_next().await? {
            all.groups += 1;
            all.chunks += u64::from(row.chunks.saturating_sub(row.done.count()));
            if let Some(lease) = row.lease {
                *all.holders.entry(lease.holder.0).or_default() += 1;
            }
        }
        Ok(all)
    }
}

/// What a gateway says of its connections, if it is there and can be asked.
async fn links(row: &GatewayRow, folder: &Path, active: bool) -> Option<Vec<Connection>> {
    let control = row.control.as_ref().filter(|_| active)?;
    let token = tokens::read(folder, &row.name)?;
    match client::get::<Connections>(control, &token, "/connections").await {
        Ok(reply) => Some(reply.connections),
        Err(error) => {
            tracing::debug!(gateway = row.name, "cannot be asked: {error}");
            None
        }
    }
}

fn gateway(row: &GatewayRow, leased: &Leased, active: bool, now: Timestamp) -> GatewayInfo {
    let age = row.told.map(|told| now.duration_since(told).as_secs_f64());
    let age = age.map(|age| age.max(0.0));
    let holder = row.holder.as_ref();
    GatewayInfo {
        name: row.name.clone(),
        role: row.role,
        state: match age {
            _ if !active => GatewayState::Ended,
            Some(age) if age > SILENT.as_secs_f64() => GatewayState::Silent,
            _ if row.draining => GatewayState::Draining,
            _ => GatewayState::Up,
        },
        age_s: age,
        groups: holder.map_or(0, |holder| {
            leased.holders.get(&holder.0).copied().unwrap_or(0)
        }),
        connections: row.connections,
        logical_bytes: row.logical_bytes,
        wire_bytes: row.wire_bytes,
        passed_bytes: row.passed_bytes,
        written_bytes: row.written_bytes,
        links: None,
    }
}

fn snapshot(
    row: &TransferRow,
    progress: &Progress,
    bytes_done: u64,
    leased: &Leased,
    active: bool,
    gateways: Vec<GatewayInfo>,
) -> Snapshot {
    let (listed, done) = (progress.listed, progress.done);
    let known = progress.listing_done || listed.copy_objects > 0;
    let share = |done: u64, of: u64| match of {
        0 => 100.0,
        of => (100.0 * done as f64 / of as f64).min(100.0),
    };
    let rest = |all: u64, leased: u64, done: u64| ByState {
        pending: all.saturating_sub(leased + done),
        leased,
        done,
    };
    Snapshot {
        id: row.id.clone(),
        active,
        status: row.status,
        phase: row.phase,
        listing_done: progress.listing_done,
        objects_total: listed.copy_objects,
        objects_done: done.objects,
        bytes_total: listed.copy_bytes,
        bytes_done,
        percent: known.then(|| share(bytes_done, listed.copy_bytes)),
        skipped: listed.skipped + done.skipped,
        failed: listed.failed + done.failed,
        groups: rest(progress.groups, leased.groups, progress.groups_done),
        chunks: rest(
            listed.chunks,
            leased.chunks,
            progress.chunks_done.saturating_sub(done.moved_chunks),
        ),
        gateways,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_up_until_it_is_silent_and_ended_with_its_transfer() {
        let now = Timestamp::now();
        let told = |seconds: i64| Some(now - jiff::SignedDuration::from_secs(seconds));
        let row = |told, draining| GatewayRow {
            told,
            draining,
            ..GatewayRow::default()
        };
        let leased = Leased::default();
        for (seconds, draining, active, state) in [
            (1, false, true, GatewayState::Up),
            (1, true, true, GatewayState::Draining),
            (11, true, true, GatewayState::Silent),
            (-5, false, true, GatewayState::Up),
            (1, false, false, GatewayState::Ended),
        ] {
            let info = gateway(&row(told(seconds), draining), &leased, active, now);
            assert_eq!(info.state, state, "{seconds} {draining} {active}");
            assert!(info.age_s.unwrap() >= 0.0);
        }
        assert_eq!(gateway(&row(None, false), &leased, true, now).age_s, None);
    }
}
