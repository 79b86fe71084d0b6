//! One run: a transfer, a fleet, faults, and what must hold at the end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use skyhaul_engine::copy::complete;
use skyhaul_engine::engine::EngineParts;
use skyhaul_engine::listing::pack::Packer;
use skyhaul_engine::meter::Meter;
use skyhaul_engine::{Engine, Limits, ServiceCopy};
use skyhaul_gateway::config::{Config, LimitsConfig, StateConfig};
use skyhaul_gateway::orders::Orders;
use skyhaul_gateway::secret::{DataSecret, MembershipSecret};
use skyhaul_gateway::wire::header::Cipher;
use skyhaul_gateway::world::{Stores as _, World};
use skyhaul_gateway::{Compress, Route, run};
use skyhaul_model::group::RangeId;
use skyhaul_model::keymap::Rename;
use skyhaul_model::parts::{PartPolicy, part_size};
use skyhaul_model::segment::{MAX_GROUP_CHUNKS, ObjectTask};
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{ErrorKind, HolderId, Pin, TransferId};
use skyhaul_state::{
    ListCounts, NewGroup, Publication, SegmentStore as _, SqliteState, TransferState,
};
use skyhaul_stores::Store;
use skyhaul_stores::open::joined;
use skyhaul_stores::several::Several;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bucket::Bucket;
use crate::dice::Dice;
use crate::network::{Buckets, Simulated};
use crate::segments::Shelf;
use crate::state::FarState;
use crate::store::REFUSED;

/// Where every gateway listens.
const PORT: u16 = 7_000;

/// Simulated time in which a run must be complete, whatever happens in it.
const MOST: Duration = Duration::from_mins(15);

/// Within this time faults begin.
const FAULTS: u64 = 1_500;

/// A lease's term in seconds.
const TERM: u64 = 15;

/// What goes wrong, and when (in ms).
#[derive(Debug, Clone)]
enum Fault {
    /// A machine dies at once and is back later.
    Crash(String),
    /// Two machines cannot reach each other.
    Partition(String, String),
    /// What one machine sends does not reach the other.
    OneWay(String, String),
    /// A gateway cannot reach the state.
    NoState(String),
}

/// A fault with its beginning and its end.
#[derive(Debug)]
struct Planned {
    from: u64,
    until: u64,
    fault: Fault,
    begun: bool,
    over: bool,
}

/// A gateway of the fleet.
struct Member {
    config: Config,
    cut: watch::Sender<bool>,
}

/// See the module documentation.
pub(crate) struct Run {
    dice: Dice,
    id: TransferId,
    spec: TransferSpec,
    state: Arc<SqliteState>,
    segments: Arc<Shelf>,
    buckets: Buckets,
    objects: BTreeMap<String, Bytes>,
    members: BTreeMap<String, Member>,
    faults: Vec<Planned>,
    /// What no fault explains: errors that only a gateway that does wrong can have.
    strange: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

/// Where databases are not flushed to a disk, if there is such a place.
fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

impl Run {
    pub(crate) fn new(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let copies = if dice.one_in(4) {
            dice.between(2, 3)
        } else {
            1
        };
        let mut spec = TransferSpec {
            parts: PartPolicy {
                threshold: 40_000,
                part_size: 16_000,
                multipart: true,
            },
            ..skyhaul_state::suite::plain_spec()
        };
        if copies > 1 {
            spec.destinations = vec![spec.destinations[0].clone(); copies as usize];
            spec.renames = (0..copies).map(rename).collect();
        }
        let folder = folder();
        let state = SqliteState::open(folder.path().join("state.db")).unwrap();
        let buckets = Buckets {
            source: Bucket::default(),
            destinations: (0..copies).map(|_| Bucket::default()).collect(),
            staged: dice.one_in(3),
            dice: dice.another(),
        };
        let mut objects = BTreeMap::new();
        for number in 0..dice.between(15, 60) {
            let (len, refused) = if dice.one_in(6) {
                let refused = if dice.one_in(12) { REFUSED } else { "" };
                (dice.between(40_001, 200_000), refused)
            } else {
                (dice.below(3_000), "")
            };
            let key = format!("object-{number:03}{refused}");
            let bytes = dice.bytes(len as usize);
            buckets.source.fill(&key, bytes.clone());
            objects.insert(key, bytes);
        }
        let id = TransferId::generate();
        let members = members(&dice, &id, copies);
        let faults = faults(&dice, &members);
        Self {
            id,
            spec,
            state: Arc::new(state),
            segments: Arc::default(),
            buckets,
            objects,
            members,
            faults,
            strange: Arc::default(),
            dice,
            _folder: folder,
        }
    }

