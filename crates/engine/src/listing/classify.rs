//! What is done with a key: decided from what both sides' listings say of it.

use std::borrow::Cow;

use skyhaul_model::compare::{self, Facts, MetadataTime, Verdict};
use skyhaul_model::filter::{Decision, Filters};
use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_model::segment::ObjectTask;
use skyhaul_model::spec::Mode;
use skyhaul_model::{Error, ErrorKind, ObjectEntry, Side, parts};
use skyhaul_stores::Store;

use crate::copy::object;
use crate::engine::Engine;

/// What is done with a key.
#[derive(Debug)]
pub(crate) enum Item {
    /// Copied.
    Copy(ObjectTask),
    /// Left: the destination has it.
    Skip(ObjectTask, Cow<'static, str>),
    /// Cannot be copied.
    Fail(Outcome),
    /// Deleted at the destination.
    Delete(String),
    /// Both sides have it and their listings do not say enough: see [`super::resolve`].
    Ask(Box<(ObjectTask, ObjectEntry)>),
}

/// Decides on keys.
pub(crate) struct Classifier<'a> {
    pub engine: &'a Engine,
    pub filters: &'a Filters,
}

impl Classifier<'_> {
    /// The mapped destination key of a source entry; `None` if it is not part of the transfer.
    pub(crate) fn destination_key(&self, source: &ObjectEntry) -> Option<String> {
        Some(self.engine.spec.keys.map(&source.key)?.destination)
    }

    /// A key that the source has, with what the destination has under the mapped key.
    pub(crate) fn source(
        &self,
        source: ObjectEntry,
        destination: Option<ObjectEntry>,
    ) -> Option<Item> {
        let spec = &self.engine.spec;
        let mapped = spec.keys.map(&source.key)?;
        if let Decision::Leave(_) = self
            .filters
            .decide(mapped.relative, source.size, source.mtime)
        {
            let excluded = spec.delete.as_ref().is_some_and(|delete| delete.excluded);
            return destination
                .filter(|_| excluded)
                .map(|entry| Item::Delete(entry.key));
        }
        let mut task = ObjectTask {
            destination_key: mapped.destination,
            size: source.size,
            pin: source.pin,
            mtime: source.mtime,
            storage_class: source.storage_class,
            part_size: None,
            attempt: 1,
            reason: None,
            source_key: source.key,
        };
        if let Some(entry) = destination {
            match verdict(self.engine, &task, &entry, &Known::default()) {
                Verdict::Same(why) => return Some(Item::Skip(task, why.into())),
                Verdict::Copy(why) => task.reason = Some(why.into()),
                _ => return Some(Item::Ask(Box::new((task, entry)))),
            }
        }
        if source.archived {
            let error = Error::new(
                Side::Source,
                ErrorKind::Archived,
                format!(
                    "the object is archived{}",
                    task.storage_class
                        .as_ref()
                        .map_or(String::new(), |class| format!(" in {class}"))
                ),
            )
            .object(self.engine.source.uri(&task.source_key))
            .hint("restore it first, then run the same command again");
            return Some(Item::Fail(object::failed(self.engine, &task, &error)));
        }
        Some(self.copy(task))
    }

    /// A copy, with its part size.
    pub(crate) fn copy(&self, mut task: ObjectTask) -> Item {
        let rules = &self.engine.destination.capabilities().parts;
        match parts::part_size(task.size, &self.engine.spec.parts, rules) {
            Ok(size) => {
                task.part_size = size;
                Item::Copy(task)
            }
            Err(error) => {
                let error = error.object(self.engine.destination.uri(&task.destination_key));
                Item::Fail(object::failed(self.engine, &task, &error))
            }
        }
    }

    /// A key that only the destination has.
    pub(crate) fn destination(&self, entry: &ObjectEntry) -> Option<Item> {
        let spec = &self.engine.spec;
        let delete = spec.delete.as_ref().filter(|_| spec.mode == Mode::Sync)?;
        let relative = spec.keys.unmap_relative(&entry.key)?;
        let taken = delete.excluded
            || self.filters.decide(relative, entry.size, entry.mtime) == Decision::Take;
        taken.then(|| Item::Delete(entry.key.clone()))
    }

    /// A name that the source has but cannot show as an object. The flag says whether the listing
    /// is incomplete because of it.
    pub(crate) fn refused(&self, error: &Error) -> (Outcome, bool) {
        let skipped = error.kind == ErrorKind::Unsupported;
        // What is skipped by rule hides nothing; anything else may.
        let incomplete = !skipped;
        let outcome = Outcome {
            source_key: error.object.clone(),
            reason: skipped.then(|| error.to_string()),
            error: (!skipped).then(|| error.into()),
            ..Outcome::new(
                if skipped {
                    Action::Skipped
                } else {
                    Action::Failed
                },
                String::new(),
            )
        };
        if !skipped {
            tracing::error!("{error}");
            self.engine.meter.failed(outcome.clone());
        }
        (outcome, incomplete)
    }
}

/// What was found out about a pair beyond the listings.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub source_mtime: MetadataTime,
    pub destination_mtime: MetadataTime,
    pub source_checksums: Vec<skyhaul_model::Checksum>,
    pub destination_checksums: Vec<skyhaul_model::Checksum>,
}

/// The verdict on a pair.
pub(crate) fn verdict(
    engine: &Engine,
    task: &ObjectTask,
    entry: &ObjectEntry,
    known: &Known,
) -> Verdict {
    let spec = &engine.spec;
    let clock = |store: &dyn Store| store.capabilities().mtime;
    let source = Facts {
        size: task.size,
        mtime: task.mtime,
        clock: clock(&*engine.source),
        metadata_mtime: known.source_mtime,
        etag: task.pin.etag.as_deref(),
        checksums: &known.source_checksums,
    };
    let destination = Facts {
        size: entry.size,
        mtime: entry.mtime,
        clock: clock(&*engine.destination),
        metadata_mtime: known.destination_mtime,
        etag: entry.pin.etag.as_deref(),
        checksums: &known.destination_checksums,
    };
    compare::verdict(
        spec.mode,
        spec.compare,
        spec.if_exists,
        &source,
        &destination,
    )
}
