//! Locations: `s3://bucket/key`, `local:///path`, `file:///path` and plain paths.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// Which kind of store a location is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// AWS S3 or any S3-compatible endpoint.
    S3,
    /// A disk or mounted file system of this machine.
    Local,
}

/// A place in a store: a container and a path inside it, kept exactly as given.
///
/// For S3 the container is the bucket and the path a key or prefix (no leading slash of the
/// URI's own; keys that begin with a slash are written `s3://bucket//key`). For local disk the
/// container is empty and the path is the file system path as the user typed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The kind of store.
    pub scheme: Scheme,
    /// The bucket; empty for local disk.
    pub container: String,
    /// Key, prefix or path; nothing in it is rewritten.
    pub path: String,
}

impl Location {
    /// Whether the path names a folder by its spelling: empty or ending in a slash.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.path.is_empty() || self.path.ends_with('/')
    }

    /// A path of this machine, kept as it is whatever it contains; refused if it is not UTF-8.
    pub fn local(path: &Path) -> Result<Self> {
        let text = path.to_str().ok_or_else(|| {
            Error::invalid("the path is not UTF-8").object(path.display().to_string())
        })?;
        Ok(Self {
            scheme: Scheme::Local,
            container: String::new(),
            path: text.to_owned(),
        })
    }

    /// The same container with another path.
    #[must_use]
    pub fn with_path(&self, path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..self.clone()
        }
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let local = |path: &str| {
            if path.is_empty() {
                Err(Error::invalid("an empty path").hint("`.` is this directory"))
            } else {
                Ok(Self {
                    scheme: Scheme::Local,
                    container: String::new(),
                    path: path.to_owned(),
                })
            }
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return local(text);
        };
        match scheme.to_ascii_lowercase().as_str() {
            "s3" => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                let plain = |c: char| c.is_ascii_alphanumeric() || "-._:/".contains(c);
                if bucket.is_empty() || !bucket.chars().all(plain) {
                    return Err(Error::invalid(format!("`{text}` names no valid bucket"))
                        .hint("the form is s3://BUCKET/KEY"));
                }
                Ok(Self {
                    scheme: Scheme::S3,
                    container: bucket.to_owned(),
                    path: key.to_owned(),
                })
            }
            "local" => local(rest),
            "file" => match rest.strip_prefix("localhost").unwrap_or(rest) {
                path if path.starts_with('/') => local(path),
                _ => Err(
                    Error::invalid(format!("`{text}` is not an absolute file URI"))
                        .hint("the form is file:///PATH"),
                ),
            },
            other @ ("gs" | "gcs" | "az" | "azure" | "abfs" | "abfss" | "hdfs") => {
                Err(Error::control(
                    ErrorKind::Unsupported,
                    format!("`{other}://` is not supported yet: `{text}`"),
                )
                .hint("this version moves data between S3-compatible stores and local disk"))
            }
            other => Err(
                Error::invalid(format!("unknown scheme `{other}://` in `{text}`"))
                    .hint("s3://BUCKET/KEY, file:///PATH, local://PATH or a plain path"),
            ),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::S3 => write!(f, "s3://{}/{}", self.container, self.path),
            Scheme::Local => f.write_str(&self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Location {
        text.parse().unwrap()
    }

    #[test]
    fn keys_are_kept_as_they_are() {
        for (text, bucket, key) in [
            ("s3://b", "b", ""),
            ("s3://b/", "b", ""),
            ("s3://b//abs", "b", "/abs"),
            ("s3://b/a//b/%20 é?x#y", "b", "a//b/%20 é?x#y"),
        ] {
            let location = parse(text);
            assert_eq!(
                (location.container.as_str(), location.path.as_str()),
                (bucket, key)
            );
        }
    }

    #[test]
    fn local_forms() {
        assert_eq!(parse("/a/b"), parse("file:///a/b"));
        assert_eq!(parse("local:///a/b"), parse("/a/b"));
        assert_eq!(parse("./x y").path, "./x y");
        assert!("file://host/x".parse::<Location>().is_err());
    }

    #[test]
    fn later_schemes_say_not_yet() {
        for text in ["gs://b/k", "az://c/b", "hdfs://nn/p"] {
            let error = text.parse::<Location>().unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unsupported);
            assert!(error.to_string().contains("not supported yet"), "{error}");
        }
        assert!("ftp://x/y".parse::<Location>().is_err());
        assert!("s3:///key".parse::<Location>().is_err());
        assert!("".parse::<Location>().is_err());
    }
}
