//! Triggers: what becomes of objects that are made, overwritten and deleted under a prefix. An event only says that a
//! key is dirty ([`skyhaul_state::control::DirtyKey`]); whoever works on it makes the destinations like the source as
//! it is then.

mod converge;
mod event;
mod large;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use skyhaul_model::filter::Filters;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Error, ErrorKind, HolderId, Result, Side};
use skyhaul_state::control::{DirtyChange, DirtyKey, Rule, RuleKey};
use skyhaul_stores::Store;
use skyhaul_stores::open::{Opens, Use};
use tokio::time::Instant;

use crate::deployed::Deployed;

use converge::Looked;

pub use converge::LARGE;
pub use event::{Happened, happened};
pub use large::carried_for;

/// How long a key is worked on at most before another may.
pub const LEASE: SignedDuration = SignedDuration::from_mins(2);

/// Between two looks at a key that another works on.
const AGAIN: Duration = Duration::from_millis(200);

/// Looks at a key that keeps changing, before somebody else goes on.
const LOOKS: usize = 32;

/// What works on keys.
pub struct Worker<'a> {
    /// The deployment: rows, and what carries out what is too large for a function.
    pub deployed: &'a Deployed,
    /// Whose credentials stores are opened with.
    pub opens: &'a dyn Opens,
    /// Who this is.
    pub holder: HolderId,
    /// How long it holds a key before another may: [`LEASE`].
    pub lease: SignedDuration,
}

/// A rule whose stores are open.
struct Open<'a> {
    rule: &'a Rule,
    /// The rules that copy back, with the place of their source among the destinations.
    back: Vec<(usize, &'a Rule)>,
    source: Arc<dyn Store>,
    destinations: Vec<Arc<dyn Store>>,
    filters: Filters,
    /// Whether a large object whose transfer failed is copied once more.
    again: bool,
}

impl Worker<'_> {
    /// Something happened to an object: every rule that it belongs to is kept up.
    ///
    /// Fails if a rule cannot be kept up now; told again, it does what is left.
    pub async fn happened(&self, what: &Happened, now: Timestamp, until: Instant) -> Result<()> {
        let rules = self.deployed.control.rules().await?;
        for rule in rules.iter().filter(|rule| rule.enabled) {
            let source = &rule.source.location;
            if source.container != what.bucket {
                continue;
            }
            let Some(below) = rule.below(&what.key) else {
                continue;
            };
            let of = RuleKey {
                rule: rule.name.clone(),
                key: below.to_owned(),
            };
            let mark = DirtyChange::Mark {
                sequencer: what.sequencer.clone(),
            };
            let marked = self.deployed.control.change_dirty(&of, &mark).await?;
            if marked.is_dirty() {
                self.converge((&rules, rule, true), &of, now, until).await?;
            }
        }
        Ok(())
    }

    /// A transfer that copies a large object has ended: its key is looked at again. If it failed, the object is copied
    /// once more when it has changed since, or at its next event: what fails for good is not begun without end.
    pub async fn carried(&self, of: &RuleKey, now: Timestamp, until: Instant) -> Result<()> {
        let rules = self.deployed.control.rules().await?;
        let rule = rules.iter().find(|rule| rule.name == of.rule);
        let Some(rule) = rule.filter(|rule| rule.enabled) else {
            return Ok(());
        };
        let mark = DirtyChange::Mark { sequencer: None };
        self.deployed.control.change_dirty(of, &mark).await?;
        self.converge((&rules, rule, false), of, now, until).await
    }

    async fn open<'b>(
        &self,
        (rules, rule, again): (&'b [Rule], &'b Rule, bool),
        now: Timestamp,
    ) -> Result<Open<'b>> {
        let open = async |endpoint: &Endpoint, side: Side| {
            let opened = self.opens.open(endpoint, side, Use::default());
            opened.await
        };
        let mut destinations = Vec::with_capacity(rule.destinations.len());
        for endpoint in &rule.destinations {
            destinations.push(open(endpoint, Side::Destination).await?);
        }
        let back = rules.iter();
        let back = back.filter_map(|other| Some((rule.mirrors(other)?, other)));
        Ok(Open {
            rule,
            back: back.collect(),
            source: open(&rule.source, Side::Source).await?,
            destinations,
            filters: Filters::compile(&rule.filters, now)?,
            again,
        })
    }

    /// Works on a key until its destinations are like its source, or another has.
    async fn converge(
        &self,
        which: (&[Rule], &Rule, bool),
        of: &RuleKey,
        now: Timestamp,
        until: Instant,
    ) -> Result<()> {
        let open = self.open(which, now).await?;
        loop {
            let Some(row) = self.take(of, until).await? else {
                return Ok(());
            };
            let fence = row.fence;
            match self.work(&open, row, until).await {
                Ok(()) => return Ok(()),
                // Another has it, and looks at what is there once more before it lets go.
                Err(error) if error.kind == ErrorKind::LeaseLost => {}
                Err(error) => {
                    let leave = DirtyChange::Leave { fence };
                    self.deployed.control.change_dirty(of, &leave).await?;
                    return Err(error.object(&*of.key));
                }
            }
        }
    }

    /// The lease of a key, once nobody else has it; `None` if somebody else has settled it.
    async fn take(&self, of: &RuleKey, until: Instant) -> Result<Option<DirtyKey>> {
        loop {
            let now = Timestamp::now();
            let take = DirtyChange::Take {
                holder: self.holder.clone(),
                now,
                until: now + self.lease,
            };
            match self.deployed.control.change_dirty(of, &take).await {
                Ok(row) => return Ok(Some(row)),
                Err(error) if error.kind != ErrorKind::Throttled => return Err(error),
                Err(error) if Instant::now() + AGAIN >= until => return Err(error),
                Err(_) => {}
            }
            if !self.deployed.control.dirty(of).await?.is_dirty() {
                return Ok(None);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Looks until the destinations are like the source, or a transfer goes on that copies it: its end is told of by
    /// itself.
    async fn work(&self, open: &Open<'_>, mut row: DirtyKey, until: Instant) -> Result<()> {
        let fence = row.fence;
        for _ in 0..LOOKS {
            let marks = row.marks;
            let mut looked = Looked::Alike;
            for destination in 0..open.destinations.len() {
                looked = looked.and(self.look(open, &mut row, destination).await?);
            }
            match looked {
                Looked::Alike => {
                    self.note(&mut row, DirtyChange::Settle { fence, marks })
                        .await?;
                    if !row.is_dirty() {
                        return Ok(());
                    }
                }
                Looked::Carried => {
                    return self.note(&mut row, DirtyChange::Leave { fence }).await;
                }
                Looked::Changed => {}
            }
            if Instant::now() >= until {
                break;
            }
        }
        let message = "the object changes faster than it can be copied";
        Err(Error::control(ErrorKind::Timeout, message))
    }

    /// Makes a change of a key's row, which is as it is afterwards.
    async fn note(&self, row: &mut DirtyKey, change: DirtyChange) -> Result<()> {
        let control = &*self.deployed.control;
        *row = control.change_dirty(&row.of, &change).await?;
        Ok(())
    }
}
