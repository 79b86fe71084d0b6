//! Counters by operation and of bytes, read and reset by the runner.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Map, Value, json};

macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// The operations that are told apart.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are S3's")]
        pub(crate) enum Op { $($name),* }

        impl Op {
            const ALL: &[(Op, &str)] = &[$((Op::$name, stringify!($name))),*];
        }
    };
}

operations!(
    ListBuckets,
    HeadBucket,
    CreateBucket,
    DeleteBucket,
    GetBucketConfig,
    ListObjects,
    ListObjectsV2,
    GetObject,
    HeadObject,
    GetObjectTagging,
    PutObject,
    CopyObject,
    DeleteObject,
    DeleteObjects,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    ListMultipartUploads,
    Unsupported,
);

const OPERATIONS: usize = Op::Unsupported as usize + 1;

/// All counters, since the start or the last reset.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    operations: [AtomicU64; OPERATIONS],
    errors: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Stats {
    /// Counts a request.
    pub(crate) fn count(&self, op: Op) {
        self.operations[op as usize].fetch_add(1, Relaxed);
    }

    /// Counts an error reply.
    pub(crate) fn error(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// Counts payload received, as it arrives.
    pub(crate) fn received(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Relaxed);
    }

    /// Counts object bytes handed to the connection.
    pub(crate) fn sent(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    /// Sets everything to zero.
    pub(crate) fn reset(&self) {
        self.operations.iter().for_each(|n| n.store(0, Relaxed));
        for n in [&self.errors, &self.bytes_in, &self.bytes_out] {
            n.store(0, Relaxed);
        }
    }

    /// The counters as JSON; operations that did not occur are left out.
    pub(crate) fn json(&self) -> Value {
        let operations: Map<String, Value> = Op::ALL
            .iter()
            .map(|(op, name)| {
                (
                    (*name).to_owned(),
                    self.operations[*op as usize].load(Relaxed),
                )
            })
            .filter(|(_, n)| *n > 0)
            .map(|(name, n)| (name, n.into()))
            .collect();
        json!({
            "operations": operations,
            "errors": self.errors.load(Relaxed),
            "bytes_in": self.bytes_in.load(Relaxed),
            "bytes_out": self.bytes_out.load(Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_resets() {
        let stats = Stats::default();
        stats.count(Op::GetObject);
        stats.count(Op::GetObject);
        stats.received(7);
        let json = stats.json();
        assert_eq!(json["operations"], json!({"GetObject": 2}));
        assert_eq!(json["bytes_in"], 7);
        stats.reset();
        assert_eq!(stats.json()["operations"], json!({}));
    }
}
