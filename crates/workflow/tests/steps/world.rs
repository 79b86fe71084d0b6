//! A deployment for one transfer between two buckets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use skyhaul_compute::Compute;
use skyhaul_compute::simulated::{Fault, Faults, Simulated, after, lost};
use skyhaul_engine::{Limits, StepEnd};
use skyhaul_gateway::assignment::BootKey;
use skyhaul_gateway::config::{Config, TableConfig};
use skyhaul_model::spec::{Connection, Endpoint, Mode};
use skyhaul_model::{Error, Location, Result, Scheme, Side, TransferId};
use skyhaul_state::control::{
    ControlState, DataplaneRow, DataplaneStatus, Enrolment, MemberRow, MemoryControl, Submission,
    SubmissionChange,
};
use skyhaul_state::suite::guarded::{Guard, Guarded};
use skyhaul_state::{SqliteState, TransferRow, TransferState};
use skyhaul_stores::Store;
use skyhaul_stores::open::{Ambient, Opens, Use};
use skyhaul_stores::s3::{Credentials, S3Options, S3Store};
use skyhaul_tests::oracle::{Bucket, ObjectSpec};
use skyhaul_tests::servers;
use skyhaul_workflow::machines::{Regions, Vault};
use skyhaul_workflow::order::{FleetOrder, Here, Order};
use skyhaul_workflow::steps::{self, Answer, Attempt, Planned, Waiting, Watched};
use skyhaul_workflow::{Account, CopyRequest};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// The one region.
pub(crate) const HERE: &str = "here";

/// Passes after which a step must have come to its end.
const PASSES: usize = 60;

/// Faults of the control plane's state.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Faults);

impl Guard for Trouble {
    async fn around<T: Send>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let fault = self.0.call();
        if fault == Some(Fault::Lost) {
            return Err(lost());
        }
        let done = call.await;
        after(fault, || done)
    }
}

/// Opens buckets with the credentials of their servers, once for all worlds of a test.
#[derive(Debug)]
pub(crate) struct Keys(pub(crate) Vec<servers::Endpoint>);

static OPENED: Mutex<BTreeMap<String, Arc<dyn Store>>> = Mutex::new(BTreeMap::new());

#[async_trait]
impl Opens for Keys {
    async fn open(&self, endpoint: &Endpoint, side: Side, with: Use) -> Result<Arc<dyn Store>> {
        if endpoint.location.scheme == Scheme::Local {
            return Ambient.open(endpoint, side, with).await;
        }
        let name = format!("{endpoint:?} {side}");
        if let Some(opened) = OPENED.lock().unwrap().get(&name) {
            return Ok(Arc::clone(opened));
        }
        let url = endpoint.connection.endpoint_url.as_deref();
        let server = self.0.iter().find(|one| Some(&*one.url) == url);
        let options = S3Options {
            credentials: server.map(|server| Credentials {
                access_key_id: server.access_key.clone(),
                secret_access_key: server.secret_key.clone(),
                session_token: None,
            }),
            encryption: with.encryption,
            ..S3Options::default()
        };
        let opened = S3Store::open(&endpoint.location, &endpoint.connection, side, options).await?;
        let opened: Arc<dyn Store> = Arc::new(opened);
        OPENED.lock().unwrap().insert(name, Arc::clone(&opened));
        Ok(opened)
    }
}

/// A key that leaves bytes as they are.
struct Open;

#[async_trait]
impl Vault for Open {
    async fn wrap(&self, _: &TransferId, bytes: &[u8]) -> Result<Bytes> {
        Ok(Bytes::copy_from_slice(bytes))
    }

    async fn unwrap(&self, _: &TransferId, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(wrapped.to_vec()))
    }
}

/// The execution that waits, if one does, and what it was told.
#[derive(Debug, Default)]
pub(crate) struct Execution {
    faults: Faults,
    pub(crate) waits: Mutex<Option<String>>,
    pub(crate) told: Mutex<Vec<Answer>>,
}

#[async_trait]
impl Waiting for Execution {
    async fn answer(&self, token: &str, answer: &Answer) -> Result<bool> {
        let fault = self.faults.call();
        if fault == Some(Fault::Lost) {
            return Err(lost());
        }
        let done = {
            let mut waits = self.waits.lock().unwrap();
            let one = waits.as_deref() == Some(token);
            if one {
                self.told.lock().unwrap().push(answer.clone());
                if *answer != Answer::Beat {
                    *waits = None;
                }
            }
            one
        };
        after(fault, || Ok(done))
    }
}

