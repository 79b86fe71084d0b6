//! Named endpoints of the configuration file, and which bucket is behind which.

use std::collections::BTreeMap;

use serde::Deserialize;
use skyhaul_model::spec::{Connection, Role};
use skyhaul_model::{Error, Result};

/// `[endpoints.NAME]`: how a service is reached. Credentials are never here, only the name of the
/// profile that has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NamedEndpoint {
    /// URL of the service; none is AWS.
    pub(crate) endpoint_url: Option<String>,
    /// Region.
    pub(crate) region: Option<String>,
    /// Profile of the shared AWS configuration files.
    pub(crate) profile: Option<String>,
    /// Path-style addressing.
    pub(crate) path_style: Option<bool>,
    /// Requests without a signature.
    pub(crate) no_sign_request: Option<bool>,
    /// Agree to pay for requests.
    pub(crate) requester_pays: Option<bool>,
    /// ARN of the secret that holds the keys.
    pub(crate) secret: Option<String>,
    /// ARN of the role that is assumed.
    pub(crate) role_arn: Option<String>,
    /// What its owner wants to be told.
    pub(crate) external_id: Option<String>,
    /// The account that buckets must be of.
    pub(crate) bucket_owner: Option<String>,
}

/// The fields of an endpoint, whether each is a switch, and what it means.
pub(crate) const FIELDS: &[(&str, bool, &str)] = &[
    ("endpoint_url", false, "URL of the service; without it AWS."),
    (
        "region",
        false,
        "Region; without it found from the environment or the bucket.",
    ),
    (
        "profile",
        false,
        "Profile of the AWS configuration and credentials files.",
    ),
    (
        "path_style",
        true,
        "Bucket in the path instead of the host name.",
    ),
    (
        "no_sign_request",
        true,
        "Send requests without a signature (public buckets).",
    ),
    ("requester_pays", true, "Agree to pay for requests."),
    (
        "secret",
        false,
        "ARN of the secret of Secrets Manager that holds the keys.",
    ),
    (
        "role_arn",
        false,
        "Role to assume, for no more than a transfer needs.",
    ),
    (
        "external_id",
        false,
        "What the role's owner wants to be told.",
    ),
    (
        "bucket_owner",
        false,
        "Account that buckets must be of, else requests are refused.",
    ),
];

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// By name.
    pub(crate) named: BTreeMap<String, NamedEndpoint>,
    /// Bucket to name.
    pub(crate) buckets: BTreeMap<String, String>,
}

impl Endpoints {
    /// The endpoint of this name.
    pub(crate) fn get(&self, name: &str) -> Result<&NamedEndpoint> {
        self.named.get(name).ok_or_else(|| {
            let known: Vec<_> = self.named.keys().map(String::as_str).collect();
            let hint = if known.is_empty() {
                format!("`skyhaul config set endpoints.{name}.endpoint_url URL` makes it")
            } else {
                format!("known are: {}", known.join(", "))
            };
            Error::invalid(format!("no endpoint is called `{name}`")).hint(hint)
        })
    }

    /// The endpoint for a bucket: the one named by the user, else the bucket's own, if any.
    pub(crate) fn choose(&self, name: Option<&str>, bucket: &str) -> Result<NamedEndpoint> {
        match name.or_else(|| self.buckets.get(bucket).map(String::as_str)) {
            Some(name) => self.get(name).cloned(),
            None => Ok(NamedEndpoint::default()),
        }
    }
}

impl NamedEndpoint {
    /// Field by field this one's value, else the other's.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            endpoint_url: self.endpoint_url.or(other.endpoint_url),
            region: self.region.or(other.region),
            profile: self.profile.or(other.profile),
            path_style: self.path_style.or(other.path_style),
            no_sign_request: self.no_sign_request.or(other.no_sign_request),
            requester_pays: self.requester_pays.or(other.requester_pays),
            secret: self.secret.or(other.secret),
            // The id of another role says nothing to this one.
            external_id: match (&self.role_arn, &other.role_arn) {
                (Some(ours), Some(theirs)) if ours != theirs => self.external_id,
                _ => self.external_id.or(other.external_id),
            },
            role_arn: self.role_arn.or(other.role_arn),
            bucket_owner: self.bucket_owner.or(other.bucket_owner),
        }
    }

    /// Its fields that are text.
    pub(crate) fn texts(&self) -> [(&'static str, Option<&String>); 7] {
        [
            ("endpoint_url", self.endpoint_url.as_ref()),
            ("region", self.region.as_ref()),
            ("profile", self.profile.as_ref()),
            ("secret", self.secret.as_ref()),
            ("role_arn", self.role_arn.as_ref()),
            ("external_id", self.external_id.as_ref()),
            ("bucket_owner", self.bucket_owner.as_ref()),
        ]
    }

    /// As a specification holds it. Fails (`Invalid`) on what makes no sense together; no error tells a secret.
    pub(crate) fn connection(self, requester_pays: bool) -> Result<Connection> {
        for (field, text) in self.texts() {
            let checked = text.map_or(Ok(()), |text| value(field, text).map(drop));
            checked.map_err(Error::invalid)?;
        }
        let signs = self.secret.is_some() || self.role_arn.is_some();
        if signs && self.no_sign_request == Some(true) {
            let message = "a secret or a role is for requests that are signed";
            return Err(Error::invalid(message).hint("leave out no-sign-request, or the other"));
        }
        Ok(Connection {
            endpoint_url: self.endpoint_url,
            region: self.region,
            profile: self.profile,
            path_style: self.path_style,
            no_sign_request: self.no_sign_request.unwrap_or(false),
            requester_pays: self.requester_pays.unwrap_or(requester_pays),
            secret: self.secret,
            role: self.role_arn.map(|arn| Role {
                arn,
                external_id: self.external_id,
            }),
            bucket_owner: self.bucket_owner,
        })
    }
}

