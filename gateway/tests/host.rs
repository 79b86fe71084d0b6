//! A machine does what it is assigned to, as long as it is, and nothing else. Time is that of the test.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skyhaul_gateway::assignment::{BootKey, seal};
use skyhaul_gateway::config::{Config, LimitsConfig, StateConfig, TableConfig};
use skyhaul_gateway::host::{Post, host};
use skyhaul_gateway::orders::Orders;
use skyhaul_model::machine::{DataplaneId, IntentId};
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::control::{ControlState, Enrolment, EnrolmentChange};
use skyhaul_state::suite::guarded::{Guard, Guarded};
use tokio::task::JoinHandle;

const MACHINE: &str = "arn:machine/1";

/// Whether the state is out of reach.
#[derive(Debug, Default)]
struct Lost(AtomicBool);

impl Guard for Lost {
    async fn around<T: Send>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::control(ErrorKind::Unreachable, "no route"));
        }
        call.await
    }
}

type Control = Guarded<Lost>;

/// What happened to work: `begun ID`, `drained ID`, `stopped ID`.
type Journal = Arc<Mutex<Vec<String>>>;

/// A machine that runs, whose work waits until it is told to end, or ends by itself as the test says.
struct Machine {
    control: Arc<Control>,
    intent: IntentId,
    orders: Orders,
    journal: Journal,
    /// How work ends by itself, if it does: with success or not.
    ends: Arc<Mutex<Option<bool>>>,
    ended: JoinHandle<Result<()>>,
}

impl Machine {
    fn start() -> Self {
        let intent = IntentId {
            dataplane: DataplaneId::generate(),
            member: "src-1".parse().unwrap(),
            generation: 1,
        };
        let control = Arc::new(Control::default());
        let post = Post {
            control: Arc::clone(&control) as Arc<dyn ControlState>,
            machine: MACHINE.to_owned(),
            intent: intent.clone(),
            address: None,
        };
        let (orders, journal) = (Orders::default(), Journal::default());
        let ends = Arc::new(Mutex::new(None));
        let (told, written, own) = (orders.clone(), Arc::clone(&journal), Arc::clone(&ends));
        let work = move |config: Config, orders: Orders| {
            let (journal, ends) = (Arc::clone(&written), *own.lock().unwrap());
            let note = move |what| {
                journal
                    .lock()
                    .unwrap()
                    .push(format!("{what} {}", config.transfer));
            };
            async move {
                note("begun");
                match ends {
                    Some(true) => return Ok(()),
                    Some(false) => return Err(Error::control(ErrorKind::Service, "it failed")),
                    None => {}
                }
                tokio::select! {
                    () = orders.drain.cancelled() => {}
                    () = orders.stop.cancelled() => {
                        note("stopped");
                        return Ok(());
                    }
                }
                // What is under way takes a while.
                tokio::time::sleep(Duration::from_secs(30)).await;
                note("drained");
                Ok(())
            }
        };
        let ended = tokio::spawn(async move { host(&post, &told, work).await });
        Self {
            control,
            intent,
            orders,
            journal,
            ends,
            ended,
        }
    }

    fn config(&self, transfer: &TransferId) -> Config {
        let state = StateConfig::Table(TableConfig {
            name: "state".to_owned(),
            region: None,
            endpoint_url: None,
        });
        let limits = LimitsConfig {
            transfers: 1,
            max_memory: 1,
            bwlimit: None,
            attempts: 1,
            term: 1,
            drain: 1,
        };
        Config {
            name: self.intent.member.to_string(),
            ..Config::new(transfer.clone(), state, limits)
        }
    }