/// See the module documentation.
pub(crate) struct World {
    kind: Kind,
    pub(crate) faults: Faults,
    pub(crate) account: Account,
    pub(crate) control: Arc<Guarded<Trouble>>,
    pub(crate) machines: Arc<Simulated>,
    pub(crate) execution: Arc<Execution>,
    pub(crate) attempt: Attempt,
    pub(crate) from: Bucket,
    pub(crate) to: Bucket,
    pub(crate) state: Arc<dyn TransferState>,
    keys: Mutex<BTreeMap<String, BootKey>>,
    minute: Mutex<i64>,
    _dir: tempfile::TempDir,
}

pub(crate) fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + 60 * minute).unwrap()
}

pub(crate) fn endpoint(bucket: &Bucket, server: &servers::Endpoint) -> Endpoint {
    Endpoint {
        location: bucket.uri("").parse().unwrap(),
        connection: Connection {
            endpoint_url: Some(server.url.clone()),
            region: Some(server.region.clone()),
            ..Connection::default()
        },
    }
}

/// What a test does with both buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Copy,
    /// Between two buckets of one service, which copies by itself.
    Inside,
    Sync,
}

fn limits() -> Limits {
    Limits {
        transfers: 4,
        checkers: 4,
        max_memory: 64 << 20,
        bwlimit: None,
        attempts: 3,
        slice_pages: None,
        slice_chunks: None,
        term: None,
        read_to_compare: false,
        keep_skipped: true,
    }
}

impl World {
    pub(crate) async fn new(kind: Kind, objects: &[ObjectSpec]) -> Self {
        Self::with(kind, objects, FleetOrder::default()).await
    }

    pub(crate) async fn with(kind: Kind, objects: &[ObjectSpec], fleet: FleetOrder) -> Self {
        let servers = servers::servers();
        let far = if kind == Kind::Inside {
            &servers.src
        } else {
            &servers.odd
        };
        let from = Bucket::create(&servers.src, "steps-from");
        let to = Bucket::create(far, "steps-to");
        from.put(objects);
        Self::between(kind, from, to, fleet).await
    }

    /// The same with buckets that are there.
    pub(crate) async fn between(kind: Kind, from: Bucket, to: Bucket, fleet: FleetOrder) -> Self {
        let servers = servers::servers();
        let known = vec![servers.src.clone(), servers.odd.clone()];
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let machines = Arc::new(Simulated::new(faults.clone()));
        let control = Arc::new(Guarded {
            rows: MemoryControl::default(),
            guard: Trouble(faults.clone()),
        });
        let execution = Arc::new(Execution {
            faults: faults.clone(),
            ..Execution::default()
        });
        let state: Arc<dyn TransferState> =
            Arc::new(SqliteState::open(dir.path().join("state.db")).unwrap());
        let here = Arc::clone(&machines) as Arc<dyn Compute>;
        let account = Account {
            region: HERE.to_owned(),
            state: Arc::clone(&state),
            table: TableConfig {
                name: "state".to_owned(),
                region: None,
                endpoint_url: None,
            },
            control: Arc::clone(&control) as Arc<dyn ControlState>,
            opens: Arc::new(Keys(known)),
            staging: Endpoint {
                location: Location::local(&dir.path().join("staging")).unwrap(),
                connection: Connection::default(),
            },
            regions: Regions(BTreeMap::from([(HERE.to_owned(), here)])),
            zones: BTreeMap::from([(HERE.to_owned(), vec!["here-1a".to_owned()])]),
            port: Some(8443),
            boot: Box::new(|row, member| format!("{} {}", row.id, member.plan.name)),
            vault: Arc::new(Open),
            waiting: Arc::clone(&execution) as Arc<dyn Waiting>,
            is_guest: false,
            limits: limits(),
        };
        let mut world = Self {
            kind,
            faults,
            account,
            control,
            machines,
            execution,
            attempt: Attempt {
                transfer: TransferId::generate(),
                attempt: 1,
            },
            from,
            to,
            state,
            keys: Mutex::default(),
            minute: Mutex::default(),
            _dir: dir,
        };
        world.submit(fleet).await;
        world
    }

    /// Another transfer between the same buckets is submitted.
    pub(crate) async fn submit(&mut self, fleet: FleetOrder) {
        self.attempt = Attempt {
            transfer: TransferId::generate(),
            attempt: 1,
        };
        self.rows().submit(&self.submitted(fleet)).await.unwrap();
    }

