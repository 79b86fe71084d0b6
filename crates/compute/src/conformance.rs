//! What every backend must do, asked of any. A check stops by panicking.
#![allow(clippy::missing_panics_doc)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures::future::BoxFuture;
use skyhaul_model::machine::{DataplaneId, IntentId, Machine, MachineId, MachineState, Offer};
use skyhaul_model::{ErrorKind, Result};

use crate::{Compute, Launch, Launched};

/// How long a machine may take to end, or to be told of.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// A backend to ask, and what the suite must know of it.
pub struct Fixture<'a> {
    /// The backend.
    pub compute: &'a dyn Compute,
    /// What can be had.
    pub offer: Offer,
    /// What a machine is started with.
    pub boot: String,
    /// What can never be had, where there is such a thing.
    pub missing: Option<Offer>,
    /// From where a dataplane is reachable: `None` where nothing was made for that.
    pub rules: Rules<'a>,
}

/// See [`Fixture::rules`].
pub type Rules<'a> = Box<dyn Fn(DataplaneId) -> BoxFuture<'a, Option<BTreeSet<IpAddr>>> + 'a>;

impl Fixture<'_> {
    fn launch(&self, intent: &IntentId, number: u32) -> Launch {
        Launch {
            intent: intent.clone(),
            number,
            offer: self.offer.clone(),
            boot: self.boot.clone(),
        }
    }

    async fn machine(&self, intent: &IntentId, number: u32) -> Result<Machine> {
        match self.compute.launch(&self.launch(intent, number)).await? {
            Launched::Machine(machine) => Ok(machine),
            other => panic!("{intent}, try {number}: {other:?}"),
        }
    }

    /// Machines of a dataplane that are not on their way out.
    async fn alive(&self, dataplane: &DataplaneId) -> Result<BTreeSet<MachineId>> {
        let machines = self.compute.describe(Some(dataplane)).await?;
        let alive = machines
            .into_iter()
            .filter(|machine| machine.state < MachineState::Ending);
        Ok(alive.map(|machine| machine.id).collect())
    }

    async fn come_to(&self, dataplane: &DataplaneId, machines: &[&MachineId]) -> Result<()> {
        let wanted: BTreeSet<MachineId> = machines.iter().copied().cloned().collect();
        let mut passed = Duration::ZERO;
        loop {
            let alive = self.alive(dataplane).await?;
            if alive == wanted {
                return Ok(());
            }
            assert!(passed < PATIENCE, "{alive:?} are there, not {wanted:?}");
            tokio::time::sleep(LOOK).await;
            passed += LOOK;
        }
    }

    async fn end(&self, dataplane: &DataplaneId) -> Result<()> {
        let alive: Vec<_> = self.alive(dataplane).await?.into_iter().collect();
        self.compute.terminate(&alive).await?;
        self.come_to(dataplane, &[]).await?;
        let mut passed = Duration::ZERO;
        while let Err(error) = self.compute.firewall(dataplane, None).await {
            assert!(error.retryable && passed < PATIENCE, "{error}");
            tokio::time::sleep(LOOK).await;
            passed += LOOK;
        }
        Ok(())
    }
}

fn intent(dataplane: &DataplaneId, member: &str) -> Result<IntentId> {
    Ok(IntentId {
        dataplane: dataplane.clone(),
        member: member.parse()?,
        generation: 1,
    })
}

fn addresses(last: &[u8]) -> BTreeSet<IpAddr> {
    let address = |last: &u8| IpAddr::from(Ipv4Addr::new(10, 0, 0, *last));
    last.iter().map(address).collect()
}

/// All checks, one after the other.
pub async fn check(fixture: &Fixture<'_>) -> Result<()> {
    a_launch_sent_again_gives_the_same_machine(fixture).await?;
    a_token_is_not_used_for_something_else(fixture).await?;
    an_ended_machine_does_not_come_back(fixture).await?;
    machines_are_told_by_dataplane(fixture).await?;
    ending_what_is_gone_is_no_error(fixture).await?;
    what_cannot_be_had_is_told(fixture).await?;
    the_firewall_is_what_was_said_last(fixture).await?;
    room_is_counted(fixture).await
}

/// One after the other, and at once.
pub async fn a_launch_sent_again_gives_the_same_machine(fixture: &Fixture<'_>) -> Result<()> {
    let dataplane = DataplaneId::generate();
    let one = intent(&dataplane, "src-1")?;
    let (first, second) = futures::join!(fixture.machine(&one, 1), fixture.machine(&one, 1));
    let (first, second) = (first?, second?);
    assert_eq!(first.id, second.id);
    assert_eq!(first.intent.as_ref(), Some(&one));
    assert_eq!(fixture.machine(&one, 1).await?.id, first.id);
    let other = fixture.machine(&one, 2).await?;
    assert_ne!(other.id, first.id, "another try is another machine");
    let identity = |machine: &Machine| fixture.compute.identity(&machine.id);
    assert_ne!(identity(&first), identity(&other));
    fixture.come_to(&dataplane, &[&first.id, &other.id]).await?;
    fixture.end(&dataplane).await
}

/// With another boot the same try is refused, and launches nothing.
pub async fn a_token_is_not_used_for_something_else(fixture: &Fixture<'_>) -> Result<()> {
    let dataplane = DataplaneId::generate();
    let one = intent(&dataplane, "src-1")?;
    let machine = fixture.machine(&one, 1).await?;
    let other = Launch {
        boot: format!("{}\n# another", fixture.boot),
        ..fixture.launch(&one, 1)
    };
    let refused = fixture.compute.launch(&other).await;
    assert!(
        matches!(&refused, Err(error) if error.kind == ErrorKind::Invalid && !error.retryable),
        "{refused:?}"
    );
    fixture.come_to(&dataplane, &[&machine.id]).await?;
    fixture.end(&dataplane).await
}

