//! Gateways over a long, lossy link between two network namespaces. Needs root: for an ordinary user these
//! tests count as skipped, `make test` says so.
#![allow(clippy::unwrap_used)]

mod far;
mod live;

use std::time::Duration;

use far::Wan;
use live::{Live, MIB, eventually};
use skyhaul_state::GatewayRow;

const LINK: &[&str] = &["--rtt", "80", "--loss", "1"];

/// How long a copy may take, whatever happens to it.
const PATIENCE: Duration = Duration::from_mins(3);

fn written(rows: &[GatewayRow], name: &str) -> u64 {
    let row = rows.iter().find(|row| row.name == name).unwrap();
    row.written_bytes
}

async fn chunks_done(live: &Live) -> u64 {
    live.state.progress(&live.id).await.unwrap().chunks_done
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: network namespaces"]
async fn slow_root_a_partition_of_twenty_seconds_heals() {
    let mut wan = Wan::up(LINK);
    let live = Live::new(24, None).await;
    let _far = live.start_in(wan.far(), "dst-1", (&[], 0), Some(wan.far().any()));
    let near = live.start_in(wan.near(), "src-1", (&["dst-1"], 16), None);
    eventually("some chunks are done", async || {
        (chunks_done(&live).await >= 3).then_some(())
    })
    .await;
    wan.tell("cut");
    // This is the fault, not a wait for something.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let before = chunks_done(&live).await;
    assert!(
        before < 24,
        "{before} chunks were done before the link was mended"
    );
    wan.tell("heal");
    live.ends_whole(near, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: network namespaces"]
async fn slow_root_a_peer_that_stops_reading_is_dropped_and_its_chunks_go_elsewhere() {
    let wan = Wan::up(LINK);
    let live = Live::new(24, None).await;
    let stops = wan.far().stopping_after(2 * MIB);
    let _stops = live.start_in(stops, "dst-1", (&[], 0), Some(wan.far().any()));
    let _other = live.start_in(wan.far(), "dst-2", (&[], 0), Some(wan.far().any()));
    let near = live.start_in(wan.near(), "src-1", (&["dst-1", "dst-2"], 8), None);
    live.ends_whole(near, PATIENCE).await;
    // A gateway's row may be of the moment before its last write.
    let rows = eventually("the last write in its row", async || {
        let rows = live.state.gateways(&live.id).await.unwrap();
        (written(&rows, "dst-2") >= 22 * MIB).then_some(rows)
    })
    .await;
    assert!(written(&rows, "dst-1") <= 2 * MIB, "{rows:?}");
}
