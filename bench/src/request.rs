//! The address of a request: bucket, key, query.

use percent_encoding::percent_decode_str;

use crate::error::S3Error;

/// Bucket, key and query of a path-style request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Bucket name, empty for the service itself.
    pub(crate) bucket: String,
    /// Key, empty for the bucket itself.
    pub(crate) key: String,
    query: Vec<(String, String)>,
}

impl Target {
    /// Decodes a request's path and query.
    pub(crate) fn parse(path: &str, query: Option<&str>) -> Result<Self, S3Error> {
        let path = decode(path.strip_prefix('/').unwrap_or(path))?;
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let query = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name)?, decode(&value.replace('+', " "))?))
            })
            .collect::<Result<_, S3Error>>()?;
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            query,
        })
    }

    /// Value of a query parameter; empty if it has none.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// All query parameters.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.query
    }

    /// Whether a query parameter is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.query(name).is_some()
    }

    /// A query parameter that is a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, S3Error> {
        self.query(name)
            .filter(|text| !text.is_empty())
            .map(|text| {
                text.parse()
                    .map_err(|_| S3Error::invalid(format!("{name}={text}")))
            })
            .transpose()
    }
}

fn decode(text: &str) -> Result<String, S3Error> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| S3Error::invalid(format!("{text} is not UTF-8")))
}

/// Reads `x-amz-copy-source`: bucket and key.
pub(crate) fn copy_source(header: &str) -> Result<(String, String), S3Error> {
    let path = header
        .split_once("?versionId=")
        .map_or(header, |(path, _)| path);
    let Target { bucket, key, .. } = Target::parse(path, None)?;
    if bucket.is_empty() || key.is_empty() {
        return Err(S3Error::invalid(format!("copy source {header}")));
    }
    Ok((bucket, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries() {
        let target = Target::parse("/b/a//%C3%A9+%2B", Some("prefix=a%2Fb+c&uploads&n=7")).unwrap();
        assert_eq!(
            (target.bucket.as_str(), target.key.as_str()),
            ("b", "a//é++")
        );
        assert_eq!(target.query("prefix"), Some("a/b c"));
        assert!(target.has("uploads") && !target.has("acl"));
        assert_eq!(target.number::<u32>("n"), Ok(Some(7)));
        assert!(target.number::<u32>("prefix").is_err());
        assert_eq!(Target::parse("/", None).unwrap(), Target::default());
        assert!(Target::parse("/b/%ff", None).is_err());
    }

    #[test]
    fn copy_sources() {
        let want = ("b".to_owned(), "k /x".to_owned());
        assert_eq!(copy_source("/b/k%20/x"), Ok(want.clone()));
        assert_eq!(copy_source("b/k%20/x?versionId=3"), Ok(want));
        assert!(copy_source("b").is_err());
    }
}
