//! One range of one listing, page by page, that can be cut in two while it is read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skyhaul_model::{Error, ErrorKind, ObjectEntry, Result};
use skyhaul_stores::{ListPage, ListRequest, Lister, Store};

use super::split::{self, Alphabet, Known, Turns};

/// What is left of a range is cut if it seems to be more pages than this: the next is on its way
/// already, and both sides of a cut end with a page that is not full.
const FEWEST_PAGES: f64 = 3.0;

/// Pages of a range that are learnt from: those that follow look alike.
const LEARNT: u32 = 8;

/// What all ranges of one listing share.
#[derive(Debug, Default)]
pub struct Shared {
    alphabet: Mutex<Alphabet>,
    pages: AtomicU64,
    wasted: AtomicU64,
}

impl Shared {
    fn alphabet(&self) -> MutexGuard<'_, Alphabet> {
        // A set of characters is never half-changed.
        self.alphabet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another cut may be tried: calls that brought few keys stay under a quarter of all
    /// (plus a few to start with), so that cutting never costs more than it saves.
    fn may_cut(&self) -> bool {
        self.wasted.load(Ordering::Relaxed) * 4 <= self.pages.load(Ordering::Relaxed) + 32
    }

    /// List calls made, on this side.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }
}

/// A range `after < key <= upto` of a store's keys under a prefix.
pub struct Scan {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    prefix: String,
    upto: Option<String>,
    /// No keys of the listing lie beyond this, although the range may reach further.
    end: Option<String>,
    lister: Box<dyn Lister>,
    ready: Option<ListPage>,
    /// First and last key of the last page.
    first: Option<String>,
    last: Option<String>,
    hint: usize,
    spread: usize,
    turns: Turns,
    /// Pages that were learnt from.
    learnt: u32,
    ended: bool,
}

impl Scan {
    /// A scan of a range.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, shared: Arc<Shared>, request: ListRequest) -> Self {
        Self {
            prefix: request.prefix.clone(),
            upto: request.upto.clone(),
            end: None,
            first: None,
            last: request.after.clone(),
            lister: store.list(request),
            store,
            shared,
            ready: None,
            hint: usize::MAX,
            spread: 0,
            turns: Turns::default(),
            learnt: 0,
            ended: false,
        }
    }

    /// The key behind which the range begins, or the last one that was listed.
    #[must_use]
    pub fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// The next page (in order, inside the bounds), or `None` at the end. At the same time, tries to
    /// give away up to `cuts` ranges from the right of the rest, which come rightmost first; the
    /// returned page lies left of them.
    pub async fn next(&mut self, cuts: usize) -> Result<(Option<ListPage>, Vec<Self>)> {
        if self.ended {
            return Ok((None, Vec::new()));
        }
        let proposals = self.propose(cuts);
        let mut upto = self.upto.clone();
        let probes = proposals.iter().map(|cut| {
            let upto = upto.replace(cut.at.clone());
            probe(&self.store, &self.shared, &self.prefix, upto, &cut.at)
        });
        let is_new = self.ready.is_none();
        let probes = futures::future::join_all(probes.collect::<Vec<_>>());
        let (page, found) = tokio::join!(fetch(self.ready.take(), &mut self.lister), probes);
        let page = page?;
        let mut rights = Vec::new();
        for (proposal, found) in proposals.into_iter().zip(found) {
            match found? {
                Some((lister, first)) => rights.push(self.give_away(proposal, lister, first)),
                None => self.end = Some(proposal.at),
            }
        }
        let page = self.accept(page)?;
        if let (true, Some(page)) = (is_new, &page) {
            self.learn(page);
        }
        Ok((page, rights))
    }

    fn give_away(&mut self, cut: split::Cut, lister: Box<dyn Lister>, first: ListPage) -> Self {
        let mut right = Self {
            store: Arc::clone(&self.store),
            shared: Arc::clone(&self.shared),
            prefix: self.prefix.clone(),
            upto: self.upto.replace(cut.at.clone()),
            end: self.end.take(),
            lister,
            ready: None,
            first: None,
            last: Some(cut.at),
            hint: cut.depth,
            spread: cut.depth,
            turns: Turns::default(),
            learnt: 0,
            ended: false,
        };
        right.learn(&first);
        right.ready = Some(first);
        right
    }

    /// Learns which characters take turns, once from each page.
    fn learn(&mut self, page: &ListPage) {
        if self.learnt < LEARNT
            && self.store.capabilities().splittable_listing
            && let Some(spread) = spread(page)
        {
            self.learnt += 1;
            let places = split::places(page, spread);
            self.turns.learn(&places);
            self.shared.alphabet().learn(page, spread, &places);
        }
    }

    /// Up to `count` cuts, each left of the one before: where those before it should turn out to
    /// lie behind all keys, it is what would be tried next.
    fn propose(&self, count: usize) -> Vec<split::Cut> {
        let mut cuts: Vec<split::Cut> = Vec::new();
        while cuts.len() < count
            && let Some(cut) = self.propose_one(cuts.last().map(|cut| cut.at.as_str()))
        {
            cuts.push(cut);
        }
        cuts
    }

    /// A cut left of `beyond`.
    fn propose_one(&self, beyond: Option<&str>) -> Option<split::Cut> {
        // Before the first page nothing is known; a local walk gains nothing.
        let low = match &self.ready {
            Some(page) => page.entries.last().map(|entry| entry.key.as_str()),
            None => self
                .last
                .as_deref()
                .filter(|_| self.spread != 0 || self.hint != usize::MAX),
        }?;
        if !self.store.capabilities().splittable_listing
            || !self.shared.may_cut()
            || self.upto.as_deref().is_some_and(|upto| low >= upto)
        {
            return None;
        }
        let ends = [beyond, self.end.as_deref(), self.upto.as_deref()];
        let high = ends.into_iter().flatten().min();
        let shared = &*self.shared.alphabet();
        let own = &self.turns;
        let known = Known { own, shared };
        let first = match &self.ready {
            Some(page) => page.entries.first().map(|entry| entry.key.as_str()),
            None => self.first.as_deref(),
        };
        if let (Some(first), Some(high)) = (first, high)
            && first < low
            && known.pages_left(first, low, high) < FEWEST_PAGES
        {
            return None;
        }
        let fixed = self.prefix.chars().count();
        let floor = high.map_or(0, |high| split::first_difference(low, high));
        let hint = Some(self.hint).filter(|hint| *hint > floor && *hint != usize::MAX);
        let cut = hint
            .and_then(|hint| split::cut(low, high, fixed, hint, known))
            .or_else(|| split::cut(low, high, fixed, self.spread, known))?;
        cut.at.starts_with(self.prefix.as_str()).then_some(cut)
    }

    fn accept(&mut self, page: Option<ListPage>) -> Result<Option<ListPage>> {
        let Some(mut page) = page else {
            self.ended = true;
            return Ok(None);
        };
        let listed = page.entries.len();
        if let Some(upto) = &self.upto {
            let inside = page.entries.partition_point(|entry| &entry.key <= upto);
            if inside < page.entries.len() {
                page.entries.truncate(inside);
                self.ended = true;
            }
        }
        self.shared.pages.fetch_add(1, Ordering::Relaxed);
        if self.store.capabilities().splittable_listing && page.entries.len() * 2 < listed.max(900)
        {
            self.shared.wasted.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(spread) = spread(&page) {
            self.spread = spread;
        }
        check_order(&*self.store, self.last.as_deref(), &page.entries)?;
        if let Some(last) = page.entries.last() {
            self.last = Some(last.key.clone());
            self.first = page.entries.first().map(|first| first.key.clone());
        }
        Ok(Some(page))
    }
}

