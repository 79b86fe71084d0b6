//! A key of a rule's source that something happened to, as a row: who makes the destinations like it, and what of it
//! is there already. All that may happen to it is [`DirtyKey::apply`].
//!
//! Events only say that a key is dirty: what is at the source is read when it is worked on. So it does not matter in
//! which order they come, how often, or how late.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skyhaul_model::{Checksum, Error, ErrorKind, HolderId, Result, TransferId};

/// A key of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleKey {
    /// The rule.
    pub rule: String,
    /// The key below the rule's prefix.
    pub key: String,
}

/// Who works on a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLease {
    /// Who.
    pub holder: HolderId,
    /// Until when, by the clock of who took it. Should it be wrong, two work on one key: conditions of their writes
    /// and a last look keep them right.
    pub until: Timestamp,
}

/// Which versions are the same object: `ETag`s, and where it counts who wrote it their times, for who writes the same
/// bytes once more has the same `ETag`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// At the source.
    pub source: String,
    /// What was made of it at a destination.
    pub destination: String,
    /// The source's time.
    #[serde(default)]
    pub read: Option<Timestamp>,
    /// That of what was made.
    #[serde(default)]
    pub made: Option<Timestamp>,
}

/// What is about to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    /// The source's `ETag`.
    pub etag: Option<String>,
    /// Of the bytes.
    pub checksum: Option<Checksum>,
}

/// A write whose end is not known: it may come to pass late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Of the lease under which it was begun.
    pub fence: u64,
    /// When, by the clock of who began it.
    pub at: Timestamp,
    /// What is written.
    pub content: Content,
}

/// Intents that are remembered for each destination: the newest. Each is of a worker that stood still or died.
const INTENTS: usize = 8;

/// A transfer that copies a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The transfer.
    pub transfer: TransferId,
    /// How many were begun before it, for the same version, and failed.
    #[serde(default)]
    pub failed: u32,
    /// The `ETag` of what it copies.
    pub source: String,
}

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirtyKey {
    /// Which.
    pub of: RuleKey,
    /// The newest event's sequencer.
    pub sequencer: Option<String>,
    /// Raised by every event that is not older than the newest.
    pub marks: u64,
    /// The marks up to which the destinations are like the source.
    pub settled: u64,
    /// Raised with each lease.
    pub fence: u64,
    /// Who works on it.
    pub lease: Option<KeyLease>,
    /// What was written, by the destination's place among those of the rule.
    pub written: BTreeMap<u32, Written>,
    /// Writes that were begun, by the destination's place.
    #[serde(default)]
    pub intents: BTreeMap<u32, Vec<Intent>>,
    /// Transfers that copy what is too large for a function, by the destination's place.
    pub transfers: BTreeMap<u32, Carried>,
}

/// What happens to a dirty key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirtyChange {
    /// An event tells of it. One that is older than the newest does nothing.
    Mark {
        /// Orders events of one key: hexadecimal digits, compared as numbers.
        sequencer: Option<String>,
    },
    /// Somebody works on it. Refused (`Throttled`) while another does.
    Take {
        /// Who.
        holder: HolderId,
        /// Now, by its clock.
        now: Timestamp,
        /// How long the lease lasts.
        until: Timestamp,
    },
    /// A destination is about to be written. Refused (`LeaseLost`) if another has the lease now.
    Writes {
        /// Of the lease.
        fence: u64,
        /// The destination.
        destination: u32,
        /// What.
        content: Content,
        /// Now, by the clock of who writes.
        now: Timestamp,
    },
    /// A destination was written. Refused (`LeaseLost`) if another has the lease now.
    Wrote {
        /// Of the lease.
        fence: u64,
        /// The destination.
        destination: u32,
        /// What; `None`: nothing is there any more.
        what: Option<Written>,
    },
    /// A transfer copies it to a destination, or (`None`) none does any more. Refused as above.
    Hands {
        /// Of the lease.
        fence: u64,
        /// The destination.
        destination: u32,
        /// The transfer.
        transfer: Option<Carried>,
    },
    /// The destinations were like the source after these marks. The lease ends unless there are newer ones. Refused
    /// as above.
    Settle {
        /// Of the lease.
        fence: u64,
        /// As the row was read.
        marks: u64,
    },
    /// The lease ends, and the key is still dirty. Nothing happens if another has it.
    Leave {
        /// Of the lease.
        fence: u64,
    },
}

