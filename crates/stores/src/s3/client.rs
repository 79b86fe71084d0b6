//! Opening a bucket: configuration, credentials, region, the SDK's client.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::endpoint::{DefaultResolver, Endpoint, Params, ResolveEndpoint as _};
use aws_sdk_s3::config::{
    Builder, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_smithy_runtime_api::client::endpoint::{EndpointResolverParams, ResolveEndpoint as _};
use aws_smithy_types::Document;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::service_config::ServiceConfigKey;
use skyhaul_model::spec::Connection;
use skyhaul_model::{Error, ErrorKind, Location, Result, Side};

use super::context::Context;
use super::credentials::Credentials;
use super::kept;
use super::role;
use super::signer::Signer;
use super::standing::Standing;
use super::wire::Wire;

/// Signing needs a region even where the service has none.
pub(super) const FALLBACK_REGION: &str = "us-east-1";
/// A connection is given up after this long.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The SDK's configuration of one side, from flags, environment and profile, in that order.
pub(super) struct Settings {
    sdk: SdkConfig,
    /// The service's address, unless AWS by default.
    pub(super) endpoint: Option<String>,
    region: Option<String>,
    path_style: Option<bool>,
    anonymous: bool,
    standing: Standing,
}

impl Settings {
    /// Loads what is configured. Does not yet look for credentials.
    pub(super) async fn load(
        location: &Location,
        connection: &Connection,
        side: Side,
        credentials: Option<Credentials>,
    ) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::standard())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(profile) = &connection.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &connection.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if connection.no_sign_request {
            loader = loader.no_credentials();
        }
        if let Some(credentials) = credentials {
            loader =
                loader.credentials_provider(aws_credential_types::Credentials::from(credentials));
        }
        let sdk = loader.load().await;
        let sdk = kept::read(sdk, connection);
        let sdk = role::assume(sdk, connection, location, side).await;
        let endpoint = connection
            .endpoint_url
            .clone()
            .or_else(|| service_endpoint(&sdk))
            .map(|url| url.trim_end_matches('/').to_owned());
        let region = sdk.region().map(ToString::to_string);
        Self {
            sdk,
            endpoint,
            region,
            path_style: connection.path_style,
            anonymous: connection.no_sign_request,
            standing: Standing::of(connection),
        }
    }

    /// The region that is configured, or one to sign for.
    pub(super) fn region(&self) -> &str {
        self.region.as_deref().unwrap_or(FALLBACK_REGION)
    }

    /// Whether the service is AWS itself, by whatever name.
    pub(super) fn is_aws(&self) -> bool {
        self.endpoint.as_deref().is_none_or(|endpoint| {
            let host = host(endpoint);
            host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
        })
    }

    /// Fails early and with a hint if there are no credentials.
    pub(super) async fn check_credentials(&self, context: &Context) -> Result<()> {
        if self.anonymous {
            return Ok(());
        }
        let missing = |cause: Option<aws_credential_types::provider::error::CredentialsError>| {
            let error = Error::new(
                context.side,
                ErrorKind::AccessDenied,
                "no usable credentials",
            )
            .object(format!("s3://{}", context.bucket))
            .hint(format!(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile with {}, or \
                     use {} for public buckets",
                context.flag("profile"),
                context.flag("no-sign-request")
            ));
            match cause {
                Some(cause) => error.cause(cause),
                None => error,
            }
        };
        let Some(provider) = self.sdk.credentials_provider() else {
            return Err(missing(None));
        };
        provider
            .provide_credentials()
            .await
            .map(drop)
            .map_err(|cause| missing(Some(cause)))
    }

    /// A client for `bucket` in `region`.
    pub(super) fn client(&self, bucket: &str, region: &str) -> Client {
        let mut builder = Builder::from(&self.sdk)
            .region(Region::new(region.to_owned()))
            .force_path_style(self.path_style(bucket))
            // The loop around every request retries, so that throttling is told from faults.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            // Bodies are watched by us, in both directions.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .disable_s3_express_session_auth(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        builder = builder.interceptor(self.standing.clone());
        if self.anonymous {
            builder = builder.allow_no_auth();
        }
        Client::from_conf(builder.build())
    }

    /// The short way to the bucket, by the SDK's own endpoint rules.
    pub(super) async fn wire(&self, context: &Context, connections: usize) -> Result<Wire> {
        let endpoint = self.resolve(context).await.map_err(|cause| {
            let message = format!("`{}` cannot be addressed", context.bucket);
            Error::new(context.side, ErrorKind::Invalid, message).cause(cause)
        })?;
        let (service, region) = signing(&endpoint);
        if service.as_deref().is_some_and(|service| service != "s3") {
            let message = "only general purpose buckets are supported";
            return Err(Error::new(context.side, ErrorKind::Unsupported, message)
                .object(format!("s3://{}", context.bucket)));
        }
        let region = region.unwrap_or_else(|| context.region.clone());
        let provider = self.sdk.credentials_provider().filter(|_| !self.anonymous);
        let signer = provider.map(|provider| Signer::new(provider, region));
        let base = endpoint.url().trim_end_matches('/').to_owned();
        Ok(Wire::new(base, signer, self.standing.clone(), connections))
    }

    async fn resolve(
        &self,
        context: &Context,
    ) -> Result<Endpoint, Box<dyn std::error::Error + Send + Sync>> {
        let params = Params::builder()
            .bucket(&context.bucket)
            .region(&context.region)
            .force_path_style(self.path_style(&context.bucket))
            .use_fips(self.sdk.use_fips().unwrap_or(false))
            .use_dual_stack(self.sdk.use_dual_stack().unwrap_or(false))
            .set_endpoint(self.endpoint.clone())
            .disable_s3_express_session_auth(true)
            .build()?;
        let params = EndpointResolverParams::new(params);
        DefaultResolver::new()
            .into_shared_resolver()
            .resolve_endpoint(&params)
            .await
    }

    fn path_style(&self, bucket: &str) -> bool {
        self.path_style
            .unwrap_or(!self.is_aws() || bucket.contains('.'))
    }
}