    /// Another transfer to the same bucket is submitted, of what is in a folder of the machine that submits.
    pub(crate) async fn submit_from(&mut self, folder: &str) {
        self.attempt = Attempt {
            transfer: TransferId::generate(),
            attempt: 1,
        };
        let mut order = self.order(FleetOrder::default());
        order.request.source = Endpoint {
            location: folder.parse().unwrap(),
            connection: Connection::default(),
        };
        order.here = Some(Here {
            host: "there".to_owned(),
            seen: skyhaul_workflow::here(&mut order.request).await.unwrap(),
        });
        let (transfer, text) = (self.attempt.transfer.clone(), order.text().unwrap());
        let new = Submission::new(transfer, text, "test", at(0)).unwrap();
        self.rows().submit(&new).await.unwrap();
    }

    fn order(&self, fleet: FleetOrder) -> Order {
        let is_sync = self.kind == Kind::Sync;
        Order {
            request: CopyRequest {
                mode: if is_sync { Mode::Sync } else { Mode::Copy },
                source: endpoint(&self.from, &servers::servers().src),
                destinations: vec![endpoint(&self.to, &self.to.endpoint)],
                recursive: true,
                filters: skyhaul_model::filter::FilterSpec::default(),
                first: Vec::new(),
                compare: skyhaul_model::compare::Compare::default(),
                if_exists: skyhaul_model::compare::IfExists::default(),
                delete: is_sync.then(skyhaul_model::guard::DeletePolicy::default),
                attributes: skyhaul_model::attributes::AttributePolicy::default(),
                parts: skyhaul_model::parts::PartPolicy::default(),
                checksum: skyhaul_model::spec::ChecksumPolicy::default(),
                encryption: None,
                stream: false,
                follow_symlinks: false,
                durability: skyhaul_model::spec::Durability::default(),
            },
            fleet,
            here: None,
        }
    }

    /// What is submitted for the attempt.
    pub(crate) fn submitted(&self, fleet: FleetOrder) -> Submission {
        let order = self.order(fleet).text().unwrap();
        Submission::new(self.attempt.transfer.clone(), order, "test", at(0)).unwrap()
    }

    /// The state of the control plane itself, without faults.
    pub(crate) fn rows(&self) -> &dyn ControlState {
        &self.control.rows
    }

    pub(crate) async fn submission(&self) -> Submission {
        let found = self.rows().submission(&self.attempt.transfer).await;
        found.unwrap().unwrap()
    }

    pub(crate) async fn row(&self) -> TransferRow {
        self.state.transfer(&self.attempt.transfer).await.unwrap()
    }

    /// The dataplane of the attempt.
    pub(crate) async fn dataplane(&self) -> DataplaneRow {
        let id = self.submission().await.dataplane.unwrap();
        self.rows().dataplane(&id).await.unwrap().unwrap()
    }

    /// The time of whoever looks.
    pub(crate) fn now(&self) -> Timestamp {
        at(*self.minute.lock().unwrap())
    }

    pub(crate) fn pass(&self, minutes: i64) {
        *self.minute.lock().unwrap() += minutes;
    }

    pub(crate) async fn plan(&self) -> Result<Planned> {
        steps::plan(&self.account, &self.attempt, false, self.now()).await
    }

    pub(crate) async fn list(&self, until: Instant) -> Result<StepEnd> {
        steps::list(&self.account, &self.attempt, until).await
    }

    pub(crate) async fn copy(&self, until: Instant) -> Result<StepEnd> {
        steps::copy(&self.account, &self.attempt, until).await
    }

    pub(crate) async fn complete(&self, until: Instant) -> Result<StepEnd> {
        steps::complete(&self.account, &self.attempt, until).await
    }

    pub(crate) async fn verify(&self, until: Instant) -> Result<StepEnd> {
        steps::verify(&self.account, &self.attempt, until).await
    }

    pub(crate) async fn provision(&self) -> Result<StepEnd> {
        steps::provision(&self.account, &self.attempt, self.now()).await
    }

    /// An execution begins to wait.
    pub(crate) async fn wait(&self, token: &str) -> Result<()> {
        *self.execution.waits.lock().unwrap() = Some(token.to_owned());
        steps::wait(&self.account, &self.attempt, token).await
    }

    pub(crate) async fn watch(&self) -> Result<Watched> {
        steps::watch(&self.account, &self.attempt.transfer, self.now()).await
    }

    pub(crate) async fn settle(&self) -> Result<StepEnd> {
        let ended = steps::settle(
            &self.account,
            &self.attempt,
            None,
            self.now(),
            Self::later(),
        );
        ended.await.map(|ended| ended.end)
    }

