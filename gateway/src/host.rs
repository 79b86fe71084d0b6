//! A machine of a dataplane: tells of itself when it has started, and works for each transfer that it is
//! assigned to until it is dismissed. A machine that is kept works for one transfer after the other.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skyhaul_model::machine::IntentId;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::control::{ControlState, Enrolment, EnrolmentChange};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::assignment::BootKey;
use crate::config::{Boot, Config};
use crate::directory::GRACE;
use crate::orders::Orders;
use crate::{places, run};

/// How often it is looked what there is to do.
const LOOK: Duration = Duration::from_secs(2);

/// How often a machine says that it lives.
const BEAT: Duration = Duration::from_secs(20);

/// Before work that failed is begun again; doubled with each failure up to the longest.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A machine, and where it is told what to do.
#[derive(Debug, Clone)]
pub struct Post {
    /// The control plane's state.
    pub control: Arc<dyn ControlState>,
    /// What the machine's provider calls it.
    pub machine: String,
    /// What it was launched for.
    pub intent: IntentId,
    /// Where it is, if its provider cannot be asked.
    pub address: Option<IpAddr>,
}

/// Runs a machine as its boot says, until it is told to end, or the control plane has lost it.
pub async fn boot(boot: Boot, orders: Orders) -> Result<()> {
    let post = Post {
        control: places::control(&boot.control).await,
        machine: boot.machine,
        intent: boot.intent,
        address: None,
    };
    host(&post, &orders, run::run).await
}

/// Work for one transfer.
struct Work {
    /// The assignment that it is of.
    sealed: Bytes,
    /// `None` for what cannot be opened.
    running: Option<(Orders, JoinHandle<Result<()>>)>,
    /// When it may be begun again, after it failed.
    again: Option<Instant>,
    pause: Duration,
}

/// Runs a machine whose work for a transfer is `work`.
///
/// Ends without an error when it is told to drain and has, when it is told to stop, or when its row is
/// gone: then its dataplane has ended. Fails if the state is lost for longer than its grace, or if another
/// process has taken its place: whoever runs it turns the machine off.
pub async fn host<F>(post: &Post, orders: &Orders, work: impl Fn(Config, Orders) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let key = BootKey::generate()?;
    let mut works = Works {
        post,
        key: &key,
        work: &work,
        all: HashMap::new(),
    };
    let looked = tokio::select! {
        looked = look(post, &key, &mut works) => looked,
        () = orders.stop.cancelled() => Ok(()),
        () = orders.drain.cancelled() => Ok(()),
    };
    let draining = looked.is_ok() && !orders.stop.is_cancelled();
    works.end(draining, orders).await;
    looked
}

/// Enrols, and does what the row says.
async fn look<F, W>(post: &Post, key: &BootKey, works: &mut Works<'_, W>) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
    W: Fn(Config, Orders) -> F,
{
    let row = Enrolment {
        address: post.address,
        ..Enrolment::new(&*post.machine, post.intent.clone(), key.public())
    };
    let (mut reached, mut beaten) = (Instant::now(), None);
    let (mut enrolled, mut beat) = (false, 0);
    loop {
        let told = async {
            if !enrolled {
                post.control.enrol(&row).await?;
                enrolled = true;
            }
            if beaten.is_none_or(|at: Instant| at.elapsed() >= BEAT) {
                let change = EnrolmentChange::Beat(beat + 1);
                let row = post
                    .control
                    .change_enrolment(&post.machine, &change)
                    .await?;
                (beat, beaten) = (beat + 1, Some(Instant::now()));
                return Ok(Some(row));
            }
            post.control.enrolment(&post.machine).await
        };
        match told.await {
            Ok(Some(row)) if row.public_key == key.public() => {
                reached = Instant::now();
                works.settle(&row.assignments).await;
            }
            Ok(Some(_)) => {
                let message = "another process has taken this machine's place";
                return Err(Error::control(ErrorKind::LeaseLost, message).object(&*post.machine));
            }
            Ok(None) => return Ok(()),
            Err(error) if error.kind == ErrorKind::NotFound && enrolled => return Ok(()),
            Err(error) if reached.elapsed() < GRACE => {
                tracing::warn!("the control plane cannot be reached: {error}");
            }
            Err(error) => {
                let message = "the control plane was lost for too long: this machine stops";
                return Err(Error::control(ErrorKind::Unreachable, message).cause(error));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What a machine does.
struct Works<'a, W> {
    post: &'a Post,
    key: &'a BootKey,
    work: &'a W,
    all: HashMap<TransferId, Work>,
}

impl<F, W> Works<'_, W>
where
    F: Future<Output = Result<()>> + Send + 'static,
    W: Fn(Config, Orders) -> F,
{
    /// Begins what is new, begins again what failed, and drains what it is not assigned to any more.
    async fn settle(&mut self, assignments: &BTreeMap<TransferId, Bytes>) {
        let mut over = Vec::new();
        for (transfer, work) in &mut self.all {
            work.settle(transfer).await;
            if assignments.get(transfer) == Some(&work.sealed) {
                continue;
            }
            match &work.running {
                // Said once: a second time would stop it.
                Some((orders, _)) if !orders.drain.is_cancelled() => {
                    tracing::info!(%transfer, "dismissed");
                    orders.drain.cancel();
                }
                Some(_) => {}
                None => over.push(transfer.clone()),
            }
        }
        for transfer in over {
            self.all.remove(&transfer);
        }
        for (transfer, sealed) in assignments {
            let known = self.all.get(transfer);
            let pause = known.map_or(PAUSE, |work| work.pause);
            let again = known.is_some_and(|work| {
                work.running.is_none() && work.again.is_some_and(|at| at <= Instant::now())
            });
            if known.is_none() || again {
                let work = self.begin(transfer, sealed, pause);
                self.all.insert(transfer.clone(), work);
            }
        }
    }

    fn begin(&self, transfer: &TransferId, sealed: &Bytes, pause: Duration) -> Work {
        let opened = self.key.open(&self.post.intent, transfer, sealed);
        let running = match opened {
            Ok(config) => {
                tracing::info!(%transfer, "assigned");
                let orders = Orders::default();
                let task = tokio::spawn((self.work)(config, orders.clone()));
                Some((orders, task))
            }
            Err(error) => {
                tracing::error!("{error}");
                None
            }
        };
        Work {
            sealed: sealed.clone(),
            running,
            again: None,
            pause,
        }
    }

    /// Has all work drain, or stop, and waits for it.
    async fn end(self, draining: bool, orders: &Orders) {
        let running = self.all.into_values().filter_map(|work| work.running);
        let running: Vec<_> = running.collect();
        for (each, _) in &running {
            if draining {
                each.drain.cancel();
            } else {
                each.stop.cancel();
            }
        }
        for (each, mut task) in running {
            tokio::select! {
                _ = &mut task => {}
                () = orders.stop.cancelled() => {
                    each.stop.cancel();
                    let _ = task.await;
                }
            }
        }
    }
}

impl Work {
    /// Takes note of work that has ended. What failed is begun again after a while; what did not has
    /// nothing left to do.
    async fn settle(&mut self, transfer: &TransferId) {
        let Some((orders, task)) = self.running.take_if(|(_, task)| task.is_finished()) else {
            return;
        };
        let ended = task.await.unwrap_or_else(|error| {
            Err(Error::control(ErrorKind::Internal, "a gateway ended").cause(error))
        });
        if let Err(error) = ended {
            tracing::warn!(%transfer, "a gateway failed: {error}");
            if !orders.drain.is_cancelled() {
                self.again = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
