//! Credentials that are kept in Secrets Manager: of services that know no roles. They are read again every few
//! minutes, so that keys can be changed while a transfer goes on.

use std::time::{Duration, SystemTime};

use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata as _;
use serde::Deserialize;
use skyhaul_model::spec::Connection;

use super::credentials::is_final;

/// How long what was read is used.
const FRESH: Duration = Duration::from_mins(10);

/// What the service refuses for good:
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>.
const REFUSALS: [&str; 5] = [
    "AccessDeniedException",
    "DecryptionFailure",
    "InvalidParameterException",
    "InvalidRequestException",
    "ResourceNotFoundException",
];

/// What a secret holds, as JSON.
#[derive(Deserialize)]
struct Keys {
    #[serde(alias = "AccessKeyId", alias = "AWS_ACCESS_KEY_ID")]
    access_key_id: String,
    #[serde(alias = "SecretAccessKey", alias = "AWS_SECRET_ACCESS_KEY")]
    secret_access_key: String,
    #[serde(default, alias = "SessionToken", alias = "AWS_SESSION_TOKEN")]
    session_token: Option<String>,
}

/// Reads a secret.
#[derive(Debug)]
struct Kept {
    client: Client,
    arn: String,
}

/// Gives a configuration the credentials of the connection's secret, which those that it has now may read.
pub(super) fn read(sdk: SdkConfig, connection: &Connection) -> SdkConfig {
    let Some(arn) = &connection.secret else {
        return sdk;
    };
    let mut config = aws_sdk_secretsmanager::config::Builder::from(&sdk);
    // A secret is where its name says, whatever region the bucket is in.
    if let Some(region) = arn.split(':').nth(3).filter(|region| !region.is_empty()) {
        config = config.region(Region::new(region.to_owned()));
    }
    let kept = Kept {
        client: Client::from_conf(config.build()),
        arn: arn.clone(),
    };
    sdk.into_builder()
        .credentials_provider(SharedCredentialsProvider::new(kept))
        .build()
}

/// The keys in a secret's text. No error tells anything of it.
fn keys(arn: &str, text: &str) -> Result<Keys, CredentialsError> {
    serde_json::from_str(text).map_err(|_| {
        CredentialsError::invalid_configuration(format!(
            "{arn} holds no {{\"access_key_id\": …, \"secret_access_key\": …}}"
        ))
    })
}

impl ProvideCredentials for Kept {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let request = self.client.get_secret_value().secret_id(&self.arn);
            let reply = request.send().await.map_err(|error| {
                if is_final(error.code(), &REFUSALS) {
                    CredentialsError::invalid_configuration(error)
                } else {
                    CredentialsError::provider_error(error)
                }
            })?;
            let keys = keys(&self.arn, reply.secret_string().unwrap_or_default())?;
            Ok(Credentials::new(
                keys.access_key_id,
                keys.secret_access_key,
                keys.session_token,
                Some(SystemTime::now() + FRESH),
                "SecretsManager",
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_usual_names() {
        for text in [
            r#"{"access_key_id": "id", "secret_access_key": "s"}"#,
            r#"{"AccessKeyId": "id", "SecretAccessKey": "s"}"#,
            r#"{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "x"}"#,
        ] {
            let read = keys("arn", text).unwrap();
            assert_eq!(
                (&*read.access_key_id, &*read.secret_access_key),
                ("id", "s")
            );
            assert_eq!(read.session_token, None);
        }
    }

    #[test]
    fn what_is_no_key_is_not_told() {
        for text in ["", "geheim", r#"{"access_key_id": "geheim"}"#] {
            let Err(error) = keys("arn:aws:secretsmanager:r:1:secret:s", text) else {
                panic!("{text} holds keys");
            };
            let told = format!("{error:?} {error}");
            assert!(
                told.contains("secret:s") && !told.contains("geheim"),
                "{told}"
            );
        }
    }
}
