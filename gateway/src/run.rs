//! A gateway's process: from its configuration to its end.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use skyhaul_engine::copy::leases::{self, Observer};
use skyhaul_engine::copy::worker::{self, Feed};
use skyhaul_engine::engine::EngineParts;
use skyhaul_engine::meter::Meter;
use skyhaul_engine::trace::Trace;
use skyhaul_engine::{Engine, Limits, ServiceCopy, StepEnd};
use skyhaul_model::{Error, Result};
use skyhaul_state::{GatewayRole, Phase, TransferRow};
use skyhaul_stores::several::Several;
use skyhaul_stores::{Store, open};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ask::Sealing;
use crate::broadcast::Broadcast;
use crate::config::Config;
use crate::control::{self, Subject};
use crate::directory::{Directory, Own};
use crate::hosting::Hosting;
use crate::node::{Identity, Node};
use crate::notice;
use crate::orders::Orders;
use crate::pace::{Pace, SELDOM};
use crate::peers;
use crate::places;
use crate::remote::RemoteStore;
use crate::routes::{Route, Routes};
use crate::serve::Destinations;
use crate::socket::Socket;
use crate::world::{Network, Real, Tcp, World};

/// How often the transfer is looked at, while something happens: what is listed, whether it goes on.
const LOOK: Duration = Duration::from_millis(250);

/// How long requests that are worked on may take when the gateway is to stop: who asked still waits.
const STOP: Duration = Duration::from_secs(20);

/// How long giving groups back may take. The state may be gone, too: they are taken over then.
const RELEASE: Duration = Duration::from_secs(5);

/// Has the process take as many descriptors as the system allows: a connection is one, and so is a file.
pub fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
}

/// Runs a gateway until its transfer has no more to copy (if it claims groups), or until it is told to
/// end.
pub async fn run(config: Config, orders: Orders) -> Result<()> {
    let segments = match &config.segments {
        Some(at) => Some(places::segments(at).await?),
        None => None,
    };
    let world = World {
        state: places::state(&config.state).await?,
        segments,
        stores: Arc::new(Real),
        network: Tcp,
    };
    run_in(world, config, orders).await
}

/// Runs a gateway in a world of its own; what its configuration says of state and segments does not
/// count.
pub async fn run_in<N: Network>(world: World<N>, config: Config, orders: Orders) -> Result<()> {
    let state = Arc::clone(&world.state);
    let data = config.data()?;
    let claims = !config.routes.is_empty();
    let role = role(claims, data.is_some());
    let destinations = (data.is_some() && !claims).then(|| {
        let hosting = Hosting::new(
            Arc::clone(&state),
            Arc::clone(&world.stores),
            config.limits.max_memory,
            config.limits.transfers,
        );
        Arc::new(hosting) as Arc<dyn Destinations>
    });
    let identity = Identity {
        dataplane: config.transfer.as_str().to_owned(),
        membership: config.membership()?,
        data,
    };
    let node = Node::new(identity, destinations);
    let directory = Directory::new();
    let ended = CancellationToken::new();
    let _ended = ended.clone().drop_guard();
    let mut tasks = JoinSet::new();
    let address = join(
        &world.network,
        &config,
        &node,
        &directory,
        &ended,
        &mut tasks,
    )
    .await?;
    watch_notices(&config, &orders, &ended, &mut tasks)?;
    let trace = Trace::new(config.control.as_ref().map_or(0, |control| control.chunks));
    let control = match &config.control {
        Some(control) => {
            let subject = Subject::new(
                (config.name.clone(), config.transfer.clone()),
                role,
                (Arc::clone(&node), Arc::clone(&directory)),
                Arc::clone(&trace),
                orders.clone(),
            );
            Some(control::start(control, subject, ended.clone()).await?)
        }
        None => None,
    };
    let engine = async {
        if !claims {
            return Ok(None);
        }
        engine(&world, &config, &node, &directory, &trace)
            .await
            .map(Some)
    };
    let own = Own {
        name: config.name.clone(),
        address,
        engine: None,
        role,
        control,
    };
    // The destination is asked what it is over connections that the directory makes.
    let engine = tokio::select! {
        engine = engine => engine?,
        lost = directory.keep(&*state, &config.transfer, &node, &own) => return lost,
        () = orders.stop.cancelled() => return Ok(()),
        // It holds nothing yet.
        () = orders.drain.cancelled(), if claims => return Ok(()),
    };
    let own = Own {
        engine: engine.clone(),
        ..own
    };
    let work = async {
        match &engine {
            Some(engine) => copy(engine).await,
            None => std::future::pending().await,
        }
    };
    let deadline = Duration::from_secs(config.limits.drain);
    let done = tokio::select! {
        done = work => done,
        lost = directory.keep(&*state, &config.transfer, &node, &own) => lost,
        () = orders.stop.cancelled() => Ok(()),
        // What claims groups drains by ending its work.
        () = drain(&orders, &node, engine.as_deref()) => Ok(()),
        () = orders.overdue(deadline) => {
            tracing::warn!("the time to drain is over: what is under way is given back");
            Ok(())
        }
    };
    leave(&node, engine.as_deref()).await;
    // What it has sent in the end.
    let told = directory.tell(&*state, &config.transfer, &node, &own);
    let _ = tokio::time::timeout(RELEASE, told).await;
    ended.cancel();
    node.close();
    done
}

