//! A source and a destination gateway of a real transfer between two folders, in this process.
#![allow(dead_code, clippy::unwrap_used)] // not every binary of tests uses all

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use skyhaul_engine::copy::complete;
use skyhaul_engine::engine::EngineParts;
use skyhaul_engine::listing::pool;
use skyhaul_engine::meter::Meter;
use skyhaul_engine::{Engine, Limits, ServiceCopy};
use skyhaul_gateway::config::{Config, LimitsConfig, StateConfig};
use skyhaul_gateway::control::ControlConfig;
use skyhaul_gateway::orders::Orders;
use skyhaul_gateway::world::{Network, Real, Stores, World};
use skyhaul_gateway::{Route, run};
use skyhaul_model::filter::Filters;
use skyhaul_model::keymap::KeyMap;
use skyhaul_model::parts::PartPolicy;
use skyhaul_model::spec::{ChecksumPolicy, Connection, Durability, Endpoint, Mode, TransferSpec};
use skyhaul_model::{Result, TransferId};
use skyhaul_state::service::{Service, Token};
use skyhaul_state::{ControlAddress, SegmentStore, Segments, SqliteState, TransferState};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long something may take to come.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const MIB: u64 = 1 << 20;

/// A gateway that runs.
pub(crate) struct Running {
    pub(crate) orders: Orders,
    pub(crate) token: Token,
    pub(crate) ended: JoinHandle<Result<()>>,
}

/// See the module documentation.
pub(crate) struct Live {
    folder: TempDir,
    stores: Arc<dyn Stores>,
    pub(crate) state: Arc<dyn TransferState>,
    segments: Arc<dyn SegmentStore>,
    pub(crate) id: TransferId,
    base: Config,
    _stop: DropGuard,
}

/// Where a transfer's state and segments are, and how gateways find them.
pub(crate) struct Places {
    pub(crate) state: Arc<dyn TransferState>,
    pub(crate) segments: Arc<dyn SegmentStore>,
    pub(crate) found: (StateConfig, Endpoint),
}

impl Places {
    /// In a folder of this machine, the state behind a service that runs until the guard goes.
    async fn local(folder: &Path) -> (Self, DropGuard) {
        let path = folder.join("segments");
        let state = Arc::new(SqliteState::open(folder.join("state.db")).unwrap());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let found = listener.local_addr().unwrap();
        let (token, stop) = (Token::generate(), CancellationToken::new());
        let backend = Arc::clone(&state) as Arc<dyn TransferState>;
        tokio::spawn(Service::new(backend, token.clone()).serve(listener, stop.clone()));
        let service = StateConfig::Service {
            address: found.to_string(),
            token: token.reveal().to_owned(),
        };
        let places = Self {
            state,
            segments: Arc::new(Segments::open(&path).unwrap()),
            found: (service, side(&path)),
        };
        (places, stop.drop_guard())
    }
}

fn side(path: &Path) -> Endpoint {
    Endpoint {
        location: path.to_str().unwrap().parse().unwrap(),
        connection: Connection::default(),
    }
}

/// A transfer of everything, in parts of a MiB.
pub(crate) fn spec(from: &Path, to: &Path) -> TransferSpec {
    TransferSpec {
        mode: Mode::Copy,
        source: side(from),
        destinations: vec![side(to)],
        keys: KeyMap::Prefix {
            source: String::new(),
            destination: String::new(),
        },
        renames: Vec::new(),
        filters: skyhaul_model::filter::FilterSpec::default(),
        first: Vec::new(),
        compare: skyhaul_model::compare::Compare::default(),
        if_exists: skyhaul_model::compare::IfExists::default(),
        delete: None,
        attributes: skyhaul_model::attributes::AttributePolicy::default(),
        parts: PartPolicy {
            part_size: MIB,
            threshold: MIB,
            ..PartPolicy::default()
        },
        checksum: ChecksumPolicy::default(),
        encryption: None,
        stream: true,
        follow_symlinks: false,
        durability: Durability::default(),
        now: jiff::Timestamp::now(),
    }
}

