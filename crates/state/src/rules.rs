//! Rules of the trait that every backend keeps: what is refused, and with which words.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use skyhaul_model::group::{Bitmap, GroupId, Lease, RangeId};
use skyhaul_model::segment::MAX_GROUP_CHUNKS;
use skyhaul_model::spec::TransferSpec;
use skyhaul_model::{Error, ErrorKind, HolderId, Result, TransferId};

use crate::{
    ListCounts, NewGroup, NewUpload, Phase, Publication, RangeRow, TransferChange, TransferRow,
    TransferStatus, UploadKey, UploadResult, UploadRow, UploadStatus,
};

pub(crate) fn not_found(what: &str, object: impl Into<String>) -> Error {
    Error::control(ErrorKind::NotFound, format!("{what} is not in the state")).object(object)
}

pub(crate) fn no_transfer(id: &TransferId) -> Error {
    Error::control(ErrorKind::NotFound, "no such transfer")
        .object(id.as_str())
        .hint("`skyhaul status` lists the transfers")
}

pub(crate) fn no_range(id: &TransferId, range: RangeId) -> Error {
    not_found("this range", range_name(id, range))
}

pub(crate) fn no_group(id: &TransferId, group: GroupId) -> Error {
    not_found("this group", group_name(id, group))
}

pub(crate) fn no_upload(key: &UploadKey) -> Error {
    not_found("an upload of this object", &key.key)
}

pub(crate) fn other_spec(id: &TransferId) -> Error {
    Error::invalid("this id belongs to a transfer with other settings").object(id.as_str())
}

pub(crate) fn changed_meanwhile(id: &TransferId) -> Error {
    lease_lost(
        "somebody else changed this transfer",
        id.as_str().to_owned(),
    )
}

pub(crate) fn range_taken(id: &TransferId, range: RangeId) -> Error {
    lease_lost("somebody else lists this range", range_name(id, range))
}

pub(crate) fn range_listed(id: &TransferId, range: RangeId) -> Error {
    lease_lost("this range is listed already", range_name(id, range))
}

pub(crate) fn group_taken(id: &TransferId, group: GroupId) -> Error {
    lease_lost("somebody else holds this group", group_name(id, group))
}

fn lease_lost(message: &str, object: String) -> Error {
    Error::control(ErrorKind::LeaseLost, message).object(object)
}

fn range_name(id: &TransferId, range: RangeId) -> String {
    format!("{id}, range {}", range.0)
}

fn group_name(id: &TransferId, group: GroupId) -> String {
    format!("{id}, group {group}")
}

/// The row of a transfer that is submitted now.
pub(crate) fn new_transfer(id: TransferId, spec: TransferSpec) -> TransferRow {
    let now = Timestamp::now();
    TransferRow {
        fingerprint: spec.fingerprint(),
        id,
        spec,
        status: TransferStatus::Running,
        phase: Phase::Copy,
        attempt: 1,
        created: now,
        updated: now,
        error: None,
        revision: 0,
    }
}

/// Makes a change, which is the next revision.
pub(crate) fn change(row: &mut TransferRow, change: TransferChange) {
    row.status = change.status.unwrap_or(row.status);
    row.phase = change.phase.unwrap_or(row.phase);
    row.attempt = change.attempt.unwrap_or(row.attempt);
    row.error = change.error.unwrap_or_else(|| row.error.take());
    row.updated = Timestamp::now();
    row.revision += 1;
}

/// Whether a lease is this one. The counter tells observers that the holder lives; writes are
/// fenced by the number alone.
pub(crate) fn is_same(held: Option<&Lease>, lease: &Lease) -> bool {
    #[cfg(mutant)]
    if skyhaul_model::mutant::Mutant::IgnoreFence.is_chosen() {
        return true;
    }
    held.is_some_and(|held| held.fence == lease.fence && held.holder == lease.holder)
}

/// The lease of a holder after one of `fence`; 0 is none.
pub(crate) fn next_lease(fence: u64, holder: HolderId) -> Lease {
    Lease {
        holder,
        fence: fence + 1,
        counter: 0,
    }
}

/// A range that nobody has begun to list.
pub(crate) fn new_range(id: RangeId, after: Option<String>, upto: Option<String>) -> RangeRow {
    RangeRow {
        id,
        cursor: after.clone(),
        after,
        upto,
        next_group: 0,
        next_first: 0,
        counts: ListCounts::default(),
        done: false,
        lease: None,
    }
}

/// What leasing a range does.
pub(crate) enum RangeLease {
    /// It was leased by an earlier call with these arguments.
    Repeated,
    /// It is leased now.
    Granted,
}

/// Whether a range whose last lease had `fence` may be leased by who saw `seen`.
pub(crate) fn lease_range(
    id: &TransferId,
    row: &RangeRow,
    fence: u64,
    holder: &HolderId,
    seen: Option<&Lease>,
) -> Result<RangeLease> {
    if row.done {
        return Err(range_listed(id, row.id));
    }
    let Some(held) = &row.lease else {
        return if seen.is_some_and(|seen| seen.fence > fence) {
            Err(lease_lost(
                "the lease that was seen never was",
                range_name(id, row.id),
            ))
        } else {
            Ok(RangeLease::Granted)
        };
    };
    let repeated = held.holder == *holder
        && held.counter == 0
        && seen.is_none_or(|seen| held.fence > seen.fence);
    if repeated {
        Ok(RangeLease::Repeated)
    } else if seen == Some(held) {
        Ok(RangeLease::Granted)
    } else {
        Err(range_taken(id, row.id))
    }
}

