//! A dataplane as a row: its members, the launch that each stands at, the transfers that use it. All that
//! may happen to it is [`DataplaneRow::apply`], a pure function, so that every backend keeps the same rules.
//!
//! A member's entry is its launch intent: it is written before the launch, and names the client token. One
//! row holds them all, so that ending a dataplane ends every intent in the same write: whoever raises a
//! number afterwards is refused, whatever it had read before.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skyhaul_model::machine::{DataplaneId, IntentId, MachineId, MemberName, Offer};
use skyhaul_model::{Error, ErrorKind, Result, TransferId};

/// What a member does: who claims groups, who writes, who passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// Reads, and claims groups.
    Source,
    /// Passes on, and can read nothing of it.
    Relay,
    /// Writes.
    Destination,
}

/// A gateway that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberPlan {
    /// Its name, kept when its machine is replaced.
    pub name: MemberName,
    /// The region of its machine.
    pub region: String,
    /// What it does.
    pub role: MemberRole,
    /// What is tried, in this order, until a machine can be had.
    pub offers: Vec<Offer>,
}

/// A dataplane that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDataplane {
    /// Its identifier.
    pub id: DataplaneId,
    /// Who asked for it.
    pub owner: String,
    /// Its gateways.
    pub members: Vec<MemberPlan>,
    /// The transfer that it is made for: bound from the start, so that it is never seen idle before.
    pub transfer: Option<TransferId>,
    /// Minutes without a transfer after which it goes; `None`: at once.
    pub autoshutdown: Option<u32>,
    /// When it was asked for.
    pub created: Timestamp,
    /// Version of the gateways that its machines fetch.
    pub version: String,
}

/// How far a dataplane's life is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataplaneStatus {
    /// Machines are launched for it, transfers may use it.
    Active,
    /// Its machines are being ended; nothing is launched any more.
    Ending,
    /// Nothing of it is left.
    Ended,
}

/// How far a member's launch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberStatus {
    /// A machine is being looked for.
    Open,
    /// It has a machine.
    Launched,
    /// No offer could be had.
    Exhausted,
}

/// A member and its launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// What is wanted.
    #[serde(flatten)]
    pub plan: MemberPlan,
    /// The how-many-th machine this is, from 1.
    pub generation: u32,
    /// The number of the try, from 1; 0 before the first. Try `n` is that of offer `n - 1`.
    pub tried: u32,
    /// How far it is.
    pub status: MemberStatus,
    /// Its machine.
    pub machine: Option<MachineId>,
    /// The machine's address inside its network.
    pub private_address: Option<IpAddr>,
    /// The machine's address outside.
    pub public_address: Option<IpAddr>,
    /// Since when its provider tells nothing of the machine, by the clock of who looked.
    pub missing_since: Option<Timestamp>,
    /// What the machine has said of itself last while nothing used it.
    #[serde(default)]
    pub heard: Option<Heard>,
}

/// A sign of life of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Another one each time.
    pub beat: u64,
    /// Since when it is known, by the clock of who looked.
    pub since: Timestamp,
}

impl MemberRow {
    fn new(plan: MemberPlan, generation: u32) -> Self {
        Self {
            plan,
            generation,
            tried: 0,
            status: MemberStatus::Open,
            machine: None,
            private_address: None,
            public_address: None,
            missing_since: None,
            heard: None,
        }
    }

    /// The name of its launch.
    #[must_use]
    pub fn intent(&self, dataplane: &DataplaneId) -> IntentId {
        IntentId {
            dataplane: dataplane.clone(),
            member: self.plan.name.clone(),
            generation: self.generation,
        }
    }

    /// What is tried now; `None` before the first try.
    #[must_use]
    pub fn offer(&self) -> Option<&Offer> {
        self.plan.offers.get((self.tried as usize).checked_sub(1)?)
    }

    fn raise(&mut self, from: u32) {
        if self.status != MemberStatus::Open || self.tried != from {
            return;
        }
        if from as usize >= self.plan.offers.len() {
            self.status = MemberStatus::Exhausted;
        } else {
            self.tried = from + 1;
        }
    }
}

/// A dataplane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataplaneRow {
    /// Its identifier.
    pub id: DataplaneId,
    /// Who asked for it.
    pub owner: String,
    /// Its gateways.
    pub members: Vec<MemberRow>,
    /// The transfer that it was made for.
    pub made_for: Option<TransferId>,
    /// Minutes without a transfer after which it goes; `None`: at once.
    pub autoshutdown: Option<u32>,
    /// When it was asked for.
    pub created: Timestamp,
    /// Version of the gateways that its first machines fetched; empty: of one that did not say.
    #[serde(default)]
    pub version: String,
    /// How far its life is.
    pub status: DataplaneStatus,
    /// Transfers that use it. While there is one, nothing of it is ended for idleness.
    pub transfers: BTreeSet<TransferId>,
    /// Since when it was seen without a transfer, by the clock of who looked.
    pub idle_since: Option<Timestamp>,
    /// When nothing of it was left, by the clock of who saw to that.
    pub ended: Option<Timestamp>,
}

