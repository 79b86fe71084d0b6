//! One look at a key and one destination: whether they are alike, and one write that makes them so.

use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use skyhaul_model::filter::Decision;
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, ObjectInfo, Pin, Result};
use skyhaul_state::control::{Content, DirtyChange, DirtyKey, Intent, RuleKey, Written};
use skyhaul_stores::{Condition, Payload, PutRequest, ReadRequest};

use super::{Open, Worker};

/// Objects larger than this, in bytes, are copied by a transfer of their own.
pub const LARGE: u64 = 64 << 20;

/// A write that was begun so long ago does not come any more: a function that may stand still in between has a minute.
const LATE: SignedDuration = SignedDuration::from_mins(15);

/// What one look found, and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// The destination is like the source.
    Alike,
    /// What the destination has is to be copied by the rule that copies back.
    Theirs,
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
            (Self::Theirs, _) | (_, Self::Theirs) => Self::Theirs,
            (Self::Alike, Self::Alike) => Self::Alike,
        }
    }
}

fn tag(info: &ObjectInfo) -> String {
    info.pin.etag.clone().unwrap_or_default()
}

/// That one object was made of another.
pub(super) fn written(source: &ObjectInfo, made: &ObjectInfo) -> Written {
    Written {
        source: tag(source),
        destination: tag(made),
        read: Some(source.mtime),
        made: Some(made.mtime),
    }
}

/// Whether this is the object that was made, and not one that somebody else wrote with the same bytes.
fn was_made(written: &Written, info: &ObjectInfo) -> bool {
    written.destination == tag(info) && written.made == Some(info.mtime)
}

/// Whether this is the object that it was made of.
fn was_read(written: &Written, info: &ObjectInfo) -> bool {
    written.source == tag(info) && written.read == Some(info.mtime)
}

/// What a rule has made, or is about to make, of one key at one destination.
struct Made {
    written: Option<Written>,
    intents: Vec<Intent>,
    /// Whether a transfer goes on that makes it.
    carried: bool,
}

impl Made {
    fn of(row: &DirtyKey, destination: u32) -> Self {
        let now = Timestamp::now();
        let mut intents = row.intents.get(&destination).cloned().unwrap_or_default();
        intents.retain(|intent| now.duration_since(intent.at) < LATE);
        Self {
            written: row.written.get(&destination).cloned(),
            intents,
            carried: row.transfers.contains_key(&destination),
        }
    }

    /// Whether a rule made this object. Of a write whose end is not known the bytes are all that can be known.
    fn is(&self, info: &ObjectInfo) -> bool {
        let noted = self.written.as_ref();
        noted.is_some_and(|noted| was_made(noted, info))
            || self.intents.iter().any(|intent| {
                let content = &intent.content;
                let etag = content.etag.as_deref();
                same_content((content.size, etag, content.checksum.as_ref()), known(info))
            })
    }
}

/// What a condition or a pin was refused with: the object (as the user would write it) is another one by now. A
/// bucket that is not there is no such thing.
fn is_another(error: &Error, object: &str) -> bool {
    match error.kind {
        ErrorKind::PreconditionFailed | ErrorKind::Changed => true,
        ErrorKind::NotFound => error.object.as_deref() == Some(object),
        _ => false,
    }
}

/// What is known of an object's bytes: their number, an `ETag`, a checksum.
type Known<'a> = (u64, Option<&'a str>, Option<&'a Checksum>);

fn known(info: &ObjectInfo) -> Known<'_> {
    (info.size, info.pin.etag.as_deref(), info.checksum.as_ref())
}

