//! Reading an object or a range of it into memory, checksummed on the way.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
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

/// Reads `range` (offset, length) or all of the object under `key`, pinned; a body that breaks off
/// is read again. A whole object is compared with the checksum that the source keeps.
pub(crate) async fn read(
    engine: &Engine,
    key: &str,
    pin: &Pin,
    range: Option<(u64, u64)>,
    hashing: Hashing,
) -> Result<Read> {
    (|| read_once(engine, key, pin, range, hashing))
        .retry(backoff())
        .when(|error: &Error| error.retryable && !engine.cancel.is_cancelled())
        .await
}

async fn read_once(
    engine: &Engine,
    key: &str,
    pin: &Pin,
    range: Option<(u64, u64)>,
    hashing: Hashing,
) -> Result<Read> {
    let request = ReadRequest {
        range,
        pin: pin.clone(),
        tags: range.is_none() && engine.wants_tags(),
    };
    let mut reader = engine.source.read(key, request).await?;
    check_version(engine, key, pin, &reader.info)?;
    let algorithm = match hashing {
        Hashing::Suited => engine.algorithm(reader.info.checksum.as_ref().map(|sum| sum.algorithm)),
        Hashing::With(algorithm) => algorithm,
    };
    let mut hasher = algorithm.map(Hasher::new);
    let mut payload = Payload::new();
    while let Some(frame) = reader.body.try_next().await? {
        engine.budget.pace(frame.len()).await;
        if let Some(hasher) = &mut hasher {
            hasher.update(&frame);
        }
        payload.push(frame);
    }
    let expected = range.map_or(reader.info.size, |(_, len)| len);
    if payload.len() != expected {
        return Err(Error::new(
            Side::Source,
            ErrorKind::Corrupt,
            format!("{} bytes arrived of {expected}", payload.len()),
        )
        .object(engine.source.uri(key)));
    }
    let checksum = hasher.map(Hasher::finish);
    if range.is_none() {
        compare(
            engine,
            key,
            checksum.as_ref(),
            reader.info.checksum.as_ref(),
        )?;
    }
    Ok(Read {
        info: reader.info,
        payload,
        checksum,
    })
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
