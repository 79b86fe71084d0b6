//! What `cp` and `sync` mean by their two arguments: which containers are opened and how keys
//! map. Pure, so that every spelling is a line of a test table; the caller looks at both sides
//! first.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, Side};
use crate::keymap::{KeyMap, Rename, name};
use crate::location::{Location, Scheme};
use crate::spec::Mode;

/// What stands at the source location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// An object or file of exactly this name. Where a prefix of the same name exists too, this
    /// is the answer without `-r` and [`SourceKind::Folder`] with it.
    Object,
    /// A directory, bucket or prefix.
    Folder {
        /// Objects under it, as far as they were counted.
        objects: u64,
        /// Whether there are more than were counted.
        more: bool,
    },
    /// Nothing.
    Absent,
}

/// What the caller saw before planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What stands at the source location.
    pub source: SourceKind,
    /// Local destinations: whether the path is an existing directory.
    pub destination_is_folder: bool,
    /// Whether both sides are one service, so that equal containers are the same container. True
    /// for two local paths.
    pub same_service: bool,
}

/// Where a transfer reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPlan {
    /// The source to open. S3: bucket and prefix or key, as mapped; local: the root directory,
    /// to which keys are relative.
    pub source: Location,
    /// The destination to open, likewise.
    pub destination: Location,
    /// How keys map.
    pub keys: KeyMap,
}

/// Plans a copy or sync (which is always recursive). Local paths should be absolute: they are
/// kept in the transfer's specification.
///
/// Fails with `NotFound` (source) where there is nothing, `Invalid` where the arguments do not fit
/// what is there (a folder without `-r`, one side inside the other), each with a hint.
pub fn plan_copy(
    mode: Mode,
    source: &Location,
    destination: &Location,
    recursive: bool,
    seen: &Seen,
) -> Result<CopyPlan> {
    let recursive = recursive || mode == Mode::Sync;
    let plan = match (seen.source, recursive) {
        (SourceKind::Absent, _) => return Err(absent(source)),
        (SourceKind::Object, false) => object(source, destination, seen.destination_is_folder)?,
        (SourceKind::Folder { .. }, true) => folder(source, destination),
        (SourceKind::Folder { objects, more }, false) => {
            return Err(needs_recursive(source, objects, more));
        }
        (SourceKind::Object, true) => return Err(no_folder(mode, source)),
    };
    if seen.same_service {
        refuse_overlap(&plan)?;
    }
    Ok(plan)
}

/// One object under a new name.
fn object(source: &Location, destination: &Location, into_folder: bool) -> Result<CopyPlan> {
    let (source, source_key) = match source.scheme {
        Scheme::S3 => (source.clone(), source.path.clone()),
        Scheme::Local => split_file(source)?,
    };
    let into_folder = destination.is_folder() || into_folder;
    let (destination, destination_key) = match (destination.scheme, into_folder) {
        (Scheme::S3, true) => {
            let key = format!("{}{}", destination.path, name(&source_key));
            (destination.with_path(key.clone()), key)
        }
        (Scheme::S3, false) => (destination.clone(), destination.path.clone()),
        (Scheme::Local, true) => (directory(destination), name(&source_key).to_owned()),
        (Scheme::Local, false) => split_file(destination)?,
    };
    let keys = KeyMap::Object {
        source: source_key,
        destination: destination_key,
    };
    Ok(CopyPlan {
        source,
        destination,
        keys,
    })
}

/// What is in a folder, into a folder.
fn folder(source: &Location, destination: &Location) -> CopyPlan {
    let open = |location: &Location| match location.scheme {
        Scheme::S3 => {
            let prefix = match location.path.as_str() {
                path if location.is_folder() => path.to_owned(),
                path => format!("{path}/"),
            };
            (location.with_path(prefix.clone()), prefix)
        }
        Scheme::Local => (directory(location), String::new()),
    };
    let (source, source_prefix) = open(source);
    let (destination, destination_prefix) = open(destination);
    let keys = KeyMap::Prefix {
        source: source_prefix,
        destination: destination_prefix,
    };
    CopyPlan {
        source,
        destination,
        keys,
    }
}

/// A local directory without trailing slashes.
fn directory(location: &Location) -> Location {
    let path = location.path.trim_end_matches('/');
    location.with_path(if path.is_empty() { "/" } else { path })
}

