//! Counters of a transfer that are raised in the transactions they count, so that progress costs
//! one row whatever the transfer's size.

use rusqlite::{OptionalExtension as _, Transaction, params};
use skyhaul_model::TransferId;
use skyhaul_model::group::Counts;

use super::column::{Json, json, signed, unsigned};
use super::failure::Outcome;
use crate::rules;

/// See the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) next_range: u32,
    /// Also the number of groups.
    pub(super) next_sequence: u64,
    pub(super) next_retry: u32,
    pub(super) groups_done: u64,
    pub(super) chunks_done: u64,
    pub(super) done: Counts,
}

impl Totals {
    /// Those of a transfer with nothing but its first range.
    pub(super) fn insert(tx: &Transaction<'_>, id: &TransferId) -> Outcome<()> {
        tx.prepare_cached("INSERT INTO totals VALUES (?1, 1, 0, 0, 0, 0, ?2)")?
            .execute(params![id.as_str(), Json(Counts::default())])?;
        Ok(())
    }

    pub(super) fn load(tx: &Transaction<'_>, id: &TransferId) -> Outcome<Self> {
        tx.prepare_cached("SELECT * FROM totals WHERE transfer = ?1")?
            .query_row([id.as_str()], |row| {
                Ok(Self {
                    next_range: row.get("next_range")?,
                    next_sequence: unsigned(row, "next_sequence")?,
                    next_retry: row.get("next_retry")?,
                    groups_done: unsigned(row, "groups_done")?,
                    chunks_done: unsigned(row, "chunks_done")?,
                    done: json(row, "done")?,
                })
            })
            .optional()?
            .ok_or_else(|| rules::no_transfer(id).into())
    }

    pub(super) fn save(&self, tx: &Transaction<'_>, id: &TransferId) -> Outcome<()> {
        tx.prepare_cached(
            "UPDATE totals SET next_range = ?2, next_sequence = ?3, next_retry = ?4, \
             groups_done = ?5, chunks_done = ?6, done = ?7 WHERE transfer = ?1",
        )?
        .execute(params![
            id.as_str(),
            self.next_range,
            signed(self.next_sequence)?,
            self.next_retry,
            signed(self.groups_done)?,
            signed(self.chunks_done)?,
            Json(self.done),
        ])?;
        Ok(())
    }
}