/// Listens for other gateways and connects to those that are named, in `tasks`. Where it listens.
async fn join<N: Network>(
    network: &N,
    config: &Config,
    node: &Arc<Node>,
    directory: &Arc<Directory>,
    ended: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<Option<String>> {
    let mut address = None;
    let socket = Socket::new(config.socket_tls)?;
    if let Some(at) = config.listen {
        let (listener, at) = peers::listen(network, at).await?;
        tracing::info!(%at, gateway = %node.id, "listening");
        address = Some(config.announce.unwrap_or(at).to_string());
        let (node, network) = (Arc::clone(node), network.clone());
        let accepting = peers::accept(node, network, listener, socket.clone(), ended.clone());
        tasks.spawn(accepting);
    }
    for name in &config.peers {
        for _ in 0..config.connections.max(1) {
            let (node, directory) = (Arc::clone(node), Arc::clone(directory));
            let (network, name, socket) = (network.clone(), name.clone(), socket.clone());
            let keeping = peers::keep(node, network, directory, name, socket, ended.clone());
            tasks.spawn(keeping);
        }
    }
    Ok(address)
}

fn role(claims: bool, knows_data: bool) -> GatewayRole {
    match (claims, knows_data) {
        (true, _) => GatewayRole::Source,
        (false, true) => GatewayRole::Destination,
        (false, false) => GatewayRole::Relay,
    }
}

/// Looks, in `tasks`, for the notice that this machine is to go, where there may be one.
fn watch_notices(
    config: &Config,
    orders: &Orders,
    ended: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<()> {
    if let Some(service) = &config.notices {
        let watching = notice::watch(notice::client(service)?, orders.clone());
        let ended = ended.clone();
        tasks.spawn(async move {
            ended.run_until_cancelled(watching).await;
        });
    }
    Ok(())
}

/// Takes nothing new any more, gives groups back, and finishes requests unless a drain has had its time.
async fn leave(node: &Node, engine: Option<&Engine>) {
    let was_draining = node.is_draining();
    node.drain();
    if let Some(engine) = engine {
        engine.cancel.cancel();
        // Others may begin what is given back: what was asked for here must not come after it.
        node.close();
        let released =
            tokio::time::timeout(RELEASE, leases::reclaim_of(engine, &engine.holder)).await;
        match released {
            Ok(Ok(freed)) => tracing::info!(freed, "groups are given back"),
            Ok(Err(error)) => tracing::warn!("groups could not be given back: {error}"),
            Err(_) => tracing::warn!("groups could not be given back in time"),
        }
    } else if !was_draining {
        let _ = tokio::time::timeout(STOP, node.drained()).await;
    }
}

/// Waits for the order to drain, has nothing new begin, and waits until what passes through here or is
/// written here has ended. A gateway that claims groups ends by itself then.
async fn drain(orders: &Orders, node: &Node, engine: Option<&Engine>) {
    orders.drain.cancelled().await;
    tracing::info!("drains: it begins nothing new and finishes what it has begun");
    node.drain();
    if let Some(engine) = engine {
        engine.drain.cancel();
        return std::future::pending().await;
    }
    node.drained().await;
    node.passed_all().await;
    tracing::info!("drained");
}

/// The engine of a gateway that claims groups: reads here, writes over the network.
async fn engine<N>(
    world: &World<N>,
    config: &Config,
    node: &Arc<Node>,
    directory: &Directory,
    trace: &Arc<Trace>,
) -> Result<Arc<Engine>> {
    let row = world.state.transfer(&config.transfer).await?;
    let segments = world.segments.clone();
    let segments =
        segments.ok_or_else(|| Error::invalid("it is not said where the segments are"))?;
    let source = world.stores.source(&row.spec, &row.id).await?;
    let destination = destination(config, &row, node, directory).await?;
    let (meter, mut failed) = Meter::new();
    // They are in the log and in the report.
    tokio::spawn(async move { while failed.recv().await.is_some() {} });
    let mut engine = Engine::new(EngineParts {
        id: row.id,
        spec: row.spec,
        state: Arc::clone(&world.state),
        segments,
        source,
        destination,
        limits: Limits {
            transfers: config.limits.transfers,
            checkers: config.limits.transfers,
            max_memory: config.limits.max_memory,
            bwlimit: config.limits.bwlimit,
            attempts: config.limits.attempts,
            slice_pages: None,
            slice_chunks: None,
            term: Some(Duration::from_secs(config.limits.term.max(1))),
            read_to_compare: false,
            keep_skipped: false,
        },
        meter: Arc::new(meter),
        cancel: CancellationToken::new(),
        service_copy: ServiceCopy::Off,
    });
    engine.trace = Arc::clone(trace);
    Ok(Arc::new(engine))
}

/// The destinations of a transfer, over the network.
async fn destination(
    config: &Config,
    row: &TransferRow,
    node: &Arc<Node>,
    directory: &Directory,
) -> Result<Arc<dyn Store>> {
    let sealing = Sealing {
        cipher: config.cipher,
        compress: config.compress,
    };
    let mut places: Vec<(Vec<u32>, Arc<Routes>)> = Vec::new();
    let mut stores = Vec::new();
    for index in 0..row.spec.destinations.len() as u32 {
        let mut ways = config.routes.clone();
        ways.retain(|route| route.destinations.contains(&index));
        let first = ways.first();
        let first = first.ok_or_else(|| Error::invalid("a destination has no route"))?;
        let all = first.destinations.clone();
        if ways.iter().any(|route| route.destinations != all) {
            let message = "routes share some of their destinations, and not all";
            return Err(Error::invalid(message));
        }
        let known = places.iter().find(|(destinations, _)| *destinations == all);
        let routes = if let Some((_, routes)) = known {
            Arc::clone(routes)
        } else {
            let routes = Routes::new(Arc::clone(node), ways, directory.names());
            let routes = Arc::new(routes);
            places.push((all, Arc::clone(&routes)));
            routes
        };
        let store = RemoteStore::open(routes, row.id.clone(), index, sealing).await?;
        stores.push(Arc::new(store));
    }
    let ends = |route: &Route| route.hops.last().cloned();
    for route in &config.routes {
        let of_others = |other: &&Route| other.destinations != route.destinations;
        let mut others = config.routes.iter().filter(of_others);
        if others.any(|other| ends(other) == ends(route)) {
            let message = "two routes end at one gateway and name different destinations";
            return Err(Error::invalid(message));
        }
    }
    if let [only] = stores.as_slice() {
        return Ok(Arc::clone(only) as Arc<dyn Store>);
    }
    let each = stores
        .iter()
        .map(|store| Arc::clone(store) as Arc<dyn Store>);
    let members = open::joined(&row.spec, each.collect())?;
    let broadcast = Broadcast::new(row.id.clone(), sealing, stores);
    Ok(Arc::new(Several::over(members, Arc::new(broadcast))))
}

/// Copies until the transfer has nothing left to copy.
async fn copy(engine: &Arc<Engine>) -> Result<()> {
    let (feed, news) = watch::channel(Feed::default());
    let watching = async {
        let term = engine.limits.term.unwrap_or(Duration::from_mins(1));
        let mut observer = Observer::default();
        // Who looks at leases reads all of them: not more often than counts.
        let often = if engine.state.is_metered() { 2 } else { 8 };
        let (each, mut next) = (term / often, Instant::now());
        let mut pace = Pace::of(&*engine.state, LOOK);
        loop {
            let row = engine.state.transfer(&engine.id).await?;
            let progress = engine.state.progress(&engine.id).await?;
            if row.phase != Phase::Copy || progress.is_copied() {
                return Ok(());
            }
            let mut taken = 0;
            if next <= Instant::now() {
                taken = observer.look(engine, term).await?;
                next = Instant::now() + each;
            }
            let changed = feed.send_if_modified(|feed| {
                let now = Feed {
                    published: progress.groups,
                    ended: progress.listing_done,
                };
                let changed = *feed != now || taken > 0;
                *feed = now;
                changed
            });
            if changed {
                pace.quicken();
            }
            tokio::time::sleep(pace.next()).await;
        }
    };
    let working = async {
        let mut pace = Pace::of(&*engine.state, LOOK);
        loop {
            let begun = Instant::now();
            let ended = worker::run(engine, news.clone()).await?;
            // Longer than it takes to find nothing: it had something to do, and may soon again.
            if begun.elapsed() > SELDOM {
                pace.quicken();
            }
            if engine.drain.is_cancelled() {
                tracing::info!("drained");
                return Ok(());
            }
            if ended == StepEnd::Done {
                // The rest is others'; what they give back is found.
                tokio::time::sleep(pace.next()).await;
            }
        }
    };
    tokio::select! {
        ended = watching => ended,
        ended = working => ended,
    }
}