/// An endpoint's URL as the user wrote it, if it can be one.
pub(crate) fn url(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if rest.contains('@') => {
            Err("credentials do not belong in the URL: use a profile".to_owned())
        }
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && !rest.contains(' ') => {
            Ok(text.to_owned())
        }
        _ => Err("a URL is wanted: https://HOST[:PORT]".to_owned()),
    }
}

/// The number of an account of AWS.
pub(crate) fn account(text: &str) -> Result<String, String> {
    let digits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.to_owned());
    number.ok_or_else(|| "an account's number has 12 digits".to_owned())
}

/// A secret by its ARN, and never the secret itself.
pub(crate) fn secret(text: &str) -> Result<String, String> {
    let parts: Vec<_> = text.splitn(7, ':').collect();
    match parts[..] {
        ["arn", _, "secretsmanager", region, _, "secret", name]
            if !region.is_empty() && !name.is_empty() =>
        {
            Ok(text.to_owned())
        }
        _ => Err("the ARN of a secret is wanted: arn:aws:secretsmanager:…:secret:…".to_owned()),
    }
}

/// The ARN of a role.
pub(crate) fn role(text: &str) -> Result<String, String> {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "iam", "", owner, name]
            if account(owner).is_ok() && name.len() > 5 && name.starts_with("role/") =>
        {
            Ok(text.to_owned())
        }
        _ => Err("the ARN of a role is wanted: arn:aws:iam::ACCOUNT:role/NAME".to_owned()),
    }
}

/// The value of a field that is text, if it can be one.
pub(crate) fn value(field: &str, text: &str) -> Result<String, String> {
    match field {
        "endpoint_url" => url(text),
        "secret" => secret(text),
        "role_arn" => role(text),
        "bucket_owner" => account(text),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_http_and_hold_no_secret() {
        assert!(url("http://127.0.0.1:9000").is_ok() && url("https://s3.example.org/x").is_ok());
        for text in [
            "s3.example.org",
            "ftp://x",
            "http://",
            "http:///x",
            "https://k:s@x",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_named_and_never_said() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:elsewhere-AbCdEf";
        assert_eq!(secret(arn).unwrap(), arn);
        for text in [
            "geheim",
            "arn:aws:iam::1:role/r",
            "arn:aws:secretsmanager::1:secret:x",
        ] {
            let refused = secret(text).unwrap_err();
            assert!(!refused.contains("geheim"), "{refused}");
        }
        assert!(account("123456789012").is_ok() && account("12345678901x").is_err());
    }

    #[test]
    fn what_makes_no_sense_together_is_refused_and_no_secret_is_said() {
        let role_arn = Some("arn:aws:iam::123456789012:role/r".to_owned());
        let some = |text: &str| Some(text.to_owned());
        let none = NamedEndpoint::default;
        for (endpoint, said) in [
            (
                NamedEndpoint {
                    secret: some("geheim"),
                    ..none()
                },
                "ARN of a secret",
            ),
            (
                NamedEndpoint {
                    role_arn: some("r"),
                    ..none()
                },
                "ARN of a role",
            ),
            (
                NamedEndpoint {
                    role_arn: role_arn.clone(),
                    no_sign_request: Some(true),
                    ..none()
                },
                "signed",
            ),
        ] {
            let error = endpoint.connection(false).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("geheim"), "{error}");
        }
        // A role takes no other's external id.
        let named = NamedEndpoint {
            role_arn: some("arn:aws:iam::123456789012:role/other"),
            external_id: some("of the other"),
            ..none()
        };
        let given = NamedEndpoint { role_arn, ..none() };
        let role = given.or(named.clone()).connection(false).unwrap().role;
        assert_eq!(role.unwrap().external_id, None);
        for given in [none(), named.clone()] {
            let given = NamedEndpoint {
                external_id: None,
                ..given
            };
            let role = given.or(named.clone()).connection(false).unwrap().role;
            assert_eq!(role.unwrap().external_id.as_deref(), Some("of the other"));
        }
        // That of both sides is for the one that names a role.
        let both = NamedEndpoint {
            external_id: some("of both"),
            ..none()
        };
        assert_eq!(both.clone().connection(false).unwrap().role, None);
        let side = NamedEndpoint {
            role_arn: named.role_arn,
            ..none()
        };
        let role = side.or(both).connection(false).unwrap().role.unwrap();
        assert_eq!(role.external_id.as_deref(), Some("of both"));
    }

    #[test]
    fn a_bucket_finds_its_endpoint_and_a_name_wins() {
        let url = |url: &str| NamedEndpoint {
            endpoint_url: Some(url.to_owned()),
            ..NamedEndpoint::default()
        };
        let endpoints = Endpoints {
            named: [
                ("a".to_owned(), url("http://a")),
                ("b".to_owned(), url("http://b")),
            ]
            .into(),
            buckets: [("x".to_owned(), "a".to_owned())].into(),
        };
        assert_eq!(endpoints.choose(None, "x").unwrap(), url("http://a"));
        assert_eq!(endpoints.choose(Some("b"), "x").unwrap(), url("http://b"));
        assert_eq!(
            endpoints.choose(None, "y").unwrap(),
            NamedEndpoint::default()
        );
        let error = endpoints.choose(Some("c"), "x").unwrap_err();
        assert!(error.to_string().contains("known are: a, b"), "{error}");
    }
}
