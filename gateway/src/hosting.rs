//! The stores that requests are carried out on: opened once, from the transfer's row.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skyhaul_model::{Error, ErrorKind, Result, Side, TransferId};
use skyhaul_state::TransferState;
use skyhaul_stores::Store;
use tokio::sync::{Mutex, OnceCell, Semaphore};

use crate::serve::Destinations;
use crate::world::Stores;

/// How long a request may wait for room: what waits holds credit that others need to finish.
const WAIT: Duration = Duration::from_secs(5);

/// Room is counted in units of so many bytes.
const UNIT: u64 = 1 << 10;

type Key = (TransferId, u32);
type Cell = Arc<OnceCell<Arc<dyn Store>>>;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Hosting {
    state: Arc<dyn TransferState>,
    stores: Arc<dyn Stores>,
    opened: Mutex<HashMap<Key, Cell>>,
    room: Arc<Semaphore>,
    most: u32,
    turns: Arc<Semaphore>,
}

impl Hosting {
    /// Holds at most `max_memory` bytes, writes at most `transfers` objects of bundles at a time.
    pub(crate) fn new(
        state: Arc<dyn TransferState>,
        stores: Arc<dyn Stores>,
        max_memory: u64,
        transfers: usize,
    ) -> Self {
        let most = u32::try_from(max_memory / UNIT)
            .unwrap_or(u32::MAX >> 3)
            .max(1);
        Self {
            state,
            stores,
            opened: Mutex::default(),
            room: Arc::new(Semaphore::new(most as usize)),
            most,
            turns: Arc::new(Semaphore::new(transfers.max(1))),
        }
    }
}

#[async_trait]
impl Destinations for Hosting {
    async fn open(&self, transfer: &TransferId, destination: u32) -> Result<Arc<dyn Store>> {
        let key = (transfer.clone(), destination);
        let cell = Arc::clone(self.opened.lock().await.entry(key).or_default());
        let opened = cell.get_or_try_init(|| async {
            let row = self.state.transfer(transfer).await?;
            self.stores
                .destination(&row.spec, transfer, destination)
                .await
        });
        opened.await.cloned()
    }

    async fn room(&self, bytes: u64) -> Result<Box<dyn Send>> {
        // What is larger than all there is has all of it.
        let units = u32::try_from(bytes.div_ceil(UNIT))
            .unwrap_or(u32::MAX)
            .min(self.most);
        let permits = Arc::clone(&self.room).acquire_many_owned(units);
        if let Ok(Ok(permits)) = tokio::time::timeout(WAIT, permits).await {
            return Ok(Box::new(permits));
        }
        let message = "the destination's gateway has no memory left for now";
        Err(Error::new(Side::Relay, ErrorKind::Throttled, message))
    }

    async fn turn(&self) -> Box<dyn Send> {
        // Never closed: it lives as long as self.
        Box::new(Arc::clone(&self.turns).acquire_owned().await.ok())
    }
}
