//! Listing: pages in order, checked, the next one fetched while this one is consumed.

use std::sync::Arc;

use async_trait::async_trait;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt as _, Limited};
use skyhaul_model::{Error, ErrorKind, ObjectEntry, Pin, Result};
use tokio_util::task::AbortOnDropHandle;

use super::attributes::{encode_query, is_archived, storage_class};
use super::bucket::Bucket;
use super::errors::{self, Failed, Failure};
use super::keys::{decode, decode_with};
use super::page::{self, Listed, Page};
use super::retry::Call;
use crate::store::{ListPage, ListRequest, Lister};

/// More than any page holds, in bytes: 1,000 encoded keys of 1,024 bytes take 3 MiB.
const PAGE_LIMIT: usize = 16 << 20;

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
        let mut page = self.send(true).await?;
        let keys = self.keys(&mut page).await?;
        let mut entries = Vec::with_capacity(keys.len());
        let mut beyond = false;
        let listed = page.contents.len();
        for (key, object) in keys.into_iter().zip(page.contents) {
            let before = entries.last().map(|entry: &ObjectEntry| &entry.key);
            if let Some(last) = before.or(self.last.as_ref())
                && key <= *last
            {
                return Err(self.disorder(&key, last));
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
            entries.push(entry(key, object));
        }
        if let Some(last) = entries.last() {
            self.last = Some(last.key.clone());
        }
        let reached = self.last.is_some() && self.last == self.request.upto;
        let more = page.truncated && !beyond && !reached;
        if !more {
            return Ok(Fetched {
                entries,
                rest: None,
            });
        }
        let token = page.token;
        if token.is_none() || token == self.token || listed == 0 {
            return Err(self.broken("it does not get on although it is not at its end"));
        }
        self.token = token;
        Ok(Fetched {
            entries,
            rest: Some(self),
        })
    }

    async fn send(&self, encoded: bool) -> Result<Page> {
        let bucket = &self.bucket;
        let query = self.query(encoded);
        let reply = bucket.run(Call::bucket(), || {
            let mut get = bucket.wire.request(http::Method::GET, "", &query);
            if bucket.context.aws {
                get = get.header("x-amz-optional-object-attributes", "RestoreStatus");
            }
            async move {
                let sent = bucket
                    .wire
                    .send(&bucket.context, None, get, SdkBody::empty());
                let body = Limited::new(sent.await?.into_body(), PAGE_LIMIT);
                let body = body.collect().await.map_err(|error| self.failed(error))?;
                page::parse(&body.to_bytes()).map_err(|error| self.failed(error.into()))
            }
        });
        Ok(reply.await?)
    }

    fn failed(&self, cause: Box<dyn std::error::Error + Send + Sync>) -> Failed {
        errors::transport(&self.bucket.context, None, Failure::Reply, cause)
    }

    fn query(&self, encoded: bool) -> String {
        let mut query = "?list-type=2".to_owned();
        let mut add = |name: &str, value: &str| {
            query.push('&');
            query.push_str(name);
            query.push('=');
            query.push_str(&encode_query(value));
        };
        if !self.request.prefix.is_empty() {
            add("prefix", &self.request.prefix);
        }
        if self.request.page_size > 0 {
            add("max-keys", &self.request.page_size.min(1_000).to_string());
        }
        if encoded {
            add("encoding-type", "url");
        }
        match (&self.token, &self.last) {
            (Some(token), _) => add("continuation-token", token),
            (None, Some(last)) => add("start-after", last),
            (None, None) => {}
        }
        query
    }

    /// The keys of a page, decoded.
    async fn keys(&self, page: &mut Page) -> Result<Vec<String>> {
        if !page.encoded {
            let keys = page.contents.iter_mut();
            return Ok(keys.map(|listed| std::mem::take(&mut listed.key)).collect());
        }
        let raw = names(page);
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

    fn disorder(&self, key: &str, last: &str) -> Error {
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

fn entry(key: String, object: Listed) -> ObjectEntry {
    let class = object.class.as_deref();
    ObjectEntry {
        key,
        size: object.size,
        mtime: object.modified,
        pin: Pin {
            etag: object.etag,
            ..Pin::default()
        },
        storage_class: storage_class(class),
        archived: is_archived(class, None, None) && !object.restored,
    }
}

/// The keys of a page as they were sent.
fn names(page: &Page) -> Vec<&str> {
    page.contents
        .iter()
        .map(|listed| listed.key.as_str())
        .collect()
}
