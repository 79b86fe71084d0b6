//! Random operations: mostly sensible ones, so that a run gets somewhere, and some of each kind of
//! nonsense.

use std::time::Duration;

use jiff::Timestamp;
use skyhaul_model::group::{Bitmap, Counts, GroupId, GroupStatus, Lease, RangeId};
use skyhaul_model::keymap::KeyMap;
use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_model::spec::{Connection, Endpoint, Mode, TransferSpec};
use skyhaul_model::{HolderId, Location, Scheme, TransferId};

use super::dice::Dice;
use super::model::{Model, Transfer};
use crate::operation::{Operation, Reply};
use crate::{
    GatewayRow, ListCounts, ListSegmentKind, NewGroup, NewUpload, Phase, Publication, Record,
    TransferChange, TransferStatus, UploadKey, UploadResult, UploadStatus,
};

const HOLDERS: [&str; 4] = ["ada", "bob", "cleo", "dan"];
const TRANSFERS: u64 = 3;
const LETTERS: [&str; 8] = ["a", "b", "m", "~", "é", "/", "0", "\u{10348}"];
const STATUSES: [UploadStatus; 5] = [
    UploadStatus::Intent,
    UploadStatus::Open,
    UploadStatus::Done,
    UploadStatus::Superseded,
    UploadStatus::Aborted,
];

/// Old leases that are kept to be used wrongly.
const LEASES: usize = 64;

/// What a generator remembers beside the model.
#[derive(Debug, Default)]
pub(super) struct Generator {
    leases: Vec<Lease>,
    named: u64,
}

impl Generator {
    /// Remembers leases that a reply showed.
    pub(super) fn note(&mut self, reply: &Reply) {
        let lease = match reply {
            Reply::Range(row) => row.lease.clone(),
            Reply::Group(Some(row)) => row.lease.clone(),
            Reply::Lease(lease) => Some(lease.clone()),
            _ => None,
        };
        self.leases.extend(lease);
        if self.leases.len() > LEASES {
            self.leases.remove(0);
        }
    }

    /// The next operation.
    pub(super) fn next(&mut self, dice: &mut Dice, model: &Model) -> Operation {
        let known: Vec<&TransferId> = model.transfers.keys().collect();
        let ghost = dice.chance(1, 20);
        let id = if ghost {
            // Never submitted.
            transfer_id(TRANSFERS)
        } else if known.is_empty() || dice.chance(1, 20) {
            transfer_id(dice.below(TRANSFERS))
        } else {
            (*dice.pick(&known)).clone()
        };
        match (model.transfers.get(&id), dice.below(100)) {
            (None, 0..50) | (_, 0..2) if !ghost => {
                let variant = u64::from(dice.chance(1, 8));
                Operation::Submit(id, Box::new(spec(variant)))
            }
            (_, 2) if dice.chance(1, 6) => Operation::Purge(id),
            (_, 2 | 3) => Operation::Transfer(id),
            (_, 4) => Operation::Transfers,
            (transfer, 5..8) => self.change(dice, id, transfer),
            (transfer, 8..32) => self.on_range(dice, id, transfer),
            (transfer, 32..70) => self.on_group(dice, id, transfer, model.shards),
            (transfer, 70..92) => self.on_upload(dice, id, transfer),
            (_, 92) => {
                let row = GatewayRow {
                    name: format!("gateway-{}", dice.below(3)),
                    beat: dice.below(1_000),
                    idle: dice.chance(1, 2),
                    ..GatewayRow::default()
                };
                Operation::Announce(id, Box::new(row))
            }
            (_, 93) => Operation::Gateways(id),
            (_, 94) => Operation::Ranges(id),
            (_, 95 | 96) => {
                let kinds = [ListSegmentKind::Outcomes, ListSegmentKind::Deletes];
                Operation::ListSegments(id, *dice.pick(&kinds))
            }
            (_, _) => Operation::Progress(id),
        }
    }