/// A step of one member's launch. A step whose premise does not hold (any more) changes nothing: what holds
/// is in the row that [`ControlState::change`](super::ControlState::change) gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberChange {
    /// Which member.
    pub member: MemberName,
    /// Which machine of it.
    pub generation: u32,
    /// What happens.
    pub step: MemberStep,
}

/// See [`MemberChange`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberStep {
    /// The next offer is tried, if this is the number that the last one had. Only while the dataplane is
    /// active.
    Raise {
        /// The last number; 0 for the first try.
        from: u32,
    },
    /// The try with this number gave a machine.
    Launched {
        /// The number.
        number: u32,
        /// The machine.
        machine: MachineId,
    },
    /// The machine has these addresses.
    Seen {
        /// The machine.
        machine: MachineId,
        /// Inside its network.
        private: Option<IpAddr>,
        /// Outside.
        public: Option<IpAddr>,
    },
    /// Its provider tells nothing of the machine.
    Missing {
        /// The machine.
        machine: MachineId,
        /// By the clock of who looked. The first counts, until it is seen again.
        now: Timestamp,
    },
    /// The machine has said this of itself. The first time that it is seen counts.
    Heard {
        /// The machine.
        machine: MachineId,
        /// What it said.
        beat: u64,
        /// By the clock of who looked.
        now: Timestamp,
    },
    /// The machine is lost, and another is looked for. Only while the dataplane is active.
    Replace {
        /// The machine; `None` for a member that found none, to try all offers again.
        machine: Option<MachineId>,
    },
}

/// What happens to a dataplane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataplaneChange {
    /// A transfer uses it from now on. Refused (`LeaseLost`) unless it is active, and for now (`Throttled`)
    /// while another one does: gateways of two would listen on one port.
    Bind(TransferId),
    /// A transfer does not use it any more.
    Release(TransferId),
    /// It was seen without a transfer. Nothing happens if it has one, or was seen so before.
    Idle(Timestamp),
    /// It goes. Nothing is launched for it after this.
    End,
    /// It goes if no transfer uses it; refused (`LeaseLost`) else.
    EndIdle,
    /// Nothing of it is left. Refused (`Invalid`) before it was told to go.
    Ended(Timestamp),
    /// Launches of members go on.
    Members(Vec<MemberChange>),
}

impl DataplaneRow {
    /// The row of a new dataplane. Refused (`Invalid`) if names are used twice or a member has no offer.
    pub fn new(new: NewDataplane) -> Result<Self> {
        let names: BTreeSet<_> = new.members.iter().map(|member| &member.name).collect();
        if names.len() != new.members.len() || new.members.is_empty() {
            let message = "a dataplane needs members, each with a name of its own";
            return Err(Error::invalid(message).object(new.id.as_str()));
        }
        if let Some(member) = new.members.iter().find(|member| member.offers.is_empty()) {
            let message = format!("there is no machine to ask for, for {}", member.name);
            return Err(Error::invalid(message).object(new.id.as_str()));
        }
        let members = new.members.into_iter();
        Ok(Self {
            id: new.id,
            owner: new.owner,
            members: members.map(|plan| MemberRow::new(plan, 1)).collect(),
            transfers: new.transfer.iter().cloned().collect(),
            made_for: new.transfer,
            autoshutdown: new.autoshutdown,
            created: new.created,
            version: new.version,
            status: DataplaneStatus::Active,
            idle_since: None,
            ended: None,
        })
    }

    /// Whether it was made as this says.
    #[must_use]
    pub fn is_of(&self, new: &NewDataplane) -> bool {
        let plans = self.members.iter().map(|member| &member.plan);
        self.id == new.id
            && self.owner == new.owner
            && self.made_for == new.transfer
            && self.autoshutdown == new.autoshutdown
            && plans.eq(new.members.iter())
    }

    /// A member by its name.
    #[must_use]
    pub fn member(&self, name: &MemberName) -> Option<&MemberRow> {
        self.members.iter().find(|member| member.plan.name == *name)
    }

