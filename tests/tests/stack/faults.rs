//! Faults of every kind at every state of the state machine: each transfer ends whole, if need be after it was gone on
//! with, and nothing is left. What was met is printed as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyhaul_tests::cloud::{Cloud, OUTSIDE};
use skyhaul_tests::eventually;
use skyhaul_tests::fault::{FaultProxy, Op, Plan};
use skyhaul_tests::oracle::{Bucket, ObjectSpec};
use skyhaul_tests::servers::Endpoint;

use super::{MIB, nothing_left, objects};

/// What goes wrong with a transfer, or is wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// A machine loses all its processes.
    Crash,
    /// A machine is told that it will be taken away.
    Interrupt,
    /// Its execution is stopped.
    Stop,
    /// It is paused.
    Pause,
    /// It is cancelled.
    Cancel,
    /// A function is called once more with the same payload, while it works.
    Again,
    /// A function's process is killed.
    Dies,
    /// A function does not end in its time.
    Hangs,
    /// A tenth of all calls of the tables is refused as too many.
    Throttled,
    /// Of a twentieth of them, carried out, the reply is a failure.
    Unheard,
    /// Two launches are refused for want of capacity.
    Short,
    /// The machines' clocks are five minutes ahead.
    Ahead,
    /// They are five minutes behind.
    Behind,
    /// The execution's time is up while gateways copy.
    Late,
}

/// How a transfer is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// By machines that were asked for.
    Machines,
    /// By functions, which found out that it is little.
    Little,
    /// By machines, for functions found out that it is much.
    Much,
    /// By the service.
    Itself,
}

/// A state in which a function works.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    state: &'static str,
    function: &'static str,
    /// What its payload has, and has not.
    with: &'static [&'static str],
    without: &'static [&'static str],
    shape: Shape,
}

const fn step(
    state: &'static str,
    function: &'static str,
    with: &'static [&'static str],
    without: &'static [&'static str],
    shape: Shape,
) -> Step {
    Step {
        state,
        function,
        with,
        without,
        shape,
    }
}

static PLAN: Step = step("Plan", "Plan", &[], &["surveyed"], Shape::Little);
static SURVEY: Step = step("Survey", "List", &["survey"], &[], Shape::Little);
static COPY_ALONE: Step = step("CopyAlone", "List", &["copy"], &[], Shape::Little);
static COMPLETE: Step = step("Complete", "Complete", &["attempt"], &[], Shape::Little);
static PLAN_MACHINES: Step = step("PlanMachines", "Plan", &["surveyed"], &[], Shape::Much);
static PROVISION: Step = step("Provision", "Provision", &["attempt"], &[], Shape::Machines);
static LIST: Step = step(
    "List",
    "List",
    &["attempt"],
    &["survey", "copy"],
    Shape::Machines,
);
static AWAIT: Step = step("Await", "Watch", &["token"], &[], Shape::Machines);
static LOOK: Step = step(
    "Look",
    "Watch",
    &["attempt"],
    &["token", "error"],
    Shape::Machines,
);
static LIST_ALONE: Step = step(
    "ListAlone",
    "List",
    &["attempt"],
    &["survey", "copy"],
    Shape::Itself,
);
static VERIFY: Step = step("Verify", "Verify", &["attempt"], &[], Shape::Little);
static TEARDOWN: Step = step("Teardown", "Teardown", &["attempt"], &[], Shape::Little);

/// When it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Machines are launched.
    Launched,
    /// Gateways copy.
    Work,
    /// From its beginning to its end, by machines.
    Whole,
    /// The same, by functions alone.
    WholeAlone,
    /// In the state.
    In(&'static Step),
    /// A machine is lost, and is being replaced.
    Repair,
    /// All is copied, and machines are still there while the state is on.
    After(&'static Step),
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Self::Launched => "(machines boot)",
            Self::Work => "(gateways copy)",
            Self::Whole => "(all of it)",
            Self::WholeAlone => "(all, no machine)",
            Self::In(step) | Self::After(step) => step.state,
            Self::Repair => "Repair",
        }
    }

    fn shape(self) -> Shape {
        match self {
            Self::In(step) => step.shape,
            Self::WholeAlone => Shape::Little,
            Self::Launched | Self::Work | Self::Whole | Self::Repair | Self::After(_) => {
                Shape::Machines
            }
        }
    }

    /// The step whose function is met.
    fn step(self) -> Option<&'static Step> {
        match self {
            Self::In(step) | Self::After(step) => Some(step),
            Self::Repair => Some(&PROVISION),
            _ => None,
        }
    }
}

