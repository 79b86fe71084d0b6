//! Tests of the events: every one is written, read again, and compared with what is documented.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use skyhaul_model::machine::{DataplaneId, Market, Offer};
use skyhaul_model::outcome::Action;
use skyhaul_model::spec::{Connection, Endpoint, Mode};
use skyhaul_model::{Location, Pin, TransferSpec};
use skyhaul_state::control::{MemberPlan, MemberRole, NewDataplane, Submission};
use skyhaul_state::{Phase, Progress, TransferRow};
use skyhaul_workflow::inspect::chunks::ChunkState;
use skyhaul_workflow::inspect::top::ByState;

use super::*;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/COMMANDS.md"));

fn outcome() -> Outcome {
    Outcome {
        action: Action::Failed,
        source_key: Some("a\"\n".to_owned()),
        destination_key: "b".to_owned(),
        destination: 0,
        size: 1,
        checksum: None,
        verified: None,
        etag: None,
        version: None,
        attempts: 1,
        server_side: false,
        reason: None,
        error: None,
    }
}

fn transfer(id: &TransferId) -> TransferInfo {
    let side = || Endpoint {
        location: "s3://b/p/".parse::<Location>().unwrap(),
        connection: Connection::default(),
    };
    let now = Timestamp::UNIX_EPOCH;
    TransferInfo {
        row: TransferRow {
            id: id.clone(),
            spec: TransferSpec {
                mode: Mode::Copy,
                source: side(),
                destinations: vec![side()],
                keys: skyhaul_model::keymap::KeyMap::Prefix {
                    source: "p/".to_owned(),
                    destination: "p/".to_owned(),
                },
                renames: Vec::new(),
                filters: skyhaul_model::filter::FilterSpec::default(),
                first: Vec::new(),
                compare: skyhaul_model::compare::Compare::default(),
                if_exists: skyhaul_model::compare::IfExists::default(),
                delete: None,
                attributes: skyhaul_model::attributes::AttributePolicy::default(),
                parts: skyhaul_model::parts::PartPolicy::default(),
                checksum: skyhaul_model::spec::ChecksumPolicy::default(),
                encryption: None,
                stream: false,
                follow_symlinks: false,
                durability: skyhaul_model::spec::Durability::default(),
                now,
            },
            fingerprint: "f".to_owned(),
            status: TransferStatus::Running,
            phase: Phase::Copy,
            attempt: 1,
            created: now,
            updated: now,
            error: None,
            revision: 0,
        },
        progress: Progress::default(),
        active: true,
        log: "/x/log".into(),
    }
}

fn dataplane() -> DataplaneRow {
    let offer = Offer {
        market: Market::Spot,
        instance_type: "t".to_owned(),
        zone: "z".to_owned(),
    };
    let member = MemberPlan {
        name: "z-src-1".parse().unwrap(),
        region: "z".to_owned(),
        role: MemberRole::Source,
        offers: vec![offer],
    };
    let new = NewDataplane {
        id: DataplaneId::generate(),
        owner: "me".to_owned(),
        members: vec![member],
        transfer: None,
        autoshutdown: None,
        created: Timestamp::UNIX_EPOCH,
        version: "1".to_owned(),
    };
    DataplaneRow::new(new).unwrap()
}

fn top(id: &TransferId) -> Snapshot {
    Snapshot {
        id: id.clone(),
        active: true,
        status: TransferStatus::Running,
        phase: Phase::Copy,
        listing_done: false,
        objects_total: 0,
        objects_done: 0,
        bytes_total: 0,
        bytes_done: 0,
        percent: None,
        skipped: 0,
        failed: 0,
        groups: ByState::default(),
        chunks: ByState::default(),
        gateways: Vec::new(),
    }
}

fn chunk() -> ChunkInfo {
    ChunkInfo {
        group: "0-1".to_owned(),
        chunk: 0,
        state: ChunkState::Pending,
        key: "k\n".to_owned(),
        objects: 1,
        part: None,
        offset: 0,
        bytes: 1,
        holder: None,
        fence: None,
        receipt: None,
    }
}

