//! One look at a key and one destination: whether they are alike, and one write that makes them so.

use futures::TryStreamExt as _;
use skyhaul_model::filter::Decision;
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, ObjectInfo, Pin, Result};
use skyhaul_state::control::{DirtyChange, DirtyKey, RuleKey, Written};
use skyhaul_stores::{Condition, Payload, PutRequest, ReadRequest};

use super::{Open, Worker};

/// Objects larger than this, in bytes, are copied by a transfer of their own.
pub const LARGE: u64 = 64 << 20;

/// What one look found, and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// The destination is like the source.
    Alike,
    /// It was written, or changed meanwhile: to be looked at once more.
    Changed,
    /// A transfer goes on that copies it.
    Carried,
}

impl Looked {
    /// What is to be done for both.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Changed, _) | (_, Self::Changed) => Self::Changed,
            (Self::Carried, _) | (_, Self::Carried) => Self::Carried,
            (Self::Alike, Self::Alike) => Self::Alike,
        }
    }
}

fn tag(info: &ObjectInfo) -> String {
    info.pin.etag.clone().unwrap_or_default()
}

/// What a condition or a pin was refused with: the object is another one by now.
fn is_another(error: &Error) -> bool {
    matches!(
        error.kind,
        ErrorKind::PreconditionFailed | ErrorKind::Changed | ErrorKind::NotFound
    )
}

/// Whether two objects are known to hold the same: by checksums that both keep, or by an `ETag` that is the MD5 of
/// both.
fn same_content(one: &ObjectInfo, other: &ObjectInfo) -> bool {
    if one.size != other.size {
        return false;
    }
    if let (Some(one), Some(other)) = (&one.checksum, &other.checksum)
        && one.algorithm == other.algorithm
    {
        return one == other;
    }
    let plain = |info: &ObjectInfo| info.pin.etag.clone().filter(|tag| !tag.contains('-'));
    plain(one).is_some() && plain(one) == plain(other)
}