impl Live {
    /// A transfer of an object of `large` MiB and 20 small ones that is listed, and nothing copied.
    pub(crate) async fn new(large: u64, bwlimit: Option<u64>) -> Self {
        let (folder, spec) = Self::objects(large);
        Self::over(folder, spec, Arc::new(Real), bwlimit).await
    }

    /// The same with its state and its segments elsewhere.
    pub(crate) async fn kept_in(places: Places, large: u64) -> Self {
        let (folder, spec) = Self::objects(large);
        let stop = CancellationToken::new().drop_guard();
        Self::listed(folder, spec, Arc::new(Real), None, (places, stop)).await
    }

    fn objects(large: u64) -> (TempDir, TransferSpec) {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        let bytes: Vec<u8> = (0..large * MIB).map(|n| (n % 251) as u8).collect();
        std::fs::write(from.join("large"), bytes).unwrap();
        for n in 0..20 {
            std::fs::write(from.join(format!("small-{n}")), vec![n; 1_000]).unwrap();
        }
        let spec = spec(&from, &to);
        (folder, spec)
    }

    /// A transfer between given stores that is listed, and nothing copied.
    pub(crate) async fn over(
        folder: TempDir,
        spec: TransferSpec,
        stores: Arc<dyn Stores>,
        bwlimit: Option<u64>,
    ) -> Self {
        let places = Places::local(folder.path()).await;
        Self::listed(folder, spec, stores, bwlimit, places).await
    }

    async fn listed(
        folder: TempDir,
        spec: TransferSpec,
        stores: Arc<dyn Stores>,
        bwlimit: Option<u64>,
        (places, stop): (Places, DropGuard),
    ) -> Self {
        let id = TransferId::generate();
        places.state.submit(&id, &spec).await.unwrap();
        let engine = engine((&places.state, &places.segments), &id, &spec, &*stores).await;
        let filters = Filters::compile(&spec.filters, spec.now).unwrap();
        let (feed, _news) = watch::channel(skyhaul_engine::copy::worker::Feed::default());
        pool::run(&engine, filters, feed).await.unwrap();
        let (state, segments) = places.found;
        let limits = LimitsConfig {
            transfers: 2,
            max_memory: 64 << 20,
            bwlimit,
            attempts: 3,
            term: 60,
            drain: 1,
        };
        let base = Config {
            segments: Some(segments),
            connections: 2,
            ..Config::new(id.clone(), state, limits)
        };
        Self {
            folder,
            stores,
            state: places.state,
            segments: places.segments,
            id,
            base,
            _stop: stop,
        }
    }

    /// A file that goes with the transfer.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The configuration of a gateway: a source sends to `dst-1`.
    pub(crate) fn config(&self, name: &str) -> Config {
        let mut config = self.base.clone();
        name.clone_into(&mut config.name);
        if name.starts_with("src") {
            config.peers = vec!["dst-1".to_owned()];
            config.routes = vec![Route::to_first(config.peers.clone())];
        } else {
            config.listen = Some("127.0.0.1:0".parse().unwrap());
        }
        config
    }

    /// Starts a gateway whose control API listens here.
    pub(crate) fn start(&self, name: &str, control: &str) -> Running {
        let token = Token::generate();
        let mut config = self.config(name);
        config.control = Some(ControlConfig {
            listen: control.parse().unwrap(),
            token: token.reveal().to_owned(),
            chunks: 100,
        });
        let orders = Orders::default();
        let ended = tokio::spawn(run::run(config, orders.clone()));
        Running {
            orders,
            token,
            ended,
        }
    }

    /// Starts a gateway in a network of its own, which has the state at hand: a source that connects to
    /// `peers`, or a destination that listens.
    pub(crate) fn start_in<N: Network>(
        &self,
        network: N,
        name: &str,
        (peers, connections): (&[&str], usize),
        listen: Option<SocketAddr>,
    ) -> Running {
        self.start_with(network, name, (peers, connections), listen, |_| ())
    }

