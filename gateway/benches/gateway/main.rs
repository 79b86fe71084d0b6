//! Measures a source and a destination gateway in one process: how fast bytes go through both beside what
//! their stages take one by one, and what they make of a long way. `make bench-gateway` runs it and writes
//! `bench/GATEWAY.md`. What needs network namespaces is left out for who is not root.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../tests/far/mod.rs"]
mod far;
#[path = "../../tests/live/mod.rs"]
mod live;
mod places;
mod stages;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use far::Wan;
use live::Live;
use places::{Content, Places};
use rustix::time::{ClockId, clock_gettime};
use skyhaul_gateway::Compress;
use skyhaul_gateway::wire::header::Cipher;
use skyhaul_gateway::world::{Network, Tcp};
use skyhaul_model::Algorithm;
use skyhaul_model::parts::PartPolicy;
use skyhaul_model::spec::ChecksumPolicy;

/// That of the gateway's own binary.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MIB: u64 = 1 << 20;
const GB: f64 = 1e9;

/// Rounds of what is repeated; the median counts.
const ROUNDS: usize = 3;

/// What is done to bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suite {
    name: &'static str,
    pub(crate) compress: Compress,
    pub(crate) cipher: Cipher,
    pub(crate) algorithm: Option<Algorithm>,
}

fn suites() -> [Suite; 4] {
    let suite = |name, compress, cipher, algorithm| Suite {
        name,
        compress,
        cipher,
        algorithm,
    };
    let crc = Some(Algorithm::Crc64Nvme);
    let chacha = Cipher::ChaCha20Poly1305;
    [
        suite("none", Compress::None, Cipher::None, None),
        suite(
            "lz4+chacha20+md5",
            Compress::Lz4,
            chacha,
            Some(Algorithm::Md5),
        ),
        suite("default (lz4)", Compress::Lz4, Cipher::suited(), crc),
        suite("auto", Compress::Auto, Cipher::suited(), crc),
    ]
}

/// What is copied, and how.
#[derive(Debug, Clone, Copy)]
struct Job {
    suite: Suite,
    content: Content,
    objects: u64,
    size: u64,
    part_size: u64,
    connections: usize,
    transfers: usize,
}

/// What a copy took.
#[derive(Debug, Clone, Copy)]
struct Took {
    wall: f64,
    cpu: f64,
}

fn cpu_now() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Copies once; what is listed before and completed after does not count.
async fn copy<N: Network>(job: &Job, near: N, far: (N, std::net::SocketAddr)) -> Took {
    // State and segments where the objects are, in memory: a disk is not what is measured.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    let mut spec = live::spec(folder.path(), folder.path());
    spec.parts = PartPolicy {
        part_size: job.part_size,
        threshold: job.part_size,
        ..PartPolicy::default()
    };
    spec.checksum = job
        .suite
        .algorithm
        .map_or(ChecksumPolicy::Off, ChecksumPolicy::Always);
    let places = Places::new(job.content, job.objects, job.size);
    let live = Live::over(folder, spec, Arc::new(places), None).await;
    let change = |config: &mut skyhaul_gateway::config::Config| {
        config.compress = job.suite.compress;
        config.cipher = job.suite.cipher;
        config.limits.transfers = job.transfers;
        config.limits.max_memory = 512 * MIB;
    };
    let (far, at) = far;
    let destination = live.start_with(far, "dst-1", (&[], 0), Some(at), change);
    live::eventually("the destination is there", async || {
        let rows = live.state.gateways(&live.id).await.unwrap();
        (!rows.is_empty()).then_some(())
    })
    .await;
    let (began, cpu) = (Instant::now(), cpu_now());
    let source = (&["dst-1"][..], job.connections);
    let source = live.start_with(near, "src-1", source, None, change);
    source.ended.await.unwrap().unwrap();
    let took = Took {
        wall: began.elapsed().as_secs_f64(),
        cpu: cpu_now() - cpu,
    };
    destination.orders.stop.cancel();
    destination.ended.await.unwrap().unwrap();
    live.complete().await;
    let progress = live.state.progress(&live.id).await.unwrap();
    assert_eq!(
        (progress.done.objects, progress.done.failed),
        (job.objects, 0)
    );
    took
}

async fn over_loopback(job: &Job) -> Took {
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    copy(job, Tcp, (Tcp, at)).await
}