/// One line of every kind, as it is printed and read again.
#[allow(clippy::too_many_lines)] // there are many kinds
fn all() -> Vec<Value> {
    let id = TransferId::generate();
    let outcome = outcome();
    let error = Error::new(Side::Source, ErrorKind::NotFound, "gone")
        .object("s3://b/k")
        .hint("h");
    let summary = Summary {
        transfer: Some(id.clone()),
        resumed: false,
        status: TransferStatus::Incomplete,
        progress: ProgressEvent::default(),
        retries: 0,
        source_verified: 0,
        transport_verified: 0,
        elapsed: std::time::Duration::from_millis(1500),
        failures: vec![outcome.clone()],
        verification_failed: false,
        sent: Some(skyhaul_workflow::fleet::Sent::default()),
        notes: vec!["n".to_owned()],
    };
    let entry = ObjectEntry {
        key: "k".to_owned(),
        size: 1,
        mtime: Timestamp::UNIX_EPOCH,
        pin: Pin::default(),
        storage_class: None,
        archived: false,
    };
    let info = transfer(&id);
    let submission = Submission::new(id.clone(), "{}", "me", Timestamp::UNIX_EPOCH);
    let standing = Standing {
        submission: submission.unwrap(),
        row: None,
        progress: Progress::default(),
    };
    let rule = Rule {
        name: "mirror".to_owned(),
        owner: "me".to_owned(),
        source: info.row.spec.source.clone(),
        destinations: info.row.spec.destinations.clone(),
        filters: skyhaul_model::filter::FilterSpec::default(),
        deletes: true,
        enabled: true,
    };
    let dataplane = dataplane();
    let schedule = Schedule::new("nightly", "{}", "me", Overlap::Refuse).unwrap();
    let counts = Comparison::default();
    let cleaned = Cleaned::default();
    let (top, chunk) = (top(&id), chunk());
    let difference = Difference::Unknown("why".to_owned());
    let bodies = [
        Body::Started {
            resumed: true,
            log: Path::new("/x/log"),
            bytes_remaining: None,
        },
        Body::Note { text: "t" },
        Body::progress(ProgressEvent::default(), Speed::default()),
        Body::Failed { object: &outcome },
        Body::Planned { object: &outcome },
        Body::Outcome { object: &outcome },
        Body::Check {
            what: "version",
            ok: false,
            found: "0.2.0",
            hint: None,
        },
        Body::summary(&summary, 1),
        Body::error(&error, 3),
        Body::object(&entry),
        Body::Folder { key: "f/" },
        Body::Total {
            objects: 1,
            bytes: 1,
        },
        Body::Transfer { info: &info },
        Body::Following {
            stack: "haul",
            attempt: 1,
        },
        Body::Submitted {
            standing: &standing,
        },
        Body::dataplane(&dataplane),
        Body::Rule { rule: &rule },
        Body::schedule(&schedule, Some("rate(1 hour)"), true),
        Body::Top { top: &top },
        Body::Chunk { chunk: &chunk },
        Body::Log {
            from: "src-1",
            text: "t",
        },
        Body::Difference {
            key: "k",
            difference: &difference,
        },
        Body::Comparison {
            counts: &counts,
            exit_code: 0,
        },
        Body::Cleaned { cleaned: &cleaned },
        Body::Config {
            key: "transfers",
            value: "32",
            origin: Origin::Default,
        },
    ];
    bodies
        .into_iter()
        .map(|body| {
            let text = serde_json::to_string(&Line::new(Some(&id), body)).unwrap();
            assert!(
                text.starts_with(&format!("{{\"transfer\":\"{id}\",\"schema\":1,")),
                "{text}"
            );
            assert!(!text.contains('\n'), "{text}");
            serde_json::from_str(&text).unwrap()
        })
        .collect()
}

/// Fields by event, from the document's tables: `### event`, then rows that begin with the field.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut event = None;
    for line in DOCUMENT.lines() {
        if line.starts_with('#') {
            event = line
                .strip_prefix("### Event `")
                .and_then(|rest| rest.strip_suffix('`'));
        } else if let (Some(event), Some(rest)) = (event, line.strip_prefix("| `")) {
            let field = rest.split('`').next().unwrap();
            found
                .entry(event.to_owned())
                .or_default()
                .insert(field.to_owned());
        }
    }
    found
}

#[test]
fn what_is_written_is_what_is_documented() {
    let mut documented = documented();
    for line in all() {
        let event = line["event"].as_str().unwrap();
        let written: BTreeSet<_> = line
            .as_object()
            .unwrap()
            .keys()
            .filter(|field| !["transfer", "schema", "event"].contains(&field.as_str()))
            .cloned()
            .collect();
        assert_eq!(Some(written), documented.remove(event), "event `{event}`");
    }
    assert!(
        documented.is_empty(),
        "documented but never written: {documented:?}"
    );
}

#[test]
fn nothing_is_known_before_the_start() {
    for line in all() {
        if ["started", "progress"].contains(&line["event"].as_str().unwrap()) {
            assert!(line["bytes_remaining"].is_null(), "{line}");
            assert!(line.as_object().unwrap().contains_key("bytes_remaining"));
        }
    }
    let known = ProgressEvent {
        bytes_remaining: Some(7),
        ..ProgressEvent::default()
    };
    let text =
        serde_json::to_string(&Line::new(None, Body::progress(known, Speed::default()))).unwrap();
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (line["bytes_remaining"].as_u64(), line["transfer"].is_null()),
        (Some(7), true)
    );
}