    /// The same with another configuration.
    pub(crate) fn start_with<N: Network>(
        &self,
        network: N,
        name: &str,
        (peers, connections): (&[&str], usize),
        listen: Option<SocketAddr>,
        change: impl FnOnce(&mut Config),
    ) -> Running {
        let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
        let route = |to: &String| Route::to_first(vec![to.clone()]);
        let mut config = Config {
            name: name.to_owned(),
            listen,
            routes: peers.iter().map(route).collect(),
            peers,
            connections,
            limits: LimitsConfig {
                transfers: 2 * connections,
                ..self.base.limits
            },
            ..self.base.clone()
        };
        change(&mut config);
        let world = World {
            state: Arc::clone(&self.state),
            segments: Some(Arc::clone(&self.segments)),
            stores: Arc::clone(&self.stores),
            network,
        };
        let orders = Orders::default();
        let ended = tokio::spawn(run::run_in(world, config, orders.clone()));
        Running {
            orders,
            token: Token::generate(),
            ended,
        }
    }

    /// Where the control API of a gateway is, as the state tells.
    pub(crate) async fn control(&self, name: &str) -> ControlAddress {
        eventually("a gateway tells where its control API is", async || {
            let rows = self.state.gateways(&self.id).await.unwrap();
            let row = rows.into_iter().find(|row| row.name == name)?;
            row.control
        })
        .await
    }

    /// Completes what gateways have put off, as the command does.
    pub(crate) async fn complete(&self) {
        let row = self.state.transfer(&self.id).await.unwrap();
        let places = (&self.state, &self.segments);
        let engine = engine(places, &self.id, &row.spec, &*self.stores).await;
        complete::sweep(&engine).await.unwrap();
    }

    /// Waits until a source has copied all, nothing failed, and all has arrived.
    pub(crate) async fn ends_whole(&self, source: Running, patience: Duration) {
        let ended = tokio::time::timeout(patience, source.ended).await;
        ended.unwrap().unwrap().unwrap();
        self.ended_whole().await;
    }

    /// Completes what was put off, and asserts that nothing failed and all has arrived.
    pub(crate) async fn ended_whole(&self) {
        self.complete().await;
        let progress = self.state.progress(&self.id).await.unwrap();
        assert_eq!(progress.groups_done, progress.groups);
        assert_eq!(progress.done.failed, 0);
        self.assert_equal();
    }

    /// Asserts that all has arrived.
    pub(crate) fn assert_equal(&self) {
        for entry in std::fs::read_dir(self.folder.path().join("from")).unwrap() {
            let path = entry.unwrap().path();
            let copy = self
                .folder
                .path()
                .join("to")
                .join(path.file_name().unwrap());
            assert!(
                std::fs::read(&path).unwrap() == std::fs::read(copy).unwrap(),
                "{}",
                path.display()
            );
        }
    }
}

/// The engine of the command, which lists and completes.
async fn engine(
    (state, segments): (&Arc<dyn TransferState>, &Arc<dyn SegmentStore>),
    id: &TransferId,
    spec: &TransferSpec,
    stores: &dyn Stores,
) -> Arc<Engine> {
    let source = stores.source(spec, id).await.unwrap();
    let destination = stores.destination(spec, id, 0).await.unwrap();
    let (meter, _failures) = Meter::new();
    Arc::new(Engine::new(EngineParts {
        id: id.clone(),
        spec: spec.clone(),
        state: Arc::clone(state),
        segments: Arc::clone(segments),
        source,
        destination,
        limits: Limits {
            transfers: 2,
            checkers: 2,
            max_memory: 64 << 20,
            bwlimit: None,
            attempts: 3,
            slice_pages: None,
            slice_chunks: None,
            term: None,
            read_to_compare: false,
            keep_skipped: false,
        },
        meter: Arc::new(meter),
        cancel: CancellationToken::new(),
        service_copy: ServiceCopy::Off,
    }))
}

/// Asks again and again until something has come.
pub(crate) async fn eventually<T>(what: &str, mut asked: impl AsyncFnMut() -> Option<T>) -> T {
    let came = async {
        loop {
            if let Some(found) = asked().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let came = tokio::time::timeout(PATIENCE, came).await;
    came.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}