/// A transfer to which something happens.
struct Faulty<'a> {
    cloud: &'a Cloud,
    /// Before the destination's server.
    proxy: &'a FaultProxy,
    fault: Fault,
    moment: Moment,
    from: Bucket,
    to: Bucket,
    /// The command's arguments.
    copy: Vec<String>,
}

/// The buckets that transfers of a shape read, with what is in them.
fn sources(shape: Shape) -> (&'static str, Vec<ObjectSpec>) {
    match shape {
        Shape::Machines => ("faulty-machines", objects(100 * MIB, 50)),
        Shape::Little | Shape::Itself => ("faulty-little", objects(24 * MIB, 40)),
        Shape::Much => {
            let each = |n| ObjectSpec::new(format!("{n:05}"), n, n % 100);
            ("faulty-much", (0..5_001).map(each).collect())
        }
    }
}

impl<'a> Faulty<'a> {
    fn new(cloud: &'a Cloud, proxy: &'a FaultProxy, fault: Fault, moment: Moment) -> Self {
        let shape = moment.shape();
        let (own, dst): (_, &Endpoint) = match shape {
            Shape::Itself => (&cloud.src, &cloud.src),
            _ => (&cloud.dst, proxy.endpoint()),
        };
        let src = &cloud.src;
        let from = Bucket::named(src, sources(shape).0);
        let to = Bucket::named(own, skyhaul_tests::unique_name("faulty-to"));
        to.make();
        let (source, destination) = (from.uri(""), to.uri(""));
        let mut copy = vec!["cp", "-r", &source, &destination];
        if shape == Shape::Machines {
            // Where a machine is lost the other goes on, unless that is what is looked at: it would take minutes.
            let lost = matches!(fault, Fault::Crash | Fault::Interrupt);
            let gateways = if lost { "2" } else { "1" };
            copy.extend(["--gateways", gateways, "--bwlimit", "6M"]);
            // Large ones are uploads, whose completions are counted.
            copy.extend(["--multipart-threshold", "8M", "--part-size", "8M"]);
        }
        let copy = Cloud::at(src, dst, &copy);
        Self {
            cloud,
            proxy,
            fault,
            moment,
            from,
            to,
            copy,
        }
    }

    fn standing(&self, id: &str) -> Value {
        let status = self.cloud.cli.run(&["status", id, "--json"]);
        status.events().pop().unwrap()
    }

    fn reached(&self, id: &str) -> bool {
        match self.moment {
            Moment::Launched => !self.cloud.left().instances.is_empty(),
            _ => self.standing(id)["progress"]["listing_done"] == true,
        }
    }

    /// Asks for a fault of the step's function.
    fn meets(&self, fault: &str) {
        let step = self.moment.step().unwrap();
        let meets = json!({ "function": step.function, "fault": fault, "with": step.with,
            "without": step.without });
        self.trouble(json!({ "functions": [meets] }));
    }

    fn trouble(&self, mut faults: Value) {
        faults["seed"] = skyhaul_tests::seed().into();
        self.cloud.trouble(&faults);
    }

    fn happened(&self, fault: &str) -> u64 {
        self.cloud.troubles().get(fault).copied().unwrap_or(0)
    }

    /// Submits it so that the function of the step meets a fault.
    fn meeting(&self, fault: &str) -> String {
        if self.moment != Moment::Repair {
            self.meets(fault);
            return self.cloud.submit(&self.copy);
        }
        let id = self.cloud.submit(&self.copy);
        self.until(|| self.reached(&id));
        self.meets(fault);
        self.strikes("crash");
        id
    }

    /// Something happens to a machine.
    fn strikes(&self, fault: &str) {
        let machines = self.cloud.left().instances;
        self.cloud.fault(machines.last().unwrap(), fault);
    }

    /// Submits it so that it stands in the step.
    fn held(&self) -> String {
        let id = self.meeting("hold");
        self.until(|| self.happened("hold") == 1);
        id
    }

    fn until(&self, reached: impl Fn() -> bool) {
        let what = format!("{:?} at {}", self.fault, self.moment.name());
        eventually(&what, Duration::from_mins(6), || reached().then_some(()));
    }

    /// The function that is held goes on.
    fn release(&self) {
        self.cloud.trouble(&json!({}));
    }

