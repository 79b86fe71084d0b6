//! One slice of listing: some pages of one range, merged with the destination's, published as
//! groups, skipped outcomes and deletions. Idempotent: what is not published is listed again.

use futures::{StreamExt as _, stream};
use skyhaul_model::compare::IfExists;
use skyhaul_model::group::Lease;
use skyhaul_model::keymap::KeyMap;
use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_model::spec::Mode;
use skyhaul_model::{Error, ErrorKind, ObjectEntry, Result};
use skyhaul_state::{ListCounts, ListSegmentKind, NewGroup, Publication, RangeRow};
use skyhaul_stores::{ListPage, ListRequest};

use super::classify::{Classifier, Item};
use super::entries::Entries;
use super::pack::{Packed, Packer};
use super::pool::Pool;
use super::resolve::resolve;
use super::scan::Scan;
use crate::copy::{group, object};
use crate::engine::{Engine, StepEnd};

/// Keys to delete in one segment: so many are deleted between two looks at the time.
const MOST_DELETES: usize = 16_384;

/// A range being listed by this process.
pub(crate) struct RangeTask {
    row: RangeRow,
    lease: Lease,
    source: Scan,
    destination: Option<Entries>,
    packer: Packer,
    /// Of objects that are copied before all others.
    first: Packer,
    outcomes: Vec<Outcome>,
    deletes: Vec<String>,
    counts: ListCounts,
    last: Option<String>,
}

impl RangeTask {
    /// Continues a leased range at its cursor; `source` is its listing if it was begun already.
    pub(crate) fn new(pool: &Pool, row: RangeRow, lease: Lease, source: Option<Scan>) -> Self {
        let engine = &pool.engine;
        let keys = &engine.spec.keys;
        // One object is looked at alone, however many keys begin with its own.
        let only = |key: &str| matches!(keys, KeyMap::Object { .. }).then(|| key.to_owned());
        let source = source.unwrap_or_else(|| {
            let request = ListRequest {
                prefix: keys.source_prefix().to_owned(),
                after: row.cursor.clone(),
                upto: row.upto.clone().or_else(|| only(keys.source_prefix())),
                ..ListRequest::default()
            };
            Scan::new(engine.source.clone(), pool.shared.clone(), request)
        });
        let merges = engine.spec.mode == Mode::Sync || engine.spec.if_exists != IfExists::Overwrite;
        let destination = merges.then(|| {
            let bound = |key: &Option<String>| key.as_ref().and_then(|key| keys.map_bound(key));
            let request = ListRequest {
                prefix: keys.destination_prefix().to_owned(),
                after: bound(&row.cursor),
                upto: bound(&row.upto).or_else(|| only(keys.destination_prefix())),
                ..ListRequest::default()
            };
            Entries::new(&*engine.destination, request)
        });
        Self {
            last: row.cursor.clone(),
            packer: Packer::new(pool.group_chunks()),
            first: Packer::new(pool.group_chunks()),
            source,
            destination,
            outcomes: Vec::new(),
            deletes: Vec::new(),
            counts: ListCounts::default(),
            row,
            lease,
        }
    }

    /// Lists until the range ends or the slice's pages are used up.
    pub(crate) async fn run(mut self, pool: &Pool) -> Result<StepEnd> {
        let engine = &pool.engine;
        let mut pages = 0;
        loop {
            engine.check_cancelled()?;
            let permits = pool.cuts();
            let (page, rights) = self.source.next(permits.len()).await?;
            for (right, permit) in rights.into_iter().zip(permits) {
                self.give_away(pool, right, permit).await?;
            }
            let Some(page) = page else {
                let rest = self
                    .row
                    .upto
                    .as_ref()
                    .and_then(|key| engine.spec.keys.map_bound(key));
                self.merge_rest(pool, rest.as_deref()).await?;
                self.publish(pool, true).await?;
                return Ok(StepEnd::Done);
            };
            // A slice ends only behind where it began, or an empty page would be listed for ever.
            pages += u32::from(!page.entries.is_empty());
            self.counts.pages += 1;
            self.merge(pool, page).await?;
            let is_last = engine.limits.slice_pages.is_some_and(|most| pages >= most)
                || (pages > 0 && engine.drain.is_cancelled());
            let most = pool.publish_objects();
            if is_last
                || self.packer.full_groups() + self.first.full_groups() > 0
                || self.packer.objects() + self.first.objects() >= most
                || (self.outcomes.len() + self.deletes.len()) as u64 >= most
            {
                self.publish(pool, false).await?;
            }
            if is_last {
                engine
                    .state
                    .release_range(&engine.id, self.row.id, &self.lease)
                    .await?;
                return Ok(StepEnd::More);
            }
        }
    }

    /// Hands the right half of the range to a new task.
    async fn give_away(
        &mut self,
        pool: &Pool,
        right: Scan,
        permit: tokio::sync::OwnedSemaphorePermit,
    ) -> Result<()> {
        let engine = &pool.engine;
        let at = right.last().unwrap_or_default().to_owned();
        let (left, new) = engine
            .state
            .split_range(&engine.id, self.row.id, &self.lease, &at, true)
            .await?;
        self.row = left;
        if let Some(lease) = new.lease.clone() {
            pool.spawn(Self::new(pool, new, lease, Some(right)), permit);
        }
        Ok(())
    }

