//! The suite that every backend of [`ControlState`] passes: random changes of a few rows go to the backend
//! and to the one in memory, and every answer and every row must be the same.
#![allow(clippy::missing_panics_doc)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use skyhaul_model::machine::{DataplaneId, IntentId, MachineId, Market, MemberName, Offer};
use skyhaul_model::{HolderId, Result, TransferId};

use super::Violation;
use super::dice::Dice;
use crate::control::{
    Base, Content, ControlState, DataplaneChange, DataplaneRow, DataplaneStatus, DirtyChange,
    Enrolment, EnrolmentChange, Failure, MemberChange, MemberPlan, MemberRole, MemberStep,
    MemoryControl, NewDataplane, Overlap, RuleKey, Schedule, ScheduleChange, Sign, Submission,
    SubmissionChange, SubmissionStep, Wish, Written,
};

/// Dataplanes, members of each, transfers, machines: few, so that changes meet.
const FEW: u64 = 3;

/// How often each call gave each result, so that a test can see that it tested something.
pub type Seen = BTreeMap<(&'static str, String), u32>;

#[derive(Debug, Clone)]
enum Call {
    Create(NewDataplane),
    Change(DataplaneId, DataplaneChange),
    Load(DataplaneId),
    List,
    Forget(DataplaneId),
}

impl Call {
    fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Change(_, DataplaneChange::Bind(_)) => "bind",
            Self::Change(_, DataplaneChange::Release(_)) => "release",
            Self::Change(_, DataplaneChange::Idle(_)) => "idle",
            Self::Change(_, DataplaneChange::End) => "end",
            Self::Change(_, DataplaneChange::EndIdle) => "end_idle",
            Self::Change(_, DataplaneChange::Ended(_)) => "ended",
            Self::Change(_, DataplaneChange::Members(_)) => "members",
            Self::Load(_) => "load",
            Self::List => "list",
            Self::Forget(_) => "forget",
        }
    }

    /// All rows that it gives.
    async fn make(&self, of: &dyn ControlState) -> Result<Vec<DataplaneRow>> {
        match self {
            Self::Create(new) => Ok(vec![of.create(new).await?]),
            Self::Change(id, change) => Ok(vec![of.change(id, change).await?]),
            Self::Load(id) => Ok(of.dataplane(id).await?.into_iter().collect()),
            Self::List => of.dataplanes().await,
            Self::Forget(id) => of.forget(id).await.map(|()| Vec::new()),
        }
    }
}

/// The plan of a dataplane with a member for each name.
#[must_use]
pub fn plan(id: DataplaneId, members: &[&str], offers: usize) -> NewDataplane {
    let offer = |number| Offer {
        market: Market::Spot,
        instance_type: format!("c{number}.large"),
        zone: "z-1a".to_owned(),
    };
    let member = |name: &&str| {
        let name = name.parse::<MemberName>().ok()?;
        Some(MemberPlan {
            name,
            region: "z-1".to_owned(),
            role: MemberRole::Source,
            offers: (1..=offers).map(offer).collect(),
        })
    };
    NewDataplane {
        id,
        owner: "suite".to_owned(),
        members: members.iter().filter_map(member).collect(),
        transfer: None,
        autoshutdown: None,
        created: Timestamp::UNIX_EPOCH,
        version: "1".to_owned(),
    }
}

struct Generator {
    dice: Dice,
    ids: Vec<DataplaneId>,
    transfers: Vec<TransferId>,
}

impl Generator {
    fn step(&mut self) -> MemberStep {
        let machine = MachineId(format!("i-{}", self.dice.below(FEW)));
        let number = self.dice.below(FEW) as u32;
        match self.dice.below(5) {
            0 => MemberStep::Raise { from: number },
            1 => MemberStep::Launched { number, machine },
            2 => MemberStep::Seen {
                machine,
                private: Some(IpAddr::from(Ipv4Addr::from(number))),
                public: None,
            },
            3 => MemberStep::Missing {
                machine,
                now: self.now(),
            },
            _ => MemberStep::Replace {
                machine: self.dice.chance(2, 3).then_some(machine),
            },
        }
    }

    fn now(&mut self) -> Timestamp {
        let second = self.dice.below(1_000).cast_signed();
        Timestamp::from_second(second).unwrap_or_default()
    }

    fn members(&mut self) -> Vec<MemberChange> {
        let count = 1 + self.dice.below(FEW);
        let one = |_| {
            let member = *self.dice.pick(&["a", "b", "none"]);
            let generation = 1 + self.dice.below(2) as u32;
            let step = self.step();
            let member = member.parse::<MemberName>().ok()?;
            Some(MemberChange {
                member,
                generation,
                step,
            })
        };
        (0..count).filter_map(one).collect()
    }

