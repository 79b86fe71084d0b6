//! Copies that the service makes by itself.

use skyhaul_model::{Attributes, ErrorKind, Pin};

use super::fixture::{Fixture, bytes};
use super::{Checked, Failure, Verdict, ensure, ensure_kind};
use crate::payload::Payload;
use crate::store::{Condition, CopyRequest, CopySource, PutRequest, UploadRequest};

const NO_COPY: Verdict = Verdict::NotApplicable("the service copies nothing by itself");

/// Writes a source of `len` bytes with attributes, under a key that needs encoding.
async fn source(fixture: &Fixture, len: usize) -> Result<CopySource, Failure> {
    let key = fixture.key("from/a b+c%20\u{e9}");
    let mut attributes = Attributes {
        content_type: Some("text/x-check".to_owned()),
        ..Attributes::default()
    };
    attributes
        .metadata
        .insert("name".to_owned(), "value".to_owned());
    let payload = Payload::from(bytes(3, len));
    let request = PutRequest {
        payload,
        attributes,
        ..PutRequest::default()
    };
    fixture.put_with(&key, request).await?;
    let pin = fixture.pin(&key).await?;
    Ok(CopySource {
        container: fixture.container.clone(),
        key,
        pin,
        bucket_owner: None,
    })
}

/// The same source under the pin of a version that was replaced.
async fn stale(fixture: &Fixture, source: &CopySource) -> Result<CopySource, Failure> {
    fixture.put(&source.key, bytes(4, 10)).await?;
    let pin = Pin {
        version_id: None,
        ..source.pin.clone()
    };
    Ok(CopySource {
        pin,
        ..source.clone()
    })
}

pub(super) async fn copying_inside_the_service(fixture: &Fixture) -> Checked {
    if fixture.store.service().is_none() {
        return Ok(NO_COPY);
    }
    ensure!(
        fixture.store.service() == fixture.other.service(),
        "two services, one container"
    );
    let source = source(fixture, 100_000).await?;
    let (plain, dressed) = (fixture.key("to/plain"), fixture.key("to/dressed"));
    fixture
        .store
        .copy(&plain, &source, CopyRequest::default())
        .await?;
    let attributes = Attributes {
        content_type: Some("text/x-other".to_owned()),
        ..Attributes::default()
    };
    let request = CopyRequest {
        attributes: Some(attributes),
        ..CopyRequest::default()
    };
    fixture.store.copy(&dressed, &source, request).await?;
    for (key, content_type, metadata) in
        [(&plain, "text/x-check", 1), (&dressed, "text/x-other", 0)]
    {
        ensure!(
            fixture.whole(key).await? == bytes(3, 100_000),
            "{key}: other bytes"
        );
        let info = fixture.store.stat(key, &Pin::default(), false).await?;
        let found = info
            .ok_or_else(|| Failure::Broken(format!("{key} is not there")))?
            .attributes;
        ensure!(
            found.content_type.as_deref() == Some(content_type),
            "{key}: {found:?}"
        );
        ensure!(found.metadata.len() == metadata, "{key}: {found:?}");
    }
    if !fixture.quirks.ignores_copy_conditions {
        let stale = stale(fixture, &source).await?;
        let copied = fixture
            .store
            .copy(&plain, &stale, CopyRequest::default())
            .await;
        ensure_kind!(copied, ErrorKind::Changed, "another version of the source");
        ensure!(
            fixture.whole(&plain).await? == bytes(3, 100_000),
            "copied all the same"
        );
    }
    let absent = CopySource {
        key: fixture.key("none"),
        pin: Pin::default(),
        ..source
    };
    let copied = fixture
        .store
        .copy(&plain, &absent, CopyRequest::default())
        .await;
    ensure_kind!(
        copied,
        ErrorKind::NotFound | ErrorKind::Changed,
        "a source that is absent"
    );
    Ok(Verdict::Holds)
}

pub(super) async fn copying_parts_inside_the_service(fixture: &Fixture) -> Checked {
    if fixture.store.service().is_none() {
        return Ok(NO_COPY);
    }
    let part_size = fixture.store.capabilities().parts.min_part.max(64 << 10);
    let size = part_size + 777;
    let source = source(fixture, size as usize).await?;
    let key = fixture.key("to/object");
    let request = UploadRequest {
        size,
        part_size,
        ..UploadRequest::default()
    };
    let token = fixture.store.open_upload(&key, request).await?;
    let mut parts = Vec::new();
    for (number, range) in [(1, (0, part_size)), (2, (part_size, 777))] {
        let part = fixture
            .store
            .copy_part(&key, &token, &source, number, range)
            .await?;
        ensure!(
            (part.number, part.size) == (number, range.1),
            "{part:?} for {range:?}"
        );
        parts.push(part);
    }
    if !fixture.quirks.ignores_copy_conditions {
        let stale = stale(fixture, &source).await?;
        let copied = fixture
            .store
            .copy_part(&key, &token, &stale, 1, (0, 5))
            .await;
        ensure_kind!(copied, ErrorKind::Changed, "another version of the source");
    }
    fixture
        .other
        .finish_upload(&key, &token, &parts, None, &Condition::None)
        .await?;
    ensure!(
        fixture.whole(&key).await? == bytes(3, size as usize),
        "other bytes"
    );
    Ok(Verdict::Holds)
}