    /// Merges one page of the source with the destination's entries up to its last key.
    async fn merge(&mut self, pool: &Pool, page: ListPage) -> Result<()> {
        let engine = &pool.engine;
        let classifier = pool.classifier();
        for error in &page.refused {
            let (outcome, incomplete) = classifier.refused(error);
            self.counts.unlisted += u64::from(incomplete);
            match outcome.action {
                Action::Failed => self.fail(outcome),
                _ => self.skip(pool, || outcome),
            }
        }
        let mut ask = Vec::new();
        for entry in page.entries {
            self.last = Some(entry.key.clone());
            let destination = match classifier.destination_key(&entry) {
                Some(key) => self.advance(&classifier, pool, &key).await?,
                None => continue,
            };
            match classifier.source(entry, destination) {
                Some(Item::Ask(pair)) => {
                    self.counts.source_objects += 1;
                    ask.push(*pair);
                }
                Some(item) => {
                    self.counts.source_objects += u64::from(!matches!(item, Item::Delete(_)));
                    self.take(pool, item);
                }
                None => {}
            }
        }
        let width = engine.limits.checkers.max(1);
        let mut answers = stream::iter(ask)
            .map(|(task, entry)| resolve(&classifier, task, entry))
            .buffer_unordered(width);
        while let Some(item) = answers.next().await {
            self.take(pool, item);
        }
        engine.check_cancelled()
    }

    /// Passes over the destination's entries before `key`; returns the one that equals it.
    async fn advance(
        &mut self,
        classifier: &Classifier<'_>,
        pool: &Pool,
        key: &str,
    ) -> Result<Option<ObjectEntry>> {
        let Some(mut entries) = self.destination.take() else {
            return Ok(None);
        };
        let mut found = None;
        while let Some(entry) = entries.next_upto(Some(key)).await? {
            self.counts.destination_objects += 1;
            if entry.key == key {
                found = Some(entry);
            } else if let Some(item) = classifier.destination(&entry) {
                self.take(pool, item);
            }
        }
        self.destination = Some(entries);
        Ok(found)
    }

    /// Passes over the destination's entries after the source's last key.
    async fn merge_rest(&mut self, pool: &Pool, upto: Option<&str>) -> Result<()> {
        let classifier = pool.classifier();
        let Some(mut entries) = self.destination.take() else {
            return Ok(());
        };
        while let Some(entry) = entries.next_upto(upto).await? {
            pool.engine.check_cancelled()?;
            self.counts.destination_objects += 1;
            if let Some(item) = classifier.destination(&entry) {
                self.take(pool, item);
            }
        }
        self.destination = Some(entries);
        Ok(())
    }

    fn take(&mut self, pool: &Pool, item: Item) {
        match item {
            Item::Copy(task) if pool.comes_first(&task) => self.first.push(task),
            Item::Copy(task) => self.packer.push(task),
            Item::Skip(task, why) => self.skip(pool, || {
                let mut outcome = object::outcome(&task, Action::Skipped);
                outcome.reason = Some(why.into_owned());
                outcome
            }),
            Item::Fail(outcome) => self.fail(outcome),
            Item::Delete(key) => {
                self.counts.deletes += 1;
                self.deletes.push(key);
            }
            Item::Ask(_) => {}
        }
    }

    fn skip(&mut self, pool: &Pool, outcome: impl FnOnce() -> Outcome) {
        self.counts.skipped += 1;
        if pool.engine.limits.keep_skipped {
            self.outcomes.push(outcome());
        }
    }

    /// What the destination could not list. Where everything there counts, that is a failure:
    /// nothing can be said of what is under it.
    fn unseen(&mut self, pool: &Pool, refused: Vec<Error>) {
        let engine = &pool.engine;
        let classifier = pool.classifier();
        for error in refused {
            let is_name = matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Refused);
            if is_name || engine.spec.delete.is_none() {
                tracing::warn!("{error}");
                continue;
            }
            let (mut outcome, _) = classifier.refused(&error);
            outcome.destination_key = outcome.source_key.take().unwrap_or_default();
            self.fail(outcome);
        }
    }

    fn fail(&mut self, outcome: Outcome) {
        self.counts.failed += 1;
        self.outcomes.push(outcome);
    }

    /// Writes the manifests of what was packed.
    async fn write(&mut self, engine: &Engine, packed: Packed) -> Result<Vec<NewGroup>> {
        let mut groups = Vec::with_capacity(packed.segments.len());
        for segment in &packed.segments {
            self.counts.chunks += segment.chunks.len() as u64;
            groups.push(group::new_group(engine, segment).await?);
        }
        self.counts.copy_objects += packed.objects;
        self.counts.copy_bytes += packed.bytes;
        Ok(groups)
    }

    async fn publish(&mut self, pool: &Pool, done: bool) -> Result<()> {
        let engine = &pool.engine;
        let packed = self.first.take(pool.group_chunks());
        let first = self.write(engine, packed).await?;
        let packed = self.packer.take(pool.group_chunks());
        let groups = self.write(engine, packed).await?;
        if let Some(entries) = &mut self.destination {
            self.counts.pages += entries.take_pages();
            let refused = entries.take_refused();
            self.unseen(pool, refused);
        }
        let mut segments = Vec::new();
        if !self.outcomes.is_empty() {
            let pointer = engine.segments.write_outcomes(&self.outcomes).await?;
            segments.push((ListSegmentKind::Outcomes, pointer));
            self.outcomes.clear();
        }
        for keys in self.deletes.chunks(MOST_DELETES) {
            let pointer = engine.segments.write_deletes(keys).await?;
            segments.push((ListSegmentKind::Deletes, pointer));
        }
        self.deletes.clear();
        let published = (groups.len() + first.len()) as u64;
        let publication = Publication {
            cursor: self.last.clone(),
            groups,
            first,
            segments,
            counts: std::mem::take(&mut self.counts),
            done,
        };
        self.row = engine
            .state
            .publish(&engine.id, self.row.id, &self.lease, publication)
            .await?;
        pool.published(published);
        Ok(())
    }
}
