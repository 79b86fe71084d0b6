//! Keys of rows. Sort keys are text, fixed in width where they are numbers, so that they sort as
//! what they name.

use std::fmt;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use skyhaul_model::group::{GroupId, RangeId};
use skyhaul_model::{Error, ErrorKind, Result, TransferId};

use crate::{ListSegmentKind, UploadKey};

/// Partitions of a transfer's groups, and of its uploads: a partition takes 1,000 write units a
/// second.
pub(super) const SHARDS: u32 = 16;

/// The partition of groups that are claimed first, after the others.
const FIRST_SHARD: u32 = SHARDS;

/// All partitions of groups.
pub(super) const GROUP_SHARDS: u32 = FIRST_SHARD + 1;

/// Longest key of an upload that is part of its sort key as it is: 1,024 bytes are allowed there,
/// with the destination before and the attempt after it.
const LONGEST_KEY: usize = 1000;

/// What is left of a longer one, before its digest.
const SHORTENED_KEY: usize = 900;

/// A row's primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) partition: String,
    pub(super) sort: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.partition, self.sort.escape_debug())
    }
}

fn key(partition: String, sort: impl Into<String>) -> Key {
    Key {
        partition,
        sort: sort.into(),
    }
}

/// The transfer's own row.
pub(super) fn transfer(id: &TransferId) -> Key {
    key(own(id), "transfer")
}

/// Where the groups of [`GroupId::RETRY_RANGE`] are counted.
pub(super) fn retries(id: &TransferId) -> Key {
    key(own(id), "retries")
}

/// The transfer's place in the list of all.
pub(super) fn listed(id: &TransferId) -> Key {
    key(TRANSFERS.to_owned(), id.as_str())
}

/// Partition of the list of all transfers.
pub(super) const TRANSFERS: &str = "transfers";

pub(super) fn range(id: &TransferId, range: RangeId) -> Key {
    key(ranges(id), format!("{:08x}", range.0))
}

/// The row whose counter says which groups of a range are published.
pub(super) fn owner(id: &TransferId, of: RangeId) -> Key {
    if of == GroupId::RETRY_RANGE {
        retries(id)
    } else {
        range(id, of.listed())
    }
}

pub(super) fn list_segment(
    id: &TransferId,
    kind: ListSegmentKind,
    range: RangeId,
    number: u32,
) -> Key {
    let kind = kind_prefix(kind);
    key(
        list_segments(id),
        format!("{kind}{:08x}{number:08x}", range.0),
    )
}

/// What the sort keys of one kind begin with.
pub(super) fn kind_prefix(kind: ListSegmentKind) -> &'static str {
    match kind {
        ListSegmentKind::Outcomes => "outcomes/",
        ListSegmentKind::Deletes => "deletes/",
    }
}

/// Range and number of a list segment.
pub(super) fn list_segment_place(sort: &str) -> Option<(RangeId, u32)> {
    let (_, place) = sort.split_once('/')?;
    let (range, number) = (place.get(..8)?, place.get(8..)?);
    Some((RangeId(hexadecimal(range)?), hexadecimal(number)?))
}

pub(super) fn group(id: &TransferId, group: GroupId) -> Key {
    let shard = if group.range.is_first() {
        FIRST_SHARD
    } else {
        group.range.0.wrapping_add(group.ordinal) % SHARDS
    };
    key(groups(id, shard), group_sort(sequence(group)))
}

/// A group's place in its shard: nothing needs to be allocated.
pub(super) fn sequence(group: GroupId) -> u64 {
    u64::from(group.range.0) << 32 | u64::from(group.ordinal)
}

pub(super) fn group_sort(sequence: u64) -> String {
    format!("{sequence:016x}")
}

/// The group that a sort key names.
pub(super) fn group_id(sort: &str) -> Option<GroupId> {
    Some(GroupId {
        range: RangeId(hexadecimal(sort.get(..8)?)?),
        ordinal: hexadecimal(sort.get(8..)?)?,
    })
}

pub(super) fn upload(id: &TransferId, of: &UploadKey) -> Key {
    key(uploads(id, upload_shard(of)), upload_sort(of))
}

/// Spreads objects evenly; all attempts of one are in one shard.
pub(super) fn upload_shard(of: &UploadKey) -> u32 {
    let digest = Sha256::new()
        .chain_update(of.destination.to_be_bytes())
        .chain_update(of.key.as_bytes())
        .finalize();
    u32::from(digest[0]) % SHARDS
}

