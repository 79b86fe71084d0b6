//! Reading an object or a range of it into memory, checksummed on the way.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use skyhaul_model::{Algorithm, Checksum, Hasher, ObjectInfo, Pin, Result};
use skyhaul_stores::Payload;

use super::steady::Steady;
use crate::engine::Engine;

/// Bytes that were read, with the head they came with.
pub(crate) struct Read {
    pub info: ObjectInfo,
    pub payload: Payload,
    pub checksum: Option<Checksum>,
    /// Whether the checksum was compared with the source's own, and is the same.
    pub source_verified: bool,
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

/// Reads `range` (offset, length) or all of the object under `key`, pinned, whatever breaks on the
/// way (see [`Steady`]). A whole object is compared with the checksum that the source keeps; bytes
/// that do not fit are read again.
pub(crate) async fn read(
    engine: &Engine,
    key: &str,
    pin: &Pin,
    range: Option<(u64, u64)>,
    hashing: Hashing,
) -> Result<Read> {
    let mut delays = backoff().build();
    loop {
        let mut read = collect(engine, Steady::new(engine, key, pin, range), hashing).await?;
        let proved = if range.is_none() {
            let kept = read.info.checksum.as_ref();
            compare(engine, key, read.checksum.as_ref(), kept)
        } else {
            Ok(false)
        };
        let error = match proved {
            Ok(source_verified) => {
                read.source_verified = source_verified;
                return Ok(read);
            }
            Err(error) => error,
        };
        if !error.retryable || engine.cancel.is_cancelled() {
            return Err(error);
        }
        let Some(delay) = delays.next() else {
            return Err(error);
        };
        tokio::time::sleep(delay).await;
    }
}

async fn collect(engine: &Engine, mut steady: Steady<&Engine>, hashing: Hashing) -> Result<Read> {
    let info = steady.info().await?;
    let algorithm = match hashing {
        Hashing::Suited => engine.algorithm(info.checksum.as_ref().map(|sum| sum.algorithm)),
        Hashing::With(algorithm) => algorithm,
    };
    let mut hasher = algorithm.map(Hasher::new);
    let mut payload = Payload::new();
    while let Some(frame) = steady.next().await? {
        if let Some(hasher) = &mut hasher {
            hasher.update(&frame);
        }
        payload.push(frame);
    }
    Ok(Read {
        info,
        payload,
        checksum: hasher.map(Hasher::finish),
        source_verified: false,
    })
}

/// Whether a checksum of all bytes read equals the one that the source keeps; true only if there
/// was something to compare.
pub(crate) fn compare(
    engine: &Engine,
    key: &str,
    read: Option<&Checksum>,
    kept: Option<&Checksum>,
) -> Result<bool> {
    let compared = Checksum::compare_kept(read, kept);
    compared.map_err(|error| error.object(engine.source.uri(key)))
}