    fn command(&self, command: &str, id: &str, codes: &[i32]) {
        let ended = self.cloud.cli.run(&[command, id]);
        let code = ended.code().unwrap_or(-1);
        let what = format!("{command} after {:?} at {}", self.fault, self.moment.name());
        assert!(codes.contains(&code), "{what}: {ended:?}");
    }

    /// Wants something of a transfer that stands still, which then goes on.
    fn wishes(&self, wish: &str, id: &str) {
        let wishes = self.cloud.cli.start(&[wish, id]);
        self.until(|| self.standing(id)["submission"]["wish"] == wish);
        self.release();
        wishes.wait().assert_code(0);
    }

    /// A function that dies, hangs, is called twice; the user stops, pauses or cancels while it works.
    fn in_step(&self) {
        match self.fault {
            Fault::Dies | Fault::Hangs => {
                let kind = if self.fault == Fault::Dies {
                    "crash"
                } else {
                    "hang"
                };
                let id = self.meeting(kind);
                self.command("wait", &id, &[0]);
                assert_eq!(self.happened(kind), 1);
            }
            Fault::Again => {
                let id = self.held();
                let step = self.moment.step().unwrap();
                let mut again = json!({ "transfer": id, "attempt": 1 });
                for &key in step.with.iter().filter(|key| **key != "attempt") {
                    again[key] = true.into();
                }
                // Who waits is known to the state machine alone: as the schedule calls it.
                let again = if *step == AWAIT { json!({}) } else { again };
                self.cloud.invoke_again(step.function, &again);
                self.release();
                self.command("wait", &id, &[0]);
            }
            Fault::Stop => {
                let id = self.held();
                self.cloud.stop(&self.cloud.left().executions[0]);
                self.release();
                // Where all was done already, it has succeeded.
                self.command("wait", &id, &[0, 1]);
                nothing_left(self.cloud);
                self.command("resume", &id, &[0, 2]);
            }
            Fault::Pause => {
                let id = self.held();
                self.wishes("pause", &id);
                nothing_left(self.cloud);
                self.command("resume", &id, &[0, 2]);
            }
            Fault::Cancel => {
                let id = self.held();
                self.wishes("cancel", &id);
                self.is_begun_anew(&id);
            }
            Fault::Crash | Fault::Interrupt => {
                let id = self.held();
                self.strikes(self.machine_fault());
                self.release();
                self.command("wait", &id, &[0]);
            }
            // Of the machine that is to take the place of one that is lost.
            Fault::Short => {
                let id = self.cloud.submit(&self.copy);
                self.until(|| self.reached(&id));
                self.trouble(json!({ "capacity": 2 }));
                self.strikes("crash");
                self.command("wait", &id, &[0]);
                assert!(self.happened("capacity") >= 2);
            }
            other => panic!("{other:?} is not of a step"),
        }
    }