impl Worker<'_> {
    /// One look at one destination.
    pub(super) async fn look(
        &self,
        open: &Open<'_>,
        row: &mut DirtyKey,
        destination: usize,
    ) -> Result<Looked> {
        let below = row.of.key.clone();
        let below = below.as_str();
        let (from, to) = (&*open.source, &*open.destinations[destination]);
        let key = format!("{}{below}", open.rule.source.location.path);
        let target = open
            .rule
            .key_at(&open.rule.destinations[destination], below);
        let source = from.stat(&key, &Pin::default(), false).await?;
        let there = to.stat(&target, &Pin::default(), false).await?;
        let is_gone = source.is_none();
        let source = source.filter(|source| {
            let decision = open.filters.decide(below, source.size, source.mtime);
            decision == Decision::Take
        });
        if row.transfers.contains_key(&(destination as u32)) {
            let (source, there) = (source.as_ref(), there.as_ref());
            let carries = self.carries(open, row, destination, source, there).await?;
            // What it made was noted, or it is to be begun once more: in the next look.
            return Ok(if carries {
                Looked::Carried
            } else {
                Looked::Changed
            });
        }
        match (source, there) {
            (None, None) => Ok(Looked::Alike),
            (None, Some(there)) => {
                // What is left out is left alone, and so is what was made at the other side of a mirror.
                let goes = is_gone && open.rule.deletes;
                if !goes || !self.is_ours(open, row, destination, &there).await? {
                    return Ok(Looked::Alike);
                }
                for outcome in to.delete(std::slice::from_ref(&target)).await {
                    outcome.result?;
                }
                self.wrote(row, destination, None).await?;
                Ok(Looked::Changed)
            }
            (Some(source), there) => {
                // What a rule that copies back has made is no change: that keeps it like what it was made of.
                let back = self.written_back(open, row, destination).await?;
                if back.iter().any(|made| made.destination == tag(&source)) {
                    return Ok(Looked::Alike);
                }
                if let Some(there) = &there {
                    if self
                        .is_alike(open, row, destination, &source, there)
                        .await?
                    {
                        return Ok(Looked::Alike);
                    }
                    // Nor is what this rule has made, whenever that came there.
                    let own = row.written.get(&(destination as u32));
                    let is_own = own.is_some_and(|own| own.destination == tag(there));
                    if !is_own && is_newer(open, destination, there, &source) {
                        return Ok(Looked::Alike);
                    }
                }
                if source.archived {
                    let message = "the object is archived and must be restored first";
                    return Err(Error::new(from.side(), ErrorKind::Archived, message)
                        .object(from.uri(&key)));
                }
                if source.size > LARGE {
                    return self.hand(open, row, destination, &source).await;
                }
                let place = (&*key, &*target, destination);
                self.copy(open, row, place, source, there).await
            }
        }
    }

    async fn copy(
        &self,
        open: &Open<'_>,
        row: &mut DirtyKey,
        (key, target, destination): (&str, &str, usize),
        source: ObjectInfo,
        there: Option<ObjectInfo>,
    ) -> Result<Looked> {
        let (from, to) = (&*open.source, &*open.destinations[destination]);
        let request = ReadRequest {
            range: None,
            pin: source.pin.clone(),
            tags: from.capabilities().tags && to.capabilities().tags,
        };
        let read = async {
            let reader = from.read(key, request).await?;
            let mut payload = Payload::new();
            let mut body = reader.body;
            while let Some(frame) = body.try_next().await? {
                payload.push(frame);
            }
            Ok((reader.info, payload))
        };
        let (info, payload) = match read.await {
            Ok(read) => read,
            Err(error) if is_another(&error) => return Ok(Looked::Changed),
            Err(error) => return Err(error),
        };
        if payload.len() != source.size {
            return Ok(Looked::Changed);
        }
        let condition = match &there {
            _ if !to.capabilities().conditional_write => Condition::None,
            None => Condition::Absent,
            Some(there) => Condition::Is(there.pin.clone()),
        };
        let checksum = Some(payload.checksum(Algorithm::Crc64Nvme));
        Checksum::compare_kept(checksum.as_ref(), info.checksum.as_ref())
            .map_err(|error| error.object(from.uri(key)))?;
        let put = PutRequest {
            payload,
            attributes: info.attributes,
            mtime: None,
            checksum,
            condition,
        };
        let receipt = match to.put(target, put).await {
            Ok(receipt) => receipt,
            Err(error) if is_another(&error) => return Ok(Looked::Changed),
            Err(error) => return Err(error),
        };
        let written = Written {
            source: source.pin.etag.unwrap_or_default(),
            destination: receipt.etag.unwrap_or_default(),
        };
        self.wrote(row, destination, Some(written)).await?;
        Ok(Looked::Changed)
    }

    /// Notes what a destination has now.
    pub(super) async fn wrote(
        &self,
        row: &mut DirtyKey,
        destination: usize,
        what: Option<Written>,
    ) -> Result<()> {
        let wrote = DirtyChange::Wrote {
            fence: row.fence,
            destination: destination as u32,
            what,
        };
        self.note(row, wrote).await
    }

    /// Whether a destination has what the source has: it holds the same, or one was made of the other, in whichever
    /// direction.
    pub(super) async fn is_alike(
        &self,
        open: &Open<'_>,
        row: &DirtyKey,
        destination: usize,
        source: &ObjectInfo,
        there: &ObjectInfo,
    ) -> Result<bool> {
        let made = |written: &Written, from: &ObjectInfo, to: &ObjectInfo| {
            written.source == tag(from) && written.destination == tag(to)
        };
        let own = row.written.get(&(destination as u32));
        if same_content(source, there) || own.is_some_and(|own| made(own, source, there)) {
            return Ok(true);
        }
        let back = self.written_back(open, row, destination).await?;
        Ok(back.iter().any(|back| made(back, there, source)))
    }

    /// What the rules that copy back have made of this key's object at the destination.
    async fn written_back(
        &self,
        open: &Open<'_>,
        row: &DirtyKey,
        destination: usize,
    ) -> Result<Vec<Written>> {
        let mut all = Vec::new();
        for (place, back) in &open.back {
            if *place != destination {
                continue;
            }
            let here = back.destinations.iter();
            let here = here.zip(0_u32..).find(|(to, _)| **to == open.rule.source);
            let of = RuleKey {
                rule: back.name.clone(),
                key: row.of.key.clone(),
            };
            let known = self.deployed.control.dirty(&of).await?;
            all.extend(here.and_then(|(_, at)| known.written.get(&at).cloned()));
        }
        Ok(all)
    }

    /// Whether what is at a destination came there by a rule, or belongs to the source as it was: it goes when that
    /// does.
    async fn is_ours(
        &self,
        open: &Open<'_>,
        row: &DirtyKey,
        destination: usize,
        there: &ObjectInfo,
    ) -> Result<bool> {
        if open.back.iter().all(|(place, _)| *place != destination) {
            return Ok(true);
        }
        let own = row.written.get(&(destination as u32));
        if own.is_some_and(|own| own.destination == tag(there)) {
            return Ok(true);
        }
        let back = self.written_back(open, row, destination).await?;
        Ok(back.iter().any(|back| back.source == tag(there)))
    }
}

/// Whether both sides mirror each other, and the destination's object is the newer one: it is copied back.
fn is_newer(open: &Open<'_>, destination: usize, there: &ObjectInfo, source: &ObjectInfo) -> bool {
    let mirrored = open.back.iter().any(|(place, _)| *place == destination);
    // Of two of one second one wins on both sides.
    mirrored && (there.mtime, tag(there)) > (source.mtime, tag(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_looked_at_before_anything_is_settled() {
        use Looked::{Alike, Carried, Changed};
        assert_eq!(Alike.and(Alike), Alike);
        assert_eq!(Alike.and(Carried), Carried);
        for other in [Alike, Carried, Changed] {
            assert_eq!(Changed.and(other), Changed);
            assert_eq!(other.and(Changed), Changed);
        }
    }
}
