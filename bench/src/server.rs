//! What the server holds: data sets, sinks, counters, options.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::Args;
use crate::dataset::Dataset;
use crate::error::S3Error;
use crate::keyspace::Keyspace;
use crate::pattern::Pattern;
use crate::sink::Sink;
use crate::stats::Stats;

/// The whole state of the server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Generated buckets by name.
    pub(crate) datasets: HashMap<String, Dataset>,
    /// Contents of generated objects.
    pub(crate) pattern: Pattern,
    /// Counters.
    pub(crate) stats: Stats,
    /// Latency of a listing page.
    pub(crate) list_delay: Duration,
    /// Compare written bodies with the generator.
    pub(crate) verify: bool,
    /// Compare written bodies with the checksums sent along.
    pub(crate) verify_checksums: bool,
    only_sinks: Option<HashSet<String>>,
    sinks: Mutex<HashMap<String, Sink>>,
    next_id: AtomicU64,
}

impl Server {
    /// Builds the data sets.
    ///
    /// # Errors
    /// Two data sets, or a data set and a sink, of one name.
    pub(crate) fn new(args: Args) -> Result<Self, String> {
        let pattern = Pattern::new();
        let mut datasets = HashMap::new();
        let sources = args.sources.into_iter().map(|s| {
            (
                s.name,
                Keyspace::Numbered {
                    pattern: s.pattern,
                    count: s.count,
                },
                s.size,
            )
        });
        let shaped = args
            .keyspaces
            .into_iter()
            .map(|k| (k.name, Keyspace::shaped(k.shape, k.count), k.size));
        for (name, keys, size) in sources.chain(shaped) {
            let dataset = Dataset::new(keys, size, &pattern);
            if args.sinks.contains(&name) || datasets.insert(name.clone(), dataset).is_some() {
                return Err(format!("bucket {name} is named twice"));
            }
        }
        Ok(Self {
            datasets,
            pattern,
            stats: Stats::default(),
            list_delay: Duration::from_millis(args.list_delay_ms),
            verify: args.verify,
            verify_checksums: args.verify_checksums,
            only_sinks: (!args.sinks.is_empty()).then(|| args.sinks.into_iter().collect()),
            sinks: Mutex::default(),
            next_id: AtomicU64::new(1),
        })
    }

    /// The sinks, locked. No request holds the lock across an await.
    pub(crate) fn sinks(&self) -> MutexGuard<'_, HashMap<String, Sink>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the name is a bucket at all.
    pub(crate) fn bucket_exists(&self, bucket: &str) -> bool {
        self.datasets.contains_key(bucket)
            || self
                .only_sinks
                .as_ref()
                .is_none_or(|names| names.contains(bucket))
    }

    /// Refuses a bucket that cannot be written to.
    pub(crate) fn check_writable(&self, bucket: &str) -> Result<(), S3Error> {
        if self.datasets.contains_key(bucket) {
            Err(S3Error::read_only(bucket))
        } else if self.bucket_exists(bucket) {
            Ok(())
        } else {
            Err(S3Error::no_such_bucket(bucket))
        }
    }

    /// Runs `f` on a sink, which is made when it is first touched.
    pub(crate) fn with_sink<T>(
        &self,
        bucket: &str,
        f: impl FnOnce(&mut Sink) -> Result<T, S3Error>,
    ) -> Result<T, S3Error> {
        self.check_writable(bucket)?;
        let mut sinks = self.sinks();
        if !sinks.contains_key(bucket) {
            sinks.insert(bucket.to_owned(), Sink::default());
        }
        let sink = sinks
            .get_mut(bucket)
            .ok_or_else(|| S3Error::no_such_bucket(bucket))?;
        f(sink)
    }

    /// Names of all buckets that exist by declaration or by use, sorted.
    pub(crate) fn bucket_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.datasets.keys().cloned().collect();
        names.extend(self.sinks().keys().cloned());
        names.extend(self.only_sinks.iter().flatten().cloned());
        names.sort_unstable();
        names.dedup();
        names
    }

    /// A number never given before.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Counters, and what each sink holds.
    pub(crate) fn stats_json(&self) -> Value {
        let sinks: serde_json::Map<String, Value> = self
            .sinks()
            .iter()
            .map(|(name, sink)| {
                let value = json!({
                    "objects": sink.objects.len(),
                    "bytes": sink.objects.values().map(|o| o.size).sum::<u64>(),
                    "open_uploads": sink.uploads.len(),
                });
                (name.clone(), value)
            })
            .collect();
        let mut stats = self.stats.json();
        stats["sinks"] = sinks.into();
        stats
    }

    /// Empties the sinks and sets the counters to zero.
    pub(crate) fn reset(&self) {
        self.sinks().clear();
        self.stats.reset();
    }
}
