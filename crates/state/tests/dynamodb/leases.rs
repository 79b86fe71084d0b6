//! Leases that are old, forged or moved on: each condition of a group's writes by itself, which
//! random operations reach seldom in so many shards.

use skyhaul_model::ErrorKind;
use skyhaul_model::group::{Bitmap, Lease};
use skyhaul_state::TransferState as _;

use super::work::{claim, found, holder, listed_by, new_groups, publish, record};
use super::{Fresh, emulators};

/// Tries every write of a group with every lease but the one that counts; tells the first that is
/// taken.
pub(super) async fn forged_leases(table: &Fresh) -> Result<(), String> {
    let state = table.open();
    let (id, lister) = listed_by(&state, "lister").await;
    publish(&state, &id, 0, &lister, found(None, new_groups(1, 4)))
        .await
        .unwrap();
    let (row, first) = claim(&state, &id, "ada").await.unwrap();
    let (group, eve) = (row.id, holder("eve"));
    let taken = state.take_over(&id, group, &first, &holder("ada")).await;
    let lease = taken.unwrap().lease.unwrap();
    let lease = state.renew(&id, group, &lease).await.unwrap();
    assert_eq!((lease.fence, lease.counter), (2, 1));
    let with_fence = |fence| Lease {
        fence,
        ..lease.clone()
    };
    let of_eve = Lease {
        holder: eve.clone(),
        ..lease.clone()
    };
    for forged in [first, with_fence(1), with_fence(3), of_eve] {
        let renewed = state.renew(&id, group, &forged).await.map(drop);
        lost("renew", &forged, renewed)?;
        let recorded = state.record(&id, group, &forged, record(Bitmap(1), 1));
        lost("record", &forged, recorded.await.map(drop))?;
        lost("release", &forged, state.release(&id, group, &forged).await)?;
        let taken = state.take_over(&id, group, &forged, &eve).await.map(drop);
        lost("take over", &forged, taken)?;
    }
    // Alive since it was seen.
    let seen = Lease {
        counter: 0,
        ..lease.clone()
    };
    let taken = state.take_over(&id, group, &seen, &eve).await.map(drop);
    lost("take over", &seen, taken)?;
    // Given back: the lease is the last one, and counts no more.
    state.release(&id, group, &lease).await.unwrap();
    lost(
        "renew",
        &lease,
        state.renew(&id, group, &lease).await.map(drop),
    )?;
    let taken = state.take_over(&id, group, &lease, &eve).await.map(drop);
    lost("take over", &lease, taken)?;
    let row = state.group(&id, group).await.unwrap();
    assert_eq!((row.lease, row.done), (Some(lease), Bitmap::default()));
    Ok(())
}

fn lost(what: &str, lease: &Lease, result: skyhaul_model::Result<()>) -> Result<(), String> {
    match result {
        Err(error) if error.kind == ErrorKind::LeaseLost => Ok(()),
        other => Err(format!("{what} with {lease:?} gave {other:?}")),
    }
}

#[tokio::test]
async fn only_the_lease_that_counts_is_taken() {
    for endpoint in emulators() {
        forged_leases(&Fresh::at(endpoint).await).await.unwrap();
    }
}
