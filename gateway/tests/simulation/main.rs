//! Whole fleets in one deterministic simulation: the gateways themselves, over a network, a state and
//! stores that fail as a seed says. Every byte arrives once, and nothing is left.
//!
//! One run again, with what it says: `SKYHAUL_TEST_SEED=N cargo test -p skyhaul-gateway --test
//! simulation one_seed -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod bucket;
mod dice;
mod fleet;
mod network;
mod segments;
mod state;
mod store;

use fleet::Run;

/// How many chunks changed their group in a run; or what is wrong after it, and what run it was.
fn outcome(seed: u64) -> Result<u64, String> {
    let run = Run::new(seed);
    let description = run.describe();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.run(seed)));
    let ended = ended.unwrap_or_else(|_| Err("it panicked".to_owned()));
    ended.map_err(|what| format!("{what} ({description})"))
}

/// Runs these seeds; all that fail are named. In how many of them a group was split.
fn seeds(seeds: std::ops::Range<u64>) -> u64 {
    let (mut failed, mut split) = (Vec::new(), 0);
    for seed in seeds {
        match outcome(seed) {
            Ok(moved) => split += u64::from(moved > 0),
            Err(what) => {
                println!("SKYHAUL_TEST_SEED={seed}: {what}");
                failed.push(seed);
            }
        }
    }
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
    split
}

macro_rules! parts {
    ($($name:ident: $part:literal),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                let split = seeds($part * 125..($part + 1) * 125);
                println!("groups were split in {split} of these runs");
                assert!(split > 0, "a fleet never shared what was left");
            }
        )+
    };
}

// 1,000 seeds, in parts that run side by side.
parts! {
    fleets_deliver_every_byte_once_0: 0,
    fleets_deliver_every_byte_once_1: 1,
    fleets_deliver_every_byte_once_2: 2,
    fleets_deliver_every_byte_once_3: 3,
    fleets_deliver_every_byte_once_4: 4,
    fleets_deliver_every_byte_once_5: 5,
    fleets_deliver_every_byte_once_6: 6,
    fleets_deliver_every_byte_once_7: 7,
}

/// Faults that are put into the code are found. Compiled with `--cfg mutant` only.
#[cfg(mutant)]
mod mutants {
    use skyhaul_model::mutant::Mutant;

    use crate::outcome;

    /// Seeds that are tried at most: some faults need a rare course of things.
    const MOST: u64 = 4_000;

    /// The one that is chosen holds for the whole process.
    static CHOSEN: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn is_found(mutant: Mutant) {
        let _chosen = CHOSEN.lock();
        mutant.choose();
        let found = (0..MOST).find_map(|seed| Some((seed, outcome(seed).err()?)));
        Mutant::None.choose();
        match found {
            Some((seed, what)) => println!("{mutant:?} is found: SKYHAUL_TEST_SEED={seed}: {what}"),
            None => panic!("{mutant:?} is not found by {MOST} seeds"),
        }
    }

    #[test]
    fn acknowledging_before_the_write_is_found() {
        is_found(Mutant::AcknowledgeBeforeWrite);
    }

    #[test]
    fn ignoring_the_fence_is_found() {
        is_found(Mutant::IgnoreFence);
    }

    #[test]
    fn using_a_nonce_again_is_found() {
        is_found(Mutant::ReuseNonce);
    }

    #[test]
    fn recording_without_an_acknowledgement_is_found() {
        is_found(Mutant::RecordUnacknowledged);
    }
}

/// One that nobody ran before, or the one that is asked for.
#[test]
fn one_seed() {
    let seed = std::env::var("SKYHAUL_TEST_SEED").ok();
    let seed = seed.map_or_else(rand::random, |seed| seed.parse().unwrap());
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    println!("SKYHAUL_TEST_SEED={seed}");
    let _ = seeds(seed..seed + 1);
}
