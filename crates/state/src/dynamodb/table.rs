//! The table: every request goes through here, is sent again while that can help, and is counted.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{
    ConsumedCapacity, Delete, DeleteRequest, Put, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update, WriteRequest,
};
use backon::{ExponentialBuilder, Retryable as _};
use skyhaul_model::Result;

use super::consumed::Meter;
use super::expression::Expression;
use super::failure::{self, Failure, Refusal};
use super::item::{Item, PARTITION, SORT, text};
use super::key::Key;
use crate::fault;

/// A passing failure is waited out this long; what is left is the caller's.
const PATIENCE: Duration = Duration::from_mins(2);
const FIRST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// Throttling ends no sooner than this.
const FIRST_DELAY_THROTTLED: Duration = Duration::from_millis(100);

/// Most rows that one request removes.
const BATCH: usize = 25;

/// A handle to the table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) meter: Arc<Meter>,
}

/// What became of a conditional write.
#[derive(Debug)]
pub(super) enum Written {
    /// Done; the row as it is now, of an update.
    Done(Item),
    /// The condition did not hold; the row as it was then or later, if there is one.
    Refused(Option<Item>),
}

/// One write of a transaction.
#[derive(Debug, Clone)]
pub(super) enum Write {
    /// The row as a whole, and what must hold.
    Put(Item, Expression),
    /// Changes of a row, and what must hold.
    Update(Key, Expression),
    /// The row goes, if this holds.
    Delete(Key, Expression),
}

/// Rows of one partition, by sort key.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    pub(super) partition: String,
    /// What their sort keys fulfil.
    pub(super) sort: Expression,
    /// What else they fulfil. The service reads (and bills) also the others.
    pub(super) filter: Expression,
    /// Most rows to read at once.
    pub(super) limit: Option<usize>,
    pub(super) descending: bool,
    /// Read no more than the keys.
    pub(super) keys_only: bool,
}

impl Query {
    /// All rows of a partition.
    pub(super) fn of(partition: String) -> Self {
        Self {
            partition,
            ..Self::default()
        }
    }

    /// Those after a sort key.
    pub(super) fn after(mut self, sort: Option<String>) -> Self {
        if let Some(sort) = sort {
            self.sort = Expression::default().above(SORT, text(sort));
        }
        self
    }
}

impl Table {
    /// Sends a request until it succeeds, is refused, or cannot be helped.
    pub(super) async fn call<T, E, M, F>(&self, make: M) -> Result<T, Failure>
    where
        M: Fn() -> F,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: Refusal,
    {
        let attempt = || async { make().await.map_err(|error| failure::of(error, &self.name)) };
        let delays = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(LONGEST_DELAY)
            .without_max_times()
            .with_total_delay(Some(PATIENCE));
        attempt
            .retry(delays)
            .when(Failure::is_passing)
            .adjust(|failure: &Failure, delay| {
                delay.map(|delay| {
                    if failure.is_throttled() {
                        delay.max(FIRST_DELAY_THROTTLED)
                    } else {
                        delay
                    }
                })
            })
            .notify(|failure, delay| {
                tracing::debug!(?failure, ?delay, "a request to the state is sent again");
            })
            .await
    }

    /// One row, as of now.
    pub(super) async fn get(&self, key: &Key) -> Result<Option<Item>> {
        let request = self
            .client
            .get_item()
            .table_name(&self.name)
            .key(PARTITION, text(&key.partition))
            .key(SORT, text(&key.sort))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let reply = self.call(|| request.clone().send()).await;
        let reply = reply.map_err(Failure::error)?;
        self.read(reply.consumed_capacity.as_ref());
        Ok(reply.item.map(Item))
    }