async fn over(wan: &Wan, job: &Job) -> Took {
    copy(job, wan.near(), (wan.far(), wan.far().any())).await
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Of the suites, those that `chosen` names, or all.
async fn throughput(chosen: &[String]) {
    let is_named = |suite: &Suite| chosen.iter().any(|one| one == suite.name);
    let some = suites().iter().any(is_named);
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    println!("## Through a source and a destination gateway\n");
    println!(
        "8 GiB in 128 objects (2 GiB with MD5), generated and discarded, state and segments in memory, over loopback, {cores} cores; medians of {ROUNDS} \
         rounds. *Stages*: the processor time of each stage, measured alone after each round, in seconds a GB; \
         *allowed*: what all cores could do if there was nothing else.\n"
    );
    println!("| data | suite | GB/s | CPU s/GB | stages | sum | allowed GB/s | reached |");
    println!("|---|---|--:|--:|---|--:|--:|--:|");
    for content in [Content::Random, Content::Text] {
        for suite in suites() {
            if some && !is_named(&suite) {
                continue;
            }
            let job = Job {
                suite,
                content,
                // Some seconds of each, so that its beginning and its end do not count.
                objects: if suite.algorithm == Some(Algorithm::Md5) {
                    32
                } else {
                    128
                },
                size: 64 * MIB,
                part_size: 16 * MIB,
                connections: 8,
                transfers: 8,
            };
            let bytes = (job.objects * job.size) as f64;
            let (mut took, mut alone) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                took.push(over_loopback(&job).await);
                alone.push(stages::measure(&suite, content));
            }
            let wall = median(took.iter().map(|one| one.wall).collect());
            let cpu = median(took.iter().map(|one| one.cpu).collect());
            let stages: Vec<_> = (0..alone[0].len())
                .map(|stage| {
                    let seconds = alone.iter().map(|stages| stages[stage].1);
                    (alone[0][stage].0, median(seconds.collect()))
                })
                .collect();
            let sum: f64 = stages.iter().map(|(_, seconds)| seconds).sum();
            let each = stages.iter().filter(|(_, seconds)| *seconds >= 0.005);
            let each: Vec<_> = each
                .map(|(name, seconds)| format!("{name} {seconds:.2}"))
                .collect();
            let (rate, allowed) = (bytes / GB / wall, cores / sum);
            println!(
                "| {content:?} | {} | {rate:.2} | {:.2} | {} | {sum:.2} | {allowed:.2} | {:.0} % |",
                suite.name,
                cpu / (bytes / GB),
                each.join(", "),
                100.0 * rate / allowed
            );
        }
    }
}

/// Sealed and not compressed: the link is what is measured.
fn plain() -> Suite {
    Suite {
        compress: Compress::None,
        ..suites()[2]
    }
}

async fn connections() {
    println!("\n## Connections over a long, lossy way\n");
    println!("80 ms there and back, 1 % of packets lost each way, cubic; parts of 1 MiB.\n");
    println!("| connections | MB | seconds | Mbit/s | x one |");
    println!("|--:|--:|--:|--:|--:|");
    let mut one = None;
    for (connections, mib) in [(1, 8), (8, 64), (32, 448)] {
        let wan = Wan::up(&["--rtt", "80", "--loss", "1"]);
        let job = Job {
            suite: plain(),
            content: Content::Random,
            objects: 1,
            size: mib * MIB,
            part_size: MIB,
            connections,
            transfers: 2 * connections,
        };
        let took = over(&wan, &job).await;
        let bytes = (job.objects * job.size) as f64;
        let rate = bytes * 8.0 / 1e6 / took.wall;
        let first = *one.get_or_insert(rate);
        println!(
            "| {connections} | {:.0} | {:.1} | {rate:.1} | {:.1} |",
            bytes / 1e6,
            took.wall,
            rate / first
        );
    }
}

async fn small_objects() {
    println!("\n## 100,000 objects of 1 KiB\n");
    println!("| round trip | seconds | objects/s | CPU s |");
    println!("|--:|--:|--:|--:|");
    let job = Job {
        suite: suites()[2],
        content: Content::Text,
        objects: 100_000,
        size: 1 << 10,
        part_size: 16 * MIB,
        connections: 32,
        transfers: 16,
    };
    let wan = Wan::up(&["--rtt", "100", "--loss", "0"]);
    for (way, took) in [
        ("loopback", over_loopback(&job).await),
        ("100 ms", over(&wan, &job).await),
    ] {
        let rate = job.objects as f64 / took.wall;
        println!("| {way} | {:.1} | {rate:.0} | {:.1} |", took.wall, took.cpu);
    }
}

async fn part_sizes() {
    println!("\n## Part sizes\n");
    println!(
        "One object of 512 MiB; 32 connections, 32 parts at a time; the long way has 80 ms and no loss. \
         What the long way takes here is the slow start of its connections, which smaller parts share \
         more evenly while an object has few of them; the default of 16 MiB costs half the requests of 8 MiB.\n"
    );
    println!("| part | loopback s | 80 ms s |");
    println!("|--:|--:|--:|");
    for part in [5, 8, 16, 32, 64, 128] {
        let job = Job {
            suite: plain(),
            content: Content::Random,
            objects: 1,
            size: 512 * MIB,
            part_size: part * MIB,
            connections: 32,
            transfers: 32,
        };
        let mut near = Vec::new();
        for _ in 0..ROUNDS {
            near.push(over_loopback(&job).await.wall);
        }
        let mut far = Vec::new();
        for _ in 0..ROUNDS {
            let wan = Wan::up(&["--rtt", "80", "--loss", "0"]);
            far.push(over(&wan, &job).await.wall);
        }
        println!("| {part} MiB | {:.2} | {:.1} |", median(near), median(far));
    }
}

fn main() {
    // What is named is run; cargo says `--bench` besides.
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|one| one == name);
    let is_root = rustix::process::geteuid().is_root();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    println!("# Gateways\n\nWritten by `make bench-gateway`.\n");
    runtime.block_on(async {
        if is_chosen("throughput") {
            throughput(&chosen).await;
        }
        if !is_root {
            println!("\nNot run: what needs root for its network namespaces.");
            return;
        }
        if is_chosen("connections") {
            connections().await;
        }
        if is_chosen("small") {
            small_objects().await;
        }
        if is_chosen("parts") {
            part_sizes().await;
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
}
