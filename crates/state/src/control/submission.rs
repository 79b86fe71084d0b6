//! A transfer that was submitted to a control plane, as a row: what was asked for, and how the workflow
//! stands that carries it out. All that may happen to it is [`Submission::apply`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skyhaul_model::machine::{DataplaneId, IntentId};
use skyhaul_model::{Error, ErrorKind, Result, TransferId};

/// What is asked for has at most so many bytes.
pub const LONGEST_ORDER: usize = 64 << 10;

/// The text of a failure that is kept has at most so many bytes.
const LONGEST_CAUSE: usize = 4 << 10;

/// Whether an attempt goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// An attempt goes on.
    Live,
    /// The last attempt has come to its end, whichever it was.
    Over,
}

/// What the user wants of an attempt that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// It ends, and can be gone on with.
    Pause,
    /// It ends, and what it left half done is removed.
    Cancel,
}

/// Why an attempt fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The name of the error, as a state machine tells errors apart.
    pub name: String,
    /// What happened.
    pub cause: String,
}

/// The last sign of life, as whoever watches saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// Whose it is (which process of a gateway), and how often there was one; `None` if there never was.
    pub told: Option<(String, u64)>,
    /// Since when that is so, by the clock of who watches.
    pub since: Timestamp,
}

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// The transfer.
    pub transfer: TransferId,
    /// What is asked for: JSON that the workflow reads. Holds no secret.
    pub order: String,
    /// Who asked.
    pub owner: String,
    /// When, by the clock of who asked.
    pub submitted: Timestamp,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Whether it goes on.
    pub stage: Stage,
    /// What the user wants of it.
    pub wish: Option<Wish>,
    /// The dataplane that it uses.
    pub dataplane: Option<DataplaneId>,
    /// What an execution that waits for the copying is answered with.
    pub token: Option<String>,
    /// Why it fails, if it does.
    pub failure: Option<Failure>,
    /// The members of the dataplane that work for it, by their names.
    pub gateways: BTreeSet<String>,
    /// Signs of life of its gateways, by their names.
    pub signs: BTreeMap<String, Sign>,
    /// The last sign that something is done.
    pub progress: Option<Sign>,
    /// Machines that are to be replaced.
    pub lost: BTreeSet<IntentId>,
    /// What the attempt began from.
    #[serde(default)]
    pub base: Option<Base>,
}

/// Where an attempt stood when it was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// When that was.
    pub since: Timestamp,
    /// Bytes that all attempts before it had copied.
    pub bytes: u64,
    /// Regions, other than the source's, that it copies to.
    #[serde(default)]
    pub far: u32,
}

/// What happens to a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmissionChange {
    /// The attempt of this number begins, or has begun. Refused (`LeaseLost`) unless the one before it is
    /// over.
    Begin(u32),
    /// The user wants something of the attempt that goes on; refused (`Invalid`) if none does. To cancel is
    /// more than to pause.
    Wish(Wish),
    /// A step of an attempt: refused (`LeaseLost`) if that is over, or another goes on.
    Step(u32, SubmissionStep),
    /// An attempt has come to its end. Nothing happens if another goes on.
    Over(u32),
}

/// See [`SubmissionChange::Step`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmissionStep {
    /// It uses this dataplane, which is made or bound after this. The first one counts.
    Uses(DataplaneId),
    /// It does not use this dataplane, which something else uses or which has ended.
    Declines(DataplaneId),
    /// An execution waits with this token.
    Waits(String),
    /// Nobody waits with this token any more.
    Answered(String),
    /// It fails. The first failure counts, until its user wants it to end.
    Fails(Failure),
    /// These members work for it: all are told what to do, and signs of life count from now.
    Gateways(BTreeSet<String>),
    /// Signs of life as they are now, of gateways and of what they do.
    Signs(BTreeMap<String, Sign>, Option<Sign>),
    /// What it began from. The first counts.
    Base(Base),
    /// These machines are to be replaced, and no others.
    Lost(BTreeSet<IntentId>),
    /// These machines have been: signs of life count anew. What was done last does not: where each machine dies before it
    /// has done anything, that is a stall.
    Replaced(BTreeSet<IntentId>),
}

