//! Another account's role: its credentials, renewed as long as a transfer takes, for no more than the transfer needs.

use std::error::Error as _;
use std::fmt::Write as _;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use serde_json::{Value, json};
use skyhaul_model::spec::{Connection, Role};
use skyhaul_model::{Location, Side};

use super::client::FALLBACK_REGION;
use super::credentials::is_final;

/// What the sessions are called in the logs of the account that owns the role.
const SESSION: &str = "skyhaul";

/// What is done to objects of the source, beside listing.
const READS: &[&str] = &[
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectTagging",
    "s3:GetObjectVersionTagging",
    "s3:GetObjectAttributes",
    "s3:GetObjectVersionAttributes",
];

/// What is done to objects of a destination, beside these.
const WRITES: &[&str] = &[
    "s3:PutObject",
    "s3:PutObjectTagging",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
];

/// What the service refuses for good: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>.
const REFUSALS: [&str; 6] = [
    "AccessDenied",
    "InvalidClientTokenId",
    "MalformedPolicyDocument",
    "PackedPolicyTooLarge",
    "RegionDisabledException",
    "ValidationError",
];

/// Gives a configuration the credentials of the connection's role, which those that it has now assume.
pub(super) async fn assume(
    sdk: SdkConfig,
    connection: &Connection,
    location: &Location,
    side: Side,
) -> SdkConfig {
    let Some(role) = &connection.role else {
        return sdk;
    };
    let region = sdk.region().cloned();
    let mut builder = AssumeRoleProvider::builder(&role.arn)
        .configure(&sdk)
        .region(region.unwrap_or(Region::from_static(FALLBACK_REGION)))
        .session_name(SESSION)
        .policy(policy(role, location, side));
    if let Some(id) = &role.external_id {
        builder = builder.external_id(id);
    }
    let provider = Assumed(builder.build().await);
    sdk.into_builder()
        .credentials_provider(SharedCredentialsProvider::new(provider))
        .build()
}

/// Tells what the service refuses for good from what passes.
#[derive(Debug)]
struct Assumed(AssumeRoleProvider);

impl ProvideCredentials for Assumed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let provided = self.0.provide_credentials().await;
            provided.map_err(|error| {
                let code = error
                    .source()
                    .and_then(|cause| cause.downcast_ref::<SdkError<AssumeRoleError>>())
                    .and_then(SdkError::as_service_error)
                    .and_then(ProvideErrorMetadata::code);
                if is_final(code, &REFUSALS) {
                    CredentialsError::invalid_configuration(error)
                } else {
                    error
                }
            })
        })
    }
}

/// The service's bound of a session policy, in characters.
const LONGEST: usize = 2_048;

/// A session may do what this says, as far as the role may: one side of a transfer, below its prefix. A bucket's own key
/// is the owner's business: what the role may do with keys, the session may, too. A prefix that makes a policy too long
/// is shortened.
fn policy(role: &Role, location: &Location, side: Side) -> String {
    let mut prefix = location.path.as_str();
    let mut text = ascii(&statements(role, location, &below(prefix), side));
    while text.len() > LONGEST && !prefix.is_empty() {
        prefix = &prefix[..prefix.floor_char_boundary(prefix.len() / 2)];
        text = ascii(&statements(role, location, &[literal(prefix) + "*"], side));
    }
    text
}

/// Patterns of the keys of a prefix. One that does not end in a slash is an object's key or a folder's name.
fn below(prefix: &str) -> Vec<String> {
    let name = literal(prefix);
    if prefix.is_empty() || prefix.ends_with('/') {
        vec![name + "*"]
    } else {
        vec![name.clone(), name + "/*"]
    }
}

/// A pattern that only this text matches.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '*' | '?' | '$' => pattern.extend(['$', '{', character, '}']),
            other => pattern.push(other),
        }
    }
    pattern
}

/// As JSON of characters that the service takes in a policy.
fn ascii(policy: &Value) -> String {
    let mut text = String::new();
    for character in policy.to_string().chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

fn statements(role: &Role, location: &Location, keys: &[String], side: Side) -> Value {
    let partition = role.arn.split(':').nth(1).unwrap_or("aws");
    let bucket = format!("arn:{partition}:s3:::{}", location.container);
    let objects: Vec<_> = keys.iter().map(|key| format!("{bucket}/{key}")).collect();
    let mut actions = READS.to_vec();
    if side != Side::Source {
        actions.extend(WRITES);
    }
    json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Effect": "Allow", "Action": actions, "Resource": objects },
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
                "Resource": bucket,
                "Condition": { "StringLikeIfExists": { "s3:prefix": keys } },
            },
            { "Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": bucket },
            { "Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*" },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role() -> Role {
        Role {
            arn: "arn:aws-cn:iam::123456789012:role/r".to_owned(),
            external_id: None,
        }
    }

    fn at(path: &str) -> String {
        let location = Location {
            scheme: skyhaul_model::Scheme::S3,
            container: "b".to_owned(),
            path: path.to_owned(),
        };
        policy(&role(), &location, Side::Destination)
    }

    /// What objects a policy is for.
    fn objects(policy: &str) -> Vec<String> {
        let policy: Value = serde_json::from_str(policy).unwrap();
        serde_json::from_value(policy["Statement"][0]["Resource"].clone()).unwrap()
    }

    #[test]
    fn no_character_of_a_prefix_widens_a_session() {
        for (path, keys) in [
            ("", vec!["*"]),
            ("a*/?${x}/", vec!["a${*}/${?}${$}{x}/*"]),
            ("one", vec!["one", "one/*"]),
            ("写真/", vec!["写真/*"]),
        ] {
            let keys = keys.iter().map(|key| format!("arn:aws-cn:s3:::b/{key}"));
            assert_eq!(objects(&at(path)), keys.collect::<Vec<_>>());
        }
        assert!(at("写真/🛶/").is_ascii());
    }

    #[test]
    fn a_long_prefix_is_shortened() {
        for path in ["a".repeat(1_000) + "/", "写".repeat(341), "*".repeat(1_024)] {
            let policy = at(&path);
            assert!(policy.len() <= LONGEST, "{}", policy.len());
            assert!(objects(&policy)[0].ends_with('*'), "{policy}");
        }
    }

    #[test]
    fn a_session_reads_or_writes_below_its_prefix_and_nothing_else() {
        let location: Location = "s3://b/a/b/".parse().unwrap();
        let source = policy(&role(), &location, Side::Source);
        assert!(source.contains("arn:aws-cn:s3:::b/a/b/*"), "{source}");
        assert!(!source.contains("s3:PutObject") && !source.contains("s3:DeleteObject"));
        let destination = policy(&role(), &location, Side::Destination);
        assert!(destination.contains("s3:PutObject") && destination.contains("s3:GetObject"));
        assert!(destination.len() < LONGEST);
    }
}
