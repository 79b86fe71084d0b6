//! Gateways as processes of this machine: started, watched, started anew when one dies, stopped.
//! They share the transfer's state through a service of this process.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use skyhaul_engine::copy::leases;
use skyhaul_engine::{Engine, Limits};
use skyhaul_gateway::Compress;
use skyhaul_gateway::config::{Config, DRAIN, LimitsConfig, StateConfig};
use skyhaul_gateway::control::{CHUNKS, ControlConfig};
use skyhaul_gateway::wire::header::Cipher;
use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_model::spec::{Connection, Endpoint};
use skyhaul_model::{Error, ErrorKind, Location, Result};
use skyhaul_state::GatewayRow;
use skyhaul_state::control::MemberRole;
use skyhaul_state::service::{Scope, Service, Token};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::formation::{Standing, configure};
use crate::records::{self, Records};
use crate::tokens;

/// How often the state is asked how far the gateways are.
const LOOK: Duration = Duration::from_millis(250);

/// How long gateways may take to stop before they are killed.
const STOP: Duration = Duration::from_secs(25);

/// How often a gateway that fails by itself is started anew before the transfer fails.
const FAILURES: u32 = 5;

/// Between two starts of a gateway that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is looked whether a gateway lives.
const BEAT: Duration = Duration::from_secs(2);

/// A gateway that has told nothing new of itself in so many looks hangs, and is killed. Looks, not
/// time: this process may have been stopped itself.
const STALE: u32 = 15;

/// Seconds of a lease. Local processes that die are noticed at once; this is for those that hang.
const TERM: u64 = 15;

/// The gateways of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// The program of a gateway.
    pub program: PathBuf,
    /// Source gateways, and as many destination gateways at each place.
    pub pairs: usize,
    /// Whether a relay stands between them.
    pub relay: bool,
    /// What is sealed with.
    pub cipher: Cipher,
    /// What is done to make fewer bytes.
    pub compress: Compress,
    /// Whether their connections are encrypted by TLS, too.
    pub socket_tls: bool,
    /// Connections of a gateway to all its neighbours together.
    pub connections: usize,
}

/// What gateways sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sent {
    /// Bytes of objects.
    pub logical: u64,
    /// Bytes that were sent for them over the network.
    pub wire: u64,
}

impl Sent {
    /// Per cent of the objects' bytes that did not have to be sent; negative if more had to.
    #[must_use]
    pub fn saved(&self) -> f64 {
        if self.logical == 0 {
            return 0.0;
        }
        100.0 - 100.0 * self.wire as f64 / self.logical as f64
    }

    fn of(rows: &[GatewayRow]) -> Self {
        let sources = rows.iter().filter(|row| row.holder.is_some());
        sources.fold(Self::default(), |sum, row| Self {
            logical: sum.logical + row.logical_bytes,
            wire: sum.wire + row.wire_bytes,
        })
    }
}

const RELAY: &str = "relay-1";

impl Fleet {
    /// The gateways. Each place, by the destinations that are there, has destination gateways of its own.
    fn gateways(&self, places: &[Vec<u32>]) -> Vec<Standing> {
        let standing = |name: String, role, destinations: &[u32]| Standing {
            name,
            role,
            destinations: destinations.to_vec(),
        };
        let mut all = Vec::new();
        for (place, of) in (1..).zip(places) {
            for n in 1..=self.pairs {
                let name = if places.len() == 1 {
                    format!("dst-{n}")
                } else {
                    format!("dst-{place}-{n}")
                };
                all.push(standing(name, MemberRole::Destination, of));
            }
        }
        if self.relay {
            all.push(standing(RELAY.to_owned(), MemberRole::Relay, &[]));
        }
        for n in 1..=self.pairs {
            all.push(standing(format!("src-{n}"), MemberRole::Source, &[]));
        }
        all
    }
}

/// The destinations of a transfer by where they are: those of one service and region are at one place.
fn places(destinations: &[Endpoint]) -> Vec<Vec<u32>> {
    let mut places: Vec<(_, Vec<u32>)> = Vec::new();
    for (index, destination) in (0..).zip(destinations) {
        let connection = &destination.connection;
        let at = (
            destination.location.scheme,
            &connection.endpoint_url,
            &connection.region,
        );
        match places.iter_mut().find(|(place, _)| *place == at) {
            Some((_, of)) => of.push(index),
            None => places.push((at, vec![index])),
        }
    }
    places.into_iter().map(|(_, of)| of).collect()
}