    /// Who takes part and what happens, for whoever reads of a failure.
    pub(crate) fn describe(&self) -> String {
        let names: Vec<_> = self.members.keys().collect();
        let (objects, staged) = (self.objects.len(), self.buckets.staged);
        let (copies, faults) = (self.buckets.destinations.len(), &self.faults);
        format!(
            "{names:?}, {objects} objects, {copies} destinations, staged: {staged}, \
             faults: {faults:?}"
        )
    }

    /// Publishes all objects in groups of uneven sizes.
    async fn publish(&self) -> skyhaul_model::Result<()> {
        self.state.submit(&self.id, &self.spec).await?;
        let holder = HolderId::generate();
        let range = RangeId(0);
        let row = self
            .state
            .lease_range(&self.id, range, &holder, None)
            .await?;
        let rules = self.buckets.destination_rules(&self.spec, &self.id).await?;
        // Small groups, or few that hold much: those are split.
        let (chunks, most) = if self.dice.one_in(3) {
            (MAX_GROUP_CHUNKS, 40)
        } else {
            (3, 6)
        };
        let mut packer = Packer::new(chunks);
        let mut groups = Vec::new();
        let mut counts = ListCounts::default();
        let mut left = 0;
        for (key, bytes) in &self.objects {
            let size = bytes.len() as u64;
            packer.push(ObjectTask {
                source_key: key.clone(),
                destination_key: key.clone(),
                size,
                pin: Pin {
                    etag: self.buckets.source.object(key).map(|object| object.etag),
                    ..Pin::default()
                },
                mtime: jiff::Timestamp::UNIX_EPOCH,
                storage_class: None,
                part_size: part_size(size, &self.spec.parts, &rules)?,
                attempt: 1,
                reason: None,
            });
            counts.copy_objects += 1;
            counts.copy_bytes += size;
            if left == 0 {
                left = self.dice.between(1, most);
                self.take(&mut packer, chunks, &mut groups).await?;
            }
            left -= 1;
        }
        self.take(&mut packer, chunks, &mut groups).await?;
        let publication = Publication {
            cursor: None,
            groups,
            first: Vec::new(),
            segments: Vec::new(),
            counts,
            done: true,
        };
        let lease = row.lease.unwrap();
        self.state
            .publish(&self.id, range, &lease, publication)
            .await?;
        Ok(())
    }

    async fn take(
        &self,
        packer: &mut Packer,
        most: usize,
        groups: &mut Vec<NewGroup>,
    ) -> skyhaul_model::Result<()> {
        for segment in packer.take(most).segments {
            let chunks = segment.chunks.iter();
            groups.push(NewGroup {
                chunks: segment.chunks.len() as u32,
                bytes: chunks.map(|chunk| segment.chunk_bytes(chunk)).sum(),
                segment: self.segments.write_manifest(&segment).await?,
            });
        }
        Ok(())
    }

