//! A deployment that is being removed begins nothing.

use std::collections::BTreeSet;

use skyhaul_model::ErrorKind;
use skyhaul_model::machine::DataplaneId;
use skyhaul_state::control::DataplaneStatus;
use skyhaul_tests::oracle::ObjectSpec;
use skyhaul_workflow::order::FleetOrder;
use skyhaul_workflow::steps::dataplanes::{self, DataplaneOrder};

use super::world::{HERE, Kind, World};

fn kept() -> DataplaneOrder {
    DataplaneOrder {
        dataplane: DataplaneId::generate(),
        owner: "somebody".to_owned(),
        source: HERE.to_owned(),
        destinations: BTreeSet::from([HERE.to_owned()]),
        fleet: FleetOrder {
            autoshutdown: Some(15),
            ..FleetOrder::default()
        },
    }
}

#[tokio::test]
async fn a_transfer_begins_when_its_deployment_is_there_again() {
    let world = World::new(Kind::Copy, &[ObjectSpec::new("a", 1, 10)]).await;
    world.rows().set_closing(true).await.unwrap();
    let refused = world.plan().await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.retryable),
        (ErrorKind::Invalid, false)
    );
    assert_eq!(world.submission().await.dataplane, None);
    world.rows().set_closing(false).await.unwrap();
    assert_eq!(world.plan().await.unwrap().machines, 2);
}

#[tokio::test]
async fn machines_are_not_made_and_those_that_were_ordered_meanwhile_go() {
    let world = World::new(Kind::Copy, &[ObjectSpec::new("a", 1, 10)]).await;
    let rows = world.rows();
    let order = kept();
    let ordered = async || dataplanes::order(&world.account, &order, world.now()).await;
    rows.set_closing(true).await.unwrap();
    assert_eq!(ordered().await.unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(rows.dataplane(&order.dataplane).await.unwrap(), None);
    rows.set_closing(false).await.unwrap();
    for _ in 0..2 {
        ordered().await.unwrap();
    }
    let status = async || {
        let row = rows.dataplane(&order.dataplane).await.unwrap();
        row.unwrap().status
    };
    assert_eq!(status().await, DataplaneStatus::Active);
    rows.set_closing(true).await.unwrap();
    for _ in 0..2 {
        assert_eq!(ordered().await.unwrap_err().kind, ErrorKind::Invalid);
        assert_ne!(status().await, DataplaneStatus::Active);
    }
}
