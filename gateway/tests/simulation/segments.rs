//! Segments in memory: a folder that all gateways share.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use skyhaul_model::Result;
use skyhaul_state::segments::gone;
use skyhaul_state::{SegmentKind, SegmentStore};

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<HashMap<String, Vec<u8>>>);

#[async_trait]
impl SegmentStore for Shelf {
    async fn keep(&self, kind: SegmentKind, pointer: &str, bytes: Vec<u8>) -> Result<()> {
        kind.check(pointer)?;
        self.0.lock().unwrap().insert(pointer.to_owned(), bytes);
        Ok(())
    }

    async fn put(&self, kind: SegmentKind, bytes: Vec<u8>) -> Result<String> {
        let mut held = self.0.lock().unwrap();
        // Random names would make runs of one seed differ.
        let pointer = format!("{kind}/{}", held.len());
        held.insert(pointer.clone(), bytes);
        Ok(pointer)
    }

    async fn get(&self, kind: SegmentKind, pointer: &str) -> Result<Vec<u8>> {
        kind.check(pointer)?;
        let found = self.0.lock().unwrap().get(pointer).cloned();
        found.ok_or_else(|| gone(self.full_name(pointer)))
    }

    fn full_name(&self, pointer: &str) -> String {
        pointer.to_owned()
    }
}