    /// What happens to a machine, as the account calls it.
    fn machine_fault(&self) -> &'static str {
        match self.fault {
            Fault::Interrupt => "interrupt",
            _ => "crash",
        }
    }

    /// What was cancelled has left nothing and cannot be gone on with; it may be submitted again.
    fn is_begun_anew(&self, id: &str) {
        nothing_left(self.cloud);
        assert!(self.to.uploads().is_empty());
        self.command("resume", id, &[2]);
        self.cloud.cli.run(&self.copy).assert_code(0);
    }

    /// Something happens to the machines, or to the transfer as a whole, at its moment.
    fn at_moment(&self) {
        let id = self.cloud.submit(&self.copy);
        self.until(|| self.reached(&id));
        match self.fault {
            Fault::Crash | Fault::Interrupt => {
                self.strikes(self.machine_fault());
                self.command("wait", &id, &[0]);
            }
            Fault::Stop => {
                self.cloud.stop(&self.cloud.left().executions[0]);
                self.command("wait", &id, &[1]);
                nothing_left(self.cloud);
                self.command("resume", &id, &[0]);
            }
            Fault::Pause => {
                self.command("pause", &id, &[0]);
                nothing_left(self.cloud);
                self.command("resume", &id, &[0]);
            }
            Fault::Cancel => {
                self.command("cancel", &id, &[0]);
                self.is_begun_anew(&id);
            }
            other => panic!("{other:?} is not of a moment"),
        }
    }

    /// Something is wrong all the time.
    fn throughout(&self) {
        let (faults, clocks) = match self.fault {
            Fault::Throttled => (json!({ "throttle": 0.1 }), 0),
            Fault::Unheard => (json!({ "lose": 0.05 }), 0),
            Fault::Short => (json!({ "capacity": 2 }), 0),
            Fault::Late => (json!({ "seconds": 20 }), 0),
            Fault::Ahead => (json!({}), 300),
            Fault::Behind => (json!({}), -300),
            other => panic!("{other:?} does not last"),
        };
        self.trouble(faults);
        self.cloud.clocks(clocks);
        let id = self.cloud.submit(&self.copy);
        if self.fault == Fault::Late {
            self.command("wait", &id, &[1]);
            self.release();
            nothing_left(self.cloud);
            self.command("resume", &id, &[0]);
        } else {
            self.command("wait", &id, &[0]);
        }
        let least = match self.fault {
            Fault::Throttled => ("throttle", 5),
            Fault::Unheard => ("lose", 2),
            Fault::Short => ("capacity", 2),
            _ => ("", 0),
        };
        assert!(self.happened(least.0) >= least.1, "{:?}", self.fault);
        self.cloud.clocks(0);
    }

    /// All of it: it ends whole, and nothing is left.
    fn ends_whole(&self) {
        match self.moment {
            Moment::In(_) | Moment::Repair | Moment::After(_) => self.in_step(),
            Moment::Launched | Moment::Work => self.at_moment(),
            Moment::Whole | Moment::WholeAlone => self.throughout(),
        }
        self.release();
        let what = format!("{:?} at {}", self.fault, self.moment.name());
        assert_eq!(self.from.digests(""), self.to.digests(""), "{what}");
        assert!(self.to.uploads().is_empty(), "{what}");
        nothing_left(self.cloud);
        self.completed_once(&what);
        // A function whose execution was stopped works on for nobody: one pass finds what it notes then.
        if self.fault == Fault::Stop {
            self.cloud.invoke("Reap", &json!({}));
        }
        // And nothing is found by who looks for what was left.
        let reaped = self.cloud.invoke("Reap", &json!({}));
        assert_eq!(reaped["actions"], json!([]), "{what}");
        assert_eq!(reaped["strays"], json!([]), "{what}");
    }

    /// Each key was completed once: what was begun anew after a cancellation is another transfer.
    fn completed_once(&self, what: &str) {
        let most = if self.fault == Fault::Cancel { 2 } else { 1 };
        let mut completed: BTreeMap<String, usize> = BTreeMap::new();
        for entry in self.proxy.log().of(Op::Complete) {
            if entry.request.bucket == self.to.name && entry.status == 200 {
                *completed.entry(entry.request.key.clone()).or_default() += 1;
            }
        }
        if self.moment.shape() == Shape::Machines {
            assert_eq!(completed.len(), 4, "{what}: {completed:?}");
        }
        let more: Vec<_> = completed
            .iter()
            .filter(|(_, count)| **count > most)
            .collect();
        assert!(
            more.is_empty(),
            "{what}: completed more than once: {more:?}"
        );
        self.proxy.clear_log();
    }
}

/// What was met, in seconds of the whole transfer.
fn table(met: &BTreeMap<(usize, &'static str, Fault), u64>) -> String {
    let faults: BTreeSet<_> = met.keys().map(|(_, _, fault)| *fault).collect();
    let moments: BTreeSet<_> = met.keys().map(|(order, name, _)| (*order, *name)).collect();
    let line = |name: &str, cells: Vec<String>| {
        let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:>10}")).collect();
        format!("{name:<18}{}", cells.concat())
    };
    let names = faults.iter().map(|fault| format!("{fault:?}")).collect();
    let mut lines = vec![line("seconds", names)];
    for (order, name) in moments {
        let cell = |fault: &Fault| met.get(&(order, name, *fault));
        let cells = faults
            .iter()
            .map(|fault| cell(fault).map_or_else(String::new, u64::to_string));
        lines.push(line(name, cells.collect()));
    }
    lines.join("\n")
}

/// A case, by the name that `SKYHAUL_TEST_ONLY` may choose it by.
fn named((fault, moment): &(Fault, Moment)) -> String {
    format!("{fault:?} at {}", moment.name())
}

/// After a case that failed: what it left is given up, so that the others are met.
fn cleared(cloud: &Cloud) {
    cloud.trouble(&json!({}));
    cloud.clocks(0);
    for id in cloud.left().live {
        let _ = cloud.cli.run(&["cancel", &id]);
    }
    cloud.invoke("Reap", &json!({}));
    nothing_left(cloud);
}