    fn change(&mut self, dice: &mut Dice, id: TransferId, of: Option<&Transfer>) -> Operation {
        let revision = of.map_or(0, |transfer| transfer.row.revision);
        let revision = if dice.chance(1, 5) {
            dice.below(revision + 2)
        } else {
            revision
        };
        let statuses = [
            TransferStatus::Running,
            TransferStatus::Succeeded,
            TransferStatus::Incomplete,
            TransferStatus::Failed,
            TransferStatus::Cancelled,
        ];
        let phases = [
            Phase::Copy,
            Phase::Complete,
            Phase::Delete,
            Phase::Verify,
            Phase::Ended,
        ];
        let error = match dice.below(4) {
            0 => Some(None),
            1 => Some(Some(self.name("error"))),
            _ => None,
        };
        let change = TransferChange {
            status: dice.chance(1, 2).then(|| *dice.pick(&statuses)),
            phase: dice.chance(1, 2).then(|| *dice.pick(&phases)),
            attempt: dice.chance(1, 2).then(|| dice.below(9) as u32),
            error,
        };
        Operation::Change(id, revision, change)
    }

    fn on_range(&mut self, dice: &mut Dice, id: TransferId, of: Option<&Transfer>) -> Operation {
        // Ranges that are at work first: most are done soon.
        let rows: Vec<_> = of.into_iter().flat_map(|of| of.ranges.values()).collect();
        let open: Vec<_> = rows
            .iter()
            .copied()
            .filter(|range| !range.row.done)
            .collect();
        let chosen = if open.is_empty() || dice.chance(1, 10) {
            &rows
        } else {
            &open
        };
        let Some(row) = (!chosen.is_empty()).then(|| &dice.pick(chosen).row) else {
            return Operation::LeaseRange(id, RangeId(0), holder(dice), None);
        };
        let range = if dice.chance(1, 30) {
            RangeId(77)
        } else {
            row.id
        };
        let lease = self.lease(dice, row.lease.as_ref());
        let cursor = row.cursor.as_deref();
        match dice.below(12) {
            0..5 if row.lease.is_none() || dice.chance(1, 4) => {
                let seen = (row.lease.is_some() || dice.chance(1, 8)).then_some(lease);
                let seen = if dice.chance(1, 4) { None } else { seen };
                Operation::LeaseRange(id, range, holder(dice), seen)
            }
            0..7 => {
                let publication = self.publication(dice, cursor, row.upto.as_deref());
                Operation::Publish(id, range, lease, publication)
            }
            7..10 => {
                let at = key_inside(dice, cursor, row.upto.as_deref());
                Operation::SplitRange(id, range, lease, at, dice.chance(1, 2))
            }
            _ => Operation::ReleaseRange(id, range, lease),
        }
    }

    fn publication(
        &mut self,
        dice: &mut Dice,
        cursor: Option<&str>,
        upto: Option<&str>,
    ) -> Publication {
        let to = match dice.below(12) {
            0 => None,
            1 => Some(key(dice)),
            2 => cursor.map(str::to_owned),
            _ => Some(key_inside(dice, cursor, upto)),
        };
        let kinds = [ListSegmentKind::Outcomes, ListSegmentKind::Deletes];
        Publication {
            cursor: to,
            groups: (0..dice.below(4)).map(|_| self.group(dice)).collect(),
            first: (0..dice.below(6).saturating_sub(3))
                .map(|_| self.group(dice))
                .collect(),
            segments: (0..dice.below(3))
                .map(|_| (*dice.pick(&kinds), self.name("list")))
                .collect(),
            counts: ListCounts {
                source_objects: dice.below(1000),
                destination_objects: dice.below(1000),
                copy_objects: dice.below(1000),
                copy_bytes: dice.below(1 << 40),
                chunks: dice.below(256),
                skipped: dice.below(100),
                failed: dice.below(3),
                deletes: dice.below(3),
                pages: dice.below(9),
                unlisted: dice.below(2),
            },
            done: dice.chance(1, 8),
        }
    }

    fn group(&mut self, dice: &mut Dice) -> NewGroup {
        let chunks = match dice.below(40) {
            0 => 0,
            1 => 65,
            2..6 => 64,
            _ => 1 + dice.below(5) as u32,
        };
        NewGroup {
            chunks,
            bytes: dice.below(1 << 40),
            segment: self.name("manifest"),
        }
    }

