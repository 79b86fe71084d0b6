//! Parts that are the same bytes under other tags: one that two holders of a lease wrote, one after the
//! other, has the tag of the later.

use std::collections::BTreeMap;

use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Checksum, ErrorKind, Result};

use crate::store::{Store, UploadToken};

/// The receipts of the parts that the store has now, where they are the same bytes as those that were
/// recorded; `None` where they are not, or nothing is another.
pub async fn parts_now(
    store: &dyn Store,
    key: &str,
    token: &UploadToken,
    parts: &[PartReceipt],
    whole: Option<&Checksum>,
) -> Result<Option<Vec<PartReceipt>>> {
    let listed = match store.list_parts(key, token).await {
        Ok(listed) => listed,
        Err(error) if error.kind == ErrorKind::UploadGone => return Ok(None),
        Err(error) => return Err(error),
    };
    let listed: BTreeMap<_, _> = listed.into_iter().map(|part| (part.number, part)).collect();
    // Where the store verifies the whole object's checksum, a part of unknown bytes cannot slip in.
    let verifies = whole.is_some() && store.capabilities().full_object_checksum;
    let mut now = Vec::with_capacity(parts.len());
    for part in parts {
        let Some(found) = listed.get(&part.number) else {
            return Ok(None);
        };
        let same = match (&found.checksum, &part.checksum) {
            (Some(found), Some(ours)) if found.algorithm == ours.algorithm => found == ours,
            _ => verifies || found.etag == part.etag,
        };
        if !same || found.size != part.size {
            return Ok(None);
        }
        now.push(PartReceipt {
            etag: found.etag.clone(),
            ..part.clone()
        });
    }
    Ok((now != parts).then_some(now))
}