/// Each fault at its moment; all are met, and those that failed are named at the end. `SKYHAUL_TEST_ONLY` has parts of
/// the names of those that are wanted, with `|` between them.
fn survives(cloud: &Cloud, cases: &[(Fault, Moment)]) {
    let proxy = FaultProxy::start_at(OUTSIDE, &cloud.dst, Plan::new(0));
    let only = std::env::var("SKYHAUL_TEST_ONLY").unwrap_or_default();
    let mut filled = Vec::new();
    let mut met = BTreeMap::new();
    let mut failed = Vec::new();
    let wanted = |case: &&(Fault, Moment)| only.split('|').any(|part| named(case).contains(part));
    for (order, case) in cases.iter().filter(wanted).enumerate() {
        let (fault, moment) = *case;
        let (name, objects) = sources(moment.shape());
        if !filled.contains(&name) {
            let from = Bucket::named(&cloud.src, name);
            from.make();
            from.put(&objects);
            filled.push(name);
        }
        eprintln!("{}", named(case));
        let begun = Instant::now();
        let ends = || Faulty::new(cloud, &proxy, fault, moment).ends_whole();
        if catch_unwind(AssertUnwindSafe(ends)).is_err() {
            failed.push(named(case));
            cleared(cloud);
            continue;
        }
        let row = cases.iter().position(|(_, other)| *other == moment);
        let row = row.unwrap_or(order);
        met.insert((row, moment.name(), fault), begun.elapsed().as_secs());
    }
    println!("{}", table(&met));
    assert!(failed.is_empty(), "of {} failed: {failed:?}", cases.len());
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn soak_stack_survives_every_fault_at_every_moment() {
    let steps = [
        &PLAN,
        &SURVEY,
        &PLAN_MACHINES,
        &PROVISION,
        &LIST,
        &AWAIT,
        &LOOK,
        &LIST_ALONE,
        &COPY_ALONE,
        &COMPLETE,
        &VERIFY,
        &TEARDOWN,
    ];
    let wishes = [Fault::Stop, Fault::Pause, Fault::Cancel];
    let functions = [Fault::Dies, Fault::Hangs, Fault::Again];
    let mut cases: Vec<_> = steps
        .into_iter()
        .flat_map(|step| {
            let each = functions.into_iter().chain(wishes);
            each.map(move |fault| (fault, Moment::In(step)))
        })
        .collect();
    let repairs = functions.into_iter().chain(wishes);
    let repairs = repairs.chain([Fault::Short]);
    cases.extend(repairs.map(|fault| (fault, Moment::Repair)));
    for step in [&COMPLETE, &VERIFY, &TEARDOWN] {
        let each = [Fault::Crash, Fault::Interrupt];
        cases.extend(each.map(|fault| (fault, Moment::After(step))));
    }
    for moment in [Moment::Launched, Moment::Work] {
        let each = [Fault::Crash, Fault::Interrupt].into_iter().chain(wishes);
        cases.extend(each.map(|fault| (fault, moment)));
    }
    let tables = [Fault::Throttled, Fault::Unheard];
    cases.extend(tables.map(|fault| (fault, Moment::WholeAlone)));
    let lasting = [Fault::Short, Fault::Ahead, Fault::Behind, Fault::Late];
    let lasting = tables.into_iter().chain(lasting);
    cases.extend(lasting.map(|fault| (fault, Moment::Whole)));
    survives(&Cloud::deployed(&["*"]), &cases);
}

// Ten kinds, but those that take minutes or other clocks.
#[test]
#[ignore = "needs root: makes network namespaces"]
fn heavy_stack_survives_faults_of_each_kind() {
    let cases = [
        (Fault::Crash, Moment::Work),
        (Fault::Stop, Moment::In(&COMPLETE)),
        (Fault::Cancel, Moment::In(&COPY_ALONE)),
        (Fault::Hangs, Moment::In(&PLAN)),
        (Fault::Pause, Moment::In(&SURVEY)),
        (Fault::Dies, Moment::In(&COPY_ALONE)),
        (Fault::Again, Moment::In(&COMPLETE)),
        (Fault::Unheard, Moment::WholeAlone),
        (Fault::Throttled, Moment::WholeAlone),
        (Fault::Short, Moment::Whole),
    ];
    survives(&Cloud::deployed(&["*"]), &cases);
}