    fn call(&mut self) -> Call {
        let id = self.dice.pick(&self.ids).clone();
        let transfer = self.dice.pick(&self.transfers).clone();
        let change = match self.dice.below(24) {
            0 | 1 => return Call::Create(plan(id, &["a", "b"], 2)),
            2 => return Call::Create(plan(id, &["a"], self.dice.below(2) as usize)),
            3 | 4 => return Call::Load(id),
            5 => return Call::List,
            6 => return Call::Forget(id),
            7 | 8 => DataplaneChange::Bind(transfer),
            9 | 10 => DataplaneChange::Release(transfer),
            11 => DataplaneChange::Idle(self.now()),
            12 if self.dice.chance(1, 4) => DataplaneChange::End,
            13 => DataplaneChange::EndIdle,
            14 => DataplaneChange::Ended(self.now()),
            _ => DataplaneChange::Members(self.members()),
        };
        Call::Change(id, change)
    }
}

/// What two calls gave, if it is the same: `ok`, or the kind of the error.
fn same<T: PartialEq>(expected: &Result<T>, found: &Result<T>) -> Option<String> {
    match (expected, found) {
        (Ok(expected), Ok(found)) => (expected == found).then(|| "ok".to_owned()),
        (Err(expected), Err(found)) => {
            let same = expected.kind == found.kind && expected.retryable == found.retryable;
            same.then(|| format!("{:?}", found.kind))
        }
        _ => None,
    }
}

/// A run: the backend through its handles, and what it must do.
struct Run<'a> {
    handles: &'a [Arc<dyn ControlState>],
    model: MemoryControl,
    seed: u64,
    results: Seen,
}

impl<'a> Run<'a> {
    fn new(handles: &'a [Arc<dyn ControlState>], seed: u64) -> Self {
        Self {
            handles,
            model: MemoryControl::default(),
            seed,
            results: Seen::new(),
        }
    }

    fn violation(&self, step: u32, what: String) -> Violation {
        let seed = self.seed;
        Violation { seed, step, what }
    }

