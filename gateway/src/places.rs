//! Where a gateway's state and segments are, opened from its configuration.

use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use skyhaul_engine::staging::Staging;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Result, Scheme, Side};
use skyhaul_state::control::ControlState;
use skyhaul_state::service::{Patience, RemoteState, Token};
use skyhaul_state::{DynamoDbControl, DynamoDbState, SegmentStore, Segments, TransferState};
use skyhaul_stores::open::{self, Use};

use crate::config::{StateConfig, TableConfig};

/// The transfer's state. A service is connected to; of a table nothing is asked yet.
pub(crate) async fn state(config: &StateConfig) -> Result<Arc<dyn TransferState>> {
    Ok(match config {
        StateConfig::Service { address, token } => {
            let token = Token::parse(token)?;
            Arc::new(RemoteState::connect(address, &token, Patience::default()).await?)
        }
        StateConfig::Table(table) => {
            Arc::new(DynamoDbState::new(&account(table).await, &table.name))
        }
    })
}

/// The control plane's state; nothing is asked of it yet.
pub(crate) async fn control(table: &TableConfig) -> Arc<dyn ControlState> {
    Arc::new(DynamoDbControl::new(&account(table).await, &table.name))
}

/// How a table is reached.
async fn account(table: &TableConfig) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = &table.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(url) = &table.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}

/// The transfer's segments.
pub(crate) async fn segments(at: &Endpoint) -> Result<Arc<dyn SegmentStore>> {
    let path = &at.location.path;
    Ok(match at.location.scheme {
        Scheme::Local => Arc::new(Segments::open(path)?),
        Scheme::S3 => {
            let bucket = open::store(at, Side::Control, Use::default()).await?;
            Arc::new(Staging::new(bucket, path))
        }
    })
}