/// Tells a publication's repetition from the next one.
pub(crate) fn digest(
    lease: &Lease,
    publication: &Publication,
) -> Result<String, serde_json::Error> {
    let Publication {
        cursor,
        groups,
        first,
        segments,
        counts,
        done,
    } = publication;
    let json = serde_json::to_vec(&(lease, cursor, groups, first, segments, counts, done))?;
    Ok(hex::encode(&Sha256::digest(&json)[..16]))
}

/// What a publication must keep to.
pub(crate) fn publish(id: &TransferId, row: &RangeRow, publication: &Publication) -> Result<()> {
    let refused = |message| Err(Error::invalid(message).object(range_name(id, row.id)));
    // `None` is before every key.
    if publication.cursor < row.cursor {
        return refused("a publication moves the cursor back");
    }
    if row.upto.is_some() && publication.cursor > row.upto {
        return refused("a publication leaves its range");
    }
    new_groups(id, row.id, row.next_group, &publication.groups)?;
    new_groups(id, row.id.first(), row.next_first, &publication.first)
}

/// How many chunks a group may have.
pub(crate) fn new_groups(
    id: &TransferId,
    range: RangeId,
    first: u32,
    groups: &[NewGroup],
) -> Result<()> {
    for (ordinal, new) in (first..).zip(groups) {
        if new.chunks == 0 || new.chunks as usize > MAX_GROUP_CHUNKS {
            let name = group_name(id, GroupId { range, ordinal });
            return Err(Error::invalid("a group of no or too many chunks").object(name));
        }
    }
    Ok(())
}

/// Where a range may be cut.
pub(crate) fn cut(id: &TransferId, row: &RangeRow, at: &str) -> Result<()> {
    let after_cursor = row.cursor.as_deref().is_none_or(|cursor| cursor < at);
    if after_cursor && row.upto.as_deref().is_none_or(|upto| at < upto) {
        return Ok(());
    }
    Err(Error::invalid("a cut outside of what is left to list").object(range_name(id, row.id)))
}

/// Which chunks may be recorded in a group of `chunks` of which `was` are done.
pub(crate) fn record(
    id: &TransferId,
    group: GroupId,
    chunks: u32,
    was: Bitmap,
    done: Bitmap,
) -> Result<()> {
    let refused = |message| Err(Error::invalid(message).object(group_name(id, group)));
    if done.count() == 0 || done.intersection(Bitmap::full(chunks)) != done {
        return refused("a record of no or unknown chunks");
    }
    if done.intersection(was).count() > 0 {
        return refused("a record of chunks that are done");
    }
    Ok(())
}

/// An upload that is intended.
pub(crate) fn new_upload(new: NewUpload) -> UploadRow {
    UploadRow {
        key: new.key,
        status: UploadStatus::Intent,
        intended: new.intended,
        strangers: new.strangers,
        token: None,
        parts_total: new.parts_total,
        slices: Vec::new(),
        task: new.task,
        result: None,
    }
}

/// Puts an intent in the place of the one that it replaces. Whether it did.
pub(crate) fn intend(row: &mut UploadRow, new: &NewUpload) -> bool {
    if row.status != UploadStatus::Intent || new.replaces != Some(row.intended) {
        return false;
    }
    row.intended = new.intended;
    row.strangers.clone_from(&new.strangers);
    true
}

/// Sets the token of an upload, also of one that was given up meanwhile: whoever aborts it must know
/// it. Whether that changed anything.
pub(crate) fn open(row: &mut UploadRow, token: &str) -> bool {
    if row.token.is_some() {
        return false;
    }
    row.token = Some(token.to_owned());
    if row.status == UploadStatus::Intent {
        row.status = UploadStatus::Open;
    }
    true
}

/// Counts a group's parts, once. Whether that changed anything.
pub(crate) fn slice(row: &mut UploadRow, group: GroupId, parts: u32) -> bool {
    if row.slices.iter().any(|(counted, _)| *counted == group) {
        return false;
    }
    row.slices.push((group, parts));
    true
}

/// Sets status and result. A result is set once, in an ended status that is never left again. The
/// result that is to be counted, if it is set now.
pub(crate) fn end<'a>(
    row: &mut UploadRow,
    to: UploadStatus,
    result: Option<&'a UploadResult>,
) -> Option<&'a UploadResult> {
    row.status = to;
    let set = result.filter(|_| row.result.is_none())?;
    row.result = Some(set.clone());
    Some(set)
}

/// Whether a result may come with a status.
pub(crate) fn result(
    key: &UploadKey,
    to: UploadStatus,
    result: Option<&UploadResult>,
) -> Result<()> {
    if result.is_some() && to.is_under_way() {
        return Err(Error::invalid("a result for an upload that does not end").object(&key.key));
    }
    Ok(())
}

/// Whether an upload moves from a status to another one; `false` if it is there, or is not in one
/// of `from`.
pub(crate) fn advance(
    key: &UploadKey,
    status: UploadStatus,
    from: &[UploadStatus],
    to: UploadStatus,
) -> Result<bool> {
    if status == to || !from.contains(&status) {
        return Ok(false);
    }
    if !status.is_under_way() && to.is_under_way() {
        return Err(Error::invalid("an upload that ended cannot go on").object(&key.key));
    }
    Ok(true)
}
