//! Segments in memory: a folder that all gateways share.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use skyhaul_model::outcome::{Outcome, ReceiptRecord};
use skyhaul_model::segment::Segment;
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::SegmentStore;

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    manifests: Mutex<HashMap<String, Segment>>,
    receipts: Mutex<HashMap<String, Vec<ReceiptRecord>>>,
}

fn put<T>(shelf: &Mutex<HashMap<String, T>>, item: T) -> String {
    let mut shelf = shelf.lock().unwrap();
    let name = format!("segment-{}", shelf.len());
    shelf.insert(name.clone(), item);
    name
}

fn get<T: Clone>(shelf: &Mutex<HashMap<String, T>>, pointer: &str) -> Result<T> {
    let found = shelf.lock().unwrap().get(pointer).cloned();
    found.ok_or_else(|| Error::control(ErrorKind::NotFound, "no such segment"))
}

fn not_asked<T>() -> Result<T> {
    let message = "nothing is listed in the simulation";
    Err(Error::control(ErrorKind::Unsupported, message))
}

#[async_trait]
impl SegmentStore for Shelf {
    async fn write_manifest(&self, manifest: &Segment) -> Result<String> {
        Ok(put(&self.manifests, manifest.clone()))
    }

    async fn read_manifest(&self, pointer: &str) -> Result<Segment> {
        get(&self.manifests, pointer)
    }

    async fn write_receipts(&self, receipts: &[ReceiptRecord]) -> Result<String> {
        Ok(put(&self.receipts, receipts.to_vec()))
    }

    async fn read_receipts(&self, pointer: &str) -> Result<Vec<ReceiptRecord>> {
        get(&self.receipts, pointer)
    }

    async fn write_outcomes(&self, _: &[Outcome]) -> Result<String> {
        not_asked()
    }

    async fn read_outcomes(&self, _: &str) -> Result<Vec<Outcome>> {
        not_asked()
    }

    async fn write_deletes(&self, _: &[String]) -> Result<String> {
        not_asked()
    }

    async fn read_deletes(&self, _: &str) -> Result<Vec<String>> {
        not_asked()
    }
}