/// Service name and region that an endpoint wants in signatures.
fn signing(endpoint: &Endpoint) -> (Option<String>, Option<String>) {
    let scheme = match endpoint.properties().get("authSchemes") {
        Some(Document::Array(schemes)) => schemes.first().and_then(Document::as_object),
        _ => None,
    };
    let text = |name: &str| {
        let value = scheme
            .and_then(|scheme| scheme.get(name))
            .and_then(Document::as_string);
        value.map(ToOwned::to_owned)
    };
    (text("signingName"), text("signingRegion"))
}

/// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or the profile's.
fn service_endpoint(sdk: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    sdk.service_config()
        .and_then(|config| config.load_config(key))
        .or_else(|| sdk.endpoint_url().map(ToOwned::to_owned))
}

/// The host of a URL, lower case.
fn host(url: &str) -> String {
    url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_ascii_lowercase))
        .unwrap_or_default()
}

/// The name of a service, whoever asks: a partition of AWS, where bucket names are unique, else
/// host and port. This machine's own names are one.
pub(super) fn place(context: &Context) -> String {
    if context.aws {
        let region = context.region.as_str();
        let partition = ["cn-", "us-gov-", "us-isob-", "us-iso-", "eusc-"]
            .into_iter()
            .find(|prefix| region.starts_with(prefix))
            .unwrap_or("aws");
        return format!("aws:{partition}");
    }
    let endpoint = context.endpoint.as_deref().unwrap_or_default();
    let Ok(url) = url::Url::parse(endpoint) else {
        return endpoint.to_ascii_lowercase();
    };
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let host = match host.trim_end_matches('.') {
        "localhost" | "[::1]" => "127.0.0.1",
        other => other,
    };
    format!("{host}:{}", url.port_or_known_default().unwrap_or(0))
}

/// The name of a service and of the identity used there: equal for two stores if the service can
/// copy from one to the other by itself. AWS copies between all regions of a partition.
pub(super) fn service_name(context: &Context, identity: Option<&str>) -> String {
    let place = place(context);
    let identity = if context.anonymous {
        "anonymous"
    } else {
        identity.unwrap_or("default")
    };
    format!("{place}|{identity}")
}