/// No more of a text than is kept, cut where a character ends.
fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_CAUSE));
    text
}

impl Submission {
    /// The first attempt at an order. Refused (`Invalid`) if that is too long.
    pub fn new(
        transfer: TransferId,
        order: impl Into<String>,
        owner: impl Into<String>,
        submitted: Timestamp,
    ) -> Result<Self> {
        let order = order.into();
        if order.len() > LONGEST_ORDER {
            let message = format!("what is asked for has {} bytes", order.len());
            return Err(Error::invalid(message)
                .object(transfer.as_str())
                .hint(format!("at most {LONGEST_ORDER}: use fewer filters")));
        }
        let owner = owner.into();
        Ok(Self::begun(transfer, order, owner, submitted, 1))
    }

    /// An attempt of which nothing is known but what was asked for.
    fn begun(
        transfer: TransferId,
        order: String,
        owner: String,
        submitted: Timestamp,
        attempt: u32,
    ) -> Self {
        Self {
            transfer,
            order,
            owner,
            submitted,
            attempt,
            stage: Stage::Live,
            wish: None,
            dataplane: None,
            token: None,
            failure: None,
            gateways: BTreeSet::new(),
            signs: BTreeMap::new(),
            progress: None,
            lost: BTreeSet::new(),
            base: None,
        }
    }

    /// Whether the same was asked for.
    #[must_use]
    pub fn is_of(&self, new: &Self) -> bool {
        (&self.transfer, &self.order) == (&new.transfer, &new.order)
    }

