//! What several stores can do, and what they confirmed, as what one store would say. Tokens and tags
//! of several are JSON lists of theirs, one for each.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use skyhaul_model::capabilities::{Capabilities, MtimeSupport, PartRules};
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, Result, Side};

use super::tee::is_stopped;
use crate::store::{PutReceipt, Staged, UploadToken};

/// What can be done at all of them.
pub(super) fn capabilities<'a>(each: impl Iterator<Item = &'a Capabilities>) -> Capabilities {
    let joined = each.cloned().reduce(|one, other| Capabilities {
        checksums: both_verify(one.checksums, &other.checksums),
        full_object_checksum: one.full_object_checksum && other.full_object_checksum,
        parts: rules(&one.parts, &other.parts),
        // One might write what another refuses.
        conditional_write: false,
        // Who does not keep them leaves them out.
        attributes: one.attributes || other.attributes,
        tags: one.tags || other.tags,
        mtime: if one.mtime == other.mtime {
            one.mtime
        } else {
            MtimeSupport::Both
        },
        ordered_listing: false,
        splittable_listing: false,
        delete_batch: one.delete_batch.min(other.delete_batch),
        staged_writes: one.staged_writes || other.staged_writes,
    });
    joined.unwrap_or_else(Capabilities::posix)
}

/// Checksums that both verify; one that verifies none has no say.
fn both_verify(one: Vec<Algorithm>, other: &[Algorithm]) -> Vec<Algorithm> {
    match (one.is_empty(), other.is_empty()) {
        (true, _) => other.to_vec(),
        (_, true) => one,
        _ => {
            let shared = one
                .into_iter()
                .filter(|algorithm| other.contains(algorithm));
            shared.collect()
        }
    }
}

fn rules(one: &PartRules, other: &PartRules) -> PartRules {
    PartRules {
        min_part: one.min_part.max(other.min_part),
        max_part: one.max_part.min(other.max_part),
        max_parts: one.max_parts.min(other.max_parts),
        max_object: one.max_object.min(other.max_object),
        max_single: one.max_single.min(other.max_single),
        equal_parts: one.equal_parts || other.equal_parts,
        ordered: one.ordered || other.ordered,
    }
}

/// The error of a call that has no result for one of the stores.
pub(super) fn lacking() -> Error {
    Error::control(ErrorKind::Internal, "a store gave no result")
}

fn foreign() -> Error {
    Error::control(
        ErrorKind::Internal,
        "what several stores gave is not of these",
    )
}

fn write<T: Serialize>(items: &[T]) -> Result<String> {
    let json = serde_json::to_string(items);
    json.map_err(|error| lacking().cause(error))
}

fn read<T: DeserializeOwned>(json: &str, count: usize) -> Result<Vec<T>> {
    let items: Vec<T> = serde_json::from_str(json).map_err(|error| foreign().cause(error))?;
    if items.len() == count {
        Ok(items)
    } else {
        Err(foreign())
    }
}

/// A token of those that have one.
pub(super) fn token(tokens: &[Option<UploadToken>]) -> Result<UploadToken> {
    write(tokens).map(UploadToken)
}

/// The tokens of those that have one.
pub(super) fn some_tokens(token: &UploadToken, count: usize) -> Result<Vec<Option<UploadToken>>> {
    read(&token.0, count)
}

/// The tokens of all.
pub(super) fn tokens(token: &UploadToken, count: usize) -> Result<Vec<UploadToken>> {
    let all: Option<Vec<_>> = some_tokens(token, count)?.into_iter().collect();
    all.ok_or_else(foreign)
}

/// What all agree on.
fn agreed<T: Clone + PartialEq>(mut each: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = each.next().flatten()?;
    each.all(|other| other.as_ref() == Some(&first))
        .then_some(first)
}

/// What those say that say something; an error where they say different things.
fn same_checksum<'a>(
    each: impl Iterator<Item = Option<&'a Checksum>>,
) -> Result<Option<&'a Checksum>> {
    let mut said = each.flatten();
    let Some(first) = said.next() else {
        return Ok(None);
    };
    // Other algorithms cannot be compared.
    if said.any(|other| other.algorithm == first.algorithm && other != first) {
        let message = "two destinations confirmed different bytes";
        return Err(Error::new(Side::Destination, ErrorKind::Corrupt, message));
    }
    Ok(Some(first))
}

/// What all confirmed, or why one did not.
fn all<T>(each: Vec<Result<T>>) -> Result<Vec<T>> {
    let (mut all, mut failed) = (Vec::with_capacity(each.len()), None);
    for one in each {
        match one {
            Ok(one) => all.push(one),
            Err(error) if failed.as_ref().is_none_or(is_stopped) => failed = Some(error),
            Err(_) => {}
        }
    }
    failed.map_or(Ok(all), Err)
}

/// What was confirmed of a whole object.
pub(super) fn put(each: Vec<Result<PutReceipt>>) -> Result<PutReceipt> {
    let each = all(each)?;
    if each.is_empty() {
        return Err(lacking());
    }
    let checksum = same_checksum(each.iter().map(|one| one.checksum.as_ref()))?.cloned();
    let is_staged = each.iter().any(|one| one.staged.is_some());
    Ok(PutReceipt {
        etag: agreed(each.iter().map(|one| one.etag.clone())),
        version: agreed(each.iter().map(|one| one.version.clone())),
        verified: each.iter().all(|one| one.verified),
        checksum,
        staged: if is_staged {
            Some(Staged(write(&each)?))
        } else {
            None
        },
    })
}

/// What each confirmed of an object that some have staged.
pub(super) fn staged(staged: &Staged) -> Result<Vec<PutReceipt>> {
    serde_json::from_str(&staged.0).map_err(|error| foreign().cause(error))
}

/// What was confirmed of a part.
pub(super) fn part(each: Vec<Result<PartReceipt>>) -> Result<PartReceipt> {
    let each = all(each)?;
    let (number, size) = each
        .first()
        .map(|one| (one.number, one.size))
        .ok_or_else(lacking)?;
    let etags: Vec<_> = each.iter().map(|one| one.etag.clone()).collect();
    let checksum = same_checksum(each.iter().map(|one| one.checksum.as_ref()))?.cloned();
    Ok(PartReceipt {
        number,
        size,
        etag: Some(write(&etags)?),
        checksum,
        verified: each.iter().all(|one| one.verified),
    })
}

/// The receipts of parts as each store knows them.
pub(super) fn own_parts(parts: &[PartReceipt], count: usize) -> Result<Vec<Vec<PartReceipt>>> {
    let mut own = vec![Vec::with_capacity(parts.len()); count];
    for part in parts {
        let etags: Vec<Option<String>> = read(part.etag.as_deref().unwrap_or_default(), count)?;
        for (own, etag) in own.iter_mut().zip(etags) {
            own.push(PartReceipt {
                etag,
                ..part.clone()
            });
        }
    }
    Ok(own)
}

/// The parts that are in all lists.
pub(super) fn parts(lists: Vec<Vec<PartReceipt>>) -> Result<Vec<PartReceipt>> {
    let count = lists.len();
    let mut all: BTreeMap<u32, Vec<PartReceipt>> = BTreeMap::new();
    for part in lists.into_iter().flatten() {
        all.entry(part.number).or_default().push(part);
    }
    let everywhere = all.into_values().filter(|each| each.len() == count);
    let everywhere = everywhere.filter(|each| each.iter().all(|one| one.size == each[0].size));
    everywhere
        .map(|each| part(each.into_iter().map(Ok).collect()))
        .collect()
}
