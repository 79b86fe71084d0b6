//! Reading an object or a range of it into memory, checksummed on the way.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures::TryStreamExt as _;
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, Hasher, ObjectInfo, Pin, Result, Side};
use skyhaul_stores::{Payload, ReadRequest};

use crate::engine::Engine;

/// Bytes that were read, with the head they came with.
pub(crate) struct Read {
    pub info: ObjectInfo,
    pub payload: Payload,
    pub checksum: Option<Checksum>,
}

/// Which checksum is computed on what is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hashing {
    /// The one that suits the object's own: see [`Engine::algorithm`].
    Suited,
    /// This one, or none.
    With(Option<Algorithm>),
}

/// How often a store call that failed on the way is made again by the engine; the stores' own
/// retries come before that.
pub(crate) fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_jitter()
        .with_max_times(4)
}

/// What a connection must deliver before it breaks, in bytes, to count as one that works.
const PROGRESS: u64 = 64 << 10;

/// Reads `range` (offset, length) or all of the object under `key`, pinned. A body that breaks off
/// is read on from where it broke; it is given up when nothing comes any more, not when much was
/// to come. A whole object is compared with the checksum that the source keeps.
pub(crate) async fn read(
    engine: &Engine,
    key: &str,
    pin: &Pin,
    range: Option<(u64, u64)>,
    hashing: Hashing,
) -> Result<Read> {
    let mut reading = Reading {
        engine,
        key,
        pin,
        range,
        hashing,
        begun: None,
    };
    let mut delays = backoff().build();
    // Bytes that arrived and were wrong are no progress, however many there are.
    let mut proved_wrong = false;
    loop {
        let before = reading.held();
        let error = match reading.go_on().await {
            Ok(()) => match reading.finish() {
                Ok(read) => return Ok(read),
                Err(error) => {
                    proved_wrong = true;
                    error
                }
            },
            Err(error) => error,
        };
        if !error.retryable || engine.cancel.is_cancelled() {
            return Err(error);
        }
        if !proved_wrong && reading.held() >= before + PROGRESS {
            delays = backoff().build();
        }
        let Some(delay) = delays.next() else {
            return Err(error);
        };
        tracing::debug!(key, held = reading.held(), "reading on after: {error}");
        tokio::time::sleep(delay).await;
    }
}

/// A read under way, over as many requests as it takes.
struct Reading<'a> {
    engine: &'a Engine,
    key: &'a str,
    pin: &'a Pin,
    range: Option<(u64, u64)>,
    hashing: Hashing,
    begun: Option<Begun>,
}

/// What arrived so far, and what the first reply said of the object.
struct Begun {
    info: ObjectInfo,
    hasher: Option<Hasher>,
    payload: Payload,
}

impl Reading<'_> {
    /// Bytes that arrived.
    fn held(&self) -> u64 {
        self.begun.as_ref().map_or(0, |begun| begun.payload.len())
    }

    /// Bytes that must arrive, once it is known.
    fn expected(&self, info: &ObjectInfo) -> u64 {
        self.range.map_or(info.size, |(_, len)| len)
    }

    /// One request for what is missing. What arrives is kept, also if it breaks off.
    async fn go_on(&mut self) -> Result<()> {
        let (engine, key) = (self.engine, self.key);
        // Without a version to ask for, what follows might be of another one.
        let mut begun = self.begun.take().filter(|begun| begun.info.pin.is_set());
        let range = match &begun {
            None => self.range,
            Some(begun) => {
                let held = begun.payload.len();
                let first = self.range.map_or(0, |(at, _)| at);
                Some((first + held, self.expected(&begun.info) - held))
            }
        };
        let request = ReadRequest {
            range,
            // Without a pin of the caller's, what was begun is.
            pin: match &begun {
                Some(begun) if !self.pin.is_set() => begun.info.pin.clone(),
                _ => self.pin.clone(),
            },
            tags: range.is_none() && engine.wants_tags(),
        };
        let reader = match engine.source.read(key, request).await {
            Ok(reader) => reader,
            Err(error) => {
                self.begun = begun;
                return Err(error);
            }
        };
        check_version(engine, key, self.pin, &reader.info)?;
        if let Some(begun) = &begun {
            check_version(engine, key, &begun.info.pin, &reader.info)?;
        }
        let mut body = reader.body;
        let begun = self.begun.insert(begun.take().unwrap_or_else(|| {
            let kept = reader.info.checksum.as_ref().map(|sum| sum.algorithm);
            let algorithm = match self.hashing {
                Hashing::Suited => engine.algorithm(kept),
                Hashing::With(algorithm) => algorithm,
            };
            Begun {
                info: reader.info,
                hasher: algorithm.map(Hasher::new),
                payload: Payload::new(),
            }
        }));
        while let Some(frame) = body.try_next().await? {
            engine.budget.pace(frame.len()).await;
            if let Some(hasher) = &mut begun.hasher {
                hasher.update(&frame);
            }
            begun.payload.push(frame);
        }
        Ok(())
    }

    /// Proves what arrived. What is wrong as a whole is forgotten: a retry begins anew.
    fn finish(&mut self) -> Result<Read> {
        let begun = self.begun.take().ok_or_else(|| {
            Error::control(ErrorKind::Internal, "a read ended before it was begun")
        })?;
        let expected = self.expected(&begun.info);
        if begun.payload.len() != expected {
            return Err(Error::new(
                Side::Source,
                ErrorKind::Corrupt,
                format!("{} bytes arrived of {expected}", begun.payload.len()),
            )
            .object(self.engine.source.uri(self.key)));
        }
        let checksum = begun.hasher.map(Hasher::finish);
        if self.range.is_none() {
            let kept = begun.info.checksum.as_ref();
            compare(self.engine, self.key, checksum.as_ref(), kept)?;
        }
        Ok(Read {
            info: begun.info,
            payload: begun.payload,
            checksum,
        })
    }
}

/// Some services ignore the pin of a read and send what is there now: parts of two versions would
/// be mixed.
fn check_version(engine: &Engine, key: &str, pin: &Pin, sent: &ObjectInfo) -> Result<()> {
    match (&pin.etag, &sent.pin.etag) {
        (Some(asked), Some(sent)) if asked != sent => Err(Error::new(
            Side::Source,
            ErrorKind::Changed,
            "the service sent another version than was asked for",
        )
        .object(engine.source.uri(key))),
        _ => Ok(()),
    }
}

/// Whether a checksum of all bytes read equals the one that the source keeps; true only if there
/// was something to compare.
pub(crate) fn compare(
    engine: &Engine,
    key: &str,
    read: Option<&Checksum>,
    kept: Option<&Checksum>,
) -> Result<bool> {
    match (read, kept) {
        (Some(read), Some(kept)) if read.algorithm == kept.algorithm => {
            if read == kept {
                Ok(true)
            } else {
                Err(Error::new(
                    Side::Source,
                    ErrorKind::Corrupt,
                    format!("the bytes read have checksum {read}, the source keeps {kept}"),
                )
                .object(engine.source.uri(key)))
            }
        }
        _ => Ok(false),
    }
}
