//! Which keys a transfer takes and what they are called at the destination.

use serde::{Deserialize, Serialize};

/// The mapping of keys. Names are replaced at the front only, so mapped keys sort as their
/// originals do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyMap {
    /// One object under a new key.
    Object {
        /// Key at the source.
        source: String,
        /// Key at the destination.
        destination: String,
    },
    /// Everything under a prefix, under another prefix. Prefixes are empty or end in a slash, so
    /// that `foo/` never touches `foobar`.
    Prefix {
        /// Prefix at the source.
        source: String,
        /// Prefix at the destination.
        destination: String,
    },
}

/// What one of several destinations calls the keys that a [`KeyMap`] gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    /// How the keys of the map start; of a single object all of its key.
    pub from: String,
    /// How they start there instead.
    pub to: String,
}

impl Rename {
    /// The destination's own key.
    #[must_use]
    pub fn key(&self, key: &str) -> String {
        match key.strip_prefix(self.from.as_str()) {
            Some(rest) => format!("{}{rest}", self.to),
            None => key.to_owned(),
        }
    }
}

/// A key of the source that belongs to the transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped<'a> {
    /// What filters look at: the key without the source prefix; of a single object its name.
    pub relative: &'a str,
    /// The key at the destination.
    pub destination: String,
}

impl KeyMap {
    /// Maps a key of the source. `None` if it is not part of the transfer; so is the marker of the
    /// source prefix itself where the destination prefix is empty and thus can have no marker.
    #[must_use]
    pub fn map<'a>(&self, source_key: &'a str) -> Option<Mapped<'a>> {
        match self {
            Self::Object {
                source,
                destination,
            } => (source_key == source).then(|| Mapped {
                relative: name(source_key),
                destination: destination.clone(),
            }),
            Self::Prefix {
                source,
                destination,
            } => {
                let relative = source_key.strip_prefix(source.as_str())?;
                let destination = join(destination, relative)?;
                Some(Mapped {
                    relative,
                    destination,
                })
            }
        }
    }

    /// The key of the source that maps to a key of the destination, whether it exists or not.
    /// `None` if there is none: such an object does not concern the transfer.
    #[must_use]
    pub fn unmap(&self, destination_key: &str) -> Option<String> {
        match self {
            Self::Object {
                source,
                destination,
            } => (destination_key == destination).then(|| source.clone()),
            Self::Prefix {
                source,
                destination,
            } => join(source, destination_key.strip_prefix(destination.as_str())?),
        }
    }

    /// What filters look at for a destination key: its key relative to the prefix, which is that of
    /// the source object it stands for. `None` as for [`KeyMap::unmap`].
    #[must_use]
    pub fn unmap_relative<'a>(&'a self, destination_key: &'a str) -> Option<&'a str> {
        match self {
            Self::Object {
                source,
                destination,
            } => (destination_key == destination).then(|| name(source)),
            Self::Prefix {
                source,
                destination,
            } => destination_key
                .strip_prefix(destination.as_str())
                .filter(|relative| !(relative.is_empty() && source.is_empty())),
        }
    }

    /// The prefix to list at the source; of a single object its key.
    #[must_use]
    pub fn source_prefix(&self) -> &str {
        match self {
            Self::Object { source, .. } | Self::Prefix { source, .. } => source,
        }
    }

    /// The prefix to list at the destination; of a single object its key.
    #[must_use]
    pub fn destination_prefix(&self) -> &str {
        match self {
            Self::Object { destination, .. } | Self::Prefix { destination, .. } => destination,
        }
    }

    /// The bound at the destination that cuts its keys as `bound` cuts those of the source
    /// (`after < key <= upto` at both). `None` if the bound lies outside the source prefix and so
    /// cuts nothing, and always for a single object.
    #[must_use]
    pub fn map_bound(&self, bound: &str) -> Option<String> {
        match self {
            Self::Object { .. } => None,
            Self::Prefix {
                source,
                destination,
            } => bound
                .strip_prefix(source.as_str())
                .map(|rest| format!("{destination}{rest}")),
        }
    }
}

/// The last component of a key, with its trailing slash if it is a folder marker.
#[must_use]
pub fn name(key: &str) -> &str {
    let body = key.strip_suffix('/').unwrap_or(key);
    body.rfind('/').map_or(key, |slash| &key[slash + 1..])
}

