//! The same numbers as text for Prometheus (`OpenMetrics` 1.0).

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::replies::{Connection, Connections, Health, Progress, TransferProgress};

/// The type of the text.
pub(super) const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// Everything, from what the other routes say at this moment.
pub(super) fn text(
    progress: &Progress,
    connections: &Connections,
    health: &Health,
) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("skyhaul_gateway");
    let info: Labels = vec![
        ("name", health.name.clone()),
        ("version", health.version.clone()),
    ];
    registry.register("build", "Which gateway this is", Info::new(info));
    let draining = ConstGauge::new(i64::from(health.status == "draining"));
    registry.register("draining", "Whether it takes nothing new", draining);
    let uptime = ConstGauge::new(health.uptime_s);
    registry.register("uptime_seconds", "Since its start", uptime);
    for transfer in &progress.transfers {
        of_transfer(&mut registry, transfer);
    }
    of_connections(&mut registry, &connections.connections);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn of_transfer(registry: &mut Registry, of: &TransferProgress) {
    for (name, help, value) in [
        (
            "logical_bytes",
            "Bytes of objects that were sent",
            of.logical_bytes,
        ),
        (
            "wire_bytes",
            "Bytes sent for them over the network",
            of.wire_bytes,
        ),
        (
            "passed_bytes",
            "Bytes passed on for others",
            of.passed_bytes,
        ),
        (
            "written_bytes",
            "Bytes written to a store",
            of.written_bytes,
        ),
        ("chunks", "Chunks recorded as done", of.chunks_done),
    ] {
        registry.register(name, help, ConstCounter::new(value));
    }
    for (name, help, value) in [
        ("claims_held", "Groups that are worked on", of.claims_held),
        (
            "requests",
            "Requests of others that are worked on",
            of.requests,
        ),
        (
            "under_way_bytes",
            "Sent to neighbours and not used up",
            of.bytes_under_way,
        ),
    ] {
        registry.register(name, help, ConstGauge::new(value));
    }
}

fn of_connections(registry: &mut Registry, all: &[Connection]) {
    let sent = Family::<Labels, Counter>::default();
    let received = Family::<Labels, Counter>::default();
    let round_trip = Family::<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    for of in all {
        let peer = of.peer.clone().unwrap_or_default();
        let labels = vec![("peer", peer), ("connection", of.connection.to_string())];
        sent.get_or_create(&labels).inc_by(of.sent_bytes);
        received.get_or_create(&labels).inc_by(of.received_bytes);
        if let Some(time) = of.round_trip_ms {
            round_trip.get_or_create(&labels).set(time / 1e3);
        }
    }
    let count = ConstGauge::new(all.len() as u64);
    registry.register("connections", "Connections to neighbours", count);
    registry.register("connection_sent_bytes", "Sent over a connection", sent);
    let help = "Came over a connection";
    registry.register("connection_received_bytes", help, received);
    let help = "There and back, of the last ping";
    registry.register("connection_round_trip_seconds", help, round_trip);
}
