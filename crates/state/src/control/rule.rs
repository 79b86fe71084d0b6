//! A rule of triggers: what becomes of new, changed and deleted objects under a prefix.

use serde::{Deserialize, Serialize};
use skyhaul_model::filter::FilterSpec;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Error, Result, Scheme};

use super::check_name;

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Who asked for it.
    pub owner: String,
    /// Where objects come from: a bucket, and a prefix in it.
    pub source: Endpoint,
    /// Where each goes, under the same name below the prefix.
    pub destinations: Vec<Endpoint>,
    /// Which objects.
    pub filters: FilterSpec,
    /// Whether what is deleted at the source is deleted at the destinations.
    pub deletes: bool,
    /// Whether events do anything.
    pub enabled: bool,
}

impl Rule {
    /// Refuses (`Invalid`) names that are not plain, places that are no folders of buckets, and a rule without
    /// destinations.
    pub fn check(&self) -> Result<()> {
        check_name(&self.name, "a rule")?;
        if self.destinations.is_empty() {
            return Err(Error::invalid("a rule needs a destination").object(&*self.name));
        }
        for place in std::iter::once(&self.source).chain(&self.destinations) {
            let location = &place.location;
            let refused = |message: &str| Err(Error::invalid(message).object(location.to_string()));
            if location.scheme != Scheme::S3 {
                return refused("a rule is between buckets");
            }
            if !location.is_folder() {
                return refused("a rule is about a whole bucket or a prefix that ends in a slash");
            }
            place.check_remote()?;
        }
        if self.destinations.contains(&self.source) {
            return Err(Error::invalid("a rule cannot copy to where it copies from")
                .object(self.source.location.to_string()));
        }
        Ok(())
    }

    /// The name of a source's key below the rule's prefix; `None` if it is not there.
    #[must_use]
    pub fn below<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(self.source.location.path.as_str())
    }

    /// The key at a destination of what is called so below the prefix.
    #[must_use]
    pub fn key_at(&self, destination: &Endpoint, below: &str) -> String {
        format!("{}{below}", destination.location.path)
    }

    /// Which of this rule's destinations is where `other` copies from, if `other` copies back: both mirror each
    /// other.
    #[must_use]
    pub fn mirrors(&self, other: &Self) -> Option<usize> {
        let back = |place: &Endpoint| place == &self.source;
        if !other.enabled || !other.destinations.iter().any(back) {
            return None;
        }
        let mut here = self.destinations.iter();
        here.position(|place| place == &other.source)
    }
}

#[cfg(test)]
mod tests {
    use skyhaul_model::spec::Connection;

    use super::*;

    fn place(text: &str) -> Endpoint {
        Endpoint {
            location: text.parse().unwrap(),
            connection: Connection::default(),
        }
    }

    fn rule(source: &str, destinations: &[&str]) -> Rule {
        Rule {
            name: "r".to_owned(),
            owner: "me".to_owned(),
            source: place(source),
            destinations: destinations.iter().map(|text| place(text)).collect(),
            filters: FilterSpec::default(),
            deletes: true,
            enabled: true,
        }
    }

    #[test]
    fn what_cannot_be_kept_up_is_refused() {
        rule("s3://a/", &["s3://b/c/"]).check().unwrap();
        for (source, destinations) in [
            ("s3://a/x", &["s3://b/"][..]),
            ("s3://a/", &["s3://b/x"]),
            ("s3://a/", &["/tmp/"]),
            ("s3://a/", &[]),
            ("s3://a/", &["s3://a/"]),
        ] {
            assert!(rule(source, destinations).check().is_err(), "{source}");
        }
        let unnamed = Rule {
            name: "a b".to_owned(),
            ..rule("s3://a/", &["s3://b/"])
        };
        assert!(unnamed.check().is_err());
    }

    #[test]
    fn keys_keep_their_names_below_the_prefix() {
        let rule = rule("s3://a/in/", &["s3://b/out/"]);
        assert_eq!(rule.below("in/x/y"), Some("x/y"));
        assert_eq!(rule.below("other/x"), None);
        assert_eq!(rule.key_at(&rule.destinations[0], "x/y"), "out/x/y");
    }

    #[test]
    fn two_rules_that_copy_back_mirror_each_other() {
        let there = rule("s3://a/", &["s3://c/", "s3://b/"]);
        let back = rule("s3://b/", &["s3://a/"]);
        assert_eq!(there.mirrors(&back), Some(1));
        assert_eq!(back.mirrors(&there), Some(0));
        assert_eq!(there.mirrors(&rule("s3://b/", &["s3://d/"])), None);
        let paused = Rule {
            enabled: false,
            ..back
        };
        assert_eq!(there.mirrors(&paused), None);
    }
}
