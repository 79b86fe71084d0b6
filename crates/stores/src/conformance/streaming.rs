//! Parts and objects that are written while they are read.

use bytes::Bytes;
use futures::StreamExt as _;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Algorithm, Attributes, Checksum, Error, ErrorKind, Pin, Side};

use super::fixture::{Fixture, bytes};
use super::multipart::Upload;
use super::{Checked, Verdict, ensure, ensure_kind};
use crate::payload::Payload;
use crate::store::{Condition, PartStream, PutStream};

/// Part `number` in small frames; with `breaks` only the first half, then an error.
fn part(upload: &Upload<'_>, number: u32, breaks: bool) -> PartStream {
    let content = upload.slice(number);
    let len = content.len() as u64;
    let mut frames: Vec<skyhaul_model::Result<Bytes>> = content
        .chunks(70_001)
        .map(|frame| Ok(content.slice_ref(frame)))
        .collect();
    if breaks {
        frames.truncate(frames.len() / 2);
        frames.push(Err(Error::new(
            Side::Source,
            ErrorKind::Changed,
            "it changed meanwhile",
        )));
    }
    PartStream {
        number,
        offset: upload.offset(number),
        len,
        body: futures::stream::iter(frames).boxed(),
        algorithm: upload.algorithm,
    }
}