    fn on_group(
        &mut self,
        dice: &mut Dice,
        id: TransferId,
        of: Option<&Transfer>,
        shards: u32,
    ) -> Operation {
        let shard = if dice.chance(1, 30) {
            shards
        } else {
            dice.below(shards.into()) as u32
        };
        let after = dice.chance(1, 3).then(|| dice.below(20));
        let rows: Vec<_> = of.into_iter().flat_map(|of| of.groups.values()).collect();
        let leased: Vec<_> = rows
            .iter()
            .copied()
            .filter(|group| group.row.status == GroupStatus::Leased)
            .collect();
        let chosen = if leased.is_empty() || dice.chance(1, 6) {
            &rows
        } else {
            &leased
        };
        let Some(row) = (!chosen.is_empty()).then(|| &dice.pick(chosen).row) else {
            return Operation::Claim(id, shard, holder(dice), after);
        };
        let group = if dice.chance(1, 40) {
            GroupId {
                range: RangeId(0),
                ordinal: 7777,
            }
        } else {
            row.id
        };
        let lease = self.lease(dice, row.lease.as_ref());
        match dice.below(38) {
            0..10 => Operation::Claim(id, shard, holder(dice), after),
            10..15 => Operation::TakeOver(id, group, lease, holder(dice)),
            15..19 => Operation::Renew(id, group, lease),
            19..29 => {
                let left = Bitmap::full(row.chunks).0 & !row.done.0;
                let uploads: Vec<_> = of.into_iter().flat_map(|of| of.uploads.keys()).collect();
                let record = self.record(dice, left, &uploads);
                Operation::Record(id, group, lease, Box::new(record))
            }
            29..32 => Operation::Release(id, group, lease),
            32..34 => Operation::Group(id, group),
            _ => {
                let all = [GroupStatus::Pending, GroupStatus::Leased, GroupStatus::Done];
                let status = dice.chance(2, 3).then(|| *dice.pick(&all));
                Operation::Groups(id, shard, status, after, dice.below(9) as usize)
            }
        }
    }

    fn record(&mut self, dice: &mut Dice, left: u64, uploads: &[&UploadKey]) -> Record {
        let done = match dice.below(20) {
            0 => 0,
            1 => dice.bits(),
            2..8 => left & dice.bits(),
            _ => left,
        };
        let supersede = dice.chance(1, 3).then(|| {
            let result = dice.chance(1, 2).then(|| result(dice));
            let known = !uploads.is_empty() && dice.chance(7, 8);
            let key = if known {
                (*dice.pick(uploads)).clone()
            } else {
                upload_key(dice)
            };
            (key, result)
        });
        Record {
            done: Bitmap(done),
            counts: counts(dice),
            receipts: dice.chance(3, 4).then(|| self.name("receipts")),
            follow_up: (0..dice.below(5).saturating_sub(2))
                .map(|_| self.group(dice))
                .collect(),
            supersede,
        }
    }

    fn on_upload(&mut self, dice: &mut Dice, id: TransferId, of: Option<&Transfer>) -> Operation {
        let known: Vec<_> = of.into_iter().flat_map(|of| of.uploads.keys()).collect();
        let key = if known.is_empty() || dice.chance(1, 5) {
            upload_key(dice)
        } else {
            (*dice.pick(&known)).clone()
        };
        let statuses: Vec<_> = STATUSES.into_iter().filter(|_| dice.chance(1, 2)).collect();
        match dice.below(16) {
            0..4 => {
                let some_time =
                    |dice: &mut Dice| Timestamp::UNIX_EPOCH + Duration::from_secs(dice.below(3));
                let new = NewUpload {
                    key,
                    intended: some_time(dice),
                    replaces: dice.chance(2, 3).then(|| some_time(dice)),
                    strangers: (0..dice.below(3)).map(|_| self.name("stranger")).collect(),
                    parts_total: dice.below(10_000) as u32,
                    task: self.name("task"),
                };
                Operation::UploadIntent(id, new)
            }
            4..6 => Operation::UploadOpened(id, key, self.name("token")),
            6..9 => {
                let group = GroupId {
                    range: RangeId(0),
                    ordinal: dice.below(4) as u32,
                };
                Operation::UploadSlice(id, key, group, dice.below(64) as u32)
            }
            9..13 => {
                let to = *dice.pick(&STATUSES);
                let ends = !matches!(to, UploadStatus::Intent | UploadStatus::Open);
                let with = if ends {
                    dice.chance(1, 2)
                } else {
                    dice.chance(1, 20)
                };
                let result = with.then(|| Box::new(result(dice)));
                Operation::UploadStatus(id, key, statuses, to, result)
            }
            13 => Operation::Upload(id, key),
            _ => {
                let after = dice.chance(1, 2).then_some(key);
                Operation::Uploads(id, statuses, after, dice.below(9) as usize)
            }
        }
    }

