//! The conformance suite over local disk, with and without flushing.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use skyhaul_model::spec::Durability;
use skyhaul_model::{Side, TransferId};
use skyhaul_stores::Store;
use skyhaul_stores::conformance::{Fixture, Quirks};
use skyhaul_stores::local::{LocalOptions, LocalStore};

fn over_a_directory(durability: Durability, prefix: &str, follow_symlinks: bool) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let transfer = Some(TransferId::generate());
    let open = || -> Arc<dyn Store> {
        let transfer = transfer.clone();
        let options = LocalOptions {
            durability,
            follow_symlinks,
            transfer,
        };
        Arc::new(LocalStore::open(directory.path(), Side::Destination, options).unwrap())
    };
    Fixture {
        store: open(),
        other: open(),
        container: String::new(),
        prefix: prefix.to_owned(),
        quirks: Quirks::default(),
        keep: Some(Box::new(directory)),
    }
}

mod flushed {
    fn fixture() -> std::future::Ready<skyhaul_stores::conformance::Fixture> {
        std::future::ready(super::over_a_directory(
            skyhaul_model::spec::Durability::Fsync,
            "",
            false,
        ))
    }
    skyhaul_stores::conformance_tests!(fixture);
}

mod unflushed_below_a_prefix {
    fn fixture() -> std::future::Ready<skyhaul_stores::conformance::Fixture> {
        std::future::ready(super::over_a_directory(
            skyhaul_model::spec::Durability::Off,
            "a/b c/",
            true,
        ))
    }
    skyhaul_stores::conformance_tests!(fixture);
}
