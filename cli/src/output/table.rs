//! The table of `skyhaul top`, as lines.

use std::collections::BTreeMap;

use serde::Serialize;
use skyhaul_gateway::control::replies::{Connection, Direction};
use skyhaul_workflow::inspect::top::{ByState, GatewayInfo, Snapshot};

use super::text;

/// The name by which JSON has a value, too.
fn word(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or("-").to_owned()
}

fn by_state(what: &str, all: ByState) -> String {
    let (pending, leased, done) = (all.pending, all.leased, all.done);
    format!("{what:<9}{pending} pending, {leased} leased, {done} done")
}

/// What a transfer is at, and its gateways; `speed` is in bytes a second, where it is known.
pub(crate) fn lines(snapshot: &Snapshot, speed: Option<f64>) -> Vec<String> {
    let more = if snapshot.listing_done { "" } else { "+" };
    let work = if snapshot.active {
        format!("at work: {}", word(&snapshot.phase))
    } else {
        format!("nobody works on it: {}", word(&snapshot.status))
    };
    let share = snapshot.percent.map(|share| format!(", {share:.1} %"));
    let speed = speed.map(|speed| format!(", {}", text::speed(speed)));
    let mut lines = vec![
        format!("transfer {}  {work}", snapshot.id),
        format!(
            "bytes    {} of {}{more}{}{}",
            text::size(snapshot.bytes_done),
            text::size(snapshot.bytes_total),
            share.unwrap_or_default(),
            speed.unwrap_or_default(),
        ),
        format!(
            "objects  {} of {}{more}, {} skipped, {} failed",
            snapshot.objects_done, snapshot.objects_total, snapshot.skipped, snapshot.failed,
        ),
        by_state("groups", snapshot.groups),
        by_state("chunks", snapshot.chunks),
    ];
    if !snapshot.gateways.is_empty() {
        lines.push(String::new());
        lines.push(format!(
            "{:<10} {:<11} {:<8} {:>7} {:>6} {:>5} {:>10} {:>10} {:>10} {:>10}",
            "GATEWAY",
            "ROLE",
            "STATE",
            "AGE",
            "GROUPS",
            "LINKS",
            "OBJECTS",
            "SENT",
            "PASSED",
            "WRITTEN",
        ));
    }
    lines.extend(snapshot.gateways.iter().map(gateway));
    lines.extend(paths(&snapshot.gateways));
    lines
}

/// What goes over the connections of each two neighbours, told by the one that made them.
fn paths(gateways: &[GatewayInfo]) -> Vec<String> {
    let mut all: BTreeMap<(&str, &str), Vec<&Connection>> = BTreeMap::new();
    for gateway in gateways {
        let links = gateway.links.iter().flatten();
        for link in links.filter(|link| link.direction == Direction::Out) {
            let peer = link.peer.as_deref().unwrap_or(&link.gateway);
            all.entry((&gateway.name, peer)).or_default().push(link);
        }
    }
    let mut lines = Vec::new();
    if !all.is_empty() {
        lines.push(String::new());
        lines.push(format!(
            "{:<24} {:>5} {:>12} {:>10} {:>10}",
            "PATH", "LINKS", "THROUGHPUT", "UNDER WAY", "PING"
        ));
    }
    for ((from, to), links) in all {
        let way = format!("{} -> {}", text::printable(from), text::printable(to));
        let speed: f64 = links.iter().map(|link| link.sent_bytes_per_s).sum();
        let under_way = links.iter().map(|link| link.bytes_under_way).sum();
        let pings = links.iter().filter_map(|link| link.round_trip_ms);
        let ping = pings.min_by(f64::total_cmp);
        let ping = ping.map_or("-".to_owned(), |ping| format!("{ping:.1} ms"));
        lines.push(format!(
            "{way:<24} {:>5} {:>12} {:>10} {ping:>10}",
            links.len(),
            text::speed(speed),
            text::size(under_way),
        ));
    }
    lines
}

fn gateway(of: &GatewayInfo) -> String {
    let age = of.age_s.map_or("-".to_owned(), text::time);
    format!(
        "{:<10} {:<11} {:<8} {age:>7} {:>6} {:>5} {:>10} {:>10} {:>10} {:>10}",
        text::printable(&of.name),
        word(&of.role),
        word(&of.state),
        of.groups,
        of.connections,
        text::size(of.logical_bytes),
        text::size(of.wire_bytes),
        text::size(of.passed_bytes),
        text::size(of.written_bytes),
    )
}

#[cfg(test)]
mod tests {
    use skyhaul_gateway::control::replies::Direction;
    use skyhaul_model::TransferId;
    use skyhaul_state::{GatewayRole, Phase, TransferStatus};
    use skyhaul_workflow::inspect::top::GatewayState;

    use super::*;

    fn link(connection: u64) -> Connection {
        Connection {
            connection,
            peer: Some("dst-1".to_owned()),
            gateway: "00".to_owned(),
            direction: Direction::Out,
            sent_bytes: 1,
            received_bytes: 1,
            sent_bytes_per_s: 512.0,
            received_bytes_per_s: 0.0,
            bytes_under_way: 1024,
            round_trip_ms: Some(connection as f64),
            draining: false,
        }
    }

    #[test]
    fn a_table_says_how_far_it_is_and_who_works() {
        let id = TransferId::generate();
        let gateway = GatewayInfo {
            name: "src-1".to_owned(),
            role: Some(GatewayRole::Source),
            state: GatewayState::Draining,
            age_s: Some(0.25),
            groups: 3,
            connections: 4,
            logical_bytes: 1 << 20,
            wire_bytes: 1 << 10,
            passed_bytes: 0,
            written_bytes: 0,
            links: Some([1, 2].map(link).to_vec()),
        };
        let snapshot = Snapshot {
            id: id.clone(),
            active: true,
            status: TransferStatus::Running,
            phase: Phase::Copy,
            listing_done: false,
            objects_total: 4,
            objects_done: 1,
            bytes_total: 4 << 20,
            bytes_done: 1 << 20,
            percent: Some(25.0),
            skipped: 0,
            failed: 0,
            groups: ByState {
                pending: 1,
                leased: 2,
                done: 3,
            },
            chunks: ByState::default(),
            gateways: vec![gateway],
        };
        let lines = lines(&snapshot, Some(1024.0));
        assert_eq!(lines[0], format!("transfer {id}  at work: copy"));
        assert_eq!(lines[1], "bytes    1.0 MiB of 4.0 MiB+, 25.0 %, 1.0 KiB/s");
        assert_eq!(lines[3], "groups   1 pending, 2 leased, 3 done");
        let row: Vec<_> = lines[7].split_whitespace().collect();
        assert_eq!(row[..5], ["src-1", "source", "draining", "0.25s", "3"]);
        assert_eq!(lines[6].len(), lines[7].len(), "{lines:#?}");
        let row: Vec<_> = lines[10].split_whitespace().collect();
        let wanted = [
            "src-1", "->", "dst-1", "2", "1.0", "KiB/s", "2.0", "KiB", "1.0", "ms",
        ];
        assert_eq!(row, wanted);
    }
}
