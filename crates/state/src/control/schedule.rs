//! What is submitted again and again, at its times, as a row. All that may happen to it is [`Schedule::apply`].

use serde::{Deserialize, Serialize};
use skyhaul_model::{Error, ErrorKind, Result, TransferId};

use super::check_name;

/// What becomes of a time that comes while the last run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Nothing is begun.
    Refuse,
    /// One run begins when the last one has ended, however many times have passed until then.
    Queue,
}

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// What is submitted: JSON that the workflow reads. Holds no secret.
    pub order: String,
    /// Who asked for it.
    pub owner: String,
    /// See [`Overlap`].
    pub overlap: Overlap,
    /// What was submitted last.
    pub last: Option<TransferId>,
    /// What is submitted when that has ended.
    pub waiting: Option<TransferId>,
    /// What was not begun, because the run before it still went on.
    pub refused: Option<TransferId>,
}

/// What happens to a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleChange {
    /// Its time has come, for a run under this identifier. `busy` is the last run, if it was seen to go on;
    /// refused (`LeaseLost`) if that is not the last one.
    Fire {
        /// The run.
        run: TransferId,
        /// The last one, which goes on.
        busy: Option<TransferId>,
    },
    /// The last run was seen to have ended: what waits begins. Nothing happens if another is the last one.
    Ended(TransferId),
}

impl Schedule {
    /// A schedule that has not run yet.
    pub fn new(
        name: impl Into<String>,
        order: impl Into<String>,
        owner: impl Into<String>,
        overlap: Overlap,
    ) -> Result<Self> {
        let name = name.into();
        check_name(&name, "a schedule")?;
        Ok(Self {
            name,
            order: order.into(),
            owner: owner.into(),
            overlap,
            last: None,
            waiting: None,
            refused: None,
        })
    }

    /// The same with other words; what has run is kept.
    #[must_use]
    pub fn again(self, known: Option<&Self>) -> Self {
        match known {
            None => self,
            Some(known) => Self {
                last: known.last.clone(),
                waiting: known.waiting.clone(),
                refused: known.refused.clone(),
                ..self
            },
        }
    }

    /// Makes a change. Making it again changes nothing.
    pub fn apply(&mut self, change: &ScheduleChange) -> Result<()> {
        match change {
            ScheduleChange::Fire { run, busy } => self.fire(run, busy.as_ref()),
            ScheduleChange::Ended(last) => {
                if self.last.as_ref() == Some(last)
                    && let Some(next) = self.waiting.take()
                {
                    self.last = Some(next);
                }
                Ok(())
            }
        }
    }

    fn fire(&mut self, run: &TransferId, busy: Option<&TransferId>) -> Result<()> {
        let known = [&self.last, &self.waiting, &self.refused];
        if known.into_iter().flatten().any(|known| known == run) {
            return Ok(());
        }
        match busy {
            None => {
                self.last = Some(run.clone());
                self.waiting = None;
            }
            Some(busy) if self.last.as_ref() != Some(busy) => {
                let message = "another run of the schedule has begun";
                return Err(
                    Error::control(ErrorKind::LeaseLost, message).object(self.name.as_str())
                );
            }
            Some(_) if self.overlap == Overlap::Queue => {
                self.waiting.get_or_insert_with(|| run.clone());
            }
            Some(_) => self.refused = Some(run.clone()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(overlap: Overlap) -> Schedule {
        Schedule::new("nightly", "{}", "me", overlap).unwrap()
    }

    fn fire(run: &TransferId, busy: Option<&TransferId>) -> ScheduleChange {
        ScheduleChange::Fire {
            run: run.clone(),
            busy: busy.cloned(),
        }
    }

    #[test]
    fn a_time_that_is_told_twice_is_one_run() {
        for overlap in [Overlap::Refuse, Overlap::Queue] {
            let mut row = schedule(overlap);
            let [first, second, third] = std::array::from_fn(|_| TransferId::generate());
            row.apply(&fire(&first, None)).unwrap();
            row.apply(&fire(&first, Some(&first))).unwrap();
            assert_eq!(
                (row.last.as_ref(), row.waiting.as_ref()),
                (Some(&first), None)
            );
            row.apply(&fire(&second, Some(&first))).unwrap();
            let before = row.clone();
            row.apply(&fire(&second, Some(&first))).unwrap();
            row.apply(&fire(&second, None)).unwrap();
            assert_eq!(row, before);
            row.apply(&fire(&third, None)).unwrap();
            assert_eq!(row.last, Some(third));
        }
    }

    #[test]
    fn what_overlaps_is_refused_or_waits_by_choice() {
        let [first, second, third] = std::array::from_fn(|_| TransferId::generate());
        let mut row = schedule(Overlap::Refuse);
        row.apply(&fire(&first, None)).unwrap();
        row.apply(&fire(&second, Some(&first))).unwrap();
        assert_eq!((&row.last, &row.waiting), (&Some(first.clone()), &None));
        assert_eq!(row.refused, Some(second.clone()));
        let mut row = schedule(Overlap::Queue);
        row.apply(&fire(&first, None)).unwrap();
        row.apply(&fire(&second, Some(&first))).unwrap();
        row.apply(&fire(&third, Some(&first))).unwrap();
        assert_eq!(row.waiting, Some(second.clone()));
        // One that sees an older run go on has to look again.
        row.apply(&ScheduleChange::Ended(third.clone())).unwrap();
        row.apply(&ScheduleChange::Ended(first.clone())).unwrap();
        row.apply(&ScheduleChange::Ended(first.clone())).unwrap();
        assert_eq!((&row.last, &row.waiting), (&Some(second.clone()), &None));
        let stale = row.apply(&fire(&third, Some(&first))).unwrap_err();
        assert_eq!(stale.kind, ErrorKind::LeaseLost);
        // What was asked for anew keeps what has run.
        let again = schedule(Overlap::Refuse).again(Some(&row));
        assert_eq!((again.last, again.overlap), (Some(second), Overlap::Refuse));
    }

    #[test]
    fn names_are_plain() {
        for wrong in ["", "a/b", "a b", &"x".repeat(41)] {
            assert!(Schedule::new(wrong, "{}", "me", Overlap::Refuse).is_err());
        }
    }
}
