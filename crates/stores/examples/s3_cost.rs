//! What the S3 client costs: copies objects from one bucket to another, nothing else around it,
//! and prints CPU time a pair of GET and PUT and a gigabyte.
//!
//! `s3_cost ENDPOINT SOURCE SINK CONCURRENCY` with a server that serves SOURCE and takes SINK.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _};
use skyhaul_model::spec::Connection;
use skyhaul_model::{Algorithm, Location, Side};
use skyhaul_stores::Payload;
use skyhaul_stores::s3::{Credentials, S3Options, S3Store};
use skyhaul_stores::store::{ListRequest, PutRequest, ReadRequest, Store};

async fn open(endpoint: &str, bucket: &str, side: Side) -> S3Store {
    let location: Location = format!("s3://{bucket}").parse().unwrap();
    let connection = Connection {
        endpoint_url: Some(endpoint.to_owned()),
        region: Some("us-east-1".to_owned()),
        ..Connection::default()
    };
    let credentials = Credentials {
        access_key_id: "key".into(),
        secret_access_key: "secret".into(),
        session_token: None,
    };
    let options = S3Options {
        credentials: Some(credentials),
        ..S3Options::default()
    };
    S3Store::open(&location, &connection, side, options)
        .await
        .unwrap()
}

/// User and system CPU time of this process in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, source, sink, concurrency] = &arguments[..] else {
        panic!("s3_cost ENDPOINT SOURCE SINK CONCURRENCY")
    };
    let concurrency: usize = concurrency.parse().unwrap();
    let source = Arc::new(open(endpoint, source, Side::Source).await);
    let sink = Arc::new(open(endpoint, sink, Side::Destination).await);
    let mut entries = Vec::new();
    let mut lister = source.list(ListRequest::default());
    let (begun, begun_cpu) = (Instant::now(), cpu());
    while let Some(page) = lister.next_page().await.unwrap() {
        entries.extend(page.entries);
    }
    println!(
        "listed {} in {:.2} s, {:.2} CPU-s",
        entries.len(),
        begun.elapsed().as_secs_f64(),
        cpu() - begun_cpu
    );
    let count = entries.len() as f64;
    let bytes: u64 = entries.iter().map(|entry| entry.size).sum();
    let (started, started_cpu) = (Instant::now(), cpu());
    futures::stream::iter(entries.into_iter().map(|entry| {
        let (source, sink) = (Arc::clone(&source), Arc::clone(&sink));
        async move {
            let request = ReadRequest {
                pin: entry.pin.clone(),
                ..ReadRequest::default()
            };
            let reader = source.read(&entry.key, request).await?;
            let mut payload = Payload::new();
            let mut body = reader.body;
            while let Some(frame) = body.try_next().await? {
                payload.push(frame);
            }
            let checksum = Some(payload.checksum(Algorithm::Crc64Nvme));
            let attributes = reader.info.attributes;
            let request = PutRequest {
                payload,
                attributes,
                checksum,
                ..PutRequest::default()
            };
            sink.put(&entry.key, request).await.map(drop)
        }
    }))
    .buffer_unordered(concurrency)
    .try_collect::<()>()
    .await
    .unwrap();
    let (wall, used) = (started.elapsed().as_secs_f64(), cpu() - started_cpu);
    println!(
        "{count} objects in {wall:.2} s; {used:.2} CPU-s: {:.0} us a pair, {:.3} CPU-s/GB",
        used / count * 1e6,
        used / (bytes as f64 / 1e9)
    );
}
