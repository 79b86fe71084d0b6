//! Which attributes and modification time an object gets at the destination.

use jiff::Timestamp;
use skyhaul_model::attributes::{Keep, MTIME_KEY};
use skyhaul_model::capabilities::MtimeSupport;
use skyhaul_model::{Attributes, ObjectInfo, mtime};

use crate::engine::Engine;

/// The attributes and the modification time to write for a source object.
pub(crate) fn for_destination(
    engine: &Engine,
    key: &str,
    info: &ObjectInfo,
) -> (Attributes, Option<Timestamp>) {
    let policy = &engine.spec.attributes;
    let mut source = info.attributes.clone();
    // An object store's metadata may hold the time of the file that it once was.
    let carried = match engine.source.capabilities().mtime {
        MtimeSupport::Metadata => mtime::of(&source),
        MtimeSupport::Native | MtimeSupport::Both => None,
    };
    if source.content_type.is_none() && !engine.source.capabilities().attributes {
        source.content_type = mime_guess::from_path(key).first_raw().map(str::to_owned);
    }
    if engine.source.capabilities().attributes != engine.destination.capabilities().attributes {
        // Storage classes are names of one service.
        source.storage_class = None;
    }
    let mut attributes = policy.apply(source);
    if engine.carries_mtime_as_metadata() && policy.metadata != Keep::Off {
        attributes
            .metadata
            .insert(MTIME_KEY.to_owned(), mtime::format(info.mtime));
    }
    // Object stores carry the time in the metadata, or not at all.
    let mtime = match engine.destination.capabilities().mtime {
        MtimeSupport::Native | MtimeSupport::Both => Some(carried.unwrap_or(info.mtime)),
        MtimeSupport::Metadata => None,
    };
    (attributes, mtime)
}