    /// Its row, once it has enrolled.
    async fn row(&self) -> Enrolment {
        loop {
            if let Some(row) = self.control.rows.enrolment(MACHINE).await.unwrap() {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn change(&self, change: EnrolmentChange) {
        let rows = &self.control.rows;
        rows.change_enrolment(MACHINE, &change).await.unwrap();
    }

    /// Assigns it to a transfer with what is sealed to `key`.
    async fn assign_by(&self, transfer: &TransferId, key: &[u8]) {
        let config = self.config(transfer);
        let sealed = seal(key, &self.intent, transfer, &config).unwrap();
        let public_key = self.row().await.public_key;
        let transfer = transfer.clone();
        let assign = EnrolmentChange::Assign {
            public_key,
            transfer,
            sealed,
        };
        self.change(assign).await;
    }

    async fn assign(&self, transfer: &TransferId) {
        let key = self.row().await.public_key;
        self.assign_by(transfer, &key).await;
    }

    /// What has happened after a while.
    async fn after(&self, seconds: u64) -> Vec<String> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        std::mem::take(&mut *self.journal.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn it_works_for_what_it_is_assigned_to_until_it_is_dismissed() {
    let machine = Machine::start();
    let (one, two) = (TransferId::generate(), TransferId::generate());
    assert_eq!(machine.after(60).await, [""; 0]);
    machine.assign(&one).await;
    assert_eq!(machine.after(5).await, [format!("begun {one}")]);
    machine.assign(&two).await;
    assert_eq!(machine.after(5).await, [format!("begun {two}")]);
    assert_eq!(machine.after(300).await, [""; 0]);
    machine.change(EnrolmentChange::Dismiss(one.clone())).await;
    assert_eq!(machine.after(40).await, [format!("drained {one}")]);
    // It may be assigned to the same again, and is once that is due.
    machine.assign(&one).await;
    assert_eq!(machine.after(5).await, [format!("begun {one}")]);
    assert!(machine.row().await.beat > 10);
    // Other words take the place of the old ones when these have ended.
    machine.assign(&two).await;
    let (drained, begun) = (format!("drained {two}"), format!("begun {two}"));
    assert_eq!(machine.after(40).await, [drained, begun]);
}

#[tokio::test(start_paused = true)]
async fn work_that_has_ended_is_not_begun_again_and_work_that_failed_is() {
    let machine = Machine::start();
    let (done, failing) = (TransferId::generate(), TransferId::generate());
    *machine.ends.lock().unwrap() = Some(true);
    machine.assign(&done).await;
    assert_eq!(machine.after(600).await, [format!("begun {done}")]);
    *machine.ends.lock().unwrap() = Some(false);
    machine.assign(&failing).await;
    let often = machine.after(600).await.len();
    assert!((8..20).contains(&often), "{often} times in ten minutes");
    *machine.ends.lock().unwrap() = None;
    assert_eq!(machine.after(90).await, [format!("begun {failing}")]);
    assert_eq!(machine.after(600).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_sealed_to_another_key_is_not_done() {
    let machine = Machine::start();
    let transfer = TransferId::generate();
    let other = BootKey::generate().unwrap();
    machine.assign_by(&transfer, &other.public()).await;
    assert_eq!(machine.after(60).await, [""; 0]);
    machine.assign(&transfer).await;
    assert_eq!(machine.after(10).await, [format!("begun {transfer}")]);
}

#[tokio::test(start_paused = true)]
async fn it_drains_when_its_row_is_gone_or_it_is_told_to() {
    for by_order in [false, true] {
        let machine = Machine::start();
        let transfer = TransferId::generate();
        machine.assign(&transfer).await;
        machine.after(5).await;
        if by_order {
            machine.orders.terminate();
        } else {
            machine.control.rows.strike(MACHINE).await.unwrap();
        }
        machine.ended.await.unwrap().unwrap();
        let journal = machine.journal.lock().unwrap();
        assert_eq!(*journal, [format!("drained {transfer}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn it_stops_amid_its_drain_if_it_is_told_to_stop() {
    let machine = Machine::start();
    let transfer = TransferId::generate();
    machine.assign(&transfer).await;
    machine.after(5).await;
    machine.orders.stop.cancel();
    machine.ended.await.unwrap().unwrap();
    let journal = machine.journal.lock().unwrap();
    assert_eq!(*journal, [format!("stopped {transfer}")]);
}

#[tokio::test(start_paused = true)]
async fn it_stops_where_another_process_is_in_its_place() {
    let machine = Machine::start();
    let transfer = TransferId::generate();
    machine.assign(&transfer).await;
    machine.after(5).await;
    let row = Enrolment::new(MACHINE, machine.intent.clone(), vec![1; 32]);
    machine.control.rows.enrol(&row).await.unwrap();
    let error = machine.ended.await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::LeaseLost, "{error}");
    let journal = machine.journal.lock().unwrap();
    assert_eq!(*journal, [format!("stopped {transfer}")]);
}

#[tokio::test(start_paused = true)]
async fn it_outlives_a_short_loss_of_the_control_plane_and_no_long_one() {
    let machine = Machine::start();
    let transfer = TransferId::generate();
    machine.assign(&transfer).await;
    assert_eq!(machine.after(5).await, [format!("begun {transfer}")]);
    let lose = |lost| machine.control.guard.0.store(lost, Ordering::Relaxed);
    for _ in 0..3 {
        lose(true);
        machine.after(280).await;
        lose(false);
        assert_eq!(machine.after(10).await, [""; 0]);
    }
    lose(true);
    let error = machine.ended.await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    let journal = machine.journal.lock().unwrap();
    assert_eq!(*journal, [format!("stopped {transfer}")]);
}