    /// Whether a machine that was launched for this intent is one of this dataplane's, or may become one.
    #[must_use]
    pub fn owns(&self, machine: &MachineId, intent: &IntentId) -> bool {
        self.status == DataplaneStatus::Active
            && self.member(&intent.member).is_some_and(|member| {
                member.generation == intent.generation
                    && match member.status {
                        MemberStatus::Open => member.tried > 0,
                        MemberStatus::Launched => member.machine.as_ref() == Some(machine),
                        MemberStatus::Exhausted => false,
                    }
            })
    }

    /// Makes a change. Making it again changes nothing.
    pub fn apply(&mut self, change: &DataplaneChange) -> Result<()> {
        let active = self.status == DataplaneStatus::Active;
        match change {
            DataplaneChange::Bind(transfer) => {
                if !active {
                    let message = "the dataplane is going, no transfer can use it any more";
                    return Err(self.refused(message));
                }
                if self.transfers.iter().any(|other| other != transfer) {
                    let message = "another transfer uses the dataplane";
                    return Err(Error::control(ErrorKind::Throttled, message)
                        .object(self.id.as_str())
                        .hint("try again when that has ended, or use another dataplane"));
                }
                self.transfers.insert(transfer.clone());
                self.idle_since = None;
            }
            DataplaneChange::Release(transfer) => {
                self.transfers.remove(transfer);
            }
            DataplaneChange::Idle(now) => {
                if self.transfers.is_empty() {
                    self.idle_since.get_or_insert(*now);
                }
            }
            DataplaneChange::End => self.end(),
            DataplaneChange::EndIdle => {
                if !self.transfers.is_empty() {
                    return Err(self.refused("a transfer uses the dataplane"));
                }
                self.end();
            }
            DataplaneChange::Ended(now) => {
                if active {
                    let message = "a dataplane is not over that was not told to go";
                    return Err(Error::invalid(message).object(self.id.as_str()));
                }
                self.status = DataplaneStatus::Ended;
                self.transfers.clear();
                self.ended.get_or_insert(*now);
            }
            DataplaneChange::Members(changes) => {
                for change in changes {
                    self.step(change);
                }
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        self.status = self.status.max(DataplaneStatus::Ending);
    }

    fn refused(&self, message: &str) -> Error {
        Error::control(ErrorKind::LeaseLost, message).object(self.id.as_str())
    }

    fn step(&mut self, change: &MemberChange) {
        let status = self.status;
        let active = status == DataplaneStatus::Active;
        let found = self.members.iter_mut().find(|member| {
            member.plan.name == change.member && member.generation == change.generation
        });
        let Some(member) = found else { return };
        match &change.step {
            MemberStep::Raise { from } if active => member.raise(*from),
            // Whoever ends the machines must know of this one, too.
            MemberStep::Launched { number, machine }
                if status != DataplaneStatus::Ended
                    && member.status == MemberStatus::Open
                    && member.tried == *number
                    && *number > 0 =>
            {
                member.status = MemberStatus::Launched;
                member.machine = Some(machine.clone());
            }
            MemberStep::Seen {
                machine,
                private,
                public,
            } if member.machine.as_ref() == Some(machine) => {
                // Who describes late may have seen less.
                member.private_address = private.or(member.private_address);
                member.public_address = public.or(member.public_address);
                member.missing_since = None;
            }
            MemberStep::Missing { machine, now } if member.machine.as_ref() == Some(machine) => {
                member.missing_since.get_or_insert(*now);
            }
            MemberStep::Heard { machine, beat, now }
                if member.machine.as_ref() == Some(machine)
                    && member.heard.is_none_or(|heard| heard.beat != *beat) =>
            {
                member.heard = Some(Heard {
                    beat: *beat,
                    since: *now,
                });
            }
            MemberStep::Replace { machine }
                if active && member.machine == *machine && member.status != MemberStatus::Open =>
            {
                *member = MemberRow::new(member.plan.clone(), member.generation + 1);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::control::plan;

    fn row() -> DataplaneRow {
        DataplaneRow::new(plan(DataplaneId::generate(), &["a", "b"], 2)).unwrap()
    }

    fn step(row: &mut DataplaneRow, step: MemberStep) {
        let member = row.members[0].plan.name.clone();
        let generation = row.members[0].generation;
        let change = MemberChange {
            member,
            generation,
            step,
        };
        row.apply(&DataplaneChange::Members(vec![change])).unwrap();
    }

    fn machine(name: &str) -> MachineId {
        MachineId(name.to_owned())
    }

    fn launched(number: u32, name: &str) -> MemberStep {
        MemberStep::Launched {
            number,
            machine: machine(name),
        }
    }

    #[test]
    fn offers_are_tried_in_their_order_and_then_no_more() {
        let mut row = row();
        assert_eq!(row.members[0].offer(), None);
        for from in 0..2 {
            step(&mut row, MemberStep::Raise { from });
            step(&mut row, MemberStep::Raise { from });
            assert_eq!(row.members[0].tried, from + 1);
            let offer = row.members[0].offer().cloned();
            assert_eq!(
                offer.as_ref(),
                row.members[0].plan.offers.get(from as usize)
            );
        }
        step(&mut row, MemberStep::Raise { from: 2 });
        assert_eq!(row.members[0].status, MemberStatus::Exhausted);
        step(&mut row, MemberStep::Replace { machine: None });
        let again = &row.members[0];
        assert_eq!((again.generation, again.tried), (2, 0));
        assert_eq!(
            row.members[1],
            DataplaneRow::new(plan(row.id.clone(), &["b"], 2))
                .unwrap()
                .members[0]
        );
    }

    #[test]
    fn a_machine_is_taken_from_the_try_that_is_under_way_and_from_no_other() {
        let mut row = row();
        step(&mut row, launched(0, "x"));
        step(&mut row, launched(1, "x"));
        assert_eq!(row.members[0].machine, None);
        step(&mut row, MemberStep::Raise { from: 0 });
        let intent = row.members[0].intent(&row.id);
        assert!(row.owns(&machine("x"), &intent), "it may be the one");
        step(&mut row, launched(2, "x"));
        assert_eq!(row.members[0].machine, None);
        step(&mut row, launched(1, "x"));
        step(&mut row, launched(1, "y"));
        step(&mut row, MemberStep::Raise { from: 1 });
        assert_eq!(row.members[0].machine, Some(machine("x")));
        assert!(row.owns(&machine("x"), &intent) && !row.owns(&machine("y"), &intent));
        step(
            &mut row,
            MemberStep::Replace {
                machine: Some(machine("y")),
            },
        );
        assert_eq!(row.members[0].generation, 1);
        step(
            &mut row,
            MemberStep::Replace {
                machine: Some(machine("x")),
            },
        );
        assert_eq!(row.members[0].generation, 2);
        assert!(!row.owns(&machine("x"), &intent), "it was replaced");
    }

    #[test]
    fn what_goes_launches_nothing_and_knows_what_was_launched() {
        let mut row = row();
        step(&mut row, MemberStep::Raise { from: 0 });
        let intent = row.members[0].intent(&row.id);
        row.apply(&DataplaneChange::End).unwrap();
        step(&mut row, MemberStep::Raise { from: 1 });
        step(&mut row, MemberStep::Replace { machine: None });
        assert_eq!((row.members[0].tried, row.members[0].generation), (1, 1));
        // A launch that was under way is told of, and does not belong to it.
        step(&mut row, launched(1, "x"));
        assert_eq!(row.members[0].machine, Some(machine("x")));
        assert!(!row.owns(&machine("x"), &intent));
        let refused = row.apply(&DataplaneChange::Bind(TransferId::generate()));
        assert_eq!(refused.unwrap_err().kind, ErrorKind::LeaseLost);
        row.apply(&DataplaneChange::Ended(Timestamp::UNIX_EPOCH))
            .unwrap();
        row.apply(&DataplaneChange::End).unwrap();
        assert_eq!(row.status, DataplaneStatus::Ended);
    }

    #[test]
    fn what_a_transfer_uses_is_not_idle() {
        let mut row = row();
        let transfer = TransferId::generate();
        let at = |second| Timestamp::from_second(second).unwrap();
        row.apply(&DataplaneChange::Idle(at(1))).unwrap();
        row.apply(&DataplaneChange::Idle(at(2))).unwrap();
        assert_eq!(row.idle_since, Some(at(1)));
        row.apply(&DataplaneChange::Bind(transfer.clone())).unwrap();
        row.apply(&DataplaneChange::Idle(at(3))).unwrap();
        assert_eq!(row.idle_since, None);
        row.apply(&DataplaneChange::Bind(transfer.clone())).unwrap();
        let other = DataplaneChange::Bind(TransferId::generate());
        let refused = row.apply(&other).unwrap_err();
        assert_eq!(
            (refused.kind, refused.retryable),
            (ErrorKind::Throttled, true)
        );
        let refused = row.apply(&DataplaneChange::EndIdle).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::LeaseLost);
        assert_eq!(row.status, DataplaneStatus::Active);
        row.apply(&DataplaneChange::Release(transfer)).unwrap();
        row.apply(&DataplaneChange::EndIdle).unwrap();
        assert_eq!(row.status, DataplaneStatus::Ending);
        assert!(
            self::row()
                .apply(&DataplaneChange::Ended(Timestamp::UNIX_EPOCH))
                .is_err()
        );
    }
}
