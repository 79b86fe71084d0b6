//! The model-based suite that every backend of [`TransferState`] passes.
//!
//! Random operations of several holders, with stale and forged leases, repetitions at once and
//! late, and reopened handles, go to the backend and to a reference model in plain Rust
//! (`model.rs`). Every reply and every kind of error must be the model's. From time to time, and at
//! the end, all rows are read and checked against the model and against invariants that need no
//! model (`audit.rs`). A run is a function of its seed, which every violation names.

mod audit;
pub mod control;
mod dice;
mod generate;
pub mod guarded;
mod model;
mod race;
pub mod segments;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::operation::{Operation, Reply};
use crate::{TransferRow, TransferState};
use dice::Dice;
use generate::Generator;
use model::{Answer, Model};

pub use generate::plain_spec;
pub use race::race;

/// Steps between two readings of everything.
const AUDIT_EVERY: u32 = 64;

/// How many operations are kept to be repeated late.
const MEMORY: usize = 32;

/// Where a backend differs from what the trait says.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, step {step}: {what}")]
pub struct Violation {
    /// Gives the same run again.
    pub seed: u64,
    /// After how many operations.
    pub step: u32,
    /// What was done, expected and found.
    pub what: String,
}

/// What a run went through, so that a test can see that it tested something.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// How often each operation gave each result: `ok` or the kind of error.
    pub results: BTreeMap<(&'static str, String), u32>,
    /// Operations repeated at once.
    pub repeated: u32,
    /// Times a handle was closed and opened anew.
    pub reopened: u32,
}

impl Coverage {
    /// Adds another run's.
    pub fn merge(&mut self, other: Self) {
        for (key, count) in other.results {
            *self.results.entry(key).or_default() += count;
        }
        self.repeated += other.repeated;
        self.reopened += other.reopened;
    }

    /// How often an operation gave a result.
    #[must_use]
    pub fn count(&self, operation: &'static str, result: &str) -> u32 {
        self.results
            .get(&(operation, result.to_owned()))
            .copied()
            .unwrap_or(0)
    }
}

/// Runs `steps` random operations. Each call of `make` opens another handle to the *same* state,
/// empty at first; handles are used in turn and reopened between operations.
pub async fn run<F, O>(make: F, seed: u64, steps: u32) -> Result<Coverage, Violation>
where
    F: Fn() -> O,
    O: Future<Output = Arc<dyn TransferState>>,
{
    let handles = vec![make().await, make().await];
    let mut run = Run {
        model: Model {
            shards: handles[0].shards(),
            ..Model::default()
        },
        handles,
        dice: Dice::new(seed),
        generator: Generator::default(),
        history: VecDeque::new(),
        coverage: Coverage::default(),
    };
    let mut step = 0;
    let result = async {
        while step < steps {
            step += 1;
            if run.dice.chance(1, 40) {
                let index = run.dice.below(run.handles.len() as u64) as usize;
                drop(run.handles.remove(index));
                run.handles.push(make().await);
                run.coverage.reopened += 1;
            }
            run.step().await?;
            if step.is_multiple_of(AUDIT_EVERY) {
                run.audit().await?;
            }
        }
        run.audit().await?;
        run.drain().await?;
        run.audit().await
    }
    .await;
    match result {
        Ok(()) => Ok(run.coverage),
        Err(what) => Err(Violation { seed, step, what }),
    }
}

struct Run {
    handles: Vec<Arc<dyn TransferState>>,
    dice: Dice,
    model: Model,
    generator: Generator,
    history: VecDeque<Operation>,
    coverage: Coverage,
}

impl Run {
    /// One operation, sometimes an old one again, sometimes twice.
    async fn step(&mut self) -> Result<(), String> {
        let operation = if !self.history.is_empty() && self.dice.chance(1, 12) {
            let index = self.dice.below(self.history.len() as u64) as usize;
            self.history[index].clone()
        } else {
            self.generator.next(&mut self.dice, &self.model)
        };
        let first = self.apply(&operation).await?;
        if self.dice.chance(1, 4) {
            self.coverage.repeated += 1;
            let second = self.apply(&operation).await?;
            // What the trait promises without the model's help.
            if operation.is_repeatable() && first.is_ok() && first != second {
                return Err(format!(
                    "{operation:?} repeated: first {first:?}, then {second:?}"
                ));
            }
        }
        if operation.writes() {
            self.history.push_back(operation);
            if self.history.len() > MEMORY {
                self.history.pop_front();
            }
        }
        Ok(())
    }

    async fn apply(&mut self, operation: &Operation) -> Result<Answer<Reply>, String> {
        let state = Arc::clone(self.dice.pick(&self.handles));
        let expected = self.model.answer(operation);
        let found = perform(operation, state.as_ref()).await;
        let result = match &found {
            Ok(_) => "ok".to_owned(),
            Err(kind) => format!("{kind:?}"),
        };
        *self
            .coverage
            .results
            .entry((operation.name(), result))
            .or_default() += 1;
        if expected != found {
            return Err(format!(
                "{operation:?}\n  expected {expected:?}\n  found    {found:?}"
            ));
        }
        if let Ok(reply) = &found {
            self.generator.note(reply);
        }
        audit::place(&mut self.model, state.as_ref()).await?;
        Ok(found)
    }
}

/// What an operation gives: an error's kind, or a reply without times of the backend's clock.
async fn perform(operation: &Operation, state: &dyn TransferState) -> Answer<Reply> {
    let reply = operation.clone().perform(state).await;
    let reply = reply.map_err(|error| error.kind)?;
    Ok(match reply {
        Reply::Submitted(is_new, row) => Reply::Submitted(is_new, Box::new(timeless(*row))),
        Reply::Transfer(row) => Reply::Transfer(Box::new(timeless(*row))),
        Reply::Transfers(rows) => Reply::Transfers(rows.into_iter().map(timeless).collect()),
        // In no order that means anything.
        Reply::Pointers(mut pointers) => {
            pointers.sort();
            Reply::Pointers(pointers)
        }
        other => other,
    })
}

/// The row without times.
fn timeless(row: TransferRow) -> TransferRow {
    TransferRow {
        created: jiff::Timestamp::UNIX_EPOCH,
        updated: jiff::Timestamp::UNIX_EPOCH,
        ..row
    }
}