    /// A lease to come with: the right one (its counter may be an old one), an old one, a forged.
    fn lease(&self, dice: &mut Dice, held: Option<&Lease>) -> Lease {
        let Some(held) = held else {
            return if self.leases.is_empty() {
                Lease {
                    holder: holder(dice),
                    fence: dice.below(3),
                    counter: 0,
                }
            } else {
                dice.pick(&self.leases).clone()
            };
        };
        match dice.below(16) {
            0 | 1 if !self.leases.is_empty() => dice.pick(&self.leases).clone(),
            2 => Lease {
                holder: holder(dice),
                ..held.clone()
            },
            3 => Lease {
                fence: held.fence - 1,
                ..held.clone()
            },
            4 => Lease {
                fence: held.fence + 1,
                ..held.clone()
            },
            5 | 6 => Lease {
                counter: dice.below(held.counter + 2),
                ..held.clone()
            },
            _ => held.clone(),
        }
    }

    /// A name never used before.
    fn name(&mut self, what: &str) -> String {
        self.named += 1;
        format!("{what}-{}", self.named)
    }
}

fn transfer_id(number: u64) -> TransferId {
    // 26 digits are a valid identifier, so the fallback is never taken.
    format!("{number:026}")
        .parse()
        .unwrap_or_else(|_| TransferId::generate())
}

fn holder(dice: &mut Dice) -> HolderId {
    HolderId((*dice.pick(&HOLDERS)).to_owned())
}

fn key(dice: &mut Dice) -> String {
    (0..=dice.below(3)).map(|_| *dice.pick(&LETTERS)).collect()
}

/// A key above `low` and below `high`, where one is easily found.
fn key_inside(dice: &mut Dice, low: Option<&str>, high: Option<&str>) -> String {
    let mut found = key(dice);
    for _ in 0..4 {
        let above = low.is_none_or(|low| low < found.as_str());
        if above && high.is_none_or(|high| found.as_str() < high) {
            break;
        }
        found = format!("{}{}", low.unwrap_or(""), dice.pick(&LETTERS));
    }
    found
}

fn upload_key(dice: &mut Dice) -> UploadKey {
    UploadKey {
        destination: dice.below(2) as u32,
        key: (*dice.pick(&["a/b", "a//b", "é", "Z"])).to_owned(),
        attempt: 1 + dice.below(2) as u32,
    }
}

fn counts(dice: &mut Dice) -> Counts {
    Counts {
        objects: dice.below(1000),
        bytes: dice.below(1 << 40),
        failed: dice.below(3),
        skipped: dice.below(100),
        deleted: dice.below(3),
        retries: dice.below(3),
        source_verified: dice.below(500),
        transport_verified: dice.below(500),
        moved_chunks: dice.below(5),
    }
}

fn result(dice: &mut Dice) -> UploadResult {
    let outcome = Outcome {
        action: Action::Copied,
        source_key: Some(key(dice)),
        destination_key: key(dice),
        destination: 0,
        size: dice.below(1 << 40),
        checksum: None,
        verified: None,
        etag: None,
        version: None,
        attempts: 1,
        server_side: false,
        reason: None,
        error: None,
    };
    UploadResult {
        outcome,
        counts: counts(dice),
    }
}

/// A specification; each variant is another transfer.
fn spec(variant: u64) -> TransferSpec {
    let endpoint = |path: String| Endpoint {
        location: Location {
            scheme: Scheme::Local,
            container: String::new(),
            path,
        },
        connection: Connection::default(),
    };
    TransferSpec {
        mode: Mode::Copy,
        source: endpoint("from/".to_owned()),
        destinations: vec![endpoint(format!("to-{variant}/"))],
        keys: KeyMap::Prefix {
            source: String::new(),
            destination: String::new(),
        },
        renames: Vec::new(),
        filters: skyhaul_model::filter::FilterSpec::default(),
        first: Vec::new(),
        compare: skyhaul_model::compare::Compare::default(),
        if_exists: skyhaul_model::compare::IfExists::default(),
        delete: None,
        attributes: skyhaul_model::attributes::AttributePolicy::default(),
        parts: skyhaul_model::parts::PartPolicy::default(),
        checksum: skyhaul_model::spec::ChecksumPolicy::default(),
        encryption: None,
        stream: false,
        follow_symlinks: false,
        durability: skyhaul_model::spec::Durability::default(),
        now: Timestamp::UNIX_EPOCH,
    }
}

/// The specification of transfers that are not generated.
#[must_use]
pub fn plain_spec() -> TransferSpec {
    spec(0)
}
