//! Comparing a pair whose listings do not say enough: a stat of either side, and, for checksums
//! without a common stored one, reading the bytes.

use futures::TryStreamExt as _;
use skyhaul_model::compare::{MetadataTime, Verdict};
use skyhaul_model::segment::ObjectTask;
use skyhaul_model::{
    Algorithm, Checksum, ErrorKind, Hasher, ObjectEntry, Pin, Result, Side, mtime,
};
use skyhaul_stores::{ReadRequest, Store};

use super::classify::{Classifier, Item, Known, verdict};
use crate::copy::object;
use crate::engine::Engine;

/// Decides on a pair by asking the stores.
pub(crate) async fn resolve(
    classifier: &Classifier<'_>,
    mut task: ObjectTask,
    entry: ObjectEntry,
) -> Item {
    match decide(classifier.engine, &task, &entry).await {
        Ok(Verdict::Same(why)) => Item::Skip(task, why.into()),
        Ok(Verdict::Copy(why)) => {
            task.reason = Some(why.into());
            classifier.copy(task)
        }
        Ok(_) => Item::Skip(task, "same size".into()),
        Err(error) if error.kind == ErrorKind::Changed && error.side == Side::Source => {
            // The copy finds its present version.
            task.reason = Some("changed since it was listed".into());
            classifier.copy(task)
        }
        Err(error) => Item::Fail(object::failed(classifier.engine, &task, &error)),
    }
}

/// The final verdict; still `NeedsChecksums` if bytes would have to be read and must not be.
async fn decide(engine: &Engine, task: &ObjectTask, entry: &ObjectEntry) -> Result<Verdict> {
    let mut known = Known::default();
    let mut stats_made = false;
    loop {
        match verdict(engine, task, entry, &known) {
            Verdict::NeedsSourceMtime => {
                let info = engine
                    .source
                    .stat(&task.source_key, &task.pin, false)
                    .await?;
                known.source_mtime =
                    MetadataTime::seen(info.and_then(|info| mtime::of(&info.attributes)));
            }
            Verdict::NeedsDestinationMtime => {
                let info = engine
                    .destination
                    .stat(&entry.key, &Pin::default(), false)
                    .await?;
                known.destination_mtime =
                    MetadataTime::seen(info.and_then(|info| mtime::of(&info.attributes)));
            }
            Verdict::NeedsChecksums if !stats_made => {
                stats_made = true;
                let any = Pin::default();
                let (source, destination) = futures::try_join!(
                    engine.source.stat(&task.source_key, &task.pin, false),
                    engine.destination.stat(&entry.key, &any, false),
                )?;
                known
                    .source_checksums
                    .extend(source.and_then(|info| info.checksum));
                known
                    .destination_checksums
                    .extend(destination.and_then(|info| info.checksum));
            }
            Verdict::NeedsChecksums if engine.limits.read_to_compare => {
                read_missing(engine, task, entry, &mut known).await?;
            }
            other => return Ok(other),
        }
    }
}

/// Computes what is missing for a common algorithm, reading as few bytes as possible.
async fn read_missing(
    engine: &Engine,
    task: &ObjectTask,
    entry: &ObjectEntry,
    known: &mut Known,
) -> Result<()> {
    let source = async |algorithm| {
        hash(
            engine,
            &engine.source,
            &task.source_key,
            &task.pin,
            algorithm,
        )
        .await
    };
    let destination = async |algorithm| {
        hash(
            engine,
            &engine.destination,
            &entry.key,
            &entry.pin,
            algorithm,
        )
        .await
    };
    match (
        known.source_checksums.first(),
        known.destination_checksums.first(),
    ) {
        (Some(kept), _) => {
            let sum = destination(kept.algorithm).await?;
            known.destination_checksums.push(sum);
        }
        (None, Some(kept)) => {
            let sum = source(kept.algorithm).await?;
            known.source_checksums.push(sum);
        }
        (None, None) => {
            let algorithm = Algorithm::Crc64Nvme;
            let (ours, theirs) = futures::try_join!(source(algorithm), destination(algorithm))?;
            known.source_checksums.push(ours);
            known.destination_checksums.push(theirs);
        }
    }
    Ok(())
}

/// The checksum of an object's bytes, read without keeping them.
async fn hash(
    engine: &Engine,
    store: &std::sync::Arc<dyn Store>,
    key: &str,
    pin: &Pin,
    algorithm: Algorithm,
) -> Result<Checksum> {
    let request = ReadRequest {
        pin: pin.clone(),
        ..ReadRequest::default()
    };
    let mut reader = store.read(key, request).await?;
    let mut hasher = Hasher::new(algorithm);
    while let Some(frame) = reader.body.try_next().await? {
        engine.budget.pace(frame.len()).await;
        hasher.update(&frame);
    }
    Ok(hasher.finish())
}
