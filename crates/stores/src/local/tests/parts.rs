//! Parts that are written while they come.

use futures::{SinkExt as _, StreamExt as _};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Algorithm, Hasher};

use super::*;
use crate::store::{Condition, PartStream, UploadRequest, UploadToken};

const PART: usize = 3 << 20;

/// `count` parts of random bytes, and an upload of that size.
async fn upload(bench: &Bench, count: usize) -> (Bytes, UploadToken) {
    let mut bytes = vec![0; count * PART];
    StdRng::seed_from_u64(7).fill_bytes(&mut bytes);
    let request = UploadRequest {
        size: bytes.len() as u64,
        part_size: PART as u64,
        ..UploadRequest::default()
    };
    let token = bench.store.open_upload("d/f", request).await.unwrap();
    (bytes.into(), token)
}

fn slice(bytes: &Bytes, number: usize) -> Bytes {
    bytes.slice((number - 1) * PART..number * PART)
}

/// Part `number`, delivered as these frames.
fn part(number: usize, frames: Vec<Result<Bytes>>) -> PartStream {
    PartStream {
        number: u32::try_from(number).unwrap(),
        offset: ((number - 1) * PART) as u64,
        len: PART as u64,
        body: futures::stream::iter(frames).boxed(),
        algorithm: Some(Algorithm::Crc64Nvme),
    }
}

/// Frames of odd lengths.
fn frames(bytes: &Bytes) -> Vec<Result<Bytes>> {
    let cut = |at: usize| bytes.slice(at..bytes.len().min(at + 70_001));
    (0..bytes.len()).step_by(70_001).map(cut).map(Ok).collect()
}

async fn write(bench: &Bench, token: &UploadToken, stream: PartStream) -> Result<PartReceipt> {
    bench.store.stream_part("d/f", token, stream).await
}

#[tokio::test]
async fn another_number_of_bytes_is_no_part() {
    let bench = Bench::new();
    let (bytes, token) = upload(&bench, 2).await;
    let short = slice(&bytes, 1).slice(1..);
    let mut long = frames(&slice(&bytes, 1));
    long.push(Ok(Bytes::from_static(b"x")));
    for wrong in [frames(&short), long] {
        let error = write(&bench, &token, part(1, wrong)).await.unwrap_err();
        assert_eq!((error.kind, error.side), (ErrorKind::Corrupt, Side::Source));
        assert!(error.retryable, "{error}");
    }
    let beyond = write(&bench, &token, part(3, frames(&slice(&bytes, 1)))).await;
    assert_eq!(kind(beyond), ErrorKind::Invalid);
}

#[tokio::test]
async fn parts_at_the_same_time_make_up_the_file() {
    let bench = Bench::new();
    let (bytes, token) = upload(&bench, 8).await;
    let parts =
        (1..=8).map(|number| write(&bench, &token, part(number, frames(&slice(&bytes, number)))));
    let receipts = futures::future::try_join_all(parts).await.unwrap();
    for (receipt, number) in receipts.iter().zip(1..) {
        let mut hasher = Hasher::new(Algorithm::Crc64Nvme);
        hasher.update(&slice(&bytes, number));
        assert_eq!(receipt.checksum, Some(hasher.finish()));
        assert_eq!(receipt.size, PART as u64);
    }
    let finished = bench
        .store
        .finish_upload("d/f", &token, &receipts, None, &Condition::None);
    finished.await.unwrap();
    assert!(std::fs::read(bench.path("d/f")).unwrap() == bytes);
    assert_eq!(names_on_disk(bench.directory.path()), ["d/", "d/f"]);
}

#[tokio::test]
async fn a_part_of_an_upload_that_was_aborted_meanwhile_is_none() {
    let bench = Bench::new();
    let (bytes, token) = upload(&bench, 1).await;
    let (store, all) = (&bench.store, frames(&slice(&bytes, 1)));
    let mut stream = part(1, Vec::new());
    let (mut sender, receiver) = futures::channel::mpsc::channel(0);
    stream.body = receiver.boxed();
    let writing = write(&bench, &token, stream);
    let aborting = async {
        let last = all.len() - 1;
        for (at, frame) in all.into_iter().enumerate() {
            if at == last {
                store.abort_upload("d/f", &token).await.unwrap();
            }
            sender.send(frame).await.unwrap();
        }
        drop(sender);
    };
    let (written, ()) = tokio::join!(writing, aborting);
    assert_eq!(kind(written), ErrorKind::UploadGone);
    assert_eq!(names_on_disk(bench.directory.path()), ["d/"]);
}