/// Joins prefix and relative key; `None` for the empty key, which no store can hold.
fn join(prefix: &str, relative: &str) -> Option<String> {
    let key = format!("{prefix}{relative}");
    (!key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(source: &str, destination: &str) -> KeyMap {
        KeyMap::Prefix {
            source: source.into(),
            destination: destination.into(),
        }
    }

    fn mapped(map: &KeyMap, key: &str) -> Option<String> {
        map.map(key).map(|mapped| mapped.destination)
    }

    #[test]
    fn a_prefix_never_touches_its_neighbours() {
        let map = prefix("foo/", "bar/");
        assert_eq!(
            mapped(&map, "foo/a//b/%20 é").as_deref(),
            Some("bar/a//b/%20 é")
        );
        assert_eq!(mapped(&map, "foo//abs").as_deref(), Some("bar//abs"));
        for key in ["foo", "foobar", "foobar/x", "Foo/x", "x/foo/y"] {
            assert_eq!(mapped(&map, key), None, "{key}");
        }
        for key in ["bar", "barfoo", "barfoo/x"] {
            assert_eq!(map.unmap(key), None, "{key}");
            assert_eq!(map.unmap_relative(key), None, "{key}");
        }
    }

    #[test]
    fn the_marker_of_the_prefix_itself_needs_a_destination_prefix() {
        assert_eq!(
            mapped(&prefix("foo/", "bar/"), "foo/").as_deref(),
            Some("bar/")
        );
        assert_eq!(mapped(&prefix("foo/", ""), "foo/"), None);
        assert_eq!(prefix("", "bar/").unmap("bar/"), None);
        assert_eq!(prefix("", "bar/").unmap_relative("bar/"), None);
        assert_eq!(
            prefix("foo/", "bar/").unmap("bar/").as_deref(),
            Some("foo/")
        );
        assert_eq!(mapped(&prefix("foo/", ""), "foo/a/").as_deref(), Some("a/"));
    }

    #[test]
    fn an_object_maps_alone() {
        let map = KeyMap::Object {
            source: "a/obj".into(),
            destination: "name".into(),
        };
        let found = map.map("a/obj").unwrap();
        assert_eq!(
            (found.relative, found.destination.as_str()),
            ("obj", "name")
        );
        assert_eq!(mapped(&map, "a/obj2"), None);
        assert_eq!(mapped(&map, "a/obj/x"), None);
        assert_eq!(map.unmap("name").as_deref(), Some("a/obj"));
        assert_eq!(map.unmap_relative("name"), Some("obj"));
        assert_eq!(map.unmap("name2"), None);
        assert_eq!(map.map_bound("a/obj"), None);
    }

    #[test]
    fn names_keep_the_slash_of_a_marker() {
        for (key, wanted) in [
            ("a/b", "b"),
            ("b", "b"),
            ("a/b/", "b/"),
            ("b/", "b/"),
            ("a//", "/"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(name(key), wanted, "{key}");
        }
    }

    #[test]
    fn bounds_outside_the_prefix_cut_nothing() {
        let map = prefix("foo/", "bar/");
        assert_eq!(map.map_bound("foo/x").as_deref(), Some("bar/x"));
        assert_eq!(map.map_bound("foo/").as_deref(), Some("bar/"));
        for bound in ["", "fo", "foo", "foobar", "zoo"] {
            assert_eq!(map.map_bound(bound), None, "{bound}");
        }
    }

    /// Keys from an alphabet around the slash, with one letter beyond ASCII.
    const KEY: &str = "[ab./0é]{1,8}";

    proptest! {
        #[test]
        fn mapping_keeps_the_order_and_can_be_undone(
            source in "([ab.0é]{1,3}/){0,2}",
            destination in "([ab.0é]{1,3}/){0,2}",
            relative in prop::collection::btree_set(KEY, 2..20),
        ) {
            let map = prefix(&source, &destination);
            let keys: Vec<_> = relative.iter().map(|key| format!("{source}{key}")).collect();
            let images: Vec<_> = keys.iter().map(|key| mapped(&map, key).unwrap()).collect();
            prop_assert!(keys.is_sorted() && images.windows(2).all(|pair| pair[0] < pair[1]));
            for (key, image) in keys.iter().zip(&images) {
                prop_assert_eq!(map.unmap(image), Some(key.clone()));
                prop_assert_eq!(map.unmap_relative(image), Some(&key[source.len()..]));
                prop_assert_eq!(map.map(key).unwrap().relative, &key[source.len()..]);
            }
        }

        #[test]
        fn mapped_bounds_cut_the_same_keys(
            source in "([ab.0é]{1,3}/){0,2}",
            destination in "([ab.0é]{1,3}/){0,2}",
            bound in "[ab./0é]{0,8}",
            relative in KEY,
        ) {
            let map = prefix(&source, &destination);
            let bound = format!("{source}{bound}");
            let key = format!("{source}{relative}");
            let (image, cut) = (mapped(&map, &key).unwrap(), map.map_bound(&bound).unwrap());
            prop_assert_eq!(key.cmp(&bound), image.cmp(&cut));
        }

        #[test]
        fn whatever_maps_also_unmaps_and_the_reverse(
            source in "([ab]{1,2}/){0,2}", destination in "([ab]{1,2}/){0,2}", key in "[ab/]{0,6}"
        ) {
            let map = prefix(&source, &destination);
            if let Some(image) = mapped(&map, &key) {
                prop_assert_eq!(map.unmap(&image), (!key.is_empty()).then_some(key.clone()));
            }
            if let Some(original) = map.unmap(&key) {
                prop_assert_eq!(mapped(&map, &original), (!key.is_empty()).then_some(key));
            }
        }
    }
}
