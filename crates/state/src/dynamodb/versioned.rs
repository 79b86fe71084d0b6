//! Rows that are written as a whole: read, decided on, and written if nobody wrote meanwhile. The
//! version stands for every field of the row, so also for the lease's fence: whatever raises the
//! fence raises the version.

use skyhaul_model::Result;

use super::contention::Contention;
use super::expression::Expression;
use super::item::{EXPIRES, Item, STAMP, Stamp, VERSION, expires, number};
use super::key::Key;
use super::table::{Table, Write, Written};

/// What is to become of a row.
pub(super) enum Step<T> {
    /// It stays as it is; the call's value.
    Keep(T),
    /// The row, what is written with it in one transaction, and the call's value.
    Write(Item, Vec<Write>, T),
}

/// The write of a row in the place of `found`.
pub(super) fn replace(found: Option<&Item>, item: Item, stamp: Stamp) -> Result<Write> {
    let version: u64 = found.map_or(Ok(0), |found| found.number(VERSION))?;
    let when = if found.is_some() {
        Expression::default().is(VERSION, number(version))
    } else {
        Expression::default().absent()
    };
    let item = item
        .with(VERSION, number(version + 1))
        .with(STAMP, stamp.value())
        .with(EXPIRES, expires());
    Ok(Write::Put(item, when))
}

impl Table {
    /// Makes one of several writes, or all in one transaction; false if a condition did not hold.
    pub(super) async fn write(&self, writes: Vec<Write>) -> Result<bool> {
        let written = match <[Write; 1]>::try_from(writes) {
            Ok([Write::Put(item, when)]) => self.put(item, &when).await?,
            Ok([Write::Update(key, change)]) => self.update(&key, &change).await?,
            Ok(one) => return self.transact(one.into()).await,
            Err(none) if none.is_empty() => return Ok(true),
            Err(several) => return self.transact(several).await,
        };
        Ok(matches!(written, Written::Done(_)))
    }

    /// Reads a row, lets `decide` say what is to become of it, and does that if nobody wrote the
    /// row meanwhile, else again. A write whose reply was lost is known by its stamp.
    pub(super) async fn modify<T>(
        &self,
        key: &Key,
        decide: impl Fn(Option<&Item>) -> Result<Step<T>> + Send + Sync,
    ) -> Result<T>
    where
        T: Send,
    {
        let (stamp, mut rounds) = (Stamp::new(), Contention::default());
        loop {
            let found = self.get(key).await?;
            let (item, with, value) = match decide(found.as_ref())? {
                Step::Keep(value) => return Ok(value),
                Step::Write(item, with, value) => (item, with, value),
            };
            let mut writes = vec![replace(found.as_ref(), item, stamp)?];
            writes.extend(with);
            if self.write(writes).await? {
                return Ok(value);
            }
            if self.get(key).await?.is_some_and(|now| now.is_by(stamp)) {
                return Ok(value);
            }
            rounds
                .lost("others keep changing the same row of the state")
                .await?;
        }
    }
}
