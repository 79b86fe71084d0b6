//! The destination's listing of one range, entry by entry, for the merge.

use std::collections::VecDeque;

use skyhaul_model::{Error, ErrorKind, ObjectEntry, Result};
use skyhaul_stores::{ListRequest, Lister, Store};

/// An ordered listing that can be read up to a bound.
pub struct Entries {
    lister: Box<dyn Lister>,
    ready: VecDeque<ObjectEntry>,
    last: Option<String>,
    ended: bool,
    side: skyhaul_model::Side,
    pages: u64,
    refused: Vec<Error>,
}

impl Entries {
    /// Starts a listing. A container that does not exist yet is empty.
    #[must_use]
    pub fn new(store: &dyn Store, request: ListRequest) -> Self {
        Self {
            lister: store.list(request),
            ready: VecDeque::new(),
            last: None,
            ended: false,
            side: store.side(),
            pages: 0,
            refused: Vec::new(),
        }
    }

    /// What was met since the last call and cannot be listed.
    pub fn take_refused(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.refused)
    }

    /// List pages read since the last call.
    pub fn take_pages(&mut self) -> u64 {
        std::mem::take(&mut self.pages)
    }

    /// The next entry with `key <= bound` (any, if `None`), or `None` if there is none left.
    pub async fn next_upto(&mut self, bound: Option<&str>) -> Result<Option<ObjectEntry>> {
        while self.ready.is_empty() && !self.ended {
            match self.lister.next_page().await {
                Ok(Some(page)) => {
                    self.pages += 1;
                    self.refused.extend(page.refused);
                    self.accept(page.entries)?;
                }
                Ok(None) => self.ended = true,
                Err(error) if error.kind == ErrorKind::NotFound && self.last.is_none() => {
                    self.ended = true;
                }
                Err(error) => return Err(error),
            }
        }
        let fits = self
            .ready
            .front()
            .is_some_and(|entry| bound.is_none_or(|bound| entry.key.as_str() <= bound));
        Ok(if fits { self.ready.pop_front() } else { None })
    }

    fn accept(&mut self, entries: Vec<ObjectEntry>) -> Result<()> {
        for entry in &entries {
            if self.last.as_ref().is_some_and(|last| *last >= entry.key) {
                return Err(Error::new(
                    self.side,
                    ErrorKind::Internal,
                    "the listing is not in key order: nothing more is done, because a sync could \
                     delete the wrong objects",
                )
                .object(entry.key.clone()));
            }
            self.last = Some(entry.key.clone());
        }
        self.ready = entries.into();
        Ok(())
    }
}