/// Copies the transfer's groups with gateways, while `listing` finds them. Ends when both are done.
pub(crate) async fn copy(
    fleet: &Fleet,
    engine: &Arc<Engine>,
    folder: &Path,
    listing: impl Future<Output = Result<()>>,
) -> Result<Sent> {
    let (token, presence) = (Token::generate(), Token::generate());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
    let listener = listener.map_err(|error| {
        Error::control(ErrorKind::Unreachable, "cannot listen for gateways").cause(error)
    })?;
    let address = listener.local_addr().map_err(|error| {
        Error::control(ErrorKind::Internal, "a listener has no address").cause(error)
    })?;
    let ended = CancellationToken::new();
    let _ended = ended.clone().drop_guard();
    let tokens = vec![
        (token.clone(), Scope::All),
        (presence.clone(), Scope::Presence(RELAY.to_owned())),
    ];
    let service = Service::scoped(Arc::clone(&engine.state), tokens);
    let service = tokio::spawn(service.serve(listener, ended.child_token()));
    let state = |token: &Token| StateConfig::Service {
        address: address.to_string(),
        token: token.reveal().to_owned(),
    };
    let segments = Endpoint {
        location: Location::local(&folder.join("segments"))?,
        connection: Connection::default(),
    };
    let limits = limits(&engine.limits, fleet.pairs);
    let base = Config {
        segments: Some(segments),
        cipher: fleet.cipher,
        compress: fleet.compress,
        socket_tls: fleet.socket_tls,
        ..Config::new(engine.id.clone(), state(&token), limits)
    };
    let logs = folder.join("gateways");
    std::fs::create_dir_all(&logs).map_err(|error| {
        Error::control(ErrorKind::Unreachable, "cannot create the gateways' folder")
            .object(logs.display().to_string())
            .cause(error)
    })?;
    let stop = CancellationToken::new();
    let mut tokens = tokens::Folder::new(logs.clone());
    let mut watching = JoinSet::new();
    let places = places(&engine.spec.destinations);
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    for mut config in configure(&base, &fleet.gateways(&places), fleet.connections, any) {
        if config.data.is_none() {
            config.state = state(&presence);
        }
        config.control = Some(ControlConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            token: tokens.make(&config.name)?.reveal().to_owned(),
            chunks: CHUNKS,
        });
        let member = Member {
            program: fleet.program.clone(),
            log: logs.join(format!("{}.log", config.name)),
            config,
            engine: Arc::clone(engine),
        };
        watching.spawn(member.watch(stop.clone()));
    }
    let failed = async {
        while let Some(ended) = watching.join_next().await {
            let ended = ended.unwrap_or_else(|error| {
                Err(Error::control(ErrorKind::Internal, "a watcher ended").cause(error))
            });
            if let Err(error) = ended {
                return error;
            }
        }
        Error::control(ErrorKind::Internal, "all gateways ended")
    };
    let copied = tokio::select! {
        done = async { futures::try_join!(listing, copied(engine)) } => done.map(drop),
        error = failed => Err(error),
        () = engine.cancel.cancelled() => Err(Engine::interrupted()),
    };
    stop.cancel();
    while watching.join_next().await.is_some() {}
    drop(tokens);
    let rows = engine.state.gateways(&engine.id).await?;
    ended.cancel();
    let _ = service.await;
    copied?;
    tell_failures(engine).await?;
    Ok(Sent::of(&rows))
}

/// Tells of the objects that failed: the gateways only recorded them.
async fn tell_failures(engine: &Engine) -> Result<()> {
    if engine.state.progress(&engine.id).await?.done.failed == 0 {
        return Ok(());
    }
    let mut tell = |outcome: Outcome| {
        if outcome.action == Action::Failed {
            engine.meter.failed(outcome);
        }
        Ok(())
    };
    records::copied(Records::of(engine), &mut tell).await
}

/// A gateway's part of what a run may use.
fn limits(limits: &Limits, pairs: usize) -> LimitsConfig {
    let share = |all: u64| (all / pairs.max(1) as u64).max(1);
    LimitsConfig {
        transfers: limits.transfers,
        max_memory: share(limits.max_memory),
        bwlimit: limits.bwlimit.map(share),
        attempts: limits.attempts,
        term: TERM,
        drain: DRAIN,
    }
}

