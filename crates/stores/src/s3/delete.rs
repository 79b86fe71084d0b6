//! Deleting keys, a thousand a request.

use std::collections::HashMap;

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures::StreamExt as _;
use skyhaul_model::{Error, ErrorKind, Pin, Result};

use super::bucket::Bucket;
use super::checksums::quote;
use super::errors::{self, Refusal};
use super::keys::fits_xml;
use super::retry::Call;
use crate::store::{DeleteOutcome, check_is};

/// Deletes of single keys under way at once.
const SINGLES: usize = 16;
/// Times that keys which failed for a passing reason are asked for again.
const ROUNDS: u32 = 5;

impl Bucket {
    /// Deletes up to 1,000 keys, one outcome a key.
    pub(super) async fn delete(&self, keys: &[String]) -> Vec<DeleteOutcome> {
        let (batch, odd): (Vec<&String>, Vec<&String>) = keys.iter().partition(|key| fits_xml(key));
        let mut outcomes = self.delete_batch(batch).await;
        outcomes.extend(self.delete_singly(odd).await);
        outcomes
    }

    async fn delete_batch(&self, mut keys: Vec<&String>) -> Vec<DeleteOutcome> {
        let mut outcomes = Vec::with_capacity(keys.len());
        for round in 1..=ROUNDS {
            if keys.is_empty() {
                break;
            }
            let failures = match self.delete_objects(&keys).await {
                Ok(failures) => failures,
                Err(error) if matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Refused) => {
                    // Services without a working batch delete one by one.
                    outcomes.extend(self.delete_singly(keys).await);
                    return outcomes;
                }
                Err(error) => {
                    outcomes.extend(keys.into_iter().map(|key| DeleteOutcome {
                        key: key.clone(),
                        result: Err(repeat(&error).object(self.context.uri(key))),
                    }));
                    return outcomes;
                }
            };
            let mut failures: HashMap<String, Error> = failures.into_iter().collect();
            let mut again = Vec::new();
            for key in keys {
                match failures.remove(key.as_str()) {
                    Some(error) if error.retryable && round < ROUNDS => again.push(key),
                    Some(error) => {
                        outcomes.push(DeleteOutcome {
                            key: key.clone(),
                            result: Err(error),
                        });
                    }
                    None => outcomes.push(DeleteOutcome {
                        key: key.clone(),
                        result: Ok(()),
                    }),
                }
            }
            keys = again;
            if !keys.is_empty() {
                tokio::time::sleep(super::retry::delay(round)).await;
            }
        }
        outcomes
    }

    /// One DeleteObjects; the keys that it could not delete.
    async fn delete_objects(&self, keys: &[&String]) -> Result<Vec<(String, Error)>> {
        let objects = keys
            .iter()
            .map(|key| ObjectIdentifier::builder().key(key.as_str()).build())
            .collect::<Result<Vec<_>, _>>()
            .and_then(|objects| {
                Delete::builder()
                    .set_objects(Some(objects))
                    .quiet(true)
                    .build()
            })
            .map_err(|cause| {
                Error::control(ErrorKind::Internal, "no delete request").cause(cause)
            })?;
        let reply = self
            .call(Call::bucket(), || {
                self.client
                    .delete_objects()
                    .bucket(self.name())
                    .delete(objects.clone())
                    .send()
            })
            .await?;
        let failures = reply.errors().iter().filter_map(|failure| {
            let key = failure.key()?.to_owned();
            let refusal = Refusal {
                status: 200,
                code: failure.code().map(ToOwned::to_owned),
                message: failure.message().map(ToOwned::to_owned),
                region: None,
            };
            let error = errors::refused(&self.context, Some(&key), &refusal);
            (error.kind != ErrorKind::NotFound).then_some((key, error))
        });
        Ok(failures.collect())
    }

    async fn delete_singly(&self, keys: Vec<&String>) -> Vec<DeleteOutcome> {
        let keys: Vec<String> = keys.into_iter().cloned().collect();
        futures::stream::iter(keys)
            .map(|key| async move {
                let result = self.delete_object(&key, None).await;
                DeleteOutcome { key, result }
            })
            .buffered(SINGLES)
            .collect()
            .await
    }

    /// Deletes a key if it is what a pin names. Services that know no such condition on deletions are asked before.
    pub(super) async fn delete_if(&self, key: &str, pin: &Pin) -> Result<()> {
        let Some(found) = self.head(key, &Pin::default()).await? else {
            return Ok(());
        };
        check_is(self.context.side, Some(&found), pin)
            .map_err(|error| error.object(self.context.uri(key)))?;
        let tag = pin.etag.as_deref().map(quote);
        match self.delete_object(key, tag).await {
            Err(error) if error.kind == ErrorKind::Unsupported => {
                self.delete_object(key, None).await
            }
            // What is gone by now is no such version either, and what was wanted.
            Err(error) if error.kind == ErrorKind::PreconditionFailed => {
                let still = self.head(key, &Pin::default()).await?;
                still.map_or(Ok(()), |_| Err(error))
            }
            deleted => deleted,
        }
    }

    /// Deletes a key, if that has this entity tag, in quotes; one that is gone is no error.
    async fn delete_object(&self, key: &str, tag: Option<String>) -> Result<()> {
        let reply = self
            .call(Call::object(key), || {
                self.client
                    .delete_object()
                    .bucket(self.name())
                    .key(key)
                    .set_if_match(tag.clone())
                    .send()
            })
            .await;
        match reply {
            Err(failed) if !failed.error.message.contains("[NoSuchKey") => Err(failed.error),
            _ => Ok(()),
        }
    }
}

/// The same error again, for each key of a batch that failed as a whole.
fn repeat(error: &Error) -> Error {
    let mut copy = Error::new(error.side, error.kind, error.message.clone());
    if let Some(cause) = &error.cause {
        copy.message = format!("{}: {cause}", copy.message);
    }
    copy.hint.clone_from(&error.hint);
    copy.retryable(error.retryable)
}
