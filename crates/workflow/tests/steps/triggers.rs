//! Destinations become like their source, in whichever order events come and whoever pauses where.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use skyhaul_model::filter::FilterSpec;
use skyhaul_model::{ErrorKind, HolderId, Result, TransferId};
use skyhaul_state::SqliteState;
use skyhaul_state::control::{ControlState, MemoryControl, Rule, RuleKey, Stage, SubmissionChange};
use skyhaul_stores::open::Ambient;
use skyhaul_tests::fault::{Fault, FaultProxy, Gate, Op, Plan, Rule as Faulty};
use skyhaul_tests::oracle::{Bucket, ObjectSpec};
use skyhaul_tests::servers;
use skyhaul_workflow::Deployed;
use skyhaul_workflow::steps::Executions;
use skyhaul_workflow::triggers::{Happened, LARGE, Worker, carried_for};
use tokio::time::Instant;

use super::deployed::Begun;
use super::world::{Keys, at, endpoint};

/// Keys: few, so that events meet.
const KEYS: u64 = 8;

/// Who works on events at the same time.
const WORKERS: usize = 6;

/// Two buckets, and rules between them.
struct Mirror {
    one: Bucket,
    other: Bucket,
    proxies: [FaultProxy; 2],
    keys: Keys,
    deployed: Deployed,
    control: Arc<MemoryControl>,
    _dir: tempfile::TempDir,
}

/// Runs a test between two buckets; `back`: both copy to each other. Proxies have a runtime of their own.
fn between(back: bool, test: impl AsyncFnOnce(&Mirror)) {
    let servers = servers::servers();
    let proxies =
        [&servers.src, &servers.dst].map(|server| FaultProxy::start(server, Plan::new(0)));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mirror = runtime.block_on(async {
        let mirror = Mirror::new(proxies, back).await;
        test(&mirror).await;
        mirror
    });
    drop(mirror);
}

impl Mirror {
    /// The transfer of a large object ends, and has not copied it; that is told of.
    async fn fails(&self, transfer: &TransferId, of: &RuleKey) {
        let over = SubmissionChange::Over(1);
        let ended = self.control.change_submission(transfer, &over).await;
        assert_eq!(ended.unwrap().stage, Stage::Over);
        self.carried(of, false).await;
    }

    async fn carried(&self, of: &RuleKey, again: bool) {
        let carried = self.worker().carried(of, again, at(0), until()).await;
        carried.unwrap();
    }