    /// Makes a change. Making it again changes nothing.
    pub fn apply(&mut self, change: &SubmissionChange) -> Result<()> {
        let live = self.stage == Stage::Live;
        match change {
            SubmissionChange::Begin(attempt) if *attempt == self.attempt && live => {}
            SubmissionChange::Begin(attempt) if *attempt == self.attempt + 1 && !live => {
                let last = self.clone();
                *self = Self::begun(
                    last.transfer,
                    last.order,
                    last.owner,
                    last.submitted,
                    *attempt,
                );
            }
            SubmissionChange::Wish(wish) if live => self.wish = self.wish.max(Some(*wish)),
            SubmissionChange::Wish(_) => {
                return Err(
                    Error::invalid("the transfer is not under way").object(self.transfer.as_str())
                );
            }
            SubmissionChange::Step(attempt, step) if *attempt == self.attempt && live => {
                self.step(step);
            }
            SubmissionChange::Begin(_) | SubmissionChange::Step(..) => {
                return Err(self.elsewhere());
            }
            SubmissionChange::Over(attempt) => {
                if *attempt == self.attempt {
                    self.stage = Stage::Over;
                    self.token = None;
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &SubmissionStep) {
        match step {
            SubmissionStep::Uses(dataplane) => {
                self.dataplane.get_or_insert_with(|| dataplane.clone());
            }
            SubmissionStep::Declines(dataplane) => {
                self.dataplane.take_if(|used| used == dataplane);
            }
            SubmissionStep::Waits(token) => self.token = Some(token.clone()),
            SubmissionStep::Answered(token) => {
                self.token.take_if(|known| known == token);
            }
            SubmissionStep::Fails(failure) => {
                // What its user wants is why it ends, whatever else happened.
                if self.failure.is_none() || self.wish.is_some() {
                    let Failure { name, cause } = failure.clone();
                    self.failure = Some(Failure {
                        name,
                        cause: shortened(cause),
                    });
                }
            }
            SubmissionStep::Gateways(names) => {
                if self.gateways != *names {
                    self.gateways.clone_from(names);
                    self.signs.clear();
                }
            }
            SubmissionStep::Signs(signs, progress) => {
                self.signs.clone_from(signs);
                self.progress.clone_from(progress);
            }
            SubmissionStep::Base(base) => {
                self.base.get_or_insert_with(|| base.clone());
            }
            SubmissionStep::Lost(intents) => self.lost.clone_from(intents),
            SubmissionStep::Replaced(intents) => {
                self.lost.retain(|intent| !intents.contains(intent));
                self.signs.clear();
            }
        }
    }

    fn elsewhere(&self) -> Error {
        let stage = match self.stage {
            Stage::Live => "goes on",
            Stage::Over => "is over",
        };
        let message = format!("attempt {} of the transfer {stage}", self.attempt);
        Error::control(ErrorKind::LeaseLost, message).object(self.transfer.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission() -> Submission {
        Submission::new(TransferId::generate(), "{}", "me", Timestamp::UNIX_EPOCH).unwrap()
    }

    fn step(attempt: u32, step: SubmissionStep) -> SubmissionChange {
        SubmissionChange::Step(attempt, step)
    }

    #[test]
    fn attempts_follow_each_other_and_a_late_step_is_refused() {
        let mut row = submission();
        row.apply(&SubmissionChange::Begin(1)).unwrap();
        for early in [2, 3] {
            let refused = row.apply(&SubmissionChange::Begin(early)).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::LeaseLost);
        }
        let waits = step(1, SubmissionStep::Waits("t".to_owned()));
        row.apply(&waits).unwrap();
        row.apply(&SubmissionChange::Over(1)).unwrap();
        row.apply(&SubmissionChange::Over(1)).unwrap();
        assert_eq!((row.stage, row.token.as_deref()), (Stage::Over, None));
        assert_eq!(row.apply(&waits).unwrap_err().kind, ErrorKind::LeaseLost);
        assert!(row.apply(&SubmissionChange::Begin(1)).is_err());
        row.apply(&SubmissionChange::Begin(2)).unwrap();
        row.apply(&SubmissionChange::Begin(2)).unwrap();
        assert_eq!(row.apply(&waits).unwrap_err().kind, ErrorKind::LeaseLost);
        // The end of the first is told once more.
        row.apply(&SubmissionChange::Over(1)).unwrap();
        assert_eq!(row.stage, Stage::Live);
    }

    #[test]
    fn a_new_attempt_knows_nothing_of_the_last_but_what_was_asked() {
        let mut row = submission();
        let before = row.clone();
        let failure = |name: &str| Failure {
            name: name.to_owned(),
            cause: "ä".repeat(LONGEST_CAUSE),
        };
        row.apply(&step(1, SubmissionStep::Fails(failure("First"))))
            .unwrap();
        row.apply(&step(1, SubmissionStep::Fails(failure("Second"))))
            .unwrap();
        let kept = row.failure.clone().unwrap();
        assert_eq!(
            (kept.name.as_str(), kept.cause.len()),
            ("First", LONGEST_CAUSE)
        );
        row.apply(&SubmissionChange::Wish(Wish::Cancel)).unwrap();
        row.apply(&SubmissionChange::Wish(Wish::Pause)).unwrap();
        assert_eq!(row.wish, Some(Wish::Cancel));
        row.apply(&SubmissionChange::Over(1)).unwrap();
        let refused = row.apply(&SubmissionChange::Wish(Wish::Pause)).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Invalid);
        row.apply(&SubmissionChange::Begin(2)).unwrap();
        assert_eq!(
            row,
            Submission {
                attempt: 2,
                ..before
            }
        );
    }

    #[test]
    fn a_token_that_was_answered_takes_no_other_with_it() {
        let mut row = submission();
        let token = |text: &str| text.to_owned();
        row.apply(&step(1, SubmissionStep::Waits(token("a"))))
            .unwrap();
        row.apply(&step(1, SubmissionStep::Waits(token("b"))))
            .unwrap();
        row.apply(&step(1, SubmissionStep::Answered(token("a"))))
            .unwrap();
        assert_eq!(row.token.as_deref(), Some("b"));
        row.apply(&step(1, SubmissionStep::Answered(token("b"))))
            .unwrap();
        assert_eq!(row.token, None);
    }

    #[test]
    fn too_long_an_order_is_refused() {
        let order = "x".repeat(LONGEST_ORDER + 1);
        let refused = Submission::new(TransferId::generate(), order, "", Timestamp::UNIX_EPOCH);
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Invalid);
    }
}
