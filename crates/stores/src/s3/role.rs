//! Another account's role: its credentials, renewed as long as a transfer takes, for no more than the transfer needs.

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::SharedCredentialsProvider;
use serde_json::{Value, json};
use skyhaul_model::spec::{Connection, Role};
use skyhaul_model::{Location, Side};

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
    let mut builder = AssumeRoleProvider::builder(&role.arn)
        .configure(&sdk)
        .session_name(SESSION)
        .policy(policy(role, location, side).to_string());
    if let Some(id) = &role.external_id {
        builder = builder.external_id(id);
    }
    let provider = builder.build().await;
    sdk.into_builder()
        .credentials_provider(SharedCredentialsProvider::new(provider))
        .build()
}

/// A session may do what this says, as far as the role may: one side of a transfer, below its prefix. A bucket's own key
/// is the owner's business: what the role may do with keys, the session may, too.
fn policy(role: &Role, location: &Location, side: Side) -> Value {
    let partition = role.arn.split(':').nth(1).unwrap_or("aws");
    let bucket = format!("arn:{partition}:s3:::{}", location.container);
    let prefix = &location.path;
    let mut actions = READS.to_vec();
    if side != Side::Source {
        actions.extend(WRITES);
    }
    json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Effect": "Allow", "Action": actions, "Resource": format!("{bucket}/{prefix}*") },
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
                "Resource": bucket,
                "Condition": { "StringLikeIfExists": { "s3:prefix": [format!("{prefix}*")] } },
            },
            { "Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": bucket },
            { "Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*" },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_reads_or_writes_below_its_prefix_and_nothing_else() {
        let role = Role {
            arn: "arn:aws-cn:iam::123456789012:role/r".to_owned(),
            external_id: None,
        };
        let location: Location = "s3://b/a/b/".parse().unwrap();
        let source = policy(&role, &location, Side::Source).to_string();
        assert!(source.contains("arn:aws-cn:s3:::b/a/b/*"), "{source}");
        assert!(!source.contains("s3:PutObject") && !source.contains("s3:DeleteObject"));
        let destination = policy(&role, &location, Side::Destination).to_string();
        assert!(destination.contains("s3:PutObject") && destination.contains("s3:GetObject"));
        // The service's bound of a session policy, in characters.
        assert!(destination.len() < 2_048);
    }
}