    fn worker(&self) -> Worker<'_> {
        Worker {
            deployed: &self.deployed,
            opens: &self.keys,
            holder: HolderId::generate(),
            lease: SignedDuration::from_millis(10),
        }
    }

    async fn new(proxies: [FaultProxy; 2], back: bool) -> Self {
        let servers = servers::servers();
        let one = Bucket::create(&servers.src, "trigger-one");
        let other = Bucket::create(&servers.dst, "trigger-other");
        let dir = tempfile::tempdir().unwrap();
        let state = SqliteState::open(dir.path().join("state.db")).unwrap();
        let control = Arc::new(MemoryControl::default());
        let deployed = Deployed {
            stack: "haul".to_owned(),
            state: Arc::new(state),
            control: Arc::clone(&control) as Arc<dyn ControlState>,
            executions: Arc::new(Begun::default()) as Arc<dyn Executions>,
            staging: endpoint(&one, &servers.src),
            opens: Arc::new(Ambient),
        };
        let known: Vec<_> = proxies
            .iter()
            .map(|proxy| proxy.endpoint().clone())
            .collect();
        let sides = [endpoint(&one, &known[0]), endpoint(&other, &known[1])];
        for (name, from, to) in [("there", 0, 1), ("back", 1, 0)] {
            if name == "back" && !back {
                continue;
            }
            let rule = Rule {
                name: name.to_owned(),
                owner: "test".to_owned(),
                source: sides[from].clone(),
                destinations: vec![sides[to].clone()],
                filters: FilterSpec::default(),
                deletes: true,
                enabled: true,
            };
            control.set_rule(&rule).await.unwrap();
        }
        Self {
            one,
            other,
            proxies,
            keys: Keys(known),
            deployed,
            control,
            _dir: dir,
        }
    }

    async fn happened(&self, what: &Happened) -> Result<()> {
        self.worker().happened(what, at(0), until()).await
    }

    /// Tells of what happened to a key, then of what rules have written because of it, each once, as the service does.
    async fn is_told(&self, bucket: &Bucket, key: &str) {
        let mut told = vec![event(bucket, key, None)];
        for _ in 0..10 {
            for proxy in &self.proxies {
                proxy.clear_log();
            }
            for event in &told {
                self.happened(event).await.unwrap();
            }
            told.clear();
            for (proxy, bucket) in self.proxies.iter().zip([&self.one, &self.other]) {
                let log = proxy.log();
                let writes = [Op::Put, Op::Delete].into_iter().flat_map(|op| log.of(op));
                let done = writes.filter(|entry| (200..300).contains(&entry.status));
                told.extend(done.map(|entry| event(bucket, &entry.request.key, None)));
            }
            if told.is_empty() {
                return;
            }
        }
        panic!("they do not come to rest: {told:?}");
    }

    /// Tells of everything until there is nothing more to do.
    async fn rests(&self) {
        let mut rounds = 0;
        while self.told_again().await > 0 {
            rounds += 1;
            assert!(rounds < 5, "they do not come to rest");
        }
    }

    /// What the buckets hold now is told of once more; how much was written because of it.
    async fn told_again(&self) -> usize {
        for proxy in &self.proxies {
            proxy.clear_log();
        }
        for bucket in [&self.one, &self.other] {
            for key in (0..KEYS).map(name) {
                self.happened(&event(bucket, &key, None)).await.unwrap();
            }
        }
        let writes = [Op::Put, Op::Delete, Op::DeleteMany];
        let logs = self.proxies.iter().map(FaultProxy::log);
        logs.map(|log| writes.iter().map(|op| log.count(*op)).sum::<usize>())
            .sum()
    }
}

fn until() -> Instant {
    Instant::now() + Duration::from_secs(50)
}

fn name(key: u64) -> String {
    format!("k {key}/\u{fc}")
}

fn event(bucket: &Bucket, key: &str, number: Option<u64>) -> Happened {
    Happened {
        bucket: bucket.name.clone(),
        key: key.to_owned(),
        sequencer: number.map(|number| format!("{number:X}")),
    }
}

