//! Pagination of a sorted key space: prefix, delimiter, resume point, page size.

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its key.
    pub(crate) key: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its ETag, quoted.
    pub(crate) etag: String,
    /// Unix seconds.
    pub(crate) modified: i64,
}

/// Keys in the order of their UTF-8 bytes, readable from any point.
pub(crate) trait Ordered {
    /// Entries from the first key at (after, if `after`) `bound`.
    fn entries<'a>(
        &'a self,
        bound: &[u8],
        after: bool,
    ) -> Box<dyn Iterator<Item = Entry> + Send + 'a>;
}

/// What a page is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// Only keys that begin with this.
    pub(crate) prefix: String,
    /// Keys that hold this after the prefix are rolled up.
    pub(crate) delimiter: Option<String>,
    /// Only keys and rolled-up prefixes after this one.
    pub(crate) after: Option<String>,
    /// Most keys and rolled-up prefixes together.
    pub(crate) max_keys: usize,
}

/// One page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Objects, in order.
    pub(crate) entries: Vec<Entry>,
    /// Rolled-up prefixes, in order.
    pub(crate) prefixes: Vec<String>,
    /// The last key or prefix returned, if there are more.
    pub(crate) next: Option<String>,
}

impl Query {
    /// The prefix that `key` is rolled up to.
    fn rolled<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter.as_deref().filter(|d| !d.is_empty())?;
        let at = key.strip_prefix(self.prefix.as_str())?.find(delimiter)?;
        Some(&key[..self.prefix.len() + at + delimiter.len()])
    }

    /// Where to begin: a bound and whether it is itself excluded.
    fn start(&self) -> (Vec<u8>, bool) {
        match self.after.as_deref() {
            Some(after) if after >= self.prefix.as_str() => match self.rolled(after) {
                // The last page ended with this prefix: nothing under it comes again.
                Some(rolled) if rolled == after => (past(rolled), false),
                _ => (after.as_bytes().to_vec(), true),
            },
            _ => (self.prefix.as_bytes().to_vec(), false),
        }
    }

    /// Makes the page.
    pub(crate) fn page(&self, keys: &dyn Ordered) -> Page {
        let mut page = Page::default();
        let mut last = String::new();
        let (bound, after) = self.start();
        let mut entries = keys.entries(&bound, after);
        while let Some(entry) = entries.next() {
            if !entry.key.starts_with(self.prefix.as_str()) {
                break;
            }
            if page.entries.len() + page.prefixes.len() == self.max_keys {
                // S3 answers max-keys=0 with an empty page that is not truncated.
                page.next = (self.max_keys > 0).then_some(last);
                break;
            }
            if let Some(rolled) = self.rolled(&entry.key) {
                rolled.clone_into(&mut last);
                entries = keys.entries(&past(rolled), false);
                page.prefixes.push(last.clone());
            } else {
                entry.key.clone_into(&mut last);
                page.entries.push(entry);
            }
        }
        page
    }
}

/// The least byte string above everything that begins with `prefix`, which is not empty and, as
/// UTF-8, holds no byte 0xff.
fn past(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    struct Plain(BTreeSet<Vec<u8>>);

    impl Ordered for Plain {
        fn entries<'a>(
            &'a self,
            bound: &[u8],
            after: bool,
        ) -> Box<dyn Iterator<Item = Entry> + Send + 'a> {
            let bound = bound.to_vec();
            let wanted = move |k: &&Vec<u8>| **k > bound || (!after && **k == bound);
            Box::new(self.0.iter().filter(wanted).map(|k| Entry {
                key: String::from_utf8(k.clone()).unwrap(),
                size: 0,
                etag: String::new(),
                modified: 0,
            }))
        }
    }

    /// All pages' keys and prefixes.
    fn walk(keys: &Plain, mut query: Query) -> (Vec<String>, Vec<String>) {
        let (mut entries, mut prefixes) = (Vec::new(), Vec::new());
        loop {
            let page = query.page(keys);
            assert!(page.entries.len() + page.prefixes.len() <= query.max_keys);
            entries.extend(page.entries.into_iter().map(|e| e.key));
            prefixes.extend(page.prefixes);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return (entries, prefixes),
            }
        }
    }

    proptest! {
        #[test]
        fn every_key_and_prefix_exactly_once(
            keys in prop::collection::btree_set("[ab/é]{1,5}", 0..40),
            prefix in "[ab/]{0,2}",
            delimiter in prop::option::of(Just("/".to_owned())),
            max_keys in 1..6_usize,
        ) {
            let plain = Plain(keys.iter().map(|k| k.clone().into_bytes()).collect());
            let query = Query { prefix: prefix.clone(), delimiter: delimiter.clone(), after: None, max_keys };
            let (got, got_prefixes) = walk(&plain, query);
            let (mut want, mut want_prefixes) = (Vec::new(), BTreeSet::new());
            for key in &keys {
                let Some(rest) = key.strip_prefix(prefix.as_str()) else { continue };
                match delimiter.as_ref().and_then(|_| rest.find('/')) {
                    Some(at) => { want_prefixes.insert(format!("{prefix}{}", &rest[..=at])); }
                    None => want.push(key.clone()),
                }
            }
            prop_assert_eq!(got, want);
            prop_assert_eq!(got_prefixes, want_prefixes.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn zero_keys_is_an_empty_last_page() {
        let page = Query::default().page(&Plain([b"a".to_vec()].into()));
        assert!(page.entries.is_empty() && page.next.is_none());
    }

    #[test]
    fn start_after_a_key_inside_a_rolled_up_prefix_still_shows_the_prefix() {
        let keys = Plain([b"d/1".to_vec(), b"d/2".to_vec()].into());
        let query = Query {
            delimiter: Some("/".into()),
            after: Some("d/1".into()),
            max_keys: 9,
            ..Query::default()
        };
        assert_eq!(query.page(&keys).prefixes, ["d/"]);
    }
}