/// A local file as its directory and its name.
fn split_file(location: &Location) -> Result<(Location, String)> {
    let path = Path::new(&location.path);
    let (Some(parent), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return Err(Error::invalid(format!("`{location}` names no file")));
    };
    // Parent and name come from a string, so they are UTF-8.
    let parent = parent.to_str().unwrap_or_default();
    Ok((
        location.with_path(if parent.is_empty() { "." } else { parent }),
        name.to_owned(),
    ))
}

fn absent(source: &Location) -> Error {
    let message = match source.scheme {
        Scheme::S3 if source.path.is_empty() => "the bucket has no objects",
        Scheme::S3 => "there is no such object and nothing under this prefix",
        Scheme::Local => "there is no such file or directory",
    };
    Error::new(Side::Source, ErrorKind::NotFound, message).object(source.to_string())
}

fn needs_recursive(source: &Location, objects: u64, more: bool) -> Error {
    let plural = if objects == 1 && !more {
        "object"
    } else {
        "objects"
    };
    let at_least = if more { "more than " } else { "" };
    let (what, where_) = match source.scheme {
        Scheme::S3 if source.path.is_empty() => ("is a bucket", "in this bucket"),
        Scheme::S3 => ("is no object", "under this prefix"),
        Scheme::Local => ("is a directory", "in this directory"),
    };
    let hint = if objects == 0 && !more && source.scheme == Scheme::Local {
        "add -r to copy a directory".to_owned()
    } else {
        format!("{at_least}{objects} {plural} {where_}: add -r")
    };
    Error::invalid(what).object(source.to_string()).hint(hint)
}

fn no_folder(mode: Mode, source: &Location) -> Error {
    let hint = match mode {
        Mode::Copy => "leave out -r",
        Mode::Sync => "copy a single object with `skyhaul cp`",
    };
    Error::invalid("is a single object, not a folder")
        .object(source.to_string())
        .hint(hint)
}

/// Refuses a transfer onto itself, and one folder inside the other: what is written would be
/// listed again, or what is read overwritten or deleted.
fn refuse_overlap(plan: &CopyPlan) -> Result<()> {
    let recursive = matches!(plan.keys, KeyMap::Prefix { .. });
    let source = (&plan.source, plan.keys.source_prefix());
    let destination = (&plan.destination, plan.keys.destination_prefix());
    let message = match overlap(recursive, source, destination) {
        (true, true) => "source and destination are the same",
        (false, true) => "the destination is inside the source",
        (true, false) => "the source is inside the destination",
        (false, false) => return Ok(()),
    };
    Err(Error::invalid(format!(
        "{message}: {} and {}",
        plan.source, plan.destination
    )))
}

/// Refuses destinations that share keys: what is written to one would be overwritten by another. Of
/// plans of one source, whose destinations are of one service.
pub fn refuse_shared(one: &CopyPlan, other: &CopyPlan) -> Result<()> {
    let recursive = matches!(one.keys, KeyMap::Prefix { .. });
    let place = |plan: &'_ CopyPlan| plan.keys.destination_prefix().to_owned();
    let (first, second) = (place(one), place(other));
    let overlap = overlap(
        recursive,
        (&one.destination, &first),
        (&other.destination, &second),
    );
    let message = match overlap {
        (true, true) => "two destinations are the same",
        (false, false) => return Ok(()),
        _ => "one destination is inside another",
    };
    Err(Error::invalid(format!(
        "{message}: {} and {}",
        one.destination, other.destination
    )))
}

/// Whether the first is in the second, and the second in the first, of containers that are one if they
/// are called the same.
fn overlap(recursive: bool, first: (&Location, &str), second: (&Location, &str)) -> (bool, bool) {
    let ((one, one_key), (other, other_key)) = (first, second);
    if one.scheme != other.scheme || one.container != other.container {
        return (false, false);
    }
    match one.scheme {
        Scheme::S3 if recursive => (
            one_key.starts_with(other_key),
            other_key.starts_with(one_key),
        ),
        Scheme::S3 => (one_key == other_key, one_key == other_key),
        Scheme::Local => {
            let (one, other) = (plain(&one.path, one_key), plain(&other.path, other_key));
            if recursive {
                (one.starts_with(&other), other.starts_with(&one))
            } else {
                (one == other, one == other)
            }
        }
    }
}

