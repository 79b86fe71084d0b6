//! Parts that are written while they are read.

use bytes::Bytes;
use futures::StreamExt as _;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Error, ErrorKind, Side};

use super::fixture::Fixture;
use super::multipart::Upload;
use super::{Checked, Verdict, ensure, ensure_kind};
use crate::store::{Condition, PartStream};

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
