//! Machines are told what to do, each by what it alone can open, once.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use skyhaul_engine::StepEnd;
use skyhaul_gateway::assignment::BootKey;
use skyhaul_gateway::config::{Config, LimitsConfig, StateConfig, TableConfig};
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::control::{DataplaneRow, Enrolment};
use skyhaul_workflow::machines::{Secrets, Vault, secrets};
use zeroize::Zeroizing;

use super::world::World;

/// A key that turns bytes around, and knows for which transfer it did.
#[derive(Default)]
struct Turning(Mutex<BTreeMap<Vec<u8>, TransferId>>);

#[async_trait]
impl Vault for Turning {
    async fn wrap(&self, transfer: &TransferId, bytes: &[u8]) -> Result<Bytes> {
        let turned: Vec<u8> = bytes.iter().rev().copied().collect();
        let mut known = self.0.lock().unwrap();
        known.insert(turned.clone(), transfer.clone());
        Ok(turned.into())
    }

    async fn unwrap(&self, transfer: &TransferId, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        if self.0.lock().unwrap().get(wrapped) != Some(transfer) {
            return Err(Error::control(
                ErrorKind::AccessDenied,
                "another transfer's",
            ));
        }
        Ok(Zeroizing::new(wrapped.iter().rev().copied().collect()))
    }
}

fn base() -> Config {
    let state = StateConfig::Table(TableConfig {
        name: "state".to_owned(),
        region: None,
        endpoint_url: None,
    });
    let limits = LimitsConfig {
        transfers: 1,
        max_memory: 1,
        bwlimit: None,
        attempts: 1,
        term: 1,
        drain: 1,
    };
    Config::new(TransferId::generate(), state, limits)
}

/// The machines of a dataplane start: what each made.
async fn start(world: &World, row: &DataplaneRow) -> BTreeMap<String, BootKey> {
    let mut keys = BTreeMap::new();
    for member in &row.members {
        let key = BootKey::generate().unwrap();
        let machine = World::identity(member);
        let enrolment = Enrolment::new(&*machine, member.intent(&row.id), key.public());
        world.rows().enrol(&enrolment).await.unwrap();
        keys.insert(member.plan.name.to_string(), key);
    }
    keys
}

/// What a member's machine opens.
async fn opened(
    world: &World,
    row: &DataplaneRow,
    keys: &BTreeMap<String, BootKey>,
    name: &str,
) -> Result<Config> {
    let member = row.member(&name.parse().unwrap()).unwrap();
    let machine = World::identity(member);
    let enrolment = world.rows().enrolment(&machine).await.unwrap().unwrap();
    let sealed = &enrolment.assignments[&world.transfer];
    keys[name].open(&member.intent(&row.id), &world.transfer, sealed)
}

async fn known(world: &World, vault: &Turning) -> Secrets {
    secrets(world.control(), vault, &world.transfer)
        .await
        .unwrap()
}

#[tokio::test]
async fn each_machine_is_told_its_own_part_and_can_open_no_others() {
    let (world, vault) = (World::new(1).await, Turning::default());
    let row = world.provisioned().await;
    world.rows().drop_secrets(&world.transfer).await.unwrap();
    let secrets = known(&world, &vault).await;
    let sites = ["there".to_owned()];
    let assign = async || world.assign(&vault, &base(), &sites).await;
    for member in &row.members {
        let machine = World::identity(member);
        world.rows().strike(&machine).await.unwrap();
    }
    // None has told of itself.
    assert_eq!(assign().await.unwrap(), StepEnd::More);
    let keys = start(&world, &row).await;
    assert_eq!(assign().await.unwrap(), StepEnd::Done);
    let source = opened(&world, &row, &keys, "src-1").await.unwrap();
    assert_eq!(source.peers, ["dst-1", "dst-2"]);
    let ways: Vec<_> = source.routes.iter().map(|way| way.hops.clone()).collect();
    assert_eq!(ways, [["dst-1"], ["dst-2"]]);
    assert_eq!(source.routes[0].destinations, [0]);
    let destination = opened(&world, &row, &keys, "dst-1").await.unwrap();
    // Members are in two regions: what they tell of themselves is their address outside.
    let member = row.member(&"dst-1".parse().unwrap()).unwrap();
    let announced = destination.announce.unwrap();
    assert_eq!(Some(announced.ip()), member.public_address);
    assert_eq!(announced.port(), 8443);
    assert!(destination.listen.is_some() && destination.routes.is_empty());
    let secret = secrets.data.reveal().to_string();
    assert_eq!(
        (source.data, destination.data),
        (Some(secret.clone()), Some(secret))
    );
    // What is one machine's another cannot open.
    let mut mixed = keys;
    let other = mixed.remove("src-2").unwrap();
    mixed.insert("src-1".to_owned(), other);
    opened(&world, &row, &mixed, "src-1").await.unwrap_err();
}

