//! Signatures (SigV4) of requests that are made without the SDK's machinery, and the credentials
//! for them, kept until shortly before they expire.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use tokio::sync::Mutex;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// SHA-256 of no bytes.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// Credentials are renewed this long before they expire.
const MARGIN: Duration = Duration::from_mins(5);

/// Signs requests to one region.
#[derive(Debug)]
pub(super) struct Signer {
    provider: SharedCredentialsProvider,
    region: String,
    cached: Mutex<Option<(Identity, Option<SystemTime>)>>,
}

impl Signer {
    pub(super) fn new(provider: SharedCredentialsProvider, region: String) -> Self {
        Self {
            provider,
            region,
            cached: Mutex::new(None),
        }
    }

    /// Adds the headers of a signature. The payload itself is not signed: its checksum header is.
    pub(super) async fn sign(
        &self,
        request: &mut http::Request<aws_smithy_types::body::SdkBody>,
    ) -> Result<(), BoxError> {
        let identity = self.identity().await?;
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()?
            .into();
        let body = if request.method() == http::Method::GET {
            SignableBody::Precomputed(EMPTY.to_owned())
        } else if request.headers().contains_key("x-amz-trailer") {
            SignableBody::StreamingUnsignedPayloadTrailer
        } else {
            SignableBody::UnsignedPayload
        };
        let uri = request.uri().to_string();
        let headers = request
            .headers()
            .iter()
            .map(|(name, value)| Ok((name.as_str(), std::str::from_utf8(value.as_bytes())?)))
            .collect::<Result<Vec<_>, std::str::Utf8Error>>()?;
        let signable =
            SignableRequest::new(request.method().as_str(), uri, headers.into_iter(), body)?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }

    async fn identity(&self) -> Result<Identity, BoxError> {
        let mut cached = self.cached.lock().await;
        if let Some((identity, expiry)) = &*cached
            && expiry.is_none_or(|expiry| SystemTime::now() + MARGIN < expiry)
        {
            return Ok(identity.clone());
        }
        let credentials: Credentials = match self.provider.provide_credentials().await {
            Ok(credentials) => credentials,
            // Those that were given are good until they expire, and who gives them may come back.
            Err(error) => match &*cached {
                Some((identity, Some(expiry))) if SystemTime::now() < *expiry => {
                    tracing::warn!("credentials are not renewed yet: {error}");
                    return Ok(identity.clone());
                }
                _ => return Err(error.into()),
            },
        };
        let expiry = credentials.expiry();
        let identity = Identity::from(credentials);
        *cached = Some((identity.clone(), expiry));
        Ok(identity)
    }
}
