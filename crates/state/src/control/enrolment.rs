//! What a machine says of itself when it has started, and what it is assigned to: the rows by which secrets
//! reach gateways.
//!
//! A machine writes one row, under the name that its provider gives it, with a public key whose private half
//! it never writes down. Assignments are sealed to that key. Policies let a machine write no row but its own
//! (the row's partition key is its name, and credentials say which machine they were given to), so that
//! nobody else of the same role can have an assignment sealed to another key.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skyhaul_model::machine::IntentId;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};

/// Transfers that a machine is assigned to at most, at once.
pub const MOST_ASSIGNMENTS: usize = 16;
/// Bytes of an assignment at most: all of a machine's are in one row.
pub const LONGEST_ASSIGNMENT: usize = 20 << 10;

/// A machine that has started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// What its provider calls it (for EC2 the instance's ARN).
    pub machine: String,
    /// What it was launched for, as its boot says; proved by who reads this, against the launch.
    pub intent: IntentId,
    /// What assignments are sealed to; new at each start.
    pub public_key: Bytes,
    /// Where it is, if its provider cannot be asked: a machine of who submits.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// Raised while it lives.
    pub beat: u64,
    /// What it is to do for each transfer, sealed.
    pub assignments: BTreeMap<TransferId, Bytes>,
}

/// What happens to an enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrolmentChange {
    /// The machine lives.
    Beat(u64),
    /// It is to work for a transfer. Refused (`LeaseLost`) if it has started anew and has another key.
    Assign {
        /// The key that the assignment is sealed to.
        public_key: Bytes,
        /// The transfer.
        transfer: TransferId,
        /// The assignment, sealed.
        sealed: Bytes,
    },
    /// It is to work for a transfer no more.
    Dismiss(TransferId),
}

impl Enrolment {
    /// A machine that has started, and is assigned to nothing.
    #[must_use]
    pub fn new(machine: impl Into<String>, intent: IntentId, public_key: impl Into<Bytes>) -> Self {
        Self {
            machine: machine.into(),
            intent,
            public_key: public_key.into(),
            address: None,
            beat: 0,
            assignments: BTreeMap::new(),
        }
    }

    /// Makes a change. Making it again changes nothing.
    pub fn apply(&mut self, change: &EnrolmentChange) -> Result<()> {
        match change {
            EnrolmentChange::Beat(beat) => self.beat = self.beat.max(*beat),
            EnrolmentChange::Dismiss(transfer) => {
                self.assignments.remove(transfer);
            }
            EnrolmentChange::Assign {
                public_key,
                transfer,
                sealed,
            } => {
                if self.public_key != *public_key {
                    let message = "the machine has started anew";
                    return Err(
                        Error::control(ErrorKind::LeaseLost, message).object(&*self.machine)
                    );
                }
                let is_new = !self.assignments.contains_key(transfer);
                if sealed.len() > LONGEST_ASSIGNMENT
                    || (is_new && self.assignments.len() >= MOST_ASSIGNMENTS)
                {
                    let message = "the machine is assigned to more than it can do";
                    return Err(Error::control(ErrorKind::Full, message).object(&*self.machine));
                }
                self.assignments.insert(transfer.clone(), sealed.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhaul_model::machine::DataplaneId;

    fn enrolment(key: &'static [u8]) -> Enrolment {
        let intent = IntentId {
            dataplane: DataplaneId::generate(),
            member: "src-1".parse().unwrap(),
            generation: 1,
        };
        Enrolment::new("arn:i-1", intent, key)
    }

    fn assign(key: &'static [u8], transfer: &TransferId, bytes: usize) -> EnrolmentChange {
        EnrolmentChange::Assign {
            public_key: key.into(),
            transfer: transfer.clone(),
            sealed: vec![7; bytes].into(),
        }
    }

    #[test]
    fn an_assignment_is_for_the_key_that_it_is_sealed_to() {
        let (mut row, transfer) = (enrolment(b"new"), TransferId::generate());
        let refused = row.apply(&assign(b"old", &transfer, 3)).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::LeaseLost);
        assert!(row.assignments.is_empty());
        row.apply(&assign(b"new", &transfer, 3)).unwrap();
        row.apply(&assign(b"new", &transfer, 4)).unwrap();
        assert_eq!(row.assignments[&transfer].len(), 4);
        row.apply(&EnrolmentChange::Dismiss(transfer.clone()))
            .unwrap();
        row.apply(&EnrolmentChange::Dismiss(transfer)).unwrap();
        assert!(row.assignments.is_empty());
    }

    #[test]
    fn a_row_does_not_grow_without_bound() {
        let mut row = enrolment(b"k");
        let long = assign(b"k", &TransferId::generate(), LONGEST_ASSIGNMENT + 1);
        assert_eq!(row.apply(&long).unwrap_err().kind, ErrorKind::Full);
        let transfers: Vec<_> = (0..MOST_ASSIGNMENTS)
            .map(|_| TransferId::generate())
            .collect();
        for transfer in &transfers {
            row.apply(&assign(b"k", transfer, LONGEST_ASSIGNMENT))
                .unwrap();
        }
        let more = assign(b"k", &TransferId::generate(), 1);
        assert_eq!(row.apply(&more).unwrap_err().kind, ErrorKind::Full);
        row.apply(&assign(b"k", &transfers[0], 1)).unwrap();
    }

    #[test]
    fn an_old_beat_does_not_count() {
        let mut row = enrolment(b"k");
        for (beat, now) in [(2, 2), (1, 2), (3, 3)] {
            row.apply(&EnrolmentChange::Beat(beat)).unwrap();
            assert_eq!(row.beat, now);
        }
    }
}