/// A late repetition of a launch must not make a machine that nobody waits for.
pub async fn an_ended_machine_does_not_come_back(fixture: &Fixture<'_>) -> Result<()> {
    let dataplane = DataplaneId::generate();
    let one = intent(&dataplane, "src-1")?;
    let machine = fixture.machine(&one, 1).await?;
    fixture
        .compute
        .terminate(std::slice::from_ref(&machine.id))
        .await?;
    fixture.come_to(&dataplane, &[]).await?;
    let again = fixture.compute.launch(&fixture.launch(&one, 1)).await?;
    assert_eq!(again, Launched::Ended);
    assert!(fixture.alive(&dataplane).await?.is_empty());
    fixture.end(&dataplane).await
}

/// By its tags, and the whole deployment's together.
pub async fn machines_are_told_by_dataplane(fixture: &Fixture<'_>) -> Result<()> {
    let (here, there) = (DataplaneId::generate(), DataplaneId::generate());
    let (one, two) = (intent(&here, "src-1")?, intent(&here, "dst-1")?);
    let (one, two) = (
        fixture.machine(&one, 1).await?,
        fixture.machine(&two, 1).await?,
    );
    let three = fixture.machine(&intent(&there, "src-1")?, 1).await?;
    fixture.come_to(&here, &[&one.id, &two.id]).await?;
    fixture.come_to(&there, &[&three.id]).await?;
    let all = fixture.compute.describe(None).await?;
    for machine in [&one, &two, &three] {
        let told = all.iter().find(|told| told.id == machine.id);
        assert_eq!(told.map(|told| &told.intent), Some(&machine.intent));
        assert!(told.is_some_and(|told| told.private_address.is_some()));
    }
    fixture.compute.terminate(&[one.id]).await?;
    fixture.come_to(&here, &[&two.id]).await?;
    fixture.end(&here).await?;
    fixture.come_to(&there, &[&three.id]).await?;
    fixture.end(&there).await
}

/// Gone, unknown, together with what is there, and none at all.
pub async fn ending_what_is_gone_is_no_error(fixture: &Fixture<'_>) -> Result<()> {
    let dataplane = DataplaneId::generate();
    let one = fixture.machine(&intent(&dataplane, "src-1")?, 1).await?;
    let two = fixture.machine(&intent(&dataplane, "src-2")?, 1).await?;
    let unknown = MachineId("i-0123456789abcdef0".to_owned());
    fixture
        .compute
        .terminate(std::slice::from_ref(&one.id))
        .await?;
    let mixed = [unknown.clone(), two.id, one.id];
    fixture.compute.terminate(&mixed).await?;
    fixture.come_to(&dataplane, &[]).await?;
    fixture.compute.terminate(&[unknown]).await?;
    fixture.compute.terminate(&[]).await?;
    fixture.end(&dataplane).await
}

/// That there is none is an answer, and leaves nothing.
pub async fn what_cannot_be_had_is_told(fixture: &Fixture<'_>) -> Result<()> {
    let Some(missing) = &fixture.missing else {
        return Ok(());
    };
    let dataplane = DataplaneId::generate();
    let one = intent(&dataplane, "src-1")?;
    let launch = Launch {
        offer: missing.clone(),
        ..fixture.launch(&one, 1)
    };
    let told = fixture.compute.launch(&launch).await?;
    assert!(matches!(told, Launched::NoCapacity(_)), "{told:?}");
    let machine = fixture.machine(&one, 2).await?;
    fixture.come_to(&dataplane, &[&machine.id]).await?;
    fixture.end(&dataplane).await
}

/// Addresses come and go; then it goes, also twice; a dataplane without any has none.
pub async fn the_firewall_is_what_was_said_last(fixture: &Fixture<'_>) -> Result<()> {
    let dataplane = DataplaneId::generate();
    let rules = async || (fixture.rules)(dataplane.clone()).await;
    assert_eq!(rules().await, None);
    for last in [&[][..], &[1, 2, 3], &[3, 4], &[3, 4], &[1]] {
        let from = addresses(last);
        fixture.compute.firewall(&dataplane, Some(&from)).await?;
        assert_eq!(rules().await.as_ref(), Some(&from));
    }
    let machine = fixture.machine(&intent(&dataplane, "src-1")?, 1).await?;
    let used = fixture.compute.firewall(&dataplane, None).await;
    assert!(
        matches!(&used, Err(error) if error.retryable),
        "removed under {}: {used:?}",
        machine.id
    );
    fixture.end(&dataplane).await?;
    assert_eq!(rules().await, None);
    fixture.compute.firewall(&dataplane, None).await
}

/// What a machine takes is taken.
pub async fn room_is_counted(fixture: &Fixture<'_>) -> Result<()> {
    let Offer {
        market,
        instance_type,
        ..
    } = &fixture.offer;
    let before = fixture.compute.room(*market, instance_type).await?;
    assert!(before.each > 0, "{before:?}");
    let dataplane = DataplaneId::generate();
    fixture.machine(&intent(&dataplane, "src-1")?, 1).await?;
    let after = fixture.compute.room(*market, instance_type).await?;
    assert!(
        after.used >= before.used + after.each,
        "{before:?}, {after:?}"
    );
    fixture.end(&dataplane).await
}