/// Waits until every group is done, and shows how far they are.
async fn copied(engine: &Engine) -> Result<()> {
    let before = crate::drive::bytes_so_far(&*engine.state, &engine.id).await?;
    let mut shown = 0;
    loop {
        let progress = engine.state.progress(&engine.id).await?;
        let bytes = crate::drive::bytes_so_far(&*engine.state, &engine.id).await?;
        let new = bytes.saturating_sub(before).saturating_sub(shown);
        engine.meter.add_bytes(new);
        shown += new;
        if progress.is_copied() {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn is_copied(engine: &Engine) -> Result<bool> {
    Ok(engine.state.progress(&engine.id).await?.is_copied())
}

/// One gateway, through all its processes.
struct Member {
    program: PathBuf,
    config: Config,
    log: PathBuf,
    engine: Arc<Engine>,
}

impl Member {
    /// Keeps the gateway running until `stop`, or until it has nothing more to do.
    async fn watch(self, stop: CancellationToken) -> Result<()> {
        let mut failures = 0;
        loop {
            let (mut child, input) = self.start().await?;
            let exited = tokio::select! {
                exited = child.wait() => exited,
                stale = self.hangs() => {
                    stale?;
                    tracing::warn!(gateway = self.config.name, "killed: it hangs");
                    child.kill().await.map_err(|error| self.failed("cannot be killed").cause(error))?;
                    child.wait().await
                }
                () = stop.cancelled() => {
                    drop(input);
                    if tokio::time::timeout(STOP, child.wait()).await.is_err() {
                        tracing::warn!(gateway = self.config.name, "killed: it does not stop");
                    }
                    // Dropping the child kills it.
                    return Ok(());
                }
            };
            let exited = exited.map_err(|error| self.failed("cannot be watched").cause(error))?;
            let name = &self.config.name;
            if exited.success() && is_copied(&self.engine).await? {
                return Ok(());
            }
            self.reclaim().await?;
            // Zero: somebody else asked it to stop.
            if exited.code().is_some_and(|code| code != 0) {
                // It ended by itself: with a reason, and mostly with the same the next time.
                failures += 1;
                if failures == FAILURES {
                    let why = last_line(&self.log);
                    return Err(self.failed(&format!("ended {failures} times: {why}")));
                }
            }
            tracing::warn!(gateway = name, "ended ({exited}) and is started anew");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends when the gateway has told nothing new of itself for too long.
    async fn hangs(&self) -> Result<()> {
        let (mut last, mut looks) = (None, 0);
        loop {
            tokio::time::sleep(BEAT).await;
            let row = self.row().await?;
            let told = row.map(|row| (row.gateway, row.beat));
            if told != last {
                (last, looks) = (told, 0);
            } else if looks == STALE {
                return Ok(());
            }
            looks += 1;
        }
    }

    /// What it told of itself last.
    async fn row(&self) -> Result<Option<GatewayRow>> {
        let rows = self.engine.state.gateways(&self.engine.id).await?;
        Ok(rows.into_iter().find(|row| row.name == self.config.name))
    }

    fn failed(&self, what: &str) -> Error {
        let message = format!("gateway {} {what}", self.config.name);
        Error::control(ErrorKind::Internal, message)
            .hint(format!("its log is {}", self.log.display()))
    }

    async fn start(&self) -> Result<(Child, ChildStdin)> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log);
        let log = log.map_err(|error| self.failed("has no log").cause(error))?;
        let mut child = Command::new(&self.program)
            .args(["--config", "-", "--name", &self.config.name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                self.failed("cannot be started")
                    .cause(error)
                    .hint(format!("the program is {}", self.program.display()))
            })?;
        let mut input = child
            .stdin
            .take()
            .ok_or_else(|| self.failed("has no input"))?;
        let mut json = serde_json::to_vec(&self.config)
            .map_err(|error| self.failed("cannot be configured").cause(error))?;
        json.push(b'\n');
        // One that is gone already is seen by its end.
        let _ = input.write_all(&json).await;
        Ok((child, input))
    }

    /// Frees what the process held that ended: its end is the proof that it works no more.
    async fn reclaim(&self) -> Result<()> {
        if let Some(holder) = self.row().await?.and_then(|row| row.holder) {
            let freed = leases::reclaim_of(&self.engine, &holder).await?;
            tracing::info!(gateway = self.config.name, freed, "its groups are free");
        }
        Ok(())
    }
}

/// What a log ends with.
fn last_line(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().last().unwrap_or("it left no log").to_owned()
}