/// Whether a sequencer is older than another: hexadecimal digits of any length, the shorter one filled up with
/// zeros on its left
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>).
fn is_older(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    let key = |text: &str| (text.len(), text.to_ascii_uppercase());
    key(one) < key(other)
}

impl DirtyKey {
    /// A key that nothing has happened to.
    #[must_use]
    pub fn new(of: RuleKey) -> Self {
        Self {
            of,
            sequencer: None,
            marks: 0,
            settled: 0,
            fence: 0,
            lease: None,
            written: BTreeMap::new(),
            intents: BTreeMap::new(),
            transfers: BTreeMap::new(),
        }
    }

    /// Whether the destinations may differ from the source.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.marks != self.settled
    }

    /// Makes a change.
    pub fn apply(&mut self, change: &DirtyChange) -> Result<()> {
        match change {
            DirtyChange::Mark { sequencer } => {
                if let (Some(known), Some(new)) = (&self.sequencer, sequencer)
                    && is_older(new, known)
                {
                    return Ok(());
                }
                if sequencer.is_some() {
                    self.sequencer.clone_from(sequencer);
                }
                self.marks += 1;
            }
            DirtyChange::Take { holder, now, until } => {
                if let Some(lease) = &self.lease
                    && lease.until > *now
                    && lease.holder != *holder
                {
                    let message = "another works on the key";
                    return Err(Error::control(ErrorKind::Throttled, message).object(&*self.of.key));
                }
                self.fence += 1;
                self.lease = Some(KeyLease {
                    holder: holder.clone(),
                    until: *until,
                });
            }
            DirtyChange::Writes {
                fence,
                destination,
                content,
                now,
            } => {
                self.held(*fence)?;
                let intents = self.intents.entry(*destination).or_default();
                // Who holds it writes one at a time: an earlier one of its has ended.
                intents.retain(|intent| intent.fence != *fence);
                intents.push(Intent {
                    fence: *fence,
                    at: *now,
                    content: content.clone(),
                });
                let old = intents.len().saturating_sub(INTENTS);
                intents.drain(..old);
            }
            DirtyChange::Wrote {
                fence,
                destination,
                what,
            } => {
                self.held(*fence)?;
                match what {
                    Some(what) => self.written.insert(*destination, what.clone()),
                    None => self.written.remove(destination),
                };
                if let Some(intents) = self.intents.get_mut(destination) {
                    intents.retain(|intent| intent.fence != *fence);
                }
            }
            DirtyChange::Hands {
                fence,
                destination,
                transfer,
            } => {
                self.held(*fence)?;
                match transfer {
                    Some(transfer) => self.transfers.insert(*destination, transfer.clone()),
                    None => self.transfers.remove(destination),
                };
            }
            DirtyChange::Settle { fence, marks } => {
                self.held(*fence)?;
                self.settled = self.settled.max(*marks);
                // Whoever settles has heard of the end of all that it wrote.
                for intents in self.intents.values_mut() {
                    intents.retain(|intent| intent.fence != *fence);
                }
                if self.marks == *marks {
                    self.lease = None;
                }
            }
            DirtyChange::Leave { fence } => {
                if self.fence == *fence {
                    self.lease = None;
                }
            }
        }
        Ok(())
    }

    fn held(&self, fence: u64) -> Result<()> {
        if self.fence == fence && self.lease.is_some() {
            return Ok(());
        }
        let message = "another works on the key now";
        Err(Error::control(ErrorKind::LeaseLost, message).object(&*self.of.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key() -> DirtyKey {
        DirtyKey::new(RuleKey {
            rule: "r".to_owned(),
            key: "k".to_owned(),
        })
    }

    fn mark(sequencer: &str) -> DirtyChange {
        DirtyChange::Mark {
            sequencer: Some(sequencer.to_owned()),
        }
    }

    fn take(holder: &HolderId, second: i64) -> DirtyChange {
        DirtyChange::Take {
            holder: holder.clone(),
            now: at(second),
            until: at(second + 10),
        }
    }

    fn writes(fence: u64) -> DirtyChange {
        DirtyChange::Writes {
            fence,
            destination: 0,
            content: Content {
                size: fence,
                etag: None,
                checksum: None,
            },
            now: at(0),
        }
    }

    #[test]
    fn a_write_whose_end_is_not_known_is_remembered() {
        let holder = HolderId::generate();
        let mut row = key();
        let fences = |row: &DirtyKey| {
            let intents = row.intents.get(&0).into_iter().flatten();
            intents.map(|intent| intent.fence).collect::<Vec<_>>()
        };
        for fence in 1..=INTENTS as u64 + 1 {
            row.apply(&take(&holder, 0)).unwrap();
            // Begun once more by who holds it, it is one.
            row.apply(&writes(fence)).unwrap();
            row.apply(&writes(fence)).unwrap();
        }
        assert_eq!(fences(&row), (2..=INTENTS as u64 + 1).collect::<Vec<_>>());
        let wrote = DirtyChange::Wrote {
            fence: INTENTS as u64 + 1,
            destination: 0,
            what: None,
        };
        row.apply(&wrote).unwrap();
        assert_eq!(fences(&row), (2..=INTENTS as u64).collect::<Vec<_>>());
        // A refused one has ended, too, for whoever settles.
        row.apply(&take(&holder, 0)).unwrap();
        row.apply(&writes(INTENTS as u64 + 2)).unwrap();
        let settle = DirtyChange::Settle {
            fence: INTENTS as u64 + 2,
            marks: 0,
        };
        row.apply(&settle).unwrap();
        assert_eq!(fences(&row), (2..=INTENTS as u64).collect::<Vec<_>>());
    }

    #[test]
    fn an_event_that_is_older_than_the_newest_does_nothing() {
        assert!(is_older("FF", "100") && is_older("0a1", "a2") && !is_older("A", "0a"));
        let mut row = key();
        row.apply(&mark("B0")).unwrap();
        row.apply(&mark("9F")).unwrap();
        assert_eq!(row.marks, 1);
        // The same again may be one that nobody has worked on.
        row.apply(&mark("0B0")).unwrap();
        row.apply(&DirtyChange::Mark { sequencer: None }).unwrap();
        assert_eq!((row.marks, row.sequencer.as_deref()), (3, Some("0B0")));
    }

    #[test]
    fn one_at_a_time_works_on_a_key_and_who_is_late_changes_nothing() {
        let (one, other) = (HolderId::generate(), HolderId::generate());
        let mut row = key();
        row.apply(&mark("1")).unwrap();
        row.apply(&take(&one, 0)).unwrap();
        let refused = row.apply(&take(&other, 9)).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Throttled);
        row.apply(&take(&other, 10)).unwrap();
        for late in [
            DirtyChange::Settle { fence: 1, marks: 1 },
            writes(1),
            DirtyChange::Wrote {
                fence: 1,
                destination: 0,
                what: None,
            },
            DirtyChange::Hands {
                fence: 1,
                destination: 0,
                transfer: None,
            },
        ] {
            assert_eq!(row.apply(&late).unwrap_err().kind, ErrorKind::LeaseLost);
        }
        row.apply(&DirtyChange::Leave { fence: 1 }).unwrap();
        assert!(row.lease.is_some());
        // What came meanwhile is worked on before the lease ends.
        row.apply(&mark("2")).unwrap();
        row.apply(&DirtyChange::Settle { fence: 2, marks: 1 })
            .unwrap();
        assert!(row.is_dirty() && row.lease.is_some());
        row.apply(&DirtyChange::Settle { fence: 2, marks: 2 })
            .unwrap();
        assert!(!row.is_dirty() && row.lease.is_none());
    }
}
