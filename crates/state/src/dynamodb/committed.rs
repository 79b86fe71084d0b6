//! Which groups are published: those below their range's counter. See [`super::staging`].

use std::collections::HashMap;

use skyhaul_model::group::{GroupId, RangeId};
use skyhaul_model::{Result, TransferId};

use super::key;
use super::table::Table;

/// Ordinal of a range's next group, in the range's row or that of the retries.
pub(super) const NEXT: &str = "next";
/// Ordinal of a range's next group that is claimed first, in the range's row.
pub(super) const NEXT_FIRST: &str = "next_first";

/// What one call knows of it.
#[derive(Debug, Default)]
pub(super) struct Committed {
    next: HashMap<RangeId, u32>,
}

impl Committed {
    /// Knows all of these ranges.
    pub(super) fn of(ranges: impl IntoIterator<Item = (RangeId, u32)>) -> Self {
        Self {
            next: ranges.into_iter().collect(),
        }
    }

    /// Whether a group was published when its range was read; `None` if it was not read.
    pub(super) fn has(&self, group: GroupId) -> Option<bool> {
        let next = self.next.get(&group.range)?;
        Some(group.ordinal < *next)
    }

    /// Reads the counter of a range.
    pub(super) async fn learn(
        &mut self,
        table: &Table,
        id: &TransferId,
        range: RangeId,
    ) -> Result<()> {
        let next = next(table, id, range).await?;
        self.next.insert(range, next);
        Ok(())
    }
}

/// Ordinal of a range's next group; 0 if there is no such range.
pub(super) async fn next(table: &Table, id: &TransferId, range: RangeId) -> Result<u32> {
    let counter = if range.is_first() { NEXT_FIRST } else { NEXT };
    match table.get(&key::owner(id, range)).await? {
        Some(owner) => owner.number(counter),
        None => Ok(0),
    }
}
