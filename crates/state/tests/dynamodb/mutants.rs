//! Conditions that are taken out of the requests, one by one: some test must find each, or it
//! proves nothing about those that are there.

use std::sync::Arc;

use serde_json::Value;
use skyhaul_state::suite;
use skyhaul_tests::servers::tables;

use super::Fresh;
use super::leases::forged_leases;
use super::proxy::{Faults, Proxy};
use super::staging::{late_lister, late_record, records_at_once};

/// Races that may end well without the condition.
const RACES: usize = 20;

/// A condition on an attribute in the requests of an operation, and who finds it missing.
struct Mutant {
    operation: &'static str,
    attribute: &'static str,
    found_by: FoundBy,
}

enum FoundBy {
    Forgeries,
    Race,
    Records,
    LateRecord,
    LateLister,
}

const MUTANTS: [Mutant; 8] = [
    mutant("UpdateItem", "fence", FoundBy::Forgeries),
    mutant("UpdateItem", "holder", FoundBy::Forgeries),
    mutant("UpdateItem", "counter", FoundBy::Forgeries),
    mutant("UpdateItem", "status", FoundBy::Forgeries),
    mutant("UpdateItem", "done", FoundBy::Records),
    mutant("PutItem", "version", FoundBy::Race),
    mutant("TransactWriteItems", "version", FoundBy::LateRecord),
    mutant("PutItem", "epoch", FoundBy::LateLister),
];

const fn mutant(operation: &'static str, attribute: &'static str, found_by: FoundBy) -> Mutant {
    Mutant {
        operation,
        attribute,
        found_by,
    }
}

impl Mutant {
    fn faults(&self) -> Faults {
        let (of, attribute) = (self.operation, self.attribute);
        Faults {
            edit: Some(Arc::new(move |operation, body| {
                if operation == of {
                    loosen(body, attribute);
                }
            })),
            ..Faults::default()
        }
    }

    /// What was found wrong.
    async fn found(&self) -> Option<String> {
        let endpoint = &tables().ministack;
        let proxy = Proxy::start(endpoint, 0, self.faults()).await;
        let table = async || Fresh::at(endpoint).await.through(&proxy.endpoint);
        match self.found_by {
            FoundBy::Forgeries => forged_leases(&table().await).await.err(),
            FoundBy::Race => {
                let table = table().await;
                // Whether two meet is chance.
                for _ in 0..RACES {
                    if let Err(found) = suite::race(|| async { table.shared() }, 6).await {
                        return Some(found);
                    }
                }
                None
            }
            FoundBy::Records => records_at_once(&table().await).await.err(),
            FoundBy::LateRecord => late_record(endpoint, self.faults()).await.err(),
            FoundBy::LateLister => late_lister(endpoint, self.faults()).await.err(),
        }
    }
}

/// Makes each comparison of the attribute in each condition one that always holds.
fn loosen(body: &mut Value, attribute: &str) {
    match body {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(condition) if name == "ConditionExpression" => {
                        *condition = loosened(condition, attribute);
                    }
                    other => loosen(other, attribute),
                }
            }
        }
        Value::Array(parts) => {
            for part in parts {
                loosen(part, attribute);
            }
        }
        _ => {}
    }
}

fn loosened(condition: &str, attribute: &str) -> String {
    let mut words: Vec<String> = condition.split(' ').map(str::to_owned).collect();
    let name = format!("#{attribute}");
    for at in 0..words.len().saturating_sub(2) {
        if words[at].trim_start_matches('(') == name && ["=", "<"].contains(&words[at + 1].as_str())
        {
            let value = words[at + 2].trim_end_matches(')').to_owned();
            let always = format!("({name} <= {value} OR {name} >= {value})");
            words[at] = words[at].replace(&name, &always);
            words[at + 1].clear();
            words[at + 2] = words[at + 2].replace(&value, "");
        }
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

#[test]
fn conditions_are_loosened() {
    assert_eq!(
        loosened("#status = :v0 AND #fence = :v1", "fence"),
        "#status = :v0 AND (#fence <= :v1 OR #fence >= :v1)"
    );
    assert_eq!(
        loosened("(attribute_not_exists(#pk) OR #epoch < :v0)", "epoch"),
        "(attribute_not_exists(#pk) OR (#epoch <= :v0 OR #epoch >= :v0) )"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_condition_that_is_taken_out_is_missed() {
    for mutant in MUTANTS {
        let found = mutant.found().await;
        let what = (mutant.operation, mutant.attribute);
        let found = found.unwrap_or_else(|| panic!("{what:?}: nothing was found"));
        println!("{what:?}: {}", found.lines().next().unwrap_or_default());
    }
}