#[tokio::test]
async fn who_is_assigned_stays_so_and_who_starts_anew_is_assigned_anew() {
    let (world, vault) = (World::new(1).await, Turning::default());
    let row = world.provisioned().await;
    world.rows().drop_secrets(&world.transfer).await.unwrap();
    let sites = ["there".to_owned()];
    let mut keys = start(&world, &row).await;
    let assign = async || world.assign(&vault, &base(), &sites).await.unwrap();
    assert_eq!(assign().await, StepEnd::Done);
    let machine = World::identity(&row.members[0]);
    let before = world.rows().enrolment(&machine).await.unwrap();
    assert_eq!(assign().await, StepEnd::Done);
    assert_eq!(world.rows().enrolment(&machine).await.unwrap(), before);
    // It starts anew, and its old assignment is nothing to it.
    let key = BootKey::generate().unwrap();
    let enrolment = Enrolment::new(&*machine, row.members[0].intent(&row.id), key.public());
    world.rows().enrol(&enrolment).await.unwrap();
    keys.insert("src-1".to_owned(), key);
    assert_eq!(assign().await, StepEnd::Done);
    opened(&world, &row, &keys, "src-1").await.unwrap();
    // Dismissed, they know nothing any more, and nor does the state; also the second time.
    for _ in 0..2 {
        world.release(&row).await.unwrap();
        let after = world.rows().enrolment(&machine).await.unwrap().unwrap();
        assert!(after.assignments.is_empty());
        let kept = world.rows().secrets(&world.transfer).await.unwrap();
        assert_eq!(kept, None);
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused() {
    let (world, vault) = (World::new(1).await, Turning::default());
    let row = world.provisioned().await;
    world.rows().drop_secrets(&world.transfer).await.unwrap();
    start(&world, &row).await;
    let nowhere = ["there".to_owned(), "nowhere".to_owned()];
    let error = world.assign(&vault, &base(), &nowhere).await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    // A machine that says it was launched for something else gets nothing.
    let machine = World::identity(&row.members[0]);
    let other = row.members[1].intent(&row.id);
    let enrolment = Enrolment::new(&*machine, other, vec![1; 32]);
    world.rows().enrol(&enrolment).await.unwrap();
    let sites = ["there".to_owned()];
    let error = world.assign(&vault, &base(), &sites).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    let found = world.rows().enrolment(&machine).await.unwrap().unwrap();
    assert!(found.assignments.is_empty());
}

#[tokio::test]
async fn secrets_are_made_once_and_kept_wrapped() {
    let (world, vault) = (World::new(7).await, Turning::default());
    let all = futures::future::join_all((0..5).map(|_| known(&world, &vault))).await;
    let data: Vec<_> = all
        .iter()
        .map(|one| one.data.reveal().to_string())
        .collect();
    assert!(data.iter().all(|one| *one == data[0]));
    assert_eq!(
        known(&world, &vault).await.data.reveal().to_string(),
        data[0]
    );
    let wrapped = world
        .rows()
        .secrets(&world.transfer)
        .await
        .unwrap()
        .unwrap();
    let shows = |secret: &str| {
        let mut windows = wrapped.windows(secret.len());
        windows.any(|window| window == secret.as_bytes())
    };
    assert!(!shows(&data[0]));
    // Wrapped for another transfer, they are not these.
    let other = TransferId::generate();
    world.rows().keep_secrets(&other, &wrapped).await.unwrap();
    let refused = secrets(world.control(), &vault, &other).await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::AccessDenied);
}

#[tokio::test]
async fn who_is_released_while_somebody_assigns_is_dismissed() {
    let seed = skyhaul_tests::seed();
    let mut refused = 0;
    for round in 0..100 {
        let (world, vault) = (
            World::new(seed.wrapping_add(round)).await,
            Turning::default(),
        );
        let row = world.provisioned().await;
        world.rows().drop_secrets(&world.transfer).await.unwrap();
        start(&world, &row).await;
        let (base, sites) = (base(), ["there".to_owned()]);
        let assigning = world.assign(&vault, &base, &sites);
        let (assigned, released) = futures::join!(assigning, world.release(&row));
        released.unwrap();
        refused += u32::from(assigned.is_err());
        for member in &row.members {
            let machine = World::identity(member);
            let enrolment = world.rows().enrolment(&machine).await.unwrap().unwrap();
            assert!(enrolment.assignments.is_empty(), "{enrolment:?}");
        }
        assert_eq!(world.rows().secrets(&world.transfer).await.unwrap(), None);
        let error = world.assign(&vault, &base, &sites).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Interrupted);
    }
    assert!((5..95).contains(&refused), "{refused} of 100 were refused");
}