/// Whether two objects are known to hold the same: by checksums that both keep, or by an `ETag` that is the MD5 of
/// both.
fn same_content(
    (size, tag, checksum): Known<'_>,
    (other_size, other_tag, other_checksum): Known<'_>,
) -> bool {
    if size != other_size {
        return false;
    }
    if let (Some(one), Some(other)) = (checksum, other_checksum)
        && one.algorithm == other.algorithm
    {
        return one == other;
    }
    tag.is_some_and(|tag| !tag.contains('-')) && tag == other_tag
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
                if !goes {
                    return Ok(Looked::Alike);
                }
                if !self.is_ours(open, row, destination, &there).await? {
                    return Ok(Looked::Theirs);
                }
                match to.delete_if(&target, &there.pin).await {
                    Ok(()) => {}
                    Err(error) if is_another(&error, &to.uri(&target)) => {
                        return Ok(Looked::Changed);
                    }
                    Err(error) => return Err(error),
                }
                self.wrote(row, destination, None).await?;
                Ok(Looked::Changed)
            }
            (Some(source), there) => {
                // What a rule that copies back has made is no change: that keeps it like what it was made of.
                let back = self.written_back(open, row, destination).await?;
                if back.iter().any(|made| made.is(&source)) {
                    return Ok(Looked::Alike);
                }
                // Nor what is just being made: at its end it is looked at again.
                if back.iter().any(|made| made.carried) {
                    return Ok(Looked::Carried);
                }
                if let Some(there) = &there {
                    if self
                        .is_alike(open, row, destination, &source, there)
                        .await?
                    {
                        self.found_alike(open, row, destination, &source, there)
                            .await?;
                        return Ok(Looked::Alike);
                    }
                    // Nor is what this rule has made, whenever that came there.
                    let is_own = Made::of(row, destination as u32).is(there);
                    if !is_own && is_newer(open, destination, there, &source) {
                        return Ok(Looked::Theirs);
                    }
                } else if was_deleted(open, row, destination, &source) {
                    return Ok(Looked::Theirs);
                }
                if source.archived {
                    let message = "the object is archived and must be restored first";
                    return Err(Error::new(from.side(), ErrorKind::Archived, message)
                        .object(from.uri(&key)));
                }
                if source.size > LARGE {
                    return self.hand(open, row, destination, (&source, 0)).await;
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
            Err(error) if is_another(&error, &from.uri(key)) => return Ok(Looked::Changed),
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
        let mirrored = open.is_mirrored(destination);
        if mirrored {
            // Should it be written late, by then not the newest any more, it is known for what it is.
            let writes = DirtyChange::Writes {
                fence: row.fence,
                destination: destination as u32,
                content: Content {
                    size: source.size,
                    etag: source.pin.etag.clone(),
                    checksum: checksum.clone(),
                },
                now: Timestamp::now(),
            };
            self.note(row, writes).await?;
        }
        let put = PutRequest {
            payload,
            attributes: info.attributes,
            mtime: None,
            checksum,
            condition,
        };
        let receipt = match to.put(target, put).await {
            Ok(receipt) => receipt,
            Err(error) if is_another(&error, &to.uri(target)) => return Ok(Looked::Changed),
            Err(error) => return Err(error),
        };
        let written = if mirrored {
            let made = to.stat(target, &Pin::default(), false).await?;
            // Another has written meanwhile: what is there now is not what was made here.
            let made = made.filter(|made| made.pin.etag == receipt.etag);
            let Some(made) = made else {
                return Ok(Looked::Changed);
            };
            written(&source, &made)
        } else {
            Written {
                source: tag(&source),
                destination: receipt.etag.unwrap_or_default(),
                read: None,
                made: None,
            }
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

    /// Two that mirror each other were found alike, whoever made them so: from here on each counts as made of the other,
    /// and goes when that does.
    async fn found_alike(
        &self,
        open: &Open<'_>,
        row: &mut DirtyKey,
        destination: usize,
        source: &ObjectInfo,
        there: &ObjectInfo,
    ) -> Result<()> {
        let found = written(source, there);
        let known = row.written.get(&(destination as u32));
        if !open.is_mirrored(destination) || known == Some(&found) {
            return Ok(());
        }
        self.wrote(row, destination, Some(found)).await
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
        if same_content(known(source), known(there))
            || own.is_some_and(|own| made(own, source, there))
        {
            return Ok(true);
        }
        let back = self.written_back(open, row, destination).await?;
        let mut back = back.iter().filter_map(|back| back.written.as_ref());
        Ok(back.any(|back| made(back, there, source)))
    }

    /// What the rules that copy back have made of this key's object at the destination.
    async fn written_back(
        &self,
        open: &Open<'_>,
        row: &DirtyKey,
        destination: usize,
    ) -> Result<Vec<Made>> {
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
            all.extend(here.map(|(_, at)| Made::of(&known, at)));
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
        if !open.is_mirrored(destination) || Made::of(row, destination as u32).is(there) {
            return Ok(true);
        }
        let back = self.written_back(open, row, destination).await?;
        let mut back = back.iter().filter_map(|back| back.written.as_ref());
        Ok(back.any(|back| was_read(back, there)))
    }
}

/// Whether this very object was at a destination that has none now, and whose rule deletes at the source what is
/// deleted there.
fn was_deleted(open: &Open<'_>, row: &DirtyKey, destination: usize, source: &ObjectInfo) -> bool {
    let mut back = open.back.iter();
    let deletes = back.any(|(place, back)| *place == destination && back.deletes);
    let own = row.written.get(&(destination as u32));
    deletes && own.is_some_and(|own| was_read(own, source))
}

/// Whether both sides mirror each other, and the destination's object is the newer one: it is copied back.
fn is_newer(open: &Open<'_>, destination: usize, there: &ObjectInfo, source: &ObjectInfo) -> bool {
    // Of two of one second one wins on both sides.
    open.is_mirrored(destination) && (there.mtime, tag(there)) > (source.mtime, tag(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_looked_at_before_anything_is_settled() {
        use Looked::{Alike, Carried, Changed, Theirs};
        assert_eq!(Alike.and(Alike), Alike);
        assert_eq!(Alike.and(Carried), Carried);
        assert_eq!(Alike.and(Theirs), Theirs);
        assert_eq!(Carried.and(Theirs), Carried);
        for other in [Alike, Theirs, Carried, Changed] {
            assert_eq!(Changed.and(other), Changed);
            assert_eq!(other.and(Changed), Changed);
        }
    }
}
