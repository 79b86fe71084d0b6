//! Where a deployment keeps the segments of its transfers, each transfer's below its identifier, and what its
//! machines say.

use std::sync::Arc;

use skyhaul_engine::staging::Staging;
use skyhaul_model::machine::DataplaneId;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Result, Scheme, Side, TransferId};
use skyhaul_state::{SegmentStore, Segments};
use skyhaul_stores::open::{Opens, Use};

/// Where the segments of a transfer are.
pub(crate) fn of(staging: &Endpoint, transfer: &TransferId) -> Endpoint {
    let location = &staging.location;
    let folder = location.path.trim_end_matches('/');
    let separator = if folder.is_empty() { "" } else { "/" };
    Endpoint {
        location: location.with_path(format!("{folder}{separator}{transfer}/")),
        ..staging.clone()
    }
}

/// Where the machines of a dataplane keep what they say: beside the transfers, for a machine may work for several.
#[must_use]
pub fn logs(staging: &Endpoint, dataplane: &DataplaneId) -> Endpoint {
    let location = &staging.location;
    let folder = location.path.trim_end_matches('/');
    let parent = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
    let separator = if location.scheme == Scheme::Local || !parent.is_empty() {
        "/"
    } else {
        ""
    };
    Endpoint {
        location: location.with_path(format!("{parent}{separator}logs/{dataplane}/")),
        ..staging.clone()
    }
}

/// The segments that are there.
pub(crate) async fn open(opens: &dyn Opens, at: &Endpoint) -> Result<Arc<dyn SegmentStore>> {
    let path = &at.location.path;
    Ok(match at.location.scheme {
        Scheme::Local => Arc::new(Segments::open(path)?),
        Scheme::S3 => {
            let bucket = opens.open(at, Side::Control, Use::default()).await?;
            Arc::new(Staging::new(bucket, path.clone()))
        }
    })
}

#[cfg(test)]
mod tests {
    use skyhaul_model::spec::Connection;

    use super::*;

    fn at(location: &str) -> Endpoint {
        Endpoint {
            location: location.parse().unwrap(),
            connection: Connection::default(),
        }
    }

    #[test]
    fn segments_and_logs_are_beside_each_other() {
        let (transfer, dataplane) = (TransferId::generate(), DataplaneId::generate());
        for (staging, beside) in [
            ("s3://bucket/transfers/", "s3://bucket/"),
            ("s3://bucket/a/transfers/", "s3://bucket/a/"),
        ] {
            let segments = of(&at(staging), &transfer).location.to_string();
            assert_eq!(segments, format!("{staging}{transfer}/"));
            let logs = logs(&at(staging), &dataplane).location.to_string();
            assert_eq!(logs, format!("{beside}logs/{dataplane}/"));
        }
    }
}
