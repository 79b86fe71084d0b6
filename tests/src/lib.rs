//! The harness that the end-to-end tests share: real S3 servers, an independent S3 client, local
//! trees, the `skyhaul` binary as a user runs it, and a proxy that injects faults.
//!
//! Everything here is synchronous, so that a test is a plain function; the proxy runs on a thread
//! of its own. The harness stops a test by panicking, with a message that says what is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod cli;
pub mod cloud;
pub mod data;
pub mod fault;
pub mod gateways;
pub mod inspect;
pub mod oracle;
pub mod pair;
pub mod proxied;
pub mod servers;
pub mod tree;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The root of the checkout that the test runs in. Where it was compiled may be another one: clones that
/// share a target directory share what is compiled.
#[must_use]
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR");
    let package = package.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").exists())
        .expect("the package is in a workspace")
        .to_path_buf()
}

/// The Python of the test bench.
///
/// Panics with what to do when `make setup` has not been run.
#[must_use]
pub fn python() -> PathBuf {
    let python = root().join(".testbench/venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run `make setup`",
        python.display()
    );
    python
}

/// A name that no other test uses, fit for a bucket: `hint-` and 10 random hex digits.
#[must_use]
pub fn unique_name(hint: &str) -> String {
    format!("{hint}-{:010x}", rand::random::<u64>() >> 24)
}

/// A seed for a randomised test: `SKYHAUL_TEST_SEED` if set, else random. Printed, so that a
/// failure can be repeated.
#[must_use]
#[allow(clippy::print_stderr)] // the one thing that a failed run must show
pub fn seed() -> u64 {
    let seed = std::env::var("SKYHAUL_TEST_SEED").map_or_else(
        |_| rand::random(),
        |text| text.parse().expect("SKYHAUL_TEST_SEED is a u64"),
    );
    eprintln!("SKYHAUL_TEST_SEED={seed}");
    seed
}

/// Polls `condition` until it gives a value; panics after `deadline`, saying `what` did not come.
pub fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not within {deadline:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
