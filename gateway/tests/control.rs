//! The control API: who is let in, and what a gateway tells of itself while it copies.
#![allow(clippy::unwrap_used)]

mod live;

use std::collections::BTreeMap;

use hyper::{Method, StatusCode};
use live::{Live, MIB, Running, eventually};
use serde_json::Value;
use skyhaul_gateway::control::client::{ask, get};
use skyhaul_gateway::control::replies::{Chunk, Chunks, Connections, Direction, Health, Progress};
use skyhaul_model::ErrorKind;
use skyhaul_model::group::GroupStatus;
use skyhaul_state::service::Token;
use skyhaul_state::{ControlAddress, GatewayRole};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const ANY: &str = "127.0.0.1:0";

/// A rate that keeps a copy of some MiB under way for seconds.
const SLOW: Option<u64> = Some(2 * MIB);

/// The name of an error.
fn error(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["error"]["name"].as_str().unwrap().to_owned()
}

async fn refused(
    at: &ControlAddress,
    token: Option<&Token>,
    method: Method,
    path: &str,
) -> (u16, String) {
    let (status, body) = ask(at, token, &method, path).await.unwrap();
    (status.as_u16(), error(&body))
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_learn_nothing_and_do_no_harm() {
    let live = Live::new(1, None).await;
    let gateway = live.start("dst-1", ANY);
    let at = live.control("dst-1").await;
    let (other, own) = (Token::generate(), &gateway.token);
    for token in [None, Some(&other)] {
        for path in ["/health", "/nowhere", "/chunks/0-0.0"] {
            let got = refused(&at, token, Method::GET, path).await;
            assert_eq!(got, (401, "unauthorized".to_owned()), "{path}");
        }
        let got = refused(&at, token, Method::POST, "/drain").await;
        assert_eq!(got.0, 401);
    }
    for (method, path, wanted) in [
        (Method::GET, "/nowhere", (404, "not_found")),
        (Method::GET, "/chunks/", (404, "not_found")),
        (Method::GET, "/chunks/0-0.0", (404, "unknown_chunk")),
        (Method::GET, "/drain", (405, "method_not_allowed")),
        (Method::POST, "/health", (405, "method_not_allowed")),
        (Method::GET, "/chunks?state=lost", (400, "invalid")),
        (Method::GET, "/chunks?stat=sent", (400, "invalid")),
    ] {
        let (status, name) = refused(&at, Some(own), method, path).await;
        assert_eq!((status, name.as_str()), wanted, "{path}");
    }
    let long = format!("/health?{}", "x".repeat(20 << 10));
    let (status, _) = ask(&at, Some(own), &Method::GET, &long).await.unwrap();
    assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);

    // Whoever does not speak TLS is hung up on.
    let mut plain = tokio::net::TcpStream::connect(&at.address).await.unwrap();
    let request = format!(
        "GET /health HTTP/1.1\r\nauthorization: {}\r\n\r\n",
        own.header()
    );
    plain.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said).await;
    assert!(!String::from_utf8_lossy(&said).contains("HTTP/1.1"));

    // Whoever has another certificate is not shown the token.
    let forged = ControlAddress {
        fingerprint: "00".repeat(32),
        ..at.clone()
    };
    let error = get::<Health>(&forged, own, "/health").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");

    let health: Health = get(&at, own, "/health").await.unwrap();
    assert_eq!(
        (health.name.as_str(), health.status.as_str()),
        ("dst-1", "ok")
    );
    gateway.orders.stop.cancel();
    gateway.ended.await.unwrap().unwrap();
    let gone = get::<Health>(&at, &gateway.token, "/health").await;
    assert_eq!(gone.unwrap_err().kind, ErrorKind::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_address_is_refused_at_the_start() {
    let live = Live::new(1, None).await;
    for public in ["0.0.0.0:0", "8.8.8.8:443", "[::]:0"] {
        let error = live
            .start("dst-1", public)
            .ended
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        let said = error.to_string();
        assert!(
            said.contains("loopback and private addresses only"),
            "{said}"
        );
    }
}

/// Samples by name and labels; panics if a line is not one.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.pop(), Some("# EOF"), "{text}");
    let samples = lines.iter().filter(|line| !line.starts_with("# "));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let fits = |c: char| c.is_ascii_alphanumeric() || "_{}=\",.-".contains(c);
            assert!(name.chars().all(fits), "{line}");
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

async fn metrics(at: &ControlAddress, gateway: &Running) -> BTreeMap<String, f64> {
    let asked = ask(at, Some(&gateway.token), &Method::GET, "/metrics").await;
    let (status, body) = asked.unwrap();
    assert_eq!(status, StatusCode::OK);
    samples(std::str::from_utf8(&body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_copies_tells_what_it_does() {
    let live = Live::new(12, SLOW).await;
    let (source, destination) = (live.start("src-1", ANY), live.start("dst-1", ANY));
    let (near, far) = (live.control("src-1").await, live.control("dst-1").await);
    let chunks = async |state: &str| -> Vec<String> {
        let path = format!("/chunks?state={state}");
        let chunks: Chunks = get(&near, &source.token, &path).await.unwrap();
        assert_eq!(chunks.most, 100);
        chunks.chunks.into_iter().map(|chunk| chunk.id).collect()
    };
    let recorded = eventually("a recorded chunk", async || chunks("recorded").await.pop()).await;
    let chunk: Chunk = get(&near, &source.token, &format!("/chunks/{recorded}"))
        .await
        .unwrap();
    let history = serde_json::to_value(&chunk.history).unwrap();
    let stages = history.as_array().unwrap().iter();
    let stages: Vec<_> = stages.map(|step| step["state"].as_str().unwrap()).collect();
    let wanted = ["queued", "reading", "sent", "acknowledged", "recorded"];
    assert_eq!(stages, wanted, "{history}");
    let times: Vec<_> = chunk.history.iter().map(|step| step.first_s).collect();
    assert!(times.is_sorted(), "{history}");
    assert_eq!(chunk.paths, [["dst-1"]]);

    let progress: Progress = get(&near, &source.token, "/progress").await.unwrap();
    let of = &progress.transfers[0];
    assert_eq!(of.transfer, live.id);
    assert!(
        of.logical_bytes > 0 && of.wire_bytes >= of.logical_bytes,
        "{of:?}"
    );
    assert!(of.chunks_done > 0 && of.claims_held > 0, "{of:?}");
    let progress: Progress = get(&far, &destination.token, "/progress").await.unwrap();
    let of = &progress.transfers[0];
    assert!(of.written_bytes > 0 && of.chunks_done == 0, "{of:?}");

    let out: Connections = get(&near, &source.token, "/connections").await.unwrap();
    assert_eq!(out.connections.len(), 2);
    let of_far = |link: &skyhaul_gateway::control::replies::Connection| {
        link.peer.as_deref() == Some("dst-1") && link.direction == Direction::Out
    };
    assert!(out.connections.iter().all(of_far), "{out:?}");
    let sent: u64 = out.connections.iter().map(|link| link.sent_bytes).sum();
    assert!(sent > 0, "{out:?}");
    eventually("throughput and a round trip", async || {
        let all: Connections = get(&far, &destination.token, "/connections").await.unwrap();
        let comes = |link: &skyhaul_gateway::control::replies::Connection| {
            link.direction == Direction::In
                && link.peer.as_deref() == Some("src-1")
                && link.received_bytes_per_s > 0.0
                && link.round_trip_ms.is_some()
        };
        all.connections.iter().any(comes).then_some(())
    })
    .await;

    let samples = metrics(&near, &source).await;
    assert!(
        samples["skyhaul_gateway_wire_bytes_total"] > 0.0,
        "{samples:?}"
    );
    assert!(samples["skyhaul_gateway_connections"] > 1.0, "{samples:?}");
    let labelled = "skyhaul_gateway_connection_sent_bytes_total{peer=\"dst-1\"";
    assert!(
        samples.keys().any(|name| name.starts_with(labelled)),
        "{samples:?}"
    );
    let health: Health = get(&far, &destination.token, "/health").await.unwrap();
    assert_eq!(health.role, GatewayRole::Destination);

    source.ended.await.unwrap().unwrap();
    live.assert_equal();
    let asked = ask(&far, Some(&destination.token), &Method::POST, "/drain").await;
    assert_eq!(asked.unwrap().0, StatusCode::ACCEPTED);
    destination.ended.await.unwrap().unwrap();
    let rows = live.state.gateways(&live.id).await.unwrap();
    let told = rows.iter().find(|row| row.name == "dst-1").unwrap();
    assert!(told.draining, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_finished_when_the_time_to_drain_is_over_is_given_back() {
    // A byte a second: nothing ends.
    let live = Live::new(1, Some(1)).await;
    let (source, destination) = (live.start("src-1", ANY), live.start("dst-1", ANY));
    let leased = async || {
        let leased = Some(GroupStatus::Leased);
        let groups = live.state.groups(&live.id, 0, leased, None, 10).await;
        groups.unwrap().len()
    };
    let at = live.control("src-1").await;
    eventually("a chunk that is begun", async || {
        let reading = get(&at, &source.token, "/chunks?state=reading").await;
        let reading: Chunks = reading.unwrap();
        (!reading.chunks.is_empty()).then_some(())
    })
    .await;
    assert!(leased().await > 0);
    source.orders.terminate();
    source.ended.await.unwrap().unwrap();
    assert_eq!(leased().await, 0);
    let progress = live.state.progress(&live.id).await.unwrap();
    assert_eq!(progress.chunks_done, 0);
    let pending = Some(GroupStatus::Pending);
    let groups = live.state.groups(&live.id, 0, pending, None, 10).await;
    assert!(!groups.unwrap().is_empty());
    // Said again, it does not wait for the rest.
    destination.orders.terminate();
    destination.orders.terminate();
    destination.ended.await.unwrap().unwrap();
}
