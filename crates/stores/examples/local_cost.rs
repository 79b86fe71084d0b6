//! What local disk costs: wall and CPU seconds of writing, listing and reading files under a
//! directory. `cargo run --release --example local_cost -- DIRECTORY [FILES] [BYTES] [BATCH]`

#![allow(clippy::print_stdout)]

use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use skyhaul_model::spec::Durability;
use skyhaul_model::{Error, Result, Side};
use skyhaul_stores::local::{LocalOptions, LocalStore};
use skyhaul_stores::{
    Condition, ListRequest, PartWrite, Payload, PutRequest, ReadRequest, Store, UploadRequest,
};

/// User and system seconds of this process.
fn cpu() -> f64 {
    let usage = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = usage.rsplit(')').next().unwrap_or_default();
    let ticks = |field: usize| {
        after
            .split_whitespace()
            .nth(field)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / 100.0
}

fn report(what: &str, started: Instant, cpu_before: f64) {
    let (wall, used) = (started.elapsed().as_secs_f64(), cpu() - cpu_before);
    println!("{what:<24} {wall:8.3} s wall {used:8.3} s CPU");
}

async fn write(store: &LocalStore, files: usize, bytes: usize, batch: usize) -> Result<()> {
    let content = Bytes::from(vec![7; bytes]);
    let mut names = (0..files).map(|at| format!("{:02}/{at:07}", at % 50));
    loop {
        let names: Vec<String> = names.by_ref().take(batch).collect();
        if names.is_empty() {
            return Ok(());
        }
        let puts = names.iter().map(|name| {
            let payload = Payload::from(content.clone());
            store.put(
                name,
                PutRequest {
                    payload,
                    ..PutRequest::default()
                },
            )
        });
        let receipts: Vec<_> = futures::stream::iter(puts)
            .buffered(8)
            .try_collect()
            .await?;
        let staged = receipts
            .into_iter()
            .filter_map(|receipt| receipt.staged)
            .collect();
        for result in store.commit(staged).await {
            result?;
        }
    }
}

async fn upload(store: &LocalStore, part: u64, parts: u32) -> Result<()> {
    let content = Bytes::from(vec![7; part as usize]);
    let size = part * u64::from(parts);
    let request = UploadRequest {
        size,
        part_size: part,
        ..UploadRequest::default()
    };
    let token = store.open_upload("large", request).await?;
    let writes = (1..=parts).map(|number| {
        let payload = Payload::from(content.clone());
        let offset = u64::from(number - 1) * part;
        store.put_part(
            "large",
            &token,
            PartWrite {
                number,
                offset,
                payload,
                checksum: None,
            },
        )
    });
    let receipts: Vec<_> = futures::stream::iter(writes)
        .buffered(8)
        .try_collect()
        .await?;
    store
        .finish_upload("large", &token, &receipts, None, &Condition::default())
        .await
        .map(drop)
}

async fn list_and_read(store: &LocalStore) -> Result<()> {
    let (started, before) = (Instant::now(), cpu());
    let mut lister = store.list(ListRequest::default());
    let mut entries = Vec::new();
    while let Some(page) = lister.next_page().await? {
        entries.extend(page.entries);
    }
    report(&format!("list {}", entries.len()), started, before);
    let (started, before) = (Instant::now(), cpu());
    let reads = entries.into_iter().map(|entry| async move {
        let request = ReadRequest {
            pin: entry.pin,
            ..ReadRequest::default()
        };
        let mut body = store.read(&entry.key, request).await?.body;
        let mut read = 0;
        while let Some(frame) = body.try_next().await? {
            read += frame.len();
        }
        Ok::<usize, Error>(read)
    });
    let read: Vec<usize> = futures::stream::iter(reads)
        .buffer_unordered(8)
        .try_collect()
        .await?;
    report(
        &format!("read {} MB", read.iter().sum::<usize>() / 1_000_000),
        started,
        before,
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments
        .next()
        .ok_or_else(|| Error::invalid("name a directory"))?;
    let mut number = |default: usize| {
        arguments
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (files, bytes, batch) = (number(20_000), number(16 << 10), number(64));
    for durability in [Durability::Off, Durability::Fsync] {
        let root = format!("{directory}/{durability:?}");
        let options = LocalOptions {
            durability,
            ..LocalOptions::default()
        };
        let store = LocalStore::open(&root, Side::Destination, options)?;
        println!("{durability:?}");
        let (started, before) = (Instant::now(), cpu());
        write(&store, files, bytes, batch).await?;
        report(&format!("write {files} x {bytes}"), started, before);
        let (started, before) = (Instant::now(), cpu());
        upload(&store, 8 << 20, 64).await?;
        report("upload 64 x 8 MiB", started, before);
        list_and_read(&store).await?;
    }
    Ok(())
}
