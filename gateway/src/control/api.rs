//! The routes of the control API and what each answers.

use hyper::{Method, StatusCode};
use serde::Serialize;
use skyhaul_engine::trace::{Stage, Traced};

use super::fault::{Name, Problem};
use super::replies::{
    ChunkSummary, Chunks, Connection, Connections, Direction, Draining, Health, Progress,
    TransferProgress,
};
use super::{Subject, metrics, replies};

/// Methods and paths, as the document has them.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET", "/health"),
    ("GET", "/progress"),
    ("GET", "/connections"),
    ("GET", "/chunks"),
    ("GET", "/chunks/{id}"),
    ("POST", "/drain"),
    ("GET", "/metrics"),
];

/// An answer: status, type and body.
pub(super) type Answer = (StatusCode, &'static str, Vec<u8>);

const JSON: &str = "application/json";

pub(super) fn json(status: StatusCode, reply: &impl Serialize) -> Answer {
    match serde_json::to_vec(reply) {
        Ok(body) => (status, JSON, body),
        Err(error) => {
            tracing::error!("an answer of the control API cannot be written: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, JSON, b"{}".to_vec())
        }
    }
}

/// The method of a path, and what its variable part is.
fn find(path: &str) -> Option<(&'static str, &'static str, &str)> {
    ROUTES.iter().find_map(|(method, route)| {
        if *route == path {
            return Some((*method, *route, ""));
        }
        let variable = path.strip_prefix(route.strip_suffix("{id}")?)?;
        let is_one = !variable.is_empty() && !variable.contains('/');
        is_one.then_some((*method, *route, variable))
    })
}

/// Answers a request of somebody who showed the token.
pub(super) fn answer(
    subject: &Subject,
    method: &Method,
    path: &str,
    query: Option<&str>,
) -> Result<Answer, Problem> {
    let (takes, route, id) =
        find(path).ok_or_else(|| Name::NotFound.because(format!("there is no {path}")))?;
    if method.as_str() != takes {
        let message = format!("{route} takes {takes}");
        return Err(Name::MethodNotAllowed.because(message));
    }
    let ok = StatusCode::OK;
    Ok(match route {
        "/health" => json(ok, &health(subject)),
        "/progress" => json(ok, &progress(subject)),
        "/connections" => json(ok, &connections(subject)),
        "/chunks" => json(ok, &chunks(subject, query)?),
        "/chunks/{id}" => json(ok, &chunk(subject, id)?),
        "/drain" => {
            tracing::info!("asked over the control API to drain");
            subject.orders.drain.cancel();
            json(StatusCode::ACCEPTED, &Draining { draining: true })
        }
        _ => {
            let text = metrics::text(&progress(subject), &connections(subject), &health(subject));
            let text = text.map_err(|error| Name::Internal.because(error.to_string()))?;
            (ok, metrics::TYPE, text.into_bytes())
        }
    })
}

fn is_draining(subject: &Subject) -> bool {
    subject.node.is_draining() || subject.orders.drain.is_cancelled()
}

fn health(subject: &Subject) -> Health {
    Health {
        status: if is_draining(subject) {
            "draining"
        } else {
            "ok"
        }
        .to_owned(),
        name: subject.name.clone(),
        gateway: subject.node.id.to_string(),
        role: subject.role,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: subject.began.elapsed().as_secs_f64(),
    }
}

fn progress(subject: &Subject) -> Progress {
    use std::sync::atomic::Ordering::Relaxed;
    let traffic = &subject.node.traffic;
    let links = subject.node.links();
    let under_way = links.iter().map(|link| link.under_way_to_peer() as u64);
    let of = TransferProgress {
        transfer: subject.transfer.clone(),
        logical_bytes: traffic.logical.load(Relaxed),
        wire_bytes: traffic.wire.load(Relaxed),
        passed_bytes: traffic.passed.load(Relaxed),
        written_bytes: traffic.written.load(Relaxed),
        chunks_done: subject.trace.recorded_chunks(),
        claims_held: subject.trace.held_groups(),
        requests: subject.node.requests() as u64,
        bytes_under_way: under_way.sum(),
    };
    Progress {
        transfers: vec![of],
    }
}

fn connections(subject: &Subject) -> Connections {
    let mut links = subject.node.links();
    links.sort_unstable_by_key(|link| link.number);
    let connections = links.iter().map(|link| {
        let (sent, received) = link.bytes();
        let (sending, receiving) = subject.rates.of(link.number, (sent, received));
        Connection {
            connection: link.number,
            peer: subject.directory.name_of(&link.peer),
            gateway: link.peer.to_string(),
            direction: if link.outgoing {
                Direction::Out
            } else {
                Direction::In
            },
            sent_bytes: sent,
            received_bytes: received,
            sent_bytes_per_s: sending,
            received_bytes_per_s: receiving,
            bytes_under_way: link.under_way_to_peer() as u64,
            round_trip_ms: link.round_trip().map(|time| time.as_secs_f64() * 1e3),
            draining: !link.takes_calls(),
        }
    });
    Connections {
        connections: connections.collect(),
    }
}

fn chunks(subject: &Subject, query: Option<&str>) -> Result<Chunks, Problem> {
    let wanted = match query.filter(|query| !query.is_empty()) {
        None => None,
        Some(query) => {
            let stage = query.strip_prefix("state=").and_then(stage);
            let names = "queued, reading, sent, acknowledged, recorded, failed";
            Some(stage.ok_or_else(|| {
                Name::Invalid.because(format!("what is asked for is state=, one of {names}"))
            })?)
        }
    };
    let all = subject.trace.all();
    let chosen = all
        .iter()
        .filter(|chunk| wanted.is_none_or(|wanted| wanted == chunk.stage()));
    Ok(Chunks {
        most: subject.trace.most() as u64,
        chunks: chosen.map(ChunkSummary::from).collect(),
    })
}

fn stage(name: &str) -> Option<Stage> {
    serde_json::from_value(serde_json::Value::from(name)).ok()
}

fn chunk(subject: &Subject, id: &str) -> Result<replies::Chunk, Problem> {
    let is_it = |chunk: &&Traced| replies::chunk_id(chunk) == id;
    let all = subject.trace.all();
    all.iter()
        .find(is_it)
        .map(replies::Chunk::from)
        .ok_or_else(|| Name::UnknownChunk.because("no recent chunk of this gateway has this id"))
}
