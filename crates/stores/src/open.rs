//! Opening stores from endpoints.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::future::try_join_all;

use crate::Store;
use crate::local::{LocalOptions, LocalStore};
use crate::s3::{S3Options, S3Store};
use crate::several::{Member, Several};
use skyhaul_model::spec::{Durability, Encryption, Endpoint};
use skyhaul_model::{Error, Result, Scheme, Side, TransferId, TransferSpec};

/// How one side is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Use {
    /// What the service encrypts with.
    pub encryption: Option<Encryption>,
    /// What is flushed to disk.
    pub durability: Durability,
    /// Whether symbolic links are followed on local disk.
    pub follow_symlinks: bool,
    /// Whose temporary files are made.
    pub transfer: Option<TransferId>,
}

/// Whose credentials stores are opened with.
#[async_trait]
pub trait Opens: Debug + Send + Sync {
    /// Opens one side. Nothing is asked of the service but what finding its region takes.
    async fn open(&self, endpoint: &Endpoint, side: Side, with: Use) -> Result<Arc<dyn Store>>;
}

/// Those that this process finds: of the profile that the endpoint names, or of its environment.
#[derive(Debug, Clone, Copy)]
pub struct Ambient;

#[async_trait]
impl Opens for Ambient {
    async fn open(&self, endpoint: &Endpoint, side: Side, with: Use) -> Result<Arc<dyn Store>> {
        store(endpoint, side, with).await
    }
}

/// A store, and as what it was opened.
type Opened = (Endpoint, Side, Use, Arc<dyn Store>);

/// What was opened once, for who opens the same again and again: it costs requests to find credentials and regions.
#[derive(Debug)]
pub struct Kept<O> {
    opens: O,
    opened: Mutex<Vec<Opened>>,
}

impl<O> Kept<O> {
    /// Opens what it has not opened yet by `opens`.
    pub const fn new(opens: O) -> Self {
        Self {
            opens,
            opened: Mutex::new(Vec::new()),
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<O: Opens> Opens for Kept<O> {
    async fn open(&self, endpoint: &Endpoint, side: Side, with: Use) -> Result<Arc<dyn Store>> {
        let same = |(known, on, used, _): &&Opened| (known, *on, used) == (endpoint, side, &with);
        if let Some((.., opened)) = self.all().iter().find(same) {
            return Ok(Arc::clone(opened));
        }
        // Two that open the same at once both may.
        let opened = self.opens.open(endpoint, side, with.clone()).await?;
        let new = (endpoint.clone(), side, with, Arc::clone(&opened));
        self.all().push(new);
        Ok(opened)
    }
}

/// Opens one side with the credentials that this process finds ([`Ambient`]).
pub async fn store(endpoint: &Endpoint, side: Side, with: Use) -> Result<Arc<dyn Store>> {
    let location = &endpoint.location;
    Ok(match location.scheme {
        Scheme::S3 => {
            let options = S3Options {
                encryption: with.encryption,
                ..S3Options::default()
            };
            // The SDK's configuration makes a large future.
            let opened = S3Store::open(location, &endpoint.connection, side, options);
            Arc::new(Box::pin(opened).await?)
        }
        Scheme::Local => {
            let options = LocalOptions {
                durability: with.durability,
                follow_symlinks: with.follow_symlinks,
                transfer: with.transfer,
            };
            Arc::new(LocalStore::open(&location.path, side, options)?)
        }
    })
}

/// How both sides of a transfer are used: the source and its destinations.
fn uses(spec: &TransferSpec, id: &TransferId) -> (Use, Use) {
    let destination = Use {
        encryption: spec.encryption.clone(),
        durability: spec.durability,
        follow_symlinks: spec.follow_symlinks,
        transfer: Some(id.clone()),
    };
    let source = Use {
        encryption: None,
        ..destination.clone()
    };
    (source, destination)
}

/// Opens the source of a transfer.
pub async fn source(
    opens: &dyn Opens,
    spec: &TransferSpec,
    id: &TransferId,
) -> Result<Arc<dyn Store>> {
    let with = uses(spec, id).0;
    opens.open(&spec.source, Side::Source, with).await
}

/// Opens one destination of a transfer.
pub async fn destination(
    opens: &dyn Opens,
    spec: &TransferSpec,
    id: &TransferId,
    index: u32,
) -> Result<Arc<dyn Store>> {
    let destination = spec
        .destinations
        .get(index as usize)
        .ok_or_else(|| Error::invalid("the transfer has no such destination"))?;
    let with = uses(spec, id).1;
    opens.open(destination, Side::Destination, with).await
}

/// What all destinations of a transfer are as one.
pub fn joined(spec: &TransferSpec, stores: Vec<Arc<dyn Store>>) -> Result<Vec<Member>> {
    if stores.len() != spec.renames.len() {
        return Err(Error::invalid(
            "the transfer has no keys for each destination",
        ));
    }
    let renames = spec.renames.iter().cloned();
    let member = |(store, rename)| Member { store, rename };
    Ok(stores.into_iter().zip(renames).map(member).collect())
}

/// Opens all destinations of a transfer as one store.
pub async fn destinations(
    opens: &dyn Opens,
    spec: &TransferSpec,
    id: &TransferId,
) -> Result<Arc<dyn Store>> {
    if spec.destinations.len() == 1 {
        return destination(opens, spec, id, 0).await;
    }
    let places = 0..spec.destinations.len() as u32;
    let opened = places.map(|place| destination(opens, spec, id, place));
    let stores = try_join_all(opened).await?;
    Ok(Arc::new(Several::new(joined(spec, stores)?)))
}

/// Opens the source of a transfer and its destinations.
pub async fn both(
    opens: &dyn Opens,
    spec: &TransferSpec,
    id: &TransferId,
) -> Result<(Arc<dyn Store>, Arc<dyn Store>)> {
    futures::try_join!(source(opens, spec, id), destinations(opens, spec, id))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use skyhaul_model::Location;
    use skyhaul_model::spec::Connection;

    use super::*;

    /// Counts what is opened.
    #[derive(Debug, Default)]
    struct Counted(AtomicU32);

    #[async_trait]
    impl Opens for Counted {
        async fn open(&self, endpoint: &Endpoint, side: Side, with: Use) -> Result<Arc<dyn Store>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            store(endpoint, side, with).await
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_opened_once_for_each_side_and_use() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| Endpoint {
            location: Location::local(&dir.path().join(name)).unwrap(),
            connection: Connection::default(),
        };
        let kept = Kept::new(Counted::default());
        for _ in 0..2 {
            for (place, side) in [
                (at("a"), Side::Source),
                (at("b"), Side::Source),
                (at("a"), Side::Destination),
            ] {
                let opened = kept.open(&place, side, Use::default()).await.unwrap();
                assert_eq!(opened.side(), side);
            }
        }
        let links = Use {
            follow_symlinks: true,
            ..Use::default()
        };
        kept.open(&at("a"), Side::Source, links).await.unwrap();
        assert_eq!(kept.opens.0.load(Ordering::Relaxed), 4);
    }
}
