//! The conformance suite over two different S3 servers.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use skyhaul_model::Side;
use skyhaul_model::spec::Connection;
use skyhaul_stores::Store;
use skyhaul_stores::conformance::{Fixture, Quirks};
use skyhaul_stores::s3::{Credentials, S3Options, S3Store};
use skyhaul_tests::oracle::Bucket;
use skyhaul_tests::servers::Endpoint;

async fn open(bucket: &Bucket) -> Arc<dyn Store> {
    let endpoint = &bucket.endpoint;
    let connection = Connection {
        endpoint_url: Some(endpoint.url.clone()),
        region: Some(endpoint.region.clone()),
        ..Connection::default()
    };
    let credentials = Credentials {
        access_key_id: endpoint.access_key.clone(),
        secret_access_key: endpoint.secret_key.clone(),
        session_token: None,
    };
    let options = S3Options {
        credentials: Some(credentials),
        ..S3Options::default()
    };
    let location = bucket.uri("").parse().unwrap();
    let store = S3Store::open(&location, &connection, Side::Destination, options).await;
    Arc::new(store.unwrap())
}

async fn over_a_bucket(endpoint: &Endpoint, prefix: &str, quirks: Quirks) -> Fixture {
    let bucket = Bucket::create(endpoint, "conformance");
    Fixture {
        store: open(&bucket).await,
        other: open(&bucket).await,
        container: bucket.name,
        prefix: prefix.to_owned(),
        quirks,
        keep: None,
    }
}

mod seaweedfs {
    use skyhaul_stores::conformance::{Fixture, Quirks};
    use skyhaul_tests::servers::servers;

    async fn fixture() -> Fixture {
        let quirks = Quirks {
            rewrites_odd_keys: true,
            orders_by_component: true,
            no_keys_below_keys: true,
            ..Quirks::default()
        };
        super::over_a_bucket(&servers().src, "", quirks).await
    }
    skyhaul_stores::conformance_tests!(fixture);
}

mod moto {
    use skyhaul_stores::conformance::{Fixture, Quirks};
    use skyhaul_tests::servers::servers;

    async fn fixture() -> Fixture {
        let quirks = Quirks {
            accepts_wrong_checksums: true,
            ignores_copy_conditions: true,
            fails_on_uploads_gone: true,
            ..Quirks::default()
        };
        super::over_a_bucket(&servers().odd, "a/b c/", quirks).await
    }
    skyhaul_stores::conformance_tests!(fixture);
}
