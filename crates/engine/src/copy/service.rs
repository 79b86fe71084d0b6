//! Copies that the service makes by itself: no byte passes this machine.

use skyhaul_model::attributes::AttributePolicy;
use skyhaul_model::compare;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::segment::ObjectTask;
use skyhaul_model::{Error, ErrorKind, Result, Verification, parts};
use skyhaul_stores::{CopyRequest, CopySource, PutReceipt, UploadToken};

use super::{attributes, object};
use crate::engine::Engine;

/// A copy made by the service.
pub(crate) struct ServiceCopied {
    pub receipt: PutReceipt,
    pub verified: Verification,
}

fn source(engine: &Engine, task: &ObjectTask) -> CopySource {
    CopySource {
        container: engine.spec.source.location.container.clone(),
        key: task.source_key.clone(),
        pin: task.pin.clone(),
        bucket_owner: engine.spec.source.connection.bucket_owner.clone(),
    }
}

/// Whether an error means that this pair cannot be copied by the service, so that the bytes must
/// be streamed: it does not implement it, or does not permit it.
fn must_stream(error: &Error) -> bool {
    matches!(
        error.kind,
        ErrorKind::AccessDenied | ErrorKind::Unsupported | ErrorKind::Invalid
    )
}

/// Copies a whole object; `None` if it must be streamed.
pub(crate) async fn copy_object(
    engine: &Engine,
    task: &ObjectTask,
) -> Result<Option<ServiceCopied>> {
    if task.size > engine.destination.capabilities().parts.max_single {
        return Ok(None);
    }
    // Everything is carried along by the service unless the policy changes something.
    let attributes = if engine.spec.attributes == AttributePolicy::default() {
        None
    } else {
        let info = engine
            .source
            .stat(&task.source_key, &task.pin, engine.wants_tags())
            .await?
            .ok_or_else(|| {
                Error::new(
                    skyhaul_model::Side::Source,
                    ErrorKind::Changed,
                    "it is gone",
                )
                .object(engine.source.uri(&task.source_key))
            })?;
        Some(attributes::for_destination(engine, &task.source_key, &info).0)
    };
    let request = CopyRequest {
        storage_class: attributes
            .is_none()
            .then(|| task.storage_class.clone())
            .flatten(),
        attributes,
        condition: object::condition(engine),
        algorithm: engine.algorithm(None),
    };
    let source = source(engine, task);
    let copied = engine
        .destination
        .copy(&task.destination_key, &source, request);
    match copied.await {
        Ok(receipt) => {
            engine.meter.add_bytes(task.size);
            // The same MD5 tag on both sides proves the copy as well as a checksum does.
            let same_md5 = task.pin.etag.is_some()
                && task.pin.etag == receipt.etag
                && receipt
                    .etag
                    .as_deref()
                    .and_then(compare::md5_etag)
                    .is_some();
            let verified = if same_md5 {
                Verification::SourceVerified
            } else {
                object::verification(engine, task, &receipt, false).await?
            };
            Ok(Some(ServiceCopied { receipt, verified }))
        }
        Err(error) if must_stream(&error) => {
            engine.stop_service_copy(&error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Copies one part; `None` if it must be streamed.
pub(crate) async fn copy_part(
    engine: &Engine,
    task: &ObjectTask,
    token: &UploadToken,
    part: u32,
) -> Result<Option<PartReceipt>> {
    let range = parts::part_range(task.size, task.part_size.unwrap_or(task.size), part);
    let source = source(engine, task);
    let copied = engine
        .destination
        .copy_part(&task.destination_key, token, &source, part, range);
    match copied.await {
        Ok(receipt) => {
            engine.meter.add_bytes(range.1);
            Ok(Some(receipt))
        }
        Err(error) if must_stream(&error) => {
            engine.stop_service_copy(&error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
