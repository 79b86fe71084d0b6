//! Looking at transfers while others work on them: which one is meant, its chunks, its objects, its
//! logs, and how far its gateways are. Nothing is changed.

pub mod arrival;
pub mod chunks;
pub mod kept;
pub mod logs;
mod objects;
pub mod top;

use skyhaul_model::{Error, ErrorKind, Result, TransferId};

use crate::embedded::Embedded;

/// Transfers that a message about an ambiguous beginning names.
const NAMED: usize = 5;

impl Embedded {
    /// The transfer that an id, or the beginning of one, names. `Invalid` if several begin so,
    /// `NotFound` if none does.
    pub async fn find(&self, text: &str) -> Result<TransferId> {
        let wanted = text.to_ascii_uppercase();
        let (_, state) = self.home()?;
        let rows = state.transfers().await?;
        let mut found = rows
            .into_iter()
            .map(|row| row.id)
            .filter(|id| !wanted.is_empty() && id.as_str().starts_with(&wanted));
        let Some(id) = found.next() else {
            let message = format!("there is no transfer `{text}`");
            return Err(Error::control(ErrorKind::NotFound, message)
                .hint("`skyhaul status` lists the transfers"));
        };
        let others: Vec<_> = found.map(|id| id.to_string()).take(NAMED).collect();
        if others.is_empty() {
            return Ok(id);
        }
        let message = format!("several transfers begin with `{text}`");
        Err(Error::invalid(message).hint(format!("such as {id}, {}", others.join(", "))))
    }
}