    /// Makes a call of the backend and of the model, perhaps twice, as if the first reply had been lost. What
    /// it gave last.
    async fn call<T: PartialEq + Debug>(
        &mut self,
        dice: &mut Dice,
        step: u32,
        (name, words): (&'static str, &dyn Debug),
        call: impl AsyncFn(&dyn ControlState) -> Result<T>,
    ) -> Result<Result<T>, Violation> {
        let mut times = 1 + dice.below(2);
        loop {
            let handle = dice.pick(self.handles);
            let (expected, found) = (call(&self.model).await, call(&**handle).await);
            let result = same(&expected, &found).ok_or_else(|| {
                let what = format!("{name} {words:?}: expected {expected:?}, found {found:?}");
                self.violation(step, what)
            })?;
            *self.results.entry((name, result)).or_default() += 1;
            times -= 1;
            if times == 0 {
                return Ok(found);
            }
        }
    }
}

/// Runs `steps` random calls, some of them twice, over handles in turn to the *same* state, which is empty.
pub async fn run(
    handles: &[Arc<dyn ControlState>],
    seed: u64,
    steps: u32,
) -> Result<Seen, Violation> {
    let mut run = Run::new(handles, seed);
    let mut generator = Generator {
        dice: Dice::new(seed),
        ids: (0..FEW).map(|_| DataplaneId::generate()).collect(),
        transfers: (0..FEW).map(|_| TransferId::generate()).collect(),
    };
    for step in 1..=steps {
        let call = generator.call();
        let name = (call.name(), &call as &dyn Debug);
        let make = async |of: &dyn ControlState| call.make(of).await;
        let _ = run.call(&mut generator.dice, step, name, make).await?;
    }
    Ok(run.results)
}

/// The same for what machines say of themselves.
pub async fn enrolments(
    handles: &[Arc<dyn ControlState>],
    seed: u64,
    steps: u32,
) -> Result<Seen, Violation> {
    let mut run = Run::new(handles, seed);
    let mut dice = Dice::new(seed);
    let transfers: Vec<_> = (0..FEW).map(|_| TransferId::generate()).collect();
    let intent = IntentId {
        dataplane: DataplaneId::generate(),
        member: plan(DataplaneId::generate(), &["a"], 1).members[0]
            .name
            .clone(),
        generation: 1,
    };
    for step in 1..=steps {
        let machine = format!("arn:machine/{}", dice.below(FEW));
        let key = vec![dice.below(2) as u8; 32];
        let transfer = dice.pick(&transfers).clone();
        let change = match dice.below(3) {
            0 => EnrolmentChange::Beat(dice.below(100)),
            1 => EnrolmentChange::Dismiss(transfer),
            _ => EnrolmentChange::Assign {
                public_key: key.clone().into(),
                transfer,
                sealed: vec![dice.below(256) as u8; 500].into(),
            },
        };
        let what = dice.below(12);
        let row = Enrolment::new(&*machine, intent.clone(), key);
        let name = ["enrol", "strike", "load"].get(what as usize);
        let name = name.copied().unwrap_or("change");
        let call = async |of: &dyn ControlState| match name {
            "enrol" => of.enrol(&row).await.map(|()| None),
            "strike" => of.strike(&machine).await.map(|()| None),
            "load" => of.enrolment(&machine).await,
            _ => of.change_enrolment(&machine, &change).await.map(Some),
        };
        let _ = run.call(&mut dice, step, (name, &change), call).await?;
    }
    Ok(run.results)
}

/// The same for what is submitted.
pub async fn submissions(
    handles: &[Arc<dyn ControlState>],
    seed: u64,
    steps: u32,
) -> Result<Seen, Violation> {
    let mut run = Run::new(handles, seed);
    let mut dice = Dice::new(seed);
    let transfers: Vec<_> = (0..FEW).map(|_| TransferId::generate()).collect();
    let mut attempt = 1;
    for step in 1..=steps {
        let transfer = dice.pick(&transfers).clone();
        let order = *dice.pick(&["{}", "{}", "{}", "[]"]);
        let submitted = Timestamp::from_second(step.into()).unwrap_or_default();
        let new = Submission::new(transfer.clone(), order, "suite", submitted);
        let new = new.map_err(|error| run.violation(step, error.to_string()))?;
        let of = attempt + dice.below(2) as u32;
        let change = match dice.below(9) {
            0 => SubmissionChange::Begin(of),
            1 => SubmissionChange::Over(of),
            2 => SubmissionChange::Wish(*dice.pick(&[Wish::Pause, Wish::Cancel])),
            _ => SubmissionChange::Step(of, submission_step(&mut dice)),
        };
        let what = dice.below(10);
        let name = ["submit", "submit", "live", "load"].get(what as usize);
        let name = name.copied().unwrap_or("change");
        if name == "live" {
            let call = async |to: &dyn ControlState| to.live().await;
            let _ = run.call(&mut dice, step, (name, &()), call).await?;
            continue;
        }
        let call = async |to: &dyn ControlState| match name {
            "submit" => to.submit(&new).await.map(Some),
            "load" => to.submission(&transfer).await,
            _ => to.change_submission(&transfer, &change).await.map(Some),
        };
        let found = run.call(&mut dice, step, (name, &change), call).await?;
        attempt = found.ok().flatten().map_or(1, |row| row.attempt);
    }
    Ok(run.results)
}

/// The same for schedules.
pub async fn schedules(
    handles: &[Arc<dyn ControlState>],
    seed: u64,
    steps: u32,
) -> Result<Seen, Violation> {
    let mut run = Run::new(handles, seed);
    let mut dice = Dice::new(seed);
    let runs: Vec<_> = (0..6).map(|_| TransferId::generate()).collect();
    for step in 1..=steps {
        let name = *dice.pick(&["a", "b"]);
        let overlap = *dice.pick(&[Overlap::Refuse, Overlap::Queue]);
        let order = *dice.pick(&["{}", "[]"]);
        let new = Schedule::new(name, order, "suite", overlap);
        let new = new.map_err(|error| run.violation(step, error.to_string()))?;
        let mut a_run = || dice.pick(&runs).clone();
        let (fired, last) = (a_run(), a_run());
        let change = match dice.below(3) {
            0 => ScheduleChange::Ended(last),
            which => ScheduleChange::Fire {
                run: fired,
                busy: (which == 1).then_some(last),
            },
        };
        let what = dice.below(12);
        let call_name = ["set", "drop", "list", "load"].get(what as usize);
        let call_name = call_name.copied().unwrap_or("change");
        let call = async |to: &dyn ControlState| match call_name {
            "set" => to.set_schedule(&new).await.map(|row| vec![row]),
            "drop" => to.drop_schedule(name).await.map(|()| Vec::new()),
            "list" => to.schedules().await,
            "load" => Ok(to.schedule(name).await?.into_iter().collect()),
            _ => to.change_schedule(name, &change).await.map(|row| vec![row]),
        };
        let _ = run
            .call(&mut dice, step, (call_name, &change), call)
            .await?;
    }
    Ok(run.results)
}

/// The same for keys of rules.
pub async fn dirty_keys(
    handles: &[Arc<dyn ControlState>],
    seed: u64,
    steps: u32,
) -> Result<Seen, Violation> {
    let mut run = Run::new(handles, seed);
    let mut dice = Dice::new(seed);
    let holders: Vec<_> = (0..2).map(|_| HolderId::generate()).collect();
    for step in 1..=steps {
        let key = format!("a b/{}", dice.below(2));
        let of = RuleKey {
            rule: "r".to_owned(),
            key,
        };
        let fence = dice.below(6);
        let destination = dice.below(2) as u32;
        let second = dice.below(40).cast_signed();
        let now = Timestamp::from_second(second).unwrap_or_default();
        let change = match dice.below(8) {
            0 | 1 => DirtyChange::Mark {
                sequencer: dice.chance(3, 4).then(|| format!("{:X}", dice.below(300))),
            },
            2 | 3 => DirtyChange::Take {
                holder: dice.pick(&holders).clone(),
                now,
                until: now + jiff::SignedDuration::from_secs(5),
            },
            4 => DirtyChange::Wrote {
                fence,
                destination,
                what: dice.chance(1, 2).then(|| Written {
                    source: "s".to_owned(),
                    destination: "d".to_owned(),
                    read: None,
                    made: Some(now),
                }),
            },
            5 if dice.chance(1, 2) => DirtyChange::Writes {
                fence,
                destination,
                content: Content {
                    size: dice.below(10),
                    etag: Some("e".to_owned()),
                    checksum: None,
                },
                now,
            },
            5 => DirtyChange::Hands {
                fence,
                destination,
                transfer: None,
            },
            6 => DirtyChange::Settle {
                fence,
                marks: dice.below(6),
            },
            _ => DirtyChange::Leave { fence },
        };
        let loads = dice.chance(1, 6);
        let name = if loads { "load" } else { "change" };
        let call = async |to: &dyn ControlState| {
            if loads {
                to.dirty(&of).await
            } else {
                to.change_dirty(&of, &change).await
            }
        };
        let _ = run.call(&mut dice, step, (name, &change), call).await?;
    }
    Ok(run.results)
}

fn submission_step(dice: &mut Dice) -> SubmissionStep {
    let text = format!("{}", dice.below(FEW));
    let intent = IntentId {
        dataplane: DataplaneId::generate(),
        member: plan(DataplaneId::generate(), &["a"], 1).members[0]
            .name
            .clone(),
        generation: 1 + dice.below(FEW) as u32,
    };
    let sign = Sign {
        told: dice.chance(1, 2).then_some((text.clone(), dice.below(FEW))),
        since: Timestamp::UNIX_EPOCH,
    };
    match dice.below(10) {
        9 => SubmissionStep::Base(Base {
            far: dice.below(3) as u32,
            since: Timestamp::UNIX_EPOCH,
            bytes: dice.below(FEW),
        }),
        8 => SubmissionStep::Declines(DataplaneId::generate()),
        0 => SubmissionStep::Uses(DataplaneId::generate()),
        1 => SubmissionStep::Waits(text),
        2 => SubmissionStep::Answered(text),
        3 => SubmissionStep::Fails(Failure {
            name: text.clone(),
            cause: text,
        }),
        4 => SubmissionStep::Signs(BTreeMap::from([(text, sign.clone())]), Some(sign)),
        5 => SubmissionStep::Gateways(BTreeSet::from([text])),
        6 => SubmissionStep::Lost(BTreeSet::from([intent])),
        _ => SubmissionStep::Replaced(BTreeSet::from([intent])),
    }
}

/// Many raise the same number at once, and it is raised once; then the dataplane is told to go while
/// others raise, and whoever was told of a number after that was told of an old one.
pub async fn race(handles: &[Arc<dyn ControlState>]) -> Result<()> {
    let id = DataplaneId::generate();
    let new = plan(id.clone(), &["a"], 40);
    let made = join_all(handles.iter().map(|handle| handle.create(&new))).await;
    made.into_iter().collect::<Result<Vec<_>>>()?;
    let raise = |from| {
        let member = new.members[0].name.clone();
        DataplaneChange::Members(vec![MemberChange {
            member,
            generation: 1,
            step: MemberStep::Raise { from },
        }])
    };
    for from in 0..3 {
        let change = raise(from);
        let all = handles.iter().map(|handle| handle.change(&id, &change));
        for row in join_all(all).await {
            assert_eq!(row?.members[0].tried, from + 1);
        }
    }
    let (last, others) = handles
        .split_last()
        .map_or((None, handles), |(a, b)| (Some(a), b));
    let ending = async {
        match last {
            Some(last) => last.change(&id, &DataplaneChange::End).await.map(Some),
            None => Ok(None),
        }
    };
    let change = raise(3);
    let raising = join_all(others.iter().map(|handle| handle.change(&id, &change)));
    let (ended, raised) = futures::join!(ending, raising);
    // Whoever was told of an active dataplane was told of the new number, and it was there at the end.
    let ended = ended?;
    for row in raised {
        let row = row?;
        let tried = row.members[0].tried;
        if row.status == DataplaneStatus::Active {
            assert_eq!(tried, 4);
        }
        if let Some(ended) = &ended {
            assert!(tried <= ended.members[0].tried, "raised after the end");
        }
    }
    Ok(())
}
