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

impl Open<'_> {
    /// Whether another rule copies from a destination back to the source.
    fn is_mirrored(&self, destination: usize) -> bool {
        self.back.iter().any(|(place, _)| *place == destination)
    }
}

impl Worker<'_> {
    /// Something happened to an object: every rule that it belongs to is kept up.
    ///
    /// Fails if a rule cannot be kept up now; told again, it does what is left.
    pub async fn happened(&self, what: &Happened, now: Timestamp, until: Instant) -> Result<()> {
        let rules = self.deployed.control.rules().await?;
        let mut failed = None;
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
            // One that cannot be kept up keeps up none of the others.
            if marked.is_dirty()
                && let Err(error) = self.keep_up((&rules, rule, true), &of, now, until).await
            {
                tracing::warn!(rule = rule.name, key = what.key, "not kept up: {error}");
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// A transfer that copies a large object has ended: its key is looked at again. If it failed, the object is copied
    /// once more when it has changed since, at its next event, or if this says so (`again`): what fails for good is not
    /// begun without end.
    pub async fn carried(
        &self,
        of: &RuleKey,
        again: bool,
        now: Timestamp,
        until: Instant,
    ) -> Result<()> {
        let rules = self.deployed.control.rules().await?;
        let rule = rules.iter().find(|rule| rule.name == of.rule);
        let Some(rule) = rule.filter(|rule| rule.enabled) else {
            return Ok(());
        };
        let mark = DirtyChange::Mark { sequencer: None };
        self.deployed.control.change_dirty(of, &mark).await?;
        self.keep_up((&rules, rule, again), of, now, until).await?;
        // What copies back has waited for the end of the transfer, too.
        self.keep_up_back((&rules, rule), of, false, now, until)
            .await
    }

    /// Keeps a key up by a rule, and by what copies back where the destination has what is to come from there.
    async fn keep_up(
        &self,
        (rules, rule, again): (&[Rule], &Rule, bool),
        of: &RuleKey,
        now: Timestamp,
        until: Instant,
    ) -> Result<()> {
        let which = (rules, rule, again);
        if self.converge(which, of, now, until).await? == Looked::Theirs {
            self.keep_up_back((rules, rule), of, true, now, until)
                .await?;
        }
        Ok(())
    }

    /// Keeps a key up by the rules that copy back; `marked`: as if it had changed there.
    async fn keep_up_back(
        &self,
        (rules, rule): (&[Rule], &Rule),
        of: &RuleKey,
        marked: bool,
        now: Timestamp,
        until: Instant,
    ) -> Result<()> {
        let control = &self.deployed.control;
        for back in rules.iter().filter(|other| rule.mirrors(other).is_some()) {
            let of = RuleKey {
                rule: back.name.clone(),
                key: of.key.clone(),
            };
            let row = if marked {
                let mark = DirtyChange::Mark { sequencer: None };
                control.change_dirty(&of, &mark).await?
            } else {
                control.dirty(&of).await?
            };
            if row.is_dirty() {
                self.converge((rules, back, true), &of, now, until).await?;
            }
        }
        Ok(())
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

    /// Works on a key until its destinations are like its source, or another has: what was found last.
    async fn converge(
        &self,
        which: (&[Rule], &Rule, bool),
        of: &RuleKey,
        now: Timestamp,
        until: Instant,
    ) -> Result<Looked> {
        let open = self.open(which, now).await?;
        loop {
            let Some(row) = self.take(of, until).await? else {
                return Ok(Looked::Alike);
            };
            let fence = row.fence;
            match self.work(&open, row, until).await {
                Ok(looked) => return Ok(looked),
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
    async fn work(&self, open: &Open<'_>, mut row: DirtyKey, until: Instant) -> Result<Looked> {
        let fence = row.fence;
        for _ in 0..LOOKS {
            let marks = row.marks;
            let mut looked = Looked::Alike;
            let mut failed = None;
            for destination in 0..open.destinations.len() {
                match self.look(open, &mut row, destination).await {
                    Ok(one) => looked = looked.and(one),
                    Err(error) if error.kind == ErrorKind::LeaseLost => return Err(error),
                    // The others have theirs all the same.
                    Err(error) => {
                        failed.get_or_insert(error);
                    }
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            match looked {
                Looked::Alike | Looked::Theirs => {
                    self.note(&mut row, DirtyChange::Settle { fence, marks })
                        .await?;
                    if !row.is_dirty() {
                        return Ok(looked);
                    }
                }
                Looked::Carried => {
                    self.note(&mut row, DirtyChange::Leave { fence }).await?;
                    return Ok(looked);
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