/// Sorts by destination, key and attempt. Of keys that do not fit, those that begin alike are in
/// the order of their digests.
pub(super) fn upload_sort(of: &UploadKey) -> String {
    let mut sort = format!("{:08x}", of.destination);
    if of.key.len() <= LONGEST_KEY / 2 || escaped(&of.key).len() <= LONGEST_KEY {
        sort += &escaped(&of.key);
    } else {
        let text = escaped(&of.key);
        let end = text.floor_char_boundary(SHORTENED_KEY);
        // A pair that no escaped key contains.
        sort += &text[..end];
        sort += "\u{2}\u{4}";
        sort += &hex::encode(&Sha256::digest(of.key.as_bytes())[..16]);
    }
    // Below every character of an escaped key, so that a key sorts before those it begins.
    sort.push('\u{1}');
    let _ = write!(sort, "{:08x}", of.attempt);
    sort
}

/// The key in the same order, without the characters 0 and 1.
fn escaped(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for character in key.chars() {
        match character {
            '\0'..='\u{2}' => {
                text.push('\u{2}');
                text.push(char::from(character as u8 + 1));
            }
            other => text.push(other),
        }
    }
    text
}

pub(super) fn gateway(id: &TransferId, name: &str) -> Key {
    key(gateways(id), format!("name/{name}"))
}

/// What the finished groups of a shard counted.
pub(super) fn groups_sum(id: &TransferId, shard: u32) -> Key {
    key(sums(id, shard), "groups")
}

/// What the ended uploads of a shard counted.
pub(super) fn uploads_sum(id: &TransferId, shard: u32) -> Key {
    key(sums(id, shard), "uploads")
}

pub(super) fn own(id: &TransferId) -> String {
    id.as_str().to_owned()
}

pub(super) fn ranges(id: &TransferId) -> String {
    format!("{id}#r")
}

pub(super) fn list_segments(id: &TransferId) -> String {
    format!("{id}#l")
}

pub(super) fn groups(id: &TransferId, shard: u32) -> String {
    format!("{id}#g#{shard:x}")
}

pub(super) fn uploads(id: &TransferId, shard: u32) -> String {
    format!("{id}#u#{shard:x}")
}

pub(super) fn sums(id: &TransferId, shard: u32) -> String {
    format!("{id}#n#{shard:x}")
}

pub(super) fn gateways(id: &TransferId) -> String {
    format!("{id}#w")
}

/// Every partition of a transfer, its own row's first.
pub(super) fn partitions(id: &TransferId) -> Vec<String> {
    let mut all = vec![own(id), ranges(id), list_segments(id), gateways(id)];
    for shard in 0..GROUP_SHARDS {
        all.extend([groups(id, shard), sums(id, shard)]);
    }
    all.extend((0..SHARDS).map(|shard| uploads(id, shard)));
    all
}

pub(super) fn check_shard(shard: u32) -> Result<()> {
    if shard < GROUP_SHARDS {
        Ok(())
    } else {
        Err(Error::control(
            ErrorKind::Invalid,
            format!("no shard {shard}: there are {GROUP_SHARDS}"),
        ))
    }
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload_key(destination: u32, key: &str, attempt: u32) -> UploadKey {
        UploadKey {
            destination,
            key: key.to_owned(),
            attempt,
        }
    }

    #[test]
    fn uploads_sort_as_their_keys() {
        let names = [
            "",
            "\0",
            "\0\0",
            "\u{1}",
            "\u{2}",
            "\u{3}",
            "a",
            "a\0",
            "a\0b",
            "a\u{1}",
            "a\u{2}\u{4}",
            "a ",
            "ab",
            "b",
            "é",
            "\u{ffee}",
            "\u{10348}",
        ];
        let mut keys = Vec::new();
        for destination in [0, 1, 300] {
            for name in names {
                keys.extend([1, 2, 17].map(|attempt| upload_key(destination, name, attempt)));
            }
        }
        keys.sort();
        let sorts: Vec<_> = keys.iter().map(upload_sort).collect();
        assert!(sorts.is_sorted() && sorts.iter().all(|sort| !sort.contains('\0')));
        let mut distinct = sorts.clone();
        distinct.dedup();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn long_keys_fit_and_stay_apart() {
        let long = "é".repeat(2000);
        let sorts = [
            upload_sort(&upload_key(0, &long, 1)),
            upload_sort(&upload_key(0, &format!("{long}x"), 1)),
            upload_sort(&upload_key(0, &long, 2)),
            upload_sort(&upload_key(0, &"\0".repeat(600), 1)),
            upload_sort(&upload_key(0, &"x".repeat(LONGEST_KEY), 1)),
        ];
        for (index, sort) in sorts.iter().enumerate() {
            assert!(sort.len() <= 1024, "{}", sort.len());
            assert!(!sorts[..index].contains(sort));
        }
    }

    #[test]
    fn sort_keys_name_their_groups_and_segments() {
        let id = TransferId::generate();
        let retry = GroupId {
            range: GroupId::RETRY_RANGE,
            ordinal: 7,
        };
        assert_eq!(group_id(&group(&id, retry).sort), Some(retry));
        let place = list_segment(&id, ListSegmentKind::Deletes, RangeId(5), 9);
        assert_eq!(list_segment_place(&place.sort), Some((RangeId(5), 9)));
    }
}