/// The position of the first character in which keys of a page differ.
fn spread(page: &ListPage) -> Option<usize> {
    let (first, last) = (page.entries.first()?, page.entries.last()?);
    Some(split::first_difference(&first.key, &last.key))
}

async fn fetch(ready: Option<ListPage>, lister: &mut Box<dyn Lister>) -> Result<Option<ListPage>> {
    match ready {
        Some(page) => Ok(Some(page)),
        None => lister.next_page().await,
    }
}

/// Looks for keys beyond a cut: the first page of the right half, or `None` if it is empty.
async fn probe(
    store: &Arc<dyn Store>,
    shared: &Shared,
    prefix: &str,
    upto: Option<String>,
    at: &str,
) -> Result<Option<(Box<dyn Lister>, ListPage)>> {
    let mut lister = store.list(ListRequest {
        prefix: prefix.to_owned(),
        after: Some(at.to_owned()),
        upto,
        ..ListRequest::default()
    });
    while let Some(page) = lister.next_page().await? {
        if !page.entries.is_empty() || !page.refused.is_empty() {
            return Ok(Some((lister, page)));
        }
    }
    shared.pages.fetch_add(1, Ordering::Relaxed);
    shared.wasted.fetch_add(1, Ordering::Relaxed);
    Ok(None)
}

/// A merge of misordered listings would copy or delete the wrong objects: refuse them.
fn check_order(store: &dyn Store, last: Option<&str>, entries: &[ObjectEntry]) -> Result<()> {
    let mut before = last;
    for entry in entries {
        if before.is_some_and(|before| before >= entry.key.as_str()) {
            return Err(Error::new(
                store.side(),
                ErrorKind::Internal,
                format!(
                    "the listing is not in key order (after `{}`): nothing more is done, because \
                     a sync could delete the wrong objects",
                    before.unwrap_or_default()
                ),
            )
            .object(store.uri(&entry.key)));
        }
        before = Some(&entry.key);
    }
    Ok(())
}
