//! Which keys can be files: a key becomes a relative path as it is or not at all, so that no key
//! can name anything outside the root.

use super::temp;

/// Longest name of a file or directory in bytes on Linux.
const MAX_NAME: usize = 255;
/// Longest path that a system call takes, in bytes, without the closing NUL.
const MAX_PATH: usize = 4_095;

/// A key that is a safe relative path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyPath<'a> {
    /// The directory's path without a closing slash; empty for the root.
    pub(super) directory: &'a str,
    /// The last name.
    pub(super) name: &'a str,
    /// Whether the key ends in a slash: a folder marker.
    pub(super) is_marker: bool,
}

impl<'a> KeyPath<'a> {
    /// Takes a key apart, or says why it cannot be a path. `root` is the root's length in bytes.
    pub(super) fn parse(key: &'a str, root: usize) -> Result<Self, String> {
        let (path, is_marker) = match key.strip_suffix('/') {
            Some(path) => (path, true),
            None => (key, false),
        };
        if path.is_empty() {
            return Err("the key is empty or only a slash".into());
        }
        if path.contains('\0') {
            return Err("the key has a NUL character".into());
        }
        if root + 1 + path.len() > MAX_PATH {
            return Err(format!("the path would be longer than {MAX_PATH} bytes"));
        }
        for name in path.split('/') {
            match name {
                "" => return Err("the key has an empty path component".into()),
                "." | ".." => return Err(format!("the key has the path component `{name}`")),
                _ if name.len() > MAX_NAME => {
                    return Err(format!("a path component is longer than {MAX_NAME} bytes"));
                }
                _ if temp::is_temporary(name.as_bytes()) => {
                    return Err("the name is reserved for Skyhaul's temporary files".into());
                }
                _ => {}
            }
        }
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(Self {
            directory,
            name,
            is_marker,
        })
    }

    /// The whole relative path, without a closing slash.
    pub(super) fn path(&self) -> String {
        join(self.directory, self.name)
    }
}

/// A name in a directory, as a relative path.
pub(super) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
}

/// The directory itself and all above it up to the root, which is the empty path.
pub(super) fn ancestors(directory: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(directory), |path| {
        if path.is_empty() {
            None
        } else {
            Some(path.rsplit_once('/').map_or("", |(above, _)| above))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_root_can_be_named() {
        for key in [
            "",
            "/",
            "//",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a/.",
            "a//b",
            "a/b//",
            "a\0b",
            "..//",
            "/../",
        ] {
            assert!(KeyPath::parse(key, 1).is_err(), "{key:?}");
        }
        assert!(KeyPath::parse(&"x".repeat(256), 1).is_err());
        assert!(KeyPath::parse(&"abc/".repeat(1_100), 1).is_err());
        assert!(KeyPath::parse(&"abc/".repeat(100), 3_900).is_err());
    }

    #[test]
    fn names_that_only_look_odd_are_kept() {
        for key in [
            "...", "..a", "a..", " ", "%2e%2e", "a\\..\\b", "~", "-rf", "a\nb", "a/.b",
        ] {
            let parsed = KeyPath::parse(key, 1).unwrap();
            assert_eq!(parsed.path(), key);
        }
        assert!(KeyPath::parse(&"x".repeat(255), 1).is_ok());
    }

    #[test]
    fn markers_and_ancestors() {
        let key = KeyPath::parse("a/b/c/", 1).unwrap();
        assert_eq!((key.directory, key.name, key.is_marker), ("a/b", "c", true));
        assert_eq!(ancestors("a/b").collect::<Vec<_>>(), ["a/b", "a", ""]);
        assert_eq!(ancestors("").collect::<Vec<_>>(), [""]);
    }
}