    /// Runs the fleet to the end of the transfer and looks at what it left. How many chunks went on in
    /// other groups, because others had nothing to do.
    pub(crate) fn run(mut self, seed: u64) -> Result<u64, String> {
        futures::executor::block_on(self.publish()).map_err(|error| error.to_string())?;
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(seed)
            .tick_duration(Duration::from_millis(5))
            .simulation_duration(MOST)
            .tcp_capacity(4_096)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(self.dice.between(5, 120)));
        let mut sim = builder.build();
        for (name, member) in &self.members {
            let (config, cut) = (member.config.clone(), member.cut.subscribe());
            let state = FarState::new(Arc::clone(&self.state), self.dice.another(), cut);
            let (segments, buckets) = (Arc::clone(&self.segments), self.buckets.clone());
            let strange = Arc::clone(&self.strange);
            sim.host(name.as_str(), move || {
                let strange = Arc::clone(&strange);
                let world = World {
                    state: Arc::new(state.clone()),
                    segments: Some(Arc::clone(&segments) as Arc<_>),
                    stores: Arc::new(buckets.clone()),
                    network: Simulated(turmoil::lookup(config.name.as_str())),
                };
                let config = config.clone();
                async move {
                    // One that ends is started anew by whoever keeps the fleet.
                    loop {
                        let ended = run::run_in(world.clone(), config.clone(), Orders::default());
                        match ended.await {
                            Ok(()) => return Ok(()),
                            Err(error) => {
                                tracing::warn!(name = config.name, "{error}");
                                if matches!(error.kind, ErrorKind::Invalid | ErrorKind::Internal) {
                                    strange.lock().unwrap().push(error.to_string());
                                }
                            }
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            });
        }
        let command = self.command();
        sim.client("command", command);
        loop {
            let now = sim.elapsed().as_millis() as u64;
            for planned in &mut self.faults {
                planned.step(now, &mut sim, &self.members);
            }
            match sim.step() {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => return Err(format!("after {now} ms: {error}")),
            }
        }
        drop(sim);
        self.check()
    }

    /// What the command does besides: waits, then completes what is left.
    fn command(&self) -> impl Future<Output = turmoil::Result> + 'static {
        let (state, id, spec) = (Arc::clone(&self.state), self.id.clone(), self.spec.clone());
        let (buckets, segments) = (self.buckets.clone(), Arc::clone(&self.segments));
        let dice = self.dice.another();
        async move {
            loop {
                let progress = futures::executor::block_on(state.progress(&id))?;
                if progress.groups_done == progress.groups {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            // Gateways may still be about what they have recorded.
            tokio::time::sleep(Duration::from_secs(2 * TERM)).await;
            let (_never, uncut) = watch::channel(false);
            let (meter, _failed) = Meter::new();
            let engine = Engine::new(EngineParts {
                source: buckets.source(&spec, &id).await?,
                destination: buckets.all(&spec, &id).await?,
                state: Arc::new(FarState::new(state, dice, uncut)),
                segments,
                id,
                spec,
                limits: limits(),
                meter: Arc::new(meter),
                cancel: CancellationToken::new(),
                service_copy: ServiceCopy::Off,
            });
            complete::sweep(&engine).await?;
            Ok(())
        }
    }

    /// Every byte once, nothing else, nothing left.
    fn check(&self) -> Result<u64, String> {
        let ensure = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
        #[cfg(mutant)]
        if let Some(violation) = skyhaul_model::mutant::violations().pop() {
            return Err(violation);
        }
        let strange = self.strange.lock().unwrap();
        ensure(strange.is_empty(), format!("gateways failed: {strange:?}"))?;
        let mut arrived = self.objects.clone();
        arrived.retain(|key, _| !key.ends_with(REFUSED));
        let refused = (self.objects.len() - arrived.len()) as u64;
        for (number, bucket) in (0..).zip(&self.buckets.destinations) {
            let there = bucket.objects();
            for (key, bytes) in &arrived {
                let key = match self.spec.renames.get(number) {
                    Some(rename) => rename.key(key),
                    None => key.clone(),
                };
                match there.get(&key) {
                    None => return Err(format!("{key} is not there")),
                    Some(found) => ensure(found == bytes, format!("{key} has other bytes"))?,
                }
            }
            ensure(
                there.len() == arrived.len(),
                format!("{} objects", there.len()),
            )?;
            let open = bucket.open_uploads();
            ensure(open == 0, format!("{open} uploads are left"))?;
        }
        let progress = futures::executor::block_on(self.state.progress(&self.id));
        let progress = progress.map_err(|error| error.to_string())?;
        let (done, objects) = (progress.done, arrived.len() as u64);
        let bytes: u64 = arrived.values().map(|bytes| bytes.len() as u64).sum();
        let counted = (done.objects, done.bytes, done.failed, done.skipped);
        ensure(
            counted == (objects, bytes, refused, 0),
            format!("counted are {done:?}"),
        )?;
        Ok(done.moved_chunks)
    }
}

impl Buckets {
    /// All destinations as one.
    async fn all(
        &self,
        spec: &TransferSpec,
        id: &TransferId,
    ) -> skyhaul_model::Result<Arc<dyn Store>> {
        let mut stores = Vec::new();
        for number in 0..self.destinations.len() as u32 {
            stores.push(self.destination(spec, id, number).await?);
        }
        Ok(match stores.as_slice() {
            [only] => Arc::clone(only),
            _ => Arc::new(Several::new(joined(spec, stores)?)),
        })
    }

    async fn destination_rules(
        &self,
        spec: &TransferSpec,
        id: &TransferId,
    ) -> skyhaul_model::Result<skyhaul_model::capabilities::PartRules> {
        let store = self.destination(spec, id, 0).await?;
        Ok(store.capabilities().parts.clone())
    }
}

impl Planned {
    fn step(&mut self, now: u64, sim: &mut turmoil::Sim<'_>, members: &BTreeMap<String, Member>) {
        let name = |name: &String| name.as_str().to_owned();
        if !self.begun && now >= self.from {
            self.begun = true;
            match &self.fault {
                Fault::Crash(who) => sim.crash(name(who)),
                Fault::Partition(a, b) => sim.partition(name(a), name(b)),
                Fault::OneWay(a, b) => sim.partition_oneway(name(a), name(b)),
                Fault::NoState(who) => {
                    members[who].cut.send_replace(true);
                }
            }
        }
        if self.begun && !self.over && now >= self.until {
            self.over = true;
            match &self.fault {
                Fault::Crash(who) => sim.bounce(name(who)),
                Fault::Partition(a, b) => sim.repair(name(a), name(b)),
                Fault::OneWay(a, b) => sim.repair_oneway(name(a), name(b)),
                Fault::NoState(who) => {
                    members[who].cut.send_replace(false);
                }
            }
        }
    }
}

fn limits() -> Limits {
    Limits {
        transfers: 8,
        checkers: 8,
        max_memory: 256 << 10,
        bwlimit: None,
        attempts: 10,
        slice_pages: None,
        slice_chunks: None,
        term: Some(Duration::from_secs(TERM)),
        read_to_compare: false,
        keep_skipped: false,
    }
}

/// What a destination calls keys, where there are several.
fn rename(number: u64) -> Rename {
    Rename {
        from: String::new(),
        to: format!("to{number}/"),
    }
}

/// One or two sources, a relay or none, one to three destination gateways. Those may be at several
/// places, each with some of the destinations.
fn members(dice: &Dice, id: &TransferId, copies: u64) -> BTreeMap<String, Member> {
    let name = |kind: &str, count: u64| -> Vec<String> {
        (0..count).map(|number| format!("{kind}{number}")).collect()
    };
    let sources = name("source", dice.between(1, 2));
    let relays = name("relay", dice.below(2));
    let destinations = name("destination", dice.between(1, 3));
    let (membership, data) = (MembershipSecret::generate(), DataSecret::generate());
    let places = dice.between(1, copies.min(destinations.len() as u64));
    let ways = |from: &[String]| {
        let route = |(number, to): (u64, &String)| {
            let hops = [from, std::slice::from_ref(to)].concat();
            let of = (0..copies).filter(|copy| copy % places == number % places);
            Route {
                destinations: of.map(|copy| copy as u32).collect(),
                ..Route::to_first(hops)
            }
        };
        (0..).zip(&destinations).map(route).collect::<Vec<_>>()
    };
    let next = if relays.is_empty() {
        &destinations
    } else {
        &relays
    };
    let cipher = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305, Cipher::None];
    let cipher = cipher[dice.below(3) as usize];
    let state = StateConfig::Service {
        address: String::new(),
        token: String::new(),
    };
    let limits = LimitsConfig {
        transfers: 3,
        max_memory: 256 << 10,
        bwlimit: None,
        attempts: 10,
        term: TERM,
        drain: 20,
    };
    let config = |name: &String| Config {
        name: name.clone(),
        listen: Some(SocketAddr::from(([0, 0, 0, 0], PORT))),
        membership: membership.reveal().to_string(),
        data: Some(data.reveal().to_string()),
        connections: 2,
        cipher,
        compress: Compress::Lz4,
        ..Config::new(id.clone(), state.clone(), limits)
    };
    let mut configs = Vec::new();
    for source in &sources {
        configs.push(Config {
            listen: None,
            peers: next.clone(),
            routes: ways(&relays),
            ..config(source)
        });
    }
    for relay in &relays {
        configs.push(Config {
            data: None,
            peers: destinations.clone(),
            ..config(relay)
        });
    }
    configs.extend(destinations.iter().map(config));
    let member = |config: Config| {
        let cut = watch::Sender::new(false);
        (config.name.clone(), Member { config, cut })
    };
    configs.into_iter().map(member).collect()
}

/// Up to three, each of which ends.
fn faults(dice: &Dice, members: &BTreeMap<String, Member>) -> Vec<Planned> {
    let names: Vec<_> = members.keys().cloned().collect();
    let any = || names[dice.below(names.len() as u64) as usize].clone();
    let mut faults = Vec::new();
    for _ in 0..dice.below(4) {
        let (a, b) = (any(), any());
        let fault = match dice.below(5) {
            0 if a != b => Fault::Partition(a, b),
            1 if a != b => Fault::OneWay(a, b),
            2 => Fault::NoState(a),
            _ => Fault::Crash(a),
        };
        let from = dice.below(FAULTS);
        let until = from + dice.between(100, 30_000);
        let (begun, over) = (false, false);
        faults.push(Planned {
            from,
            until,
            fault,
            begun,
            over,
        });
    }
    // A machine that is down stays so until it is back: one crash each.
    let mut crashed = std::collections::BTreeSet::new();
    faults.retain(|planned| match &planned.fault {
        Fault::Crash(who) => crashed.insert(who.clone()),
        _ => true,
    });
    faults
}