    /// One page of rows, as of now, and whether there are more after its last. A page may be empty
    /// though more follow.
    pub(super) async fn page(
        &self,
        query: &Query,
        from: Option<&Key>,
    ) -> Result<(Vec<Item>, Option<Key>)> {
        let mut expression = query.filter.clone();
        let key = query.sort.clone().is(PARTITION, text(&query.partition));
        let key = expression.key_condition(&key);
        let mut request = self
            .client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .scan_index_forward(!query.descending)
            .key_condition_expression(key)
            .set_filter_expression(expression.condition())
            .set_expression_attribute_names(expression.names())
            .set_expression_attribute_values(expression.values())
            .set_limit(
                query
                    .limit
                    .map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)),
            );
        if query.keys_only {
            request = request.projection_expression(format!("#{PARTITION}, #{SORT}"));
            request = request.expression_attribute_names(format!("#{SORT}"), SORT);
        }
        if let Some(from) = from {
            request = request
                .exclusive_start_key(PARTITION, text(&from.partition))
                .exclusive_start_key(SORT, text(&from.sort));
        }
        let reply = self.call(|| request.clone().send()).await;
        let reply = reply.map_err(Failure::error)?;
        self.read(reply.consumed_capacity.as_ref());
        let next = match reply.last_evaluated_key.map(Item) {
            Some(last) => Some(Key {
                partition: last.text(PARTITION)?.to_owned(),
                sort: last.text(SORT)?.to_owned(),
            }),
            None => None,
        };
        Ok((
            reply
                .items
                .unwrap_or_default()
                .into_iter()
                .map(Item)
                .collect(),
            next,
        ))
    }

    /// All rows of a query.
    pub(super) async fn all(&self, query: &Query) -> Result<Vec<Item>> {
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let (rows, next) = self.page(query, from.as_ref()).await?;
            all.extend(rows);
            if next.is_none() {
                return Ok(all);
            }
            from = next;
        }
    }

    /// Writes a row as a whole if `when` holds.
    pub(super) async fn put(&self, item: Item, when: &Expression) -> Result<Written> {
        item.check_size()?;
        let request = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item.0.clone()))
            .set_condition_expression(when.condition())
            .set_expression_attribute_names(when.names())
            .set_expression_attribute_values(when.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match self.call(|| request.clone().send()).await {
            Ok(reply) => {
                self.wrote(reply.consumed_capacity.as_ref());
                Ok(Written::Done(item))
            }
            Err(Failure::Refused(found)) => {
                let key = Key {
                    partition: item.text(PARTITION)?.to_owned(),
                    sort: item.text(SORT)?.to_owned(),
                };
                self.refused(&key, found).await
            }
            Err(Failure::Failed(error)) => Err(error),
        }
    }

    /// Changes a row if the expression's conditions hold.
    pub(super) async fn update(&self, key: &Key, change: &Expression) -> Result<Written> {
        let request = self
            .client
            .update_item()
            .table_name(&self.name)
            .key(PARTITION, text(&key.partition))
            .key(SORT, text(&key.sort))
            .update_expression(change.update())
            .set_condition_expression(change.condition())
            .set_expression_attribute_names(change.names())
            .set_expression_attribute_values(change.values())
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match self.call(|| request.clone().send()).await {
            Ok(reply) => {
                self.wrote(reply.consumed_capacity.as_ref());
                let row = reply.attributes.map(Item);
                row.map(Written::Done).ok_or_else(|| {
                    fault::internal("an update of the state", "its reply has no row")
                })
            }
            Err(Failure::Refused(found)) => self.refused(key, found).await,
            Err(Failure::Failed(error)) => Err(error),
        }
    }

    /// A refused write is billed by the row that it found. A service that does not show the row is
    /// asked for it.
    async fn refused(&self, key: &Key, found: Option<Item>) -> Result<Written> {
        let found = match found {
            Some(found) => Some(found),
            None => self.get(key).await?,
        };
        let units = found
            .as_ref()
            .map_or(1, |item| item.size().div_ceil(1024).max(1));
        self.meter.add_writes(units as f64);
        Ok(Written::Refused(found))
    }

    /// Makes all of these writes or none; false if a condition did not hold. All requests of this
    /// call carry one token, so that it is carried out once.
    pub(super) async fn transact(&self, writes: Vec<Write>) -> Result<bool> {
        let count = writes.len();
        let items = writes
            .into_iter()
            .map(|write| self.transaction_item(write))
            .collect::<Result<Vec<_>>>()?;
        let token = hex::encode(rand::random::<[u8; 16]>());
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            .client_request_token(token)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match self.call(|| request.clone().send()).await {
            Ok(reply) => {
                for part in reply.consumed_capacity() {
                    self.wrote(Some(part));
                }
                Ok(true)
            }
            Err(Failure::Refused(_)) => {
                self.meter.add_writes(2.0 * count as f64);
                Ok(false)
            }
            Err(Failure::Failed(error)) => Err(error),
        }
    }

    fn transaction_item(&self, write: Write) -> Result<TransactWriteItem> {
        let failed = |error| fault::internal("a transaction of the state", error);
        Ok(match write {
            Write::Put(item, when) => {
                item.check_size()?;
                let put = Put::builder()
                    .table_name(&self.name)
                    .set_item(Some(item.0))
                    .set_condition_expression(when.condition())
                    .set_expression_attribute_names(when.names())
                    .set_expression_attribute_values(when.values());
                TransactWriteItem::builder()
                    .put(put.build().map_err(failed)?)
                    .build()
            }
            Write::Delete(key, when) => {
                let delete = Delete::builder()
                    .table_name(&self.name)
                    .key(PARTITION, text(key.partition))
                    .key(SORT, text(key.sort))
                    .set_condition_expression(when.condition())
                    .set_expression_attribute_names(when.names())
                    .set_expression_attribute_values(when.values());
                TransactWriteItem::builder()
                    .delete(delete.build().map_err(failed)?)
                    .build()
            }
            Write::Update(key, change) => {
                let update = Update::builder()
                    .table_name(&self.name)
                    .key(PARTITION, text(key.partition))
                    .key(SORT, text(key.sort))
                    .update_expression(change.update())
                    .set_condition_expression(change.condition())
                    .set_expression_attribute_names(change.names())
                    .set_expression_attribute_values(change.values());
                TransactWriteItem::builder()
                    .update(update.build().map_err(failed)?)
                    .build()
            }
        })
    }

    /// Removes a row, if there is one.
    pub(super) async fn remove(&self, key: &Key) -> Result<()> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.name)
            .key(PARTITION, text(&key.partition))
            .key(SORT, text(&key.sort))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let reply = self.call(|| request.clone().send()).await;
        let reply = reply.map_err(Failure::error)?;
        self.wrote(reply.consumed_capacity.as_ref());
        Ok(())
    }

    /// Removes all rows of a partition.
    pub(super) async fn clear(&self, partition: String) -> Result<()> {
        let query = Query {
            keys_only: true,
            ..Query::of(partition)
        };
        let rows = self.all(&query).await?;
        for batch in rows.chunks(BATCH) {
            let mut left = Vec::new();
            for row in batch {
                let failed = |error| fault::internal("a removal from the state", error);
                let request = DeleteRequest::builder()
                    .key(PARTITION, text(row.text(PARTITION)?))
                    .key(SORT, text(row.text(SORT)?))
                    .build()
                    .map_err(failed)?;
                left.push(WriteRequest::builder().delete_request(request).build());
            }
            let mut rounds = super::contention::Contention::default();
            while !left.is_empty() {
                let request = self
                    .client
                    .batch_write_item()
                    .request_items(&self.name, left)
                    .return_consumed_capacity(ReturnConsumedCapacity::Total);
                let reply = self.call(|| request.clone().send()).await;
                let reply = reply.map_err(Failure::error)?;
                for part in reply.consumed_capacity() {
                    self.wrote(Some(part));
                }
                // What the service had no room for at this moment.
                let mut unprocessed = reply.unprocessed_items.unwrap_or_default();
                left = unprocessed.remove(&self.name).unwrap_or_default();
                if !left.is_empty() {
                    rounds.lost("the state table asks to slow down").await?;
                }
            }
        }
        Ok(())
    }

    fn read(&self, consumed: Option<&ConsumedCapacity>) {
        if let Some(units) = consumed.and_then(ConsumedCapacity::capacity_units) {
            self.meter.add_reads(units);
        }
    }

    fn wrote(&self, consumed: Option<&ConsumedCapacity>) {
        let Some(consumed) = consumed else { return };
        // A transaction that was carried out before is billed as a reading of its result.
        let units = consumed.write_capacity_units();
        if units.is_none()
            && let Some(reads) = consumed.read_capacity_units()
        {
            self.meter.add_reads(reads);
        } else if let Some(units) = units.or(consumed.capacity_units()) {
            self.meter.add_writes(units);
        }
    }
}
