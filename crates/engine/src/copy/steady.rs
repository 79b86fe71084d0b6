//! The bytes of one version of an object, over as many requests as it takes: a body that breaks
//! off is read on from where it broke. It is given up when nothing comes any more, not when much
//! was to come.

use std::ops::Deref;

use backon::{BackoffBuilder as _, ExponentialBackoff};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use skyhaul_model::{Error, ErrorKind, ObjectInfo, Pin, Result, Side};
use skyhaul_stores::ReadRequest;

use super::read::backoff;
use crate::engine::Engine;

/// What a connection must deliver before it breaks, in bytes, to count as one that works.
const PROGRESS: u64 = 64 << 10;

/// A read under way.
pub(crate) struct Steady<E> {
    engine: E,
    key: String,
    pin: Pin,
    range: Option<(u64, u64)>,
    /// What the first reply said of the object.
    info: Option<ObjectInfo>,
    body: Option<BoxStream<'static, Result<Bytes>>>,
    /// Bytes that were handed on.
    held: u64,
    /// Of these, since the last break.
    since: u64,
    delays: ExponentialBackoff,
}

impl<E: Deref<Target = Engine>> Steady<E> {
    /// A read of `range` (offset, length) or all of the object under `key`, pinned.
    pub(crate) fn new(engine: E, key: &str, pin: &Pin, range: Option<(u64, u64)>) -> Self {
        Self {
            engine,
            key: key.to_owned(),
            pin: pin.clone(),
            range,
            info: None,
            body: None,
            held: 0,
            since: 0,
            delays: backoff().build(),
        }
    }

    /// The object's head; begins the read if that was not done.
    pub(crate) async fn info(&mut self) -> Result<ObjectInfo> {
        loop {
            if let Some(info) = &self.info {
                return Ok(info.clone());
            }
            if let Err(error) = self.request().await {
                self.put_off(error).await?;
            }
        }
    }

    /// The next bytes; `None` when all came that were asked for.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.body.is_none() {
                if self.left() == Some(0) {
                    return Ok(None);
                }
                if let Err(error) = self.request().await {
                    self.put_off(error).await?;
                }
            }
            let Some(body) = &mut self.body else {
                continue;
            };
            let error = match body.try_next().await {
                Ok(Some(frame)) => {
                    self.engine.budget.pace(frame.len()).await;
                    self.held += frame.len() as u64;
                    self.since += frame.len() as u64;
                    return Ok(Some(frame));
                }
                Ok(None) if self.left() == Some(0) => return Ok(None),
                Ok(None) => self.error(ErrorKind::Corrupt, "the object's bytes ended early"),
                Err(error) => error,
            };
            self.body = None;
            self.put_off(error).await?;
        }
    }

    /// Bytes that are still to come, once it is known.
    fn left(&self) -> Option<u64> {
        let size = self.info.as_ref()?.size;
        let all = self.range.map_or(size, |(_, len)| len);
        Some(all.saturating_sub(self.held))
    }

    /// Asks for what is missing.
    async fn request(&mut self) -> Result<()> {
        let first = self.range.map_or(0, |(at, _)| at);
        let range = match self.left() {
            None => self.range,
            Some(left) => Some((first + self.held, left)),
        };
        let begun = self.info.as_ref().map(|info| &info.pin);
        let request = ReadRequest {
            range,
            // Without a pin of the caller's, what was begun is.
            pin: match begun {
                Some(begun) if !self.pin.is_set() => begun.clone(),
                _ => self.pin.clone(),
            },
            tags: range.is_none() && self.engine.wants_tags(),
        };
        let reader = self.engine.source.read(&self.key, request).await?;
        self.check_version(&self.pin, &reader.info)?;
        if let Some(begun) = begun {
            self.check_version(begun, &reader.info)?;
        }
        self.info.get_or_insert(reader.info);
        self.body = Some(reader.body);
        Ok(())
    }

    /// Some services ignore the pin of a read and send what is there now: parts of two versions
    /// would be mixed.
    fn check_version(&self, pin: &Pin, sent: &ObjectInfo) -> Result<()> {
        match (&pin.etag, &sent.pin.etag) {
            (Some(asked), Some(sent)) if asked != sent => Err(self.error(
                ErrorKind::Changed,
                "the service sent another version than was asked for",
            )),
            _ => Ok(()),
        }
    }

    /// Waits until it makes sense to ask again, or gives the error back if it does not.
    async fn put_off(&mut self, error: Error) -> Result<()> {
        let pinned = |info: &ObjectInfo| info.pin.is_set();
        // Without a version to ask for, what follows might be of another one.
        let resumable = self.held == 0 || self.info.as_ref().is_some_and(pinned);
        if !error.retryable || !resumable || self.engine.cancel.is_cancelled() {
            return Err(error);
        }
        if self.since >= PROGRESS {
            self.delays = backoff().build();
        }
        self.since = 0;
        let Some(delay) = self.delays.next() else {
            return Err(error);
        };
        tracing::debug!(
            key = self.key,
            held = self.held,
            "reading on after: {error}"
        );
        tokio::time::sleep(delay).await;
        Ok(())
    }

    fn error(&self, kind: ErrorKind, message: &str) -> Error {
        Error::new(Side::Source, kind, message).object(self.engine.source.uri(&self.key))
    }
}

impl<E: Deref<Target = Engine> + Send + Sync + 'static> Steady<E> {
    /// The bytes as a stream.
    pub(crate) fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        stream::try_unfold(self, |mut steady| async move {
            Ok(steady.next().await?.map(|frame| (frame, steady)))
        })
        .boxed()
    }
}
