//! A generated bucket: its keys, the size of its objects and their digests.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};

use crate::keyspace::Keyspace;
use crate::listing::{Entry, Ordered};
use crate::pattern::{Pattern, VARIANTS, Variant};

/// Objects up to this size have an MD5 as their ETag, as single uploads have on S3.
const SINGLE_UPLOAD_MAX: u64 = 8 << 20;

/// When all generated objects were "modified": 2026-01-01T00:00:00Z, in Unix seconds.
pub(crate) const MODIFIED: i64 = 1_767_225_600;

/// A generated bucket.
#[derive(Debug)]
pub(crate) struct Dataset {
    keys: Keyspace,
    size: u64,
    digests: Vec<Option<Digests>>,
}

#[derive(Debug, Clone)]
struct Digests {
    etag: String,
    crc64nvme: String,
}

impl Dataset {
    /// Makes the digests of every content that occurs, so that no request pays for one.
    pub(crate) fn new(keys: Keyspace, size: u64, pattern: &Pattern) -> Self {
        let mut digests = vec![None; VARIANTS];
        let mut missing = VARIANTS;
        for index in 0..keys.len() {
            if missing == 0 {
                break;
            }
            let variant = Variant::of(&keys.key(index));
            let slot = &mut digests[usize::from(variant.0)];
            if slot.is_none() {
                *slot = Some(Digests::of(pattern, variant, size));
                missing -= 1;
            }
        }
        Self {
            keys,
            size,
            digests,
        }
    }

    /// Size of `key` in bytes, if it exists.
    pub(crate) fn size_of(&self, key: &str) -> Option<u64> {
        self.keys.contains(key).then_some(self.size)
    }

    /// Whether a key ending in `name` exists with this size; `None` if none ends so.
    pub(crate) fn size_by_name(&self, key: &str) -> Option<u64> {
        let mut rest = key;
        loop {
            if let Some(size) = self.size_of(rest) {
                return Some(size);
            }
            rest = rest.split_once('/')?.1;
        }
    }

    fn digests(&self, key: &str) -> (&str, &str) {
        // `new` filled the slot of every key's variant; a key of no data set is never asked for.
        self.digests[usize::from(Variant::of(key).0)]
            .as_ref()
            .map_or(("", ""), |d| (d.etag.as_str(), d.crc64nvme.as_str()))
    }

    /// ETag of an existing key, quoted.
    pub(crate) fn etag(&self, key: &str) -> &str {
        self.digests(key).0
    }

    /// CRC64NVME of an existing key, in Base64.
    pub(crate) fn crc64nvme(&self, key: &str) -> &str {
        self.digests(key).1
    }
}

impl Digests {
    fn of(pattern: &Pattern, variant: Variant, size: u64) -> Self {
        let crc = pattern.crc(variant, 0, size);
        let etag = if size <= SINGLE_UPLOAD_MAX {
            let mut md5 = Md5::new();
            pattern.for_each(variant, 0, size, |piece| md5.update(piece));
            format!("\"{}\"", hex::encode(md5.finalize()))
        } else {
            // As after a multipart upload: no client takes it for an MD5 of the contents.
            format!(
                "\"{crc:016x}{:016x}-{}\"",
                !crc,
                size.div_ceil(SINGLE_UPLOAD_MAX)
            )
        };
        Self {
            etag,
            crc64nvme: BASE64_STANDARD.encode(crc.to_be_bytes()),
        }
    }
}

impl Ordered for Dataset {
    fn entries<'a>(
        &'a self,
        bound: &[u8],
        after: bool,
    ) -> Box<dyn Iterator<Item = Entry> + Send + 'a> {
        let first = self.keys.seek(bound, after);
        Box::new((first..self.keys.len()).map(|index| {
            let key = self.keys.key(index);
            let etag = self.etag(&key).to_owned();
            Entry {
                key,
                size: self.size,
                etag,
                modified: MODIFIED,
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(count: u64, size: u64) -> (Dataset, Pattern) {
        let pattern = Pattern::new();
        let keys = Keyspace::Numbered {
            pattern: "d/obj-%07d".parse().unwrap(),
            count,
        };
        (Dataset::new(keys, size, &pattern), pattern)
    }

    #[test]
    fn small_objects_have_an_md5_etag_large_ones_a_multipart_etag() {
        let (small, pattern) = dataset(3, 1000);
        let key = "d/obj-0000002";
        let mut md5 = Md5::new();
        pattern.for_each(Variant::of(key), 0, 1000, |p| md5.update(p));
        assert_eq!(
            small.etag(key),
            format!("\"{}\"", hex::encode(md5.finalize()))
        );
        let (large, _) = dataset(1, 9 << 20);
        assert!(large.etag("d/obj-0000000").ends_with("-2\""));
    }

    #[test]
    fn sizes_are_found_under_other_prefixes() {
        let (set, _) = dataset(3, 10);
        assert_eq!(set.size_of("d/obj-0000002"), Some(10));
        assert_eq!(set.size_of("d/obj-0000003"), None);
        assert_eq!(set.size_by_name("x/y/d/obj-0000001"), Some(10));
        assert_eq!(set.size_by_name("x/y/z"), None);
    }
}