/// Puts, overwrites and deletes; each is told of once or more, later, in any order.
async fn changes(mirror: &Mirror, buckets: &[&Bucket], seed: u64, count: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    // Now and then a write waits where its writer cannot know of it.
    let gates: Vec<_> = (0..count).map(|_| Gate::new()).collect();
    for (proxy, nth) in mirror.proxies.iter().zip([3, 2]) {
        let plan = gates
            .iter()
            .zip(1_u32..)
            .fold(Plan::new(seed), |plan, (gate, number)| {
                let held = Faulty::on_any(&[Op::Put, Op::DeleteMany, Op::Delete]).nth(nth * number);
                plan.rule(held.fault(Fault::HoldRequest(gate.clone())))
            });
        proxy.set_plan(plan);
    }
    let queue: Mutex<Vec<Happened>> = Mutex::default();
    let ended = tokio::sync::watch::channel(false).0;
    let acts = async {
        for number in 1..=count {
            let bucket = buckets[dice.random_range(0..buckets.len())].clone();
            let key = name(dice.random_range(0..KEYS));
            let deletes = dice.random_bool(0.3);
            let (size, times) = (dice.random_range(0..50_000), dice.random_range(1..=3));
            let told = event(&bucket, &key, Some(number));
            let act = tokio::task::spawn_blocking(move || {
                if deletes {
                    bucket.delete(&[&key]);
                } else {
                    bucket.put(&[ObjectSpec::new(key, 100 * seed + number, size)]);
                }
            });
            act.await.unwrap();
            let mut queue = queue.lock().unwrap();
            queue.extend(std::iter::repeat_n(told, times));
        }
        ended.send_replace(true);
    };
    let opens = async {
        // In the order of their numbers, each after what came to it has waited a while.
        for gate in &gates {
            while gate.arrivals() == 0 && !(*ended.borrow() && queue.lock().unwrap().is_empty()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
            gate.open();
        }
    };
    let works = (0..WORKERS).map(|worker| {
        let mut dice = StdRng::seed_from_u64(seed + 1 + worker as u64);
        let (queue, ended) = (&queue, &ended);
        async move {
            loop {
                let next = {
                    let mut queue = queue.lock().unwrap();
                    let some = !queue.is_empty();
                    some.then(|| {
                        let at = dice.random_range(0..queue.len());
                        queue.swap_remove(at)
                    })
                };
                match next {
                    None if *ended.borrow() => return,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                    Some(what) => {
                        if let Err(error) = mirror.happened(&what).await {
                            assert!(error.retryable, "{error}");
                            queue.lock().unwrap().push(what);
                        }
                    }
                }
            }
        }
    });
    tokio::join!(acts, opens, futures::future::join_all(works));
    for proxy in &mirror.proxies {
        proxy.set_plan(Plan::new(0));
    }
}

#[test]
fn a_destination_becomes_like_its_source_whatever_comes_when() {
    between(false, async |mirror| {
        changes(
            mirror,
            &[&mirror.one],
            skyhaul_tests::seed() % 1_000_000,
            120,
        )
        .await;
        assert_eq!(mirror.one.digests(""), mirror.other.digests(""));
        // And at once: nothing is left to do.
        assert_eq!(mirror.told_again().await, 0);
    });
}

#[test]
fn two_that_mirror_each_other_come_to_rest_alike() {
    between(true, async |mirror| {
        let both = [&mirror.one, &mirror.other];
        changes(mirror, &both, skyhaul_tests::seed() % 1_000_000, 80).await;
        // Events of what was written itself: after a few there is nothing more to do.
        mirror.rests().await;
        assert_eq!(mirror.one.digests(""), mirror.other.digests(""));
    });
}

#[test]
fn what_is_too_large_is_copied_by_a_transfer_and_looked_at_when_that_has_ended() {
    between(false, async |mirror| {
        let key = name(0);
        mirror.one.put(&[ObjectSpec::new(&*key, 1, LARGE + 1)]);
        mirror
            .happened(&event(&mirror.one, &key, Some(1)))
            .await
            .unwrap();
        let live = mirror.control.live().await.unwrap();
        assert_eq!(live.len(), 1);
        let of = RuleKey {
            rule: "there".to_owned(),
            key: key.clone(),
        };
        let submission = mirror.control.submission(&live[0]).await.unwrap().unwrap();
        assert_eq!(carried_for(&submission), Some(of.clone()));
        assert!(mirror.other.digests("").is_empty());
        // Overwritten while its transfer goes on: nothing is done before that has ended, and then it is.
        mirror.one.put(&[ObjectSpec::new(&*key, 2, 10)]);
        mirror
            .happened(&event(&mirror.one, &key, Some(2)))
            .await
            .unwrap();
        assert_eq!(mirror.control.live().await.unwrap(), live);
        mirror.fails(&live[0], &of).await;
        assert_eq!(mirror.one.digests(""), mirror.other.digests(""));
        assert!(mirror.control.live().await.unwrap().is_empty());
    });
}

#[test]
fn what_is_too_large_and_fails_is_begun_again_by_its_next_event_and_not_by_itself() {
    between(false, async |mirror| {
        let key = name(0);
        mirror.one.put(&[ObjectSpec::new(&*key, 1, LARGE + 1)]);
        let of = RuleKey {
            rule: "there".to_owned(),
            key: key.clone(),
        };
        let mut before = Vec::new();
        for number in 1..=2 {
            let event = event(&mirror.one, &key, Some(number));
            mirror.happened(&event).await.unwrap();
            let live = mirror.control.live().await.unwrap();
            assert!(live.len() == 1 && live != before);
            for _ in 0..2 {
                mirror.fails(&live[0], &of).await;
                assert!(mirror.control.live().await.unwrap().is_empty());
            }
            before = live;
        }
        // Where it failed for what passes, it is begun again.
        mirror.carried(&of, true).await;
        let live = mirror.control.live().await.unwrap();
        assert!(live.len() == 1 && live != before);
        before = live;
        // It counts as not done: what is there later is copied.
        mirror.one.put(&[ObjectSpec::new(&*key, 2, 10)]);
        mirror.fails(&before[0], &of).await;
        assert_eq!(mirror.one.digests(""), mirror.other.digests(""));
    });
}

/// Waits until the clock has gone on, as services tell times: in seconds.
async fn next_second() {
    let now = Timestamp::now().as_second();
    while Timestamp::now().as_second() == now {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn arrived(gate: &Gate) {
    while gate.arrivals() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Two have read two versions, and the one with the older, which stood still, writes it first.
#[test]
fn what_a_worker_writes_late_is_no_change_of_the_other_side() {
    between(true, async |mirror| {
        let key = name(0);
        let (first, second) = (Gate::new(), Gate::new());
        // What the first rule holds the second does not see.
        let held = |gate: &Gate| {
            let put = Faulty::on(Op::Put).nth(1);
            put.fault(Fault::HoldRequest(gate.clone()))
        };
        let plan = Plan::new(0).rule(held(&first)).rule(held(&second));
        mirror.proxies[1].set_plan(plan);
        let told = async |number| {
            let event = event(&mirror.one, &key, Some(number));
            mirror.happened(&event).await.unwrap();
        };
        mirror.one.put(&[ObjectSpec::new(&*key, 1, 10)]);
        let changes = async {
            arrived(&first).await;
            mirror.one.put(&[ObjectSpec::new(&*key, 2, 10)]);
            let opens = async {
                arrived(&second).await;
                next_second().await;
                first.open();
                while mirror.other.digests("").is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                // The other side is told of what came there.
                let event = event(&mirror.other, &key, Some(1));
                mirror.happened(&event).await.unwrap();
                second.open();
            };
            tokio::join!(told(2), opens);
        };
        tokio::join!(told(1), changes);
        mirror.rests().await;
        let last = mirror.one.digests("");
        assert_eq!(mirror.other.digests(""), last);
        mirror.one.put(&[ObjectSpec::new(&*key, 2, 10)]);
        assert_eq!(mirror.one.digests(""), last);
    });
}

#[test]
fn bytes_that_come_back_are_a_change_like_any_other() {
    between(true, async |mirror| {
        let key = name(0);
        // Each is what the other side has had before, too.
        for (at_one, seed) in [(true, 1), (false, 2), (false, 1), (true, 2), (true, 1)] {
            next_second().await;
            let bucket = if at_one { &mirror.one } else { &mirror.other };
            bucket.put(&[ObjectSpec::new(&*key, seed, 10)]);
            let last = bucket.digests("");
            mirror.is_told(bucket, &key).await;
            assert_eq!(mirror.one.digests(""), last, "{at_one} {seed}");
            assert_eq!(mirror.other.digests(""), last, "{at_one} {seed}");
        }
        // What both have lost comes back, too.
        mirror.one.delete(&[&key]);
        mirror.is_told(&mirror.one, &key).await;
        assert!(mirror.other.digests("").is_empty());
        next_second().await;
        mirror.other.put(&[ObjectSpec::new(&*key, 1, 10)]);
        mirror.is_told(&mirror.other, &key).await;
        assert_eq!(mirror.one.list("").len(), 1);
        assert_eq!(mirror.one.digests(""), mirror.other.digests(""));
    });
}

#[test]
fn what_was_written_once_more_goes_with_what_it_is_like() {
    between(true, async |mirror| {
        let key = name(0);
        for (again, gone) in [
            (&mirror.other, &mirror.one),
            (&mirror.one, &mirror.other),
            (&mirror.one, &mirror.one),
        ] {
            let object = [ObjectSpec::new(&*key, 1, 10)];
            mirror.one.put(&object);
            mirror.is_told(&mirror.one, &key).await;
            next_second().await;
            again.put(&object);
            mirror.is_told(again, &key).await;
            gone.delete(&[&key]);
            mirror.is_told(gone, &key).await;
            assert!(mirror.one.digests("").is_empty());
            assert!(mirror.other.digests("").is_empty());
            next_second().await;
        }
    });
}

#[test]
fn an_event_that_comes_twice_brings_nothing_back_that_was_deleted_at_the_other_side() {
    between(true, async |mirror| {
        let key = name(0);
        mirror.one.put(&[ObjectSpec::new(&*key, 1, 10)]);
        mirror.is_told(&mirror.one, &key).await;
        mirror.other.delete(&[&key]);
        // Told of what was put once more, before it is told of the deletion.
        mirror.is_told(&mirror.one, &key).await;
        mirror.is_told(&mirror.other, &key).await;
        assert!(mirror.one.digests("").is_empty());
        assert!(mirror.other.digests("").is_empty());
    });
}

#[test]
fn what_is_written_while_it_is_deleted_comes_back() {
    between(true, async |mirror| {
        let key = name(0);
        mirror.one.put(&[ObjectSpec::new(&*key, 1, 10)]);
        mirror.rests().await;
        next_second().await;
        let gate = Gate::new();
        let held = Faulty::on_any(&[Op::Delete, Op::DeleteMany]).nth(1);
        let plan = Plan::new(0).rule(held.fault(Fault::HoldReply(gate.clone())));
        mirror.proxies[1].set_plan(plan);
        mirror.one.delete(&[&key]);
        let deleted = async {
            let event = event(&mirror.one, &key, Some(2));
            mirror.happened(&event).await.unwrap();
        };
        let written = async {
            arrived(&gate).await;
            mirror.other.put(&[ObjectSpec::new(&*key, 2, 10)]);
            gate.open();
        };
        tokio::join!(deleted, written);
        mirror.rests().await;
        assert_eq!(mirror.other.list("").len(), 1);
        assert_eq!(mirror.one.digests(""), mirror.other.digests(""));
    });
}

#[test]
fn a_destination_that_cannot_be_written_keeps_none_of_the_others() {
    between(false, async |mirror| {
        let rules = mirror.control.rules().await.unwrap();
        let mut rule = rules[0].clone();
        let mut refused = rule.destinations[0].clone();
        refused.location.path.push_str("refused/");
        rule.destinations.insert(0, refused.clone());
        let fault = Faulty::on(Op::Put).key("refused/").fault(Fault::Refuse {
            status: 404,
            code: "NoSuchBucket",
        });
        mirror.proxies[1].set_plan(Plan::new(0).rule(fault));
        mirror.control.set_rule(&rule).await.unwrap();
        // And a rule that can write nothing.
        let first = Rule {
            name: "a-first".to_owned(),
            destinations: vec![refused],
            ..rule
        };
        mirror.control.set_rule(&first).await.unwrap();
        let key = name(0);
        mirror.one.put(&[ObjectSpec::new(&*key, 1, 10)]);
        for number in 1..=2 {
            let event = event(&mirror.one, &key, Some(number));
            let failed = mirror.happened(&event).await.unwrap_err();
            assert_eq!(failed.kind, ErrorKind::NotFound, "{failed}");
        }
        assert_eq!(mirror.one.digests(""), mirror.other.digests(""));
    });
}
