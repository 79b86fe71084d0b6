//! The document of the control API says what the code does, no less and no more.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use skyhaul_engine::trace::Stage;
use skyhaul_gateway::control::ROUTES;
use skyhaul_gateway::control::fault::{ErrorReply, Name, Problem};
use skyhaul_gateway::control::replies::{
    Chunk, ChunkSummary, Chunks, Connection, Connections, Direction, Draining, Health, Progress,
    Step, TransferProgress,
};
use skyhaul_model::TransferId;
use skyhaul_state::GatewayRole;
use yaml_rust2::{Yaml, YamlLoader};

const DOCUMENT: &str = include_str!("../../docs/openapi/gateway.yaml");

fn document() -> Yaml {
    YamlLoader::load_from_str(DOCUMENT).unwrap().remove(0)
}

fn keys(of: &Yaml) -> Vec<&str> {
    let hash = of.as_hash().unwrap_or_else(|| panic!("{of:?}"));
    hash.keys().map(|key| key.as_str().unwrap()).collect()
}

fn words(of: &Yaml) -> BTreeSet<&str> {
    let all = of.as_vec().unwrap_or_else(|| panic!("{of:?}"));
    all.iter().map(|word| word.as_str().unwrap()).collect()
}

fn names<T: serde::Serialize>(all: &[T]) -> Vec<String> {
    let name = |value| serde_json::to_value(value).unwrap();
    all.iter()
        .map(|value| name(value).as_str().unwrap().to_owned())
        .collect()
}

/// One reply of every kind, as it is written.
fn replies() -> BTreeMap<&'static str, Value> {
    let summary = ChunkSummary {
        id: "0-1.2".to_owned(),
        group: "0-1".to_owned(),
        chunk: 2,
        state: Stage::Sent,
    };
    let step = Step {
        state: Stage::Queued,
        first_s: 0.0,
        last_s: 0.0,
        times: 1,
    };
    let connection = Connection {
        connection: 1,
        peer: None,
        gateway: "00".to_owned(),
        direction: Direction::In,
        sent_bytes: 1,
        received_bytes: 1,
        sent_bytes_per_s: 1.0,
        received_bytes_per_s: 1.0,
        bytes_under_way: 1,
        round_trip_ms: None,
        draining: false,
    };
    let progress = TransferProgress {
        transfer: TransferId::generate(),
        logical_bytes: 1,
        wire_bytes: 1,
        passed_bytes: 1,
        written_bytes: 1,
        chunks_done: 1,
        claims_held: 1,
        requests: 1,
        bytes_under_way: 1,
    };
    let health = Health {
        status: "ok".to_owned(),
        name: "src-1".to_owned(),
        gateway: "00".to_owned(),
        role: GatewayRole::Source,
        version: "1".to_owned(),
        uptime_s: 1.0,
    };
    let problem = Problem {
        name: Name::Invalid,
        message: "m".to_owned(),
    };
    let chunk = Chunk {
        summary: summary.clone(),
        paths: vec![vec!["dst-1".to_owned()]],
        history: vec![step.clone()],
    };
    let chunks = Chunks {
        most: 1,
        chunks: vec![summary.clone()],
    };
    let connections = Connections {
        connections: vec![connection.clone()],
    };
    let all = Progress {
        transfers: vec![progress.clone()],
    };
    BTreeMap::from([
        ("Health", json!(health)),
        ("Progress", json!(all)),
        ("TransferProgress", json!(progress)),
        ("Connections", json!(connections)),
        ("Connection", json!(connection)),
        ("Chunks", json!(chunks)),
        ("ChunkSummary", json!(summary)),
        ("Chunk", json!(chunk)),
        ("Step", json!(step)),
        ("Draining", json!(Draining { draining: true })),
        (
            "ErrorReply",
            json!(ErrorReply {
                error: problem.clone()
            }),
        ),
        ("Problem", json!(problem)),
    ])
}

#[test]
fn every_route_is_in_the_document_and_no_other() {
    let document = document();
    let mut documented = BTreeSet::new();
    for path in keys(&document["paths"]) {
        for method in keys(&document["paths"][path]) {
            documented.insert((method.to_uppercase(), path.to_owned()));
        }
    }
    let routes = ROUTES.iter();
    let routes: BTreeSet<_> = routes
        .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(routes, documented);
}

#[test]
fn every_field_is_in_the_document_with_its_type_and_no_other() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let mut replies = replies();
    for name in keys(schemas) {
        let schema = &schemas[name];
        if schema["type"].as_str() == Some("string") {
            continue;
        }
        let reply = replies
            .remove(name)
            .unwrap_or_else(|| panic!("{name} is never sent"));
        let reply = reply.as_object().unwrap();
        let sent: BTreeSet<_> = reply.keys().map(String::as_str).collect();
        let properties: BTreeSet<_> = keys(&schema["properties"]).into_iter().collect();
        assert_eq!(sent, properties, "{name}");
        assert_eq!(sent, words(&schema["required"]), "{name}");
        for (field, value) in reply {
            let property = &schema["properties"][field.as_str()];
            let kinds = match &property["type"] {
                Yaml::String(kind) => BTreeSet::from([kind.as_str()]),
                Yaml::BadValue => continue,
                several => words(several),
            };
            let kind = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(number) if number.is_f64() => "number",
                Value::Number(_) => "integer",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            assert!(
                kinds.contains(kind),
                "{name}.{field}: {kind} is none of {kinds:?}"
            );
        }
    }
    assert!(replies.is_empty(), "not in the document: {replies:?}");
}

#[test]
fn every_name_is_in_the_document_and_no_other() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let listed = |of: &Yaml| -> Vec<String> {
        let all = of["enum"].as_vec().unwrap();
        all.iter()
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(listed(&schemas["Stage"]), names(&Stage::ALL));
    assert_eq!(listed(&schemas["Name"]), names(&Name::ALL));
    let roles = [
        GatewayRole::Source,
        GatewayRole::Relay,
        GatewayRole::Destination,
    ];
    assert_eq!(
        listed(&schemas["Health"]["properties"]["role"]),
        names(&roles)
    );
    let directions = [Direction::In, Direction::Out];
    let direction = &schemas["Connection"]["properties"]["direction"];
    assert_eq!(listed(direction), names(&directions));
}