/// Streams a part; `None` if the store found that its service does not take it.
async fn stream(
    upload: &Upload<'_>,
    number: u32,
) -> Result<Option<PartReceipt>, skyhaul_model::Error> {
    let (store, part) = (&upload.fixture.store, part(upload, number, false));
    match store.stream_part(&upload.key, &upload.token, part).await {
        Ok(receipt) => Ok(Some(receipt)),
        Err(error) if error.kind == ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) async fn upload_streams_parts(fixture: &Fixture) -> Checked {
    let upload = Upload::open(fixture, "object").await?;
    let store = &*fixture.store;
    let mut parts = Vec::new();
    let mut streamed = 0;
    for number in [1, 2, 3] {
        let receipt = if store.streams_parts(upload.algorithm) {
            stream(&upload, number).await?
        } else {
            None
        };
        streamed += u32::from(receipt.is_some());
        // What was not taken is written as a whole, over whatever came of it.
        parts.push(match receipt {
            Some(receipt) => receipt,
            None => upload.write(store, number).await?,
        });
    }
    for part in &parts {
        let content = upload.slice(part.number);
        ensure!(part.size == content.len() as u64, "wrong size: {part:?}");
        ensure!(
            part.checksum == upload.checksum(&content),
            "another checksum: {part:?}"
        );
    }
    upload.finish(store, &parts, &Condition::None).await?;
    upload.ensure_whole().await?;
    Ok(match streamed {
        0 => Verdict::NotApplicable("parts are not written while they are read"),
        _ => Verdict::Holds,
    })
}

pub(super) async fn upload_streams_no_broken_part(fixture: &Fixture) -> Checked {
    let upload = Upload::open(fixture, "object").await?;
    let store = &*fixture.store;
    // The first part shows whether parts can be streamed at all.
    if !store.streams_parts(upload.algorithm) || stream(&upload, 1).await?.is_none() {
        return Ok(Verdict::NotApplicable(
            "parts are not written while they are read",
        ));
    }
    let broken = part(&upload, 2, true);
    let written = store.stream_part(&upload.key, &upload.token, broken).await;
    ensure_kind!(written, ErrorKind::Changed, "a part that broke off");
    let listed = store.list_parts(&upload.key, &upload.token).await?;
    ensure!(
        listed.iter().all(|part| part.number != 2),
        "half a part is there: {listed:?}"
    );
    let parts = upload.write_all().await?;
    upload.finish(store, &parts, &Condition::None).await?;
    upload.ensure_whole().await?;
    Ok(Verdict::Holds)
}

/// A whole object in small frames, with the source's checksum of `kept`.
fn object(content: &Bytes, algorithm: Algorithm, kept: &Bytes) -> PutStream {
    let frames: Vec<skyhaul_model::Result<Bytes>> = content
        .chunks(70_001)
        .map(|frame| Ok(content.slice_ref(frame)))
        .collect();
    PutStream {
        len: content.len() as u64,
        body: futures::stream::iter(frames).boxed(),
        attributes: Attributes::default(),
        mtime: None,
        algorithm,
        kept: Some(sum(kept, algorithm)),
    }
}

fn sum(content: &Bytes, algorithm: Algorithm) -> Checksum {
    Payload::from(content.clone()).checksum(algorithm)
}

/// The algorithm with which the store writes objects while they are read; `None` if it does not.
async fn streams_objects(fixture: &Fixture) -> Result<Option<Algorithm>, super::Failure> {
    let store = &*fixture.store;
    if !store.streams_objects(Some(Algorithm::Crc64Nvme)) {
        // A part may show that objects can be streamed, too.
        let upload = Upload::open(fixture, "asks").await?;
        if upload.algorithm.is_some() && store.streams_parts(upload.algorithm) {
            stream(&upload, 1).await?;
        }
        store.abort_upload(&upload.key, &upload.token).await?;
    }
    let offered = &store.capabilities().checksums;
    let mut offered = offered.iter().copied();
    Ok(offered.find(|algorithm| store.streams_objects(Some(*algorithm))))
}

pub(super) async fn objects_are_streamed(fixture: &Fixture) -> Checked {
    let Some(algorithm) = streams_objects(fixture).await? else {
        return Ok(Verdict::NotApplicable(
            "objects are not written while they are read",
        ));
    };
    let key = fixture.key("d/object");
    for (seed, len) in [(1, 2_000_000), (2, 300_000), (3, 1)] {
        let content = bytes(seed, len);
        let encoded = Attributes {
            content_encoding: (seed == 2).then(|| "gzip".to_owned()),
            content_type: Some("text/x-check".to_owned()),
            metadata: [("plain".to_owned(), "value".to_owned())].into(),
            ..Attributes::default()
        };
        let put = PutStream {
            attributes: encoded.clone(),
            ..object(&content, algorithm, &content)
        };
        let receipt = match fixture.store.stream_put(&key, put).await {
            Err(error) if error.kind == ErrorKind::Unsupported => {
                return Ok(Verdict::NotApplicable(
                    "the service takes the framing for an encoding",
                ));
            }
            receipt => receipt?,
        };
        ensure!(receipt.verified, "not verified: {receipt:?}");
        ensure!(
            receipt.checksum == Some(sum(&content, algorithm)),
            "another checksum: {receipt:?}"
        );
        ensure!(
            fixture.whole(&key).await? == content,
            "{len} bytes: others are read"
        );
        let info = fixture.store.stat(&key, &Pin::default(), false).await?;
        let there = info.map(|info| info.attributes).unwrap_or_default();
        ensure!(
            there.content_encoding == encoded.content_encoding
                && there.content_type == encoded.content_type
                && there.metadata == encoded.metadata,
            "other attributes: {there:?}"
        );
    }
    ensure!(fixture.keys().await? == [key], "something else is listed");
    Ok(Verdict::Holds)
}

pub(super) async fn objects_are_streamed_whole_or_not_at_all(fixture: &Fixture) -> Checked {
    let Some(algorithm) = streams_objects(fixture).await? else {
        return Ok(Verdict::NotApplicable(
            "objects are not written while they are read",
        ));
    };
    let key = fixture.key("object");
    let (before, content) = (bytes(1, 99), bytes(2, 600_000));
    fixture.put(&key, before.clone()).await?;
    let broken = |frames: usize, then: Option<Error>| {
        let mut put = object(&content, algorithm, &content);
        let head = put.body.take(frames);
        put.body = head.chain(futures::stream::iter(then.map(Err))).boxed();
        put
    };
    let changed = || Error::new(Side::Source, ErrorKind::Changed, "it changed meanwhile");
    for (put, kind, what) in [
        (
            broken(3, Some(changed())),
            ErrorKind::Changed,
            "broken off in its middle",
        ),
        (
            broken(99, Some(changed())),
            ErrorKind::Changed,
            "changed at its last byte",
        ),
        (broken(3, None), ErrorKind::Corrupt, "too short"),
        (
            object(&content, algorithm, &before),
            ErrorKind::Corrupt,
            "not what its source keeps",
        ),
    ] {
        let written = fixture.store.stream_put(&key, put).await;
        match written {
            Err(error) if error.kind == kind => {}
            other => {
                return Err(super::Failure::Broken(format!("{what}: {other:?}")));
            }
        }
        ensure!(
            fixture.whole(&key).await? == before,
            "{what}: something of it is there"
        );
    }
    Ok(Verdict::Holds)
}