/// The keys of all destinations of one source: those of the first, and what each of several calls
/// them instead.
#[must_use]
pub fn renames(plans: &[CopyPlan]) -> Option<(KeyMap, Vec<Rename>)> {
    let mut keys = plans.first()?.keys.clone();
    if let KeyMap::Prefix { destination, .. } = &mut keys
        && plans
            .iter()
            .any(|plan| plan.keys.destination_prefix().is_empty())
    {
        // Who has no prefix has no marker of it either: then none is copied.
        destination.clear();
    }
    let from = keys.destination_prefix().to_owned();
    let rename = |plan: &CopyPlan| Rename {
        from: from.clone(),
        to: plan.keys.destination_prefix().to_owned(),
    };
    let several = if plans.len() == 1 { &[] } else { plans };
    let renames = several.iter().map(rename).collect();
    Some((keys, renames))
}

/// A local path without `.`, `..` and repeated slashes. Symbolic links are not seen here: a caller
/// that can resolves them first.
fn plain(root: &str, key: &str) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in Path::new(root).join(key).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(plain.components().next_back(), Some(Component::Normal(_))) =>
            {
                plain.pop();
            }
            Component::ParentDir if plain.has_root() => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: SourceKind = SourceKind::Folder {
        objects: 3,
        more: false,
    };

    fn seen(source: SourceKind) -> Seen {
        Seen {
            source,
            destination_is_folder: false,
            same_service: true,
        }
    }

    fn plan(mode: Mode, from: &str, to: &str, recursive: bool, seen: &Seen) -> Result<CopyPlan> {
        plan_copy(
            mode,
            &from.parse().unwrap(),
            &to.parse().unwrap(),
            recursive,
            seen,
        )
    }

    /// `opened source|key -> opened destination|key`.
    fn show(plan: &CopyPlan) -> String {
        let (source, destination) = (plan.keys.source_prefix(), plan.keys.destination_prefix());
        format!(
            "{}|{source} -> {}|{destination}",
            plan.source, plan.destination
        )
    }

    fn cp(from: &str, to: &str) -> String {
        let plan = plan(Mode::Copy, from, to, false, &seen(SourceKind::Object)).unwrap();
        assert!(matches!(plan.keys, KeyMap::Object { .. }));
        show(&plan)
    }

    fn cp_r(from: &str, to: &str) -> String {
        let plan = plan(Mode::Copy, from, to, true, &seen(FOLDER)).unwrap();
        assert!(matches!(plan.keys, KeyMap::Prefix { .. }));
        show(&plan)
    }

    #[test]
    fn an_object_goes_to_a_name_or_into_a_folder() {
        for (from, to, wanted) in [
            (
                "s3://b/a/obj",
                "s3://c/name",
                "s3://b/a/obj|a/obj -> s3://c/name|name",
            ),
            (
                "s3://b/a/obj",
                "s3://c/dir/",
                "s3://b/a/obj|a/obj -> s3://c/dir/obj|dir/obj",
            ),
            (
                "s3://b/a/obj",
                "s3://c",
                "s3://b/a/obj|a/obj -> s3://c/obj|obj",
            ),
            (
                "s3://b/a/obj",
                "s3://c/",
                "s3://b/a/obj|a/obj -> s3://c/obj|obj",
            ),
            (
                "s3://b/a/obj",
                "s3://b/a/obj2",
                "s3://b/a/obj|a/obj -> s3://b/a/obj2|a/obj2",
            ),
            (
                "s3://b/a//obj",
                "s3://c/",
                "s3://b/a//obj|a//obj -> s3://c/obj|obj",
            ),
            ("s3://b/a/obj", "/d/name", "s3://b/a/obj|a/obj -> /d|name"),
            ("s3://b/a/obj", "/d/", "s3://b/a/obj|a/obj -> /d|obj"),
            ("s3://b/a/obj", "name", "s3://b/a/obj|a/obj -> .|name"),
            ("s3://b/a/obj", "/name", "s3://b/a/obj|a/obj -> /|name"),
            ("/x/file", "s3://c/d/", "/x|file -> s3://c/d/file|d/file"),
            ("/x/file", "s3://c/d", "/x|file -> s3://c/d|d"),
            ("file", "s3://c", ".|file -> s3://c/file|file"),
            ("/x/file", "/y/other", "/x|file -> /y|other"),
            ("/x/file", "/", "/x|file -> /|file"),
        ] {
            assert_eq!(cp(from, to), wanted, "{from} {to}");
        }
    }

    #[test]
    fn an_existing_local_directory_takes_the_object_in() {
        let seen = Seen {
            destination_is_folder: true,
            ..seen(SourceKind::Object)
        };
        for (to, wanted) in [
            ("/d", "/d|obj"),
            (".", ".|obj"),
            ("..", "..|obj"),
            ("/", "/|obj"),
        ] {
            let plan = plan(Mode::Copy, "s3://b/a/obj", to, false, &seen).unwrap();
            assert!(show(&plan).ends_with(wanted), "{}", show(&plan));
        }
    }

    #[test]
    fn a_marker_is_copied_as_an_object() {
        assert_eq!(
            cp("s3://b/a/dir/", "s3://c/x/"),
            "s3://b/a/dir/|a/dir/ -> s3://c/x/dir/|x/dir/"
        );
        assert_eq!(
            cp("s3://b/a/dir/", "/d/"),
            "s3://b/a/dir/|a/dir/ -> /d|dir/"
        );
    }

    #[test]
    fn a_folder_goes_into_a_folder_with_and_without_slash() {
        let wanted = "s3://b/foo/|foo/ -> s3://c/bar/|bar/";
        for from in ["s3://b/foo", "s3://b/foo/"] {
            for to in ["s3://c/bar", "s3://c/bar/"] {
                assert_eq!(cp_r(from, to), wanted);
                let sync = plan(Mode::Sync, from, to, false, &seen(FOLDER)).unwrap();
                assert_eq!(show(&sync), wanted);
            }
        }
        for (from, to, wanted) in [
            ("s3://b", "s3://c", "s3://b/| -> s3://c/|"),
            ("s3://b/foo", "s3://c/", "s3://b/foo/|foo/ -> s3://c/|"),
            ("s3://b/foo", "/d", "s3://b/foo/|foo/ -> /d|"),
            ("/x/", "s3://c/bar", "/x| -> s3://c/bar/|bar/"),
            ("/x", "/y//", "/x| -> /y|"),
            (".", "s3://c", ".| -> s3://c/|"),
            ("/", "s3://c", "/| -> s3://c/|"),
            ("s3://b/foo//", "s3://c", "s3://b/foo//|foo// -> s3://c/|"),
        ] {
            assert_eq!(cp_r(from, to), wanted, "{from} {to}");
        }
    }

    fn fault(mode: Mode, from: &str, to: &str, recursive: bool, source: SourceKind) -> Error {
        plan(mode, from, to, recursive, &seen(source)).unwrap_err()
    }

    #[test]
    fn a_folder_without_r_is_refused_with_a_count() {
        for (from, objects, more, hint) in [
            (
                "s3://b/foo",
                3,
                false,
                "3 objects under this prefix: add -r",
            ),
            (
                "s3://b/foo/",
                1,
                false,
                "1 object under this prefix: add -r",
            ),
            (
                "s3://b/foo",
                1000,
                true,
                "more than 1000 objects under this prefix: add -r",
            ),
            ("s3://b", 2, false, "2 objects in this bucket: add -r"),
            ("/x", 2, false, "2 objects in this directory: add -r"),
            ("/x", 0, false, "add -r to copy a directory"),
        ] {
            let source = SourceKind::Folder { objects, more };
            let error = fault(Mode::Copy, from, "s3://c/d", false, source);
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert_eq!(error.hint.as_deref(), Some(hint));
            assert_eq!(
                error.object.as_deref(),
                Some(from.parse::<Location>().unwrap().to_string()).as_deref()
            );
        }
    }

    #[test]
    fn an_absent_source_is_the_sources_fault() {
        for recursive in [false, true] {
            let error = fault(
                Mode::Copy,
                "s3://b/foo",
                "/d",
                recursive,
                SourceKind::Absent,
            );
            assert_eq!(
                (error.side, error.kind),
                (Side::Source, ErrorKind::NotFound)
            );
        }
    }

    #[test]
    fn an_object_is_no_folder() {
        let object = SourceKind::Object;
        assert!(
            fault(Mode::Copy, "s3://b/k", "/d", true, object)
                .to_string()
                .contains("leave out -r")
        );
        assert!(
            fault(Mode::Sync, "s3://b/k", "/d", false, object)
                .to_string()
                .contains("skyhaul cp")
        );
    }

    #[test]
    fn one_side_inside_the_other_is_refused() {
        for (from, to) in [
            ("s3://b/a/", "s3://b/a/x/"),
            ("s3://b/a", "s3://b/a"),
            ("s3://b", "s3://b/x"),
            ("s3://b/a/x", "s3://b/a"),
            ("/a", "/a/x"),
            ("/a/x", "/a"),
            ("/a/./b/", "/a/c/../b"),
            ("/../a", "/a"),
            ("x", "./x/y"),
            ("/", "/a"),
        ] {
            let error = fault(Mode::Copy, from, to, true, FOLDER);
            assert_eq!(error.kind, ErrorKind::Invalid, "{from} {to}");
        }
        for (from, to) in [
            ("s3://b/k", "s3://b/k"),
            ("s3://b/k", "s3://b"),
            ("/a/k", "/a/./k"),
        ] {
            fault(Mode::Copy, from, to, false, SourceKind::Object);
        }
    }

    #[test]
    fn neighbours_and_other_services_do_not_overlap() {
        for (from, to) in [
            ("s3://b/a", "s3://b/ab"),
            ("s3://b/a", "s3://c/a"),
            ("/a", "/ab"),
            ("/a/b", "/a/c"),
            ("s3://b/a", "/a"),
        ] {
            cp_r(from, to);
        }
        let elsewhere = Seen {
            same_service: false,
            ..seen(FOLDER)
        };
        plan(Mode::Sync, "s3://b/a", "s3://b/a", true, &elsewhere).unwrap();
    }

    #[test]
    fn several_destinations_have_keys_of_their_own() {
        let plans = |mode, from: &str, tos: &[&str], recursive, source| -> Vec<CopyPlan> {
            let plan = |to: &&str| plan(mode, from, to, recursive, &seen(source)).unwrap();
            tos.iter().map(plan).collect()
        };
        for (tos, keys) in [
            (["s3://b/x", "s3://c/y/z"], ["x/k", "y/z/k"]),
            (["s3://b/x", "s3://c"], ["x/k", "k"]),
            (["s3://b", "/d/e"], ["k", "k"]),
        ] {
            let plans = plans(Mode::Copy, "s3://a/p", &tos, true, FOLDER);
            let (map, renames) = renames(&plans).unwrap();
            let mapped = map.map("p/k").unwrap().destination;
            let found: Vec<_> = renames.iter().map(|rename| rename.key(&mapped)).collect();
            assert_eq!(found, keys, "{tos:?}");
        }
        let tos = ["s3://b/x", "s3://c/y/", "/d/e"];
        let plans = plans(Mode::Copy, "s3://a/p/k", &tos, false, SourceKind::Object);
        let (map, renames) = renames(&plans).unwrap();
        let mapped = map.map("p/k").unwrap().destination;
        let found: Vec<_> = renames.iter().map(|rename| rename.key(&mapped)).collect();
        assert_eq!(found, ["x", "y/k", "e"]);
    }

    #[test]
    fn destinations_share_no_keys() {
        for (one, other, fits) in [
            ("s3://b/x", "s3://b/y", true),
            ("s3://b/x", "s3://c/x", true),
            ("s3://b/x", "s3://b/x/", false),
            ("s3://b/x", "s3://b/x/y", false),
            ("s3://b", "s3://b/x/y", false),
            ("/d/x", "/d/xy", true),
            ("/d/x/../y", "/d/y", false),
            ("/d", "s3://d", true),
        ] {
            let plan = |to| plan(Mode::Copy, "s3://a/p", to, true, &seen(FOLDER)).unwrap();
            let refused = refuse_shared(&plan(one), &plan(other));
            assert_eq!(refused.is_ok(), fits, "{one} {other}");
        }
    }
}
