//! Listing: pages in order, checked, the next one fetched while this one is consumed.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, Object, OptionalObjectAttributes};
use skyhaul_model::{Error, ErrorKind, ObjectEntry, Pin, Result};
use tokio_util::task::AbortOnDropHandle;

use super::attributes::{is_archived, storage_class, timestamp};
use super::bucket::Bucket;
use super::checksums::unquote;
use super::keys::{decode, decode_with};
use super::retry::Call;
use crate::store::{ListPage, ListRequest, Lister};

/// A listing under way.
pub(super) struct S3Lister {
    pages: Pages,
    next: Option<AbortOnDropHandle<Result<Fetched>>>,
    ended: bool,
}

/// What one request of a listing needs.
#[derive(Clone)]
struct Pages {
    bucket: Arc<Bucket>,
    request: Arc<ListRequest>,
    token: Option<String>,
    last: Option<String>,
}

struct Fetched {
    entries: Vec<ObjectEntry>,
    /// Where to go on, unless this was the last page.
    rest: Option<Pages>,
}

impl S3Lister {
    pub(super) fn new(bucket: Arc<Bucket>, request: ListRequest) -> Self {
        let last = request.after.clone();
        let pages = Pages {
            bucket,
            request: Arc::new(request),
            token: None,
            last,
        };
        Self {
            pages,
            next: None,
            ended: false,
        }
    }
}

#[async_trait]
impl Lister for S3Lister {
    async fn next_page(&mut self) -> Result<Option<ListPage>> {
        if self.ended {
            return Ok(None);
        }
        // Until a page has arrived whole, an error ends the listing for good.
        self.ended = true;
        let fetched = match self.next.take() {
            Some(next) => next.await.map_err(|error| {
                Error::control(ErrorKind::Internal, "a listing was cut off").cause(error)
            })??,
            None => self.pages.clone().fetch().await?,
        };
        if let Some(rest) = fetched.rest {
            self.ended = false;
            self.next = Some(AbortOnDropHandle::new(tokio::spawn(rest.fetch())));
        }
        Ok(Some(ListPage {
            entries: fetched.entries,
            refused: Vec::new(),
        }))
    }
}

impl Pages {
    async fn fetch(mut self) -> Result<Fetched> {
        let page = self.send(true).await?;
        let keys = self.keys(&page).await?;
        let mut entries = Vec::with_capacity(keys.len());
        let mut beyond = false;
        for (key, object) in keys.into_iter().zip(page.contents()) {
            if self
                .last
                .as_deref()
                .is_some_and(|last| key.as_str() <= last)
            {
                return Err(self.disorder(&key));
            }
            if !key.starts_with(&self.request.prefix) {
                return Err(self.broken(format!("it lists `{key}`, outside the prefix")));
            }
            if self
                .request
                .upto
                .as_deref()
                .is_some_and(|upto| key.as_str() > upto)
            {
                beyond = true;
                break;
            }
            entries.push(entry(key.clone(), object));
            self.last = Some(key);
        }
        let reached = self.last.is_some() && self.last == self.request.upto;
        let more = page.is_truncated() == Some(true) && !beyond && !reached;
        if !more {
            return Ok(Fetched {
                entries,
                rest: None,
            });
        }
        let token = page.next_continuation_token().map(ToOwned::to_owned);
        if token.is_none() || token == self.token || page.contents().is_empty() {
            return Err(self.broken("it does not get on although it is not at its end"));
        }
        self.token = token;
        Ok(Fetched {
            entries,
            rest: Some(self),
        })
    }

    async fn send(&self, encoded: bool) -> Result<ListObjectsV2Output> {
        let bucket = &self.bucket;
        let size = match self.request.page_size {
            0 => None,
            size => Some(i32::try_from(size.min(1_000)).unwrap_or(1_000)),
        };
        let reply = bucket.call(Call::bucket(), || {
            let mut operation = bucket
                .client
                .list_objects_v2()
                .bucket(bucket.name())
                .set_prefix(Some(self.request.prefix.clone()).filter(|text| !text.is_empty()))
                .set_max_keys(size)
                .set_encoding_type(encoded.then_some(EncodingType::Url))
                .set_request_payer(bucket.payer());
            operation = match &self.token {
                Some(token) => operation.continuation_token(token),
                None => operation.set_start_after(self.last.clone()),
            };
            if bucket.context.aws {
                operation =
                    operation.optional_object_attributes(OptionalObjectAttributes::RestoreStatus);
            }
            operation.send()
        });
        Ok(reply.await?)
    }

    /// The keys of a page, decoded.
    async fn keys(&self, page: &ListObjectsV2Output) -> Result<Vec<String>> {
        let raw = names(page);
        if page.encoding_type() != Some(&EncodingType::Url) {
            return Ok(raw.into_iter().map(ToOwned::to_owned).collect());
        }
        let keys = if self.bucket.context.aws || !raw.iter().any(|key| key.contains('+')) {
            raw.iter().map(|key| decode(key)).collect()
        } else {
            let plain = self.send(false).await?;
            decode_with(&raw, &names(&plain))
        };
        keys.into_iter()
            .zip(raw)
            .map(|(key, raw)| {
                key.ok_or_else(|| self.broken(format!("it names `{raw}`, which cannot be decoded")))
            })
            .collect()
    }

    fn disorder(&self, key: &str) -> Error {
        let last = self.last.as_deref().unwrap_or_default();
        self.broken(format!("it is out of order: `{key}` comes after `{last}`"))
    }

    fn broken(&self, what: impl std::fmt::Display) -> Error {
        let context = &self.bucket.context;
        let message = format!(
            "the listing of {} cannot be trusted: {what}",
            context.service()
        );
        Error::new(context.side, ErrorKind::Corrupt, message)
            .object(context.uri(&self.request.prefix))
            .retryable(false)
    }
}

fn entry(key: String, object: &Object) -> ObjectEntry {
    let class = object
        .storage_class()
        .map(aws_sdk_s3::types::ObjectStorageClass::as_str);
    let restored = object.restore_status().is_some_and(|status| {
        status.is_restore_in_progress() == Some(false) && status.restore_expiry_date().is_some()
    });
    ObjectEntry {
        key,
        size: u64::try_from(object.size().unwrap_or(0)).unwrap_or(0),
        mtime: timestamp(object.last_modified()),
        pin: Pin {
            etag: object.e_tag().map(unquote),
            ..Pin::default()
        },
        storage_class: storage_class(class),
        archived: is_archived(class, None, None) && !restored,
    }
}

/// The keys of a page as they were sent.
fn names(page: &ListObjectsV2Output) -> Vec<&str> {
    page.contents()
        .iter()
        .map(|object| object.key().unwrap_or_default())
        .collect()
}
