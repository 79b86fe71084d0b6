//! Signatures (SigV4) of requests that are made without the SDK's machinery, and the credentials
//! for them, kept until shortly before they expire.

use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
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
/// Between two tries to renew what is still good, and how long one may take.
const AGAIN: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(5);

/// Signs requests to one region.
#[derive(Debug)]
pub(super) struct Signer {
    provider: SharedCredentialsProvider,
    region: String,
    cached: Mutex<Option<Kept>>,
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

    /// What to sign with. While it is good, and is to be renewed, one request does that and the others go on.
    async fn identity(&self) -> Result<Identity, BoxError> {
        {
            let mut cached = self.cached.lock().await;
            match &mut *cached {
                Some(kept) if kept.is_good_for(MARGIN) => return Ok(kept.identity.clone()),
                Some(kept) if kept.is_good_for(Duration::ZERO) => {
                    if kept.tried.is_some_and(|tried| tried.elapsed() < AGAIN) {
                        return Ok(kept.identity.clone());
                    }
                    kept.tried = Some(Instant::now());
                }
                // All wait for one.
                none => {
                    let credentials = self.provider.provide_credentials().await?;
                    return Ok(none.insert(Kept::new(credentials, None)).identity.clone());
                }
            }
        }
        let provided = tokio::time::timeout(PATIENCE, self.provider.provide_credentials()).await;
        let mut cached = self.cached.lock().await;
        let why = match provided {
            Ok(Ok(credentials)) => {
                // What is given may be as old as before.
                let kept = Kept::new(credentials, Some(Instant::now()));
                return Ok(cached.insert(kept).identity.clone());
            }
            Ok(Err(error)) => error,
            Err(_) => CredentialsError::provider_timed_out(PATIENCE),
        };
        match &*cached {
            Some(kept) if kept.is_good_for(Duration::ZERO) => {
                tracing::warn!("credentials are not renewed yet: {why}");
                Ok(kept.identity.clone())
            }
            // They have expired meanwhile.
            _ => Err(why.into()),
        }
    }
}

/// Credentials that were provided.
#[derive(Debug)]
struct Kept {
    identity: Identity,
    expiry: Option<SystemTime>,
    /// When it was tried last to renew them.
    tried: Option<Instant>,
}

impl Kept {
    fn new(credentials: Credentials, tried: Option<Instant>) -> Self {
        Self {
            expiry: credentials.expiry(),
            identity: Identity::from(credentials),
            tried,
        }
    }

    fn is_good_for(&self, time: Duration) -> bool {
        let until = |expiry| SystemTime::now() + time < expiry;
        self.expiry.is_none_or(until)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use aws_credential_types::provider::future;

    use super::*;

    /// Gives credentials that are good for so many seconds, so often; then it refuses.
    #[derive(Debug)]
    struct Gives {
        seconds: u64,
        times: u32,
        asked: Arc<AtomicU32>,
    }

    impl ProvideCredentials for Gives {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            future::ProvideCredentials::ready(if number < self.times {
                let expiry = SystemTime::now() + Duration::from_secs(self.seconds);
                let id = number.to_string();
                Ok(Credentials::new(id, "s", None, Some(expiry), "test"))
            } else {
                Err(CredentialsError::provider_error("it does not answer"))
            })
        }
    }

    fn signer(seconds: u64, times: u32) -> (Signer, Arc<AtomicU32>) {
        let asked = Arc::default();
        let gives = Gives {
            seconds,
            times,
            asked: Arc::clone(&asked),
        };
        let provider = SharedCredentialsProvider::new(gives);
        (Signer::new(provider, "r".to_owned()), asked)
    }

    fn id(identity: &Identity) -> String {
        let credentials: &Credentials = identity.data().unwrap();
        credentials.access_key_id().to_owned()
    }

    #[tokio::test]
    async fn what_is_fresh_is_asked_for_once() {
        let (signer, asked) = signer(3_600, 1);
        for _ in 0..3 {
            assert_eq!(id(&signer.identity().await.unwrap()), "0");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_is_good_is_used_while_it_cannot_be_renewed_and_asked_for_seldom() {
        let (signer, asked) = signer(60, 1);
        for _ in 0..9 {
            assert_eq!(id(&signer.identity().await.unwrap()), "0");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_is_about_to_expire_is_renewed() {
        let (signer, _) = signer(60, 2);
        assert_eq!(id(&signer.identity().await.unwrap()), "0");
        assert_eq!(id(&signer.identity().await.unwrap()), "1");
    }

    #[tokio::test]
    async fn what_has_expired_is_no_more_used() {
        let (signer, _) = signer(0, 1);
        signer.identity().await.unwrap();
        assert!(signer.identity().await.is_err());
    }
}
