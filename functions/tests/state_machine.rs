//! The state machine of a transfer, walked through on an emulator of Step Functions with functions that answer as
//! each test says: it ends as it should, and tears down on every path.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};
use skyhaul_tests::servers::tables;
use skyhaul_tests::{python, root};

/// One execution.
#[derive(Debug, Deserialize)]
struct Walked {
    status: String,
    error: Option<String>,
    calls: Vec<(String, Value)>,
    events: usize,
}

impl Walked {
    /// What was asked of a function.
    fn asked(&self, function: &str) -> Vec<&Value> {
        let of = self.calls.iter().filter(|(name, _)| name == function);
        of.map(|(_, asked)| asked).collect()
    }

    /// The functions in the order in which they were called.
    fn order(&self) -> Vec<&str> {
        self.calls.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// Walks through the state machine once for each plan.
fn walk(plans: &Value) -> BTreeMap<String, Walked> {
    let mut child = Command::new(python())
        .arg(root().join("scripts/walk.py"))
        .arg(&tables().ministack.url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(plans.to_string().as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let walked: BTreeMap<String, Walked> = serde_json::from_slice(&output.stdout).unwrap();
    for (name, one) in &walked {
        assert_eq!(one.calls.last().unwrap().0, "teardown", "{name}: {one:?}");
        for (_, asked) in &one.calls {
            assert_eq!(asked["transfer"], name.as_str());
            assert_eq!(asked["attempt"], 1);
        }
    }
    walked
}

fn planned(machines: u32) -> Value {
    json!([{ "machines": machines, "survey": false, "ended": false, "seconds": 100_000 }])
}

fn surveyed() -> Value {
    json!([{ "machines": 0, "survey": true, "ended": false, "seconds": 100_000 }])
}

fn settled(succeeded: bool) -> Value {
    let failure = json!({ "name": "Named", "cause": "told" });
    let failure = if succeeded { Value::Null } else { failure };
    json!([{ "done": true, "succeeded": succeeded, "failure": failure }])
}

#[test]
fn a_transfer_is_listed_and_waited_for_at_the_same_time_and_then_ended() {
    let twice = json!([{ "done": false }, { "done": true }]);
    let goes_on = json!({ "done": false, "succeeded": false, "failure": null });
    let walked = walk(&json!({
        "machines": {
            "plan": planned(2), "provision": twice, "list": twice, "complete": twice, "verify": twice,
            "answers": ["copied"], "teardown": [goes_on, settled(true)[0]],
        },
        "alone": {
            "plan": planned(0), "teardown": settled(true),
            "list": [{ "done": true }, { "done": false }, { "done": true }],
        },
        "over": {
            "plan": [{ "machines": 0, "survey": false, "ended": true, "seconds": 1 }], "teardown": settled(true),
        },
        "little": {
            "plan": surveyed(), "list": [{ "little": true }, { "done": false }, { "done": true }],
            "teardown": settled(true),
        },
        "much": {
            "plan": [surveyed()[0], planned(2)[0]], "answers": ["copied"], "teardown": settled(true),
            "list": [{ "little": false }, { "done": true }],
        },
    }));
    for (name, one) in &walked {
        assert_eq!(one.status, "SUCCEEDED", "{name}");
        for asked in one.asked("teardown") {
            assert_eq!(asked["error"], Value::Null);
        }
    }
    let machines = &walked["machines"];
    for function in ["provision", "list", "complete", "verify", "teardown"] {
        assert_eq!(machines.asked(function).len(), 2, "{function}");
    }
    assert_eq!(machines.asked("wait").len(), 1);
    let alone = walked["alone"].order();
    let steps = [
        "plan", "list", "list", "list", "complete", "verify", "teardown",
    ];
    assert_eq!(alone, steps);
    let copies: Vec<_> = walked["alone"].asked("list");
    let copies: Vec<_> = copies.iter().map(|asked| asked["copy"] == true).collect();
    assert_eq!(copies, [false, true, true]);
    assert_eq!(walked["over"].order(), ["plan", "teardown"]);
    assert_eq!(walked["little"].order(), steps);
    assert_eq!(walked["little"].asked("list")[0]["survey"], true);
    let much = &walked["much"];
    assert_eq!(much.order()[..4], ["plan", "list", "plan", "provision"]);
    assert_eq!(much.asked("plan")[1]["surveyed"], true);
}

#[test]
fn what_fails_anywhere_is_torn_down_with_its_cause() {
    let mut plans = BTreeMap::new();
    for function in ["plan", "provision", "complete", "verify"] {
        let mut plan = json!({
            "plan": planned(2), "answers": ["copied"], "teardown": settled(false),
        });
        plan[function] = json!(["AccessDenied"]);
        plans.insert(function, plan);
    }
    plans.insert(
        "cancelled",
        json!({
            "plan": planned(1), "list": [{ "done": false }], "answers": ["Cancelled"],
            "teardown": ["AccessDenied", settled(false)[0]],
        }),
    );
    plans.insert(
        "copy",
        json!({ "plan": planned(0), "list": [{ "done": true }, "NoRoom"], "teardown": settled(false) }),
    );
    let walked = walk(&json!(plans));
    for (name, one) in &walked {
        assert_eq!(
            (one.status.as_str(), one.error.as_deref()),
            ("FAILED", Some("Named")),
            "{name}"
        );
        let told = one.asked("teardown")[0]["error"]["Error"].clone();
        let thrown = match name.as_str() {
            "cancelled" => "Cancelled",
            "copy" => "NoRoom",
            _ => "AccessDenied",
        };
        assert_eq!(told, thrown, "{name}");
    }
    // The end is tried again, whatever it failed with.
    assert_eq!(walked["cancelled"].asked("teardown").len(), 2);
}

#[test]
fn what_passes_is_tried_again() {
    let passes = json!(["Passing", { "done": true }]);
    let walked = walk(&json!({ "passing": {
        "plan": ["Passing", planned(2)[0]], "provision": passes, "list": passes, "complete": passes,
        "verify": passes, "answers": ["copied"], "teardown": ["Passing", settled(true)[0]],
    }}));
    let one = &walked["passing"];
    assert_eq!(one.status, "SUCCEEDED");
    for function in [
        "plan",
        "provision",
        "list",
        "complete",
        "verify",
        "teardown",
    ] {
        assert_eq!(one.asked(function).len(), 2, "{function}");
    }
}

#[test]
fn a_listing_that_fails_is_told_to_whoever_waits() {
    let walked = walk(&json!({ "listing": {
        "plan": planned(2), "list": ["NotFound"], "answers": ["held"], "teardown": settled(false),
    }}));
    let one = &walked["listing"];
    assert_eq!(one.status, "FAILED");
    assert_eq!(one.asked("watch").len(), 1);
    assert_eq!(one.asked("watch")[0]["error"]["Error"], "NotFound");
    assert_eq!(one.asked("teardown")[0]["error"]["Error"], "NotFound");
}

#[test]
fn machines_that_are_lost_are_replaced_and_the_waiting_goes_on() {
    let walked = walk(&json!({ "lost": {
        "plan": planned(2), "answers": ["GatewaysLost", "GatewaysLost", "copied"],
        "provision": [{ "done": true }, { "done": false }, { "done": true }],
        "teardown": settled(true),
    }}));
    let one = &walked["lost"];
    assert_eq!(one.status, "SUCCEEDED");
    assert_eq!(one.asked("wait").len(), 3);
    // At first, and for two losses, one of which took two looks.
    assert_eq!(one.asked("provision").len(), 4);
    assert!(one.events < 120, "{} events", one.events);
}

/// Objects that a function lists in a second at least, beside what it writes of them: a tenth of what it does here.
const LISTED_A_SECOND: usize = 10_000;
/// Seconds of a slice (`functions/src/handler.rs`: the function's fifteen minutes but for its rest).
const SLICE: usize = 880;
/// Seconds of a slice of `provision`, and those until machines that are launched have told of themselves at most.
const LAUNCHES: usize = 280;
const BOOT: usize = 600;
/// Events of a call at most: six of its task, two of the choice after it, two of the wait or pass before the next. The
/// emulator writes fewer.
const EVENTS: usize = 10;
/// Events that an execution may have at most.
const MOST_EVENTS: usize = 15_000;
/// The service ends one that has so many.
const LIMIT_EVENTS: usize = 25_000;

#[test]
fn slow_history_of_the_largest_transfer_is_short_enough() {
    let slices = |count: usize| {
        let mut slices = vec![json!({ "done": false }); count - 1];
        slices.push(json!({ "done": true }));
        json!({ "plan": planned(2), "list": slices, "answers": ["copied"], "teardown": settled(true) })
    };
    let mut lost = slices(1);
    lost["answers"] = json!(["GatewaysLost", "copied"]);
    let walked = walk(&json!({
        "one": slices(1), "ten": slices(10), "hundred": slices(100), "lost": lost,
    }));
    let calls = |name: &str| {
        let one = &walked[name];
        assert_eq!(one.status, "SUCCEEDED", "{name}");
        assert!(one.events <= EVENTS * one.calls.len(), "{name}");
        one.calls.len()
    };
    let (one, ten, hundred) = (calls("one"), calls("ten"), calls("hundred"));
    let repair = calls("lost") - one;
    eprintln!("{one}, {ten} and {hundred} calls with 1, 10 and 100 slices; {repair} a repair");
    assert_eq!((ten - one, hundred - one), (9, 99));
    // A billion objects, listed, completed and verified; a hundred repairs. Waiting for days adds nothing.
    let most = 1_000_000_000_usize.div_ceil(LISTED_A_SECOND * SLICE);
    let repair = repair - 1 + BOOT.div_ceil(LAUNCHES);
    let all = EVENTS * (one + 3 * most + 100 * repair);
    eprintln!("{all} events for a billion objects and a hundred repairs");
    assert!(all < MOST_EVENTS);
    // Without machines, slice after slice for the thirty days that an attempt may take: a task and a choice each.
    let alone = 7 * (30 * 24 * 3_600_usize).div_ceil(SLICE);
    eprintln!("{alone} events for thirty days without a machine");
    assert!(alone < LIMIT_EVENTS);
}