    /// Time enough.
    pub(crate) fn later() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    /// Machines that have been launched and have not told of themselves do so.
    pub(crate) async fn machines_start(&self) {
        let Some(id) = self.submission().await.dataplane else {
            return;
        };
        let Some(row) = self.rows().dataplane(&id).await.unwrap() else {
            return;
        };
        for member in &row.members {
            let Some(machine) = self.identity(member) else {
                continue;
            };
            let alive = self.machines.alive();
            let lives = alive
                .iter()
                .any(|one| Some(&one.id) == member.machine.as_ref());
            if !lives || self.rows().enrolment(&machine).await.unwrap().is_some() {
                continue;
            }
            let key = BootKey::generate().unwrap();
            let enrolment = Enrolment::new(&*machine, member.intent(&row.id), key.public());
            self.rows().enrol(&enrolment).await.unwrap();
            self.keys.lock().unwrap().insert(machine, key);
        }
    }

    fn identity(&self, member: &MemberRow) -> Option<String> {
        let machine = member.machine.as_ref()?;
        Some(self.machines.identity(machine))
    }

    /// What a member's machine was told.
    pub(crate) async fn told(&self, row: &DataplaneRow, member: &MemberRow) -> Config {
        let machine = self.identity(member).unwrap();
        let enrolment = self.rows().enrolment(&machine).await.unwrap().unwrap();
        let transfer = &self.attempt.transfer;
        let sealed = &enrolment.assignments[transfer];
        let keys = self.keys.lock().unwrap();
        keys[&machine]
            .open(&member.intent(&row.id), transfer, sealed)
            .unwrap()
    }

    /// Runs a step until it is done, whatever passes.
    pub(crate) async fn done(&self, step: impl AsyncFn() -> Result<StepEnd>) {
        let mut last = None;
        for _ in 0..PASSES {
            match step().await {
                Ok(StepEnd::Done) => return,
                Ok(StepEnd::More) => {}
                Err(error) if error.retryable => last = Some(error),
                Err(error) => panic!("{error}"),
            }
            self.machines_start().await;
        }
        panic!("not done in {PASSES} passes: {last:?}");
    }

    /// From the last chunk to the end of the attempt.
    pub(crate) async fn finished(&self) {
        self.done(async || self.complete(Self::later()).await).await;
        self.done(async || self.verify(Self::later()).await).await;
        self.done(async || self.settle().await).await;
    }

    /// Runs a call until its reply comes.
    pub(crate) async fn replied<T>(&self, call: impl AsyncFn() -> Result<T>) -> T {
        for _ in 0..PASSES {
            match call().await {
                Ok(reply) => return reply,
                Err(error) if error.retryable => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no reply in {PASSES} calls");
    }

    /// Every byte is there, and nothing else.
    pub(crate) fn assert_equal(&self) {
        assert_eq!(self.from.digests(""), self.to.digests(""));
        assert!(self.to.uploads().is_empty());
    }

    /// Nothing is left of the attempt but rows that say how it ended.
    pub(crate) async fn assert_gone(&self) {
        let alive = self.machines.alive();
        assert!(alive.is_empty(), "{alive:#?}");
        let submission = self.submission().await;
        if let Some(id) = &submission.dataplane
            && let Some(row) = self.rows().dataplane(id).await.unwrap()
        {
            assert_eq!(row.status, DataplaneStatus::Ended);
            assert_eq!(self.machines.rules(id), None);
            for member in &row.members {
                if let Some(machine) = self.identity(member) {
                    assert_eq!(self.rows().enrolment(&machine).await.unwrap(), None);
                }
            }
        }
        let transfer = &self.attempt.transfer;
        assert_eq!(self.rows().secrets(transfer).await.unwrap(), None);
        let rows = self.state.transfers().await.unwrap();
        let ids: Vec<_> = rows.iter().map(|row| &row.id).collect();
        assert!(
            ids.len() <= 1 && ids.iter().all(|id| *id == transfer),
            "{ids:?}"
        );
        // Whoever comes late finds that it is over.
        let late = loop {
            let late = self.provision().await.unwrap_err();
            if !late.retryable {
                break late;
            }
        };
        assert_eq!(late.kind, skyhaul_model::ErrorKind::LeaseLost, "{late}");
        self.late_attempt_is_refused().await;
    }

    async fn late_attempt_is_refused(&self) {
        let begin = SubmissionChange::Begin(self.attempt.attempt);
        let transfer = &self.attempt.transfer;
        let late: Error = self
            .rows()
            .change_submission(transfer, &begin)
            .await
            .unwrap_err();
        assert_eq!(late.kind, skyhaul_model::ErrorKind::LeaseLost, "{late}");
    }
}
