//! Opening stores from endpoints.

use std::sync::Arc;

use skyhaul_model::spec::{Durability, Encryption, Endpoint};
use skyhaul_model::{Result, Scheme, Side, TransferId, TransferSpec};
use skyhaul_stores::Store;
use skyhaul_stores::local::{LocalOptions, LocalStore};
use skyhaul_stores::s3::{S3Options, S3Store};

/// How one side is used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Use {
    pub encryption: Option<Encryption>,
    pub durability: Durability,
    pub follow_symlinks: bool,
    pub transfer: Option<TransferId>,
}

/// Opens one side. Nothing is asked of the service but what finding its region takes.
pub(crate) async fn store(endpoint: &Endpoint, side: Side, with: Use) -> Result<Arc<dyn Store>> {
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

/// Opens both sides of a transfer.
pub(crate) async fn both(
    spec: &TransferSpec,
    id: &TransferId,
) -> Result<(Arc<dyn Store>, Arc<dyn Store>)> {
    let with = Use {
        encryption: spec.encryption.clone(),
        durability: spec.durability,
        follow_symlinks: spec.follow_symlinks,
        transfer: Some(id.clone()),
    };
    let source = Use {
        encryption: None,
        ..with.clone()
    };
    let destination = spec
        .destinations
        .first()
        .ok_or_else(|| skyhaul_model::Error::invalid("the transfer has no destination"))?;
    futures::try_join!(
        store(&spec.source, Side::Source, source),
        store(destination, Side::Destination, with),
    )
}
