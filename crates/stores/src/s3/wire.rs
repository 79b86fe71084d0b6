//! The short way for the requests that are most of a transfer's: GET and PUT, and pages of listings.
//!
//! The SDK spends several times as long on a small object's request as signing and sending it
//! take, and on a page of a listing as reading it does. Everything else goes through the SDK, which also supplies connections, TLS, credentials
//! and endpoint rules here.

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_smithy_http_client::{Connector, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorSettings};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt as _, Limited};
use skyhaul_model::Result;

use super::client::CONNECT_TIMEOUT;
use super::context::Context;
use super::errors::{self, Failed, Failure, Refusal};
use super::signer::Signer;
use super::standing::Standing;

/// The longest error document that is read, in bytes.
const ERROR_LIMIT: usize = 64 << 10;

/// A bucket's address, with connections and signatures.
#[derive(Debug)]
pub(super) struct Wire {
    connector: Connector,
    /// Scheme, host and whatever stands before the key, without a slash at its end.
    base: String,
    /// `None` sends unsigned.
    signer: Option<Signer>,
    standing: Standing,
}

impl Wire {
    pub(super) fn new(
        base: String,
        signer: Option<Signer>,
        standing: Standing,
        connections: usize,
    ) -> Self {
        let settings = HttpConnectorSettings::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .build();
        let connector = Connector::builder()
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::AwsLc,
            ))
            .connector_settings(settings)
            .pool_max_idle_per_host(connections)
            .proxy_config(ProxyConfig::from_env())
            .build();
        Self {
            connector,
            base,
            signer,
            standing,
        }
    }

    /// Whether requests are signed.
    pub(super) fn is_signed(&self) -> bool {
        self.signer.is_some()
    }

    /// The beginning of a request about `key`; `query` begins with `?` or is empty.
    pub(super) fn request(
        &self,
        method: http::Method,
        key: &str,
        query: &str,
    ) -> http::request::Builder {
        let uri = format!(
            "{}/{}{query}",
            self.base,
            super::attributes::encode_path(key)
        );
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header("user-agent", concat!("skyhaul/", env!("CARGO_PKG_VERSION")));
        self.standing.add(request)
    }

    /// Signs and sends; a reply that is no success is an error.
    pub(super) async fn send(
        &self,
        context: &Context,
        key: Option<&str>,
        request: http::request::Builder,
        body: SdkBody,
    ) -> Result<HttpResponse, Failed> {
        let fail = |failure, cause| errors::transport(context, key, failure, cause);
        let construction = |cause| fail(Failure::Construction, cause);
        let mut request = request
            .body(body)
            .map_err(|error| construction(error.into()))?;
        if let Some(signer) = &self.signer {
            signer.sign(&mut request).await.map_err(construction)?;
        }
        let request = HttpRequest::try_from(request).map_err(|error| construction(error.into()))?;
        let reply = self.connector.call(request).await.map_err(|error| {
            let failure = failure(&error);
            fail(failure, error.into())
        })?;
        if reply.status().is_success() {
            return Ok(reply);
        }
        let refusal = refusal(reply).await;
        Err(Failed {
            error: errors::refused(context, key, &refusal),
            ambiguous: refusal.is_ambiguous(),
        })
    }
}

fn failure(error: &ConnectorError) -> Failure {
    if error.is_timeout() {
        Failure::Timeout
    } else if error.is_user() {
        Failure::Construction
    } else {
        Failure::Io
    }
}

/// What a refusal says: an XML document of a few flat elements.
async fn refusal(reply: HttpResponse) -> Refusal {
    let status = reply.status().as_u16();
    let region = reply
        .headers()
        .get("x-amz-bucket-region")
        .map(ToOwned::to_owned);
    // Without its document a refusal still has its status.
    let text = match Limited::new(reply.into_body(), ERROR_LIMIT).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(_) => String::new(),
    };
    Refusal {
        status,
        code: element(&text, "Code"),
        message: element(&text, "Message"),
        region,
    }
}

fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    let plain = value
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&amp;", "&");
    (!plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read() {
        let text = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code>\
                    <Message>a &amp;lt; &apos;b&apos;</Message></Error>";
        assert_eq!(element(text, "Code").as_deref(), Some("NoSuchKey"));
        assert_eq!(element(text, "Message").as_deref(), Some("a &lt; 'b'"));
        assert_eq!(element("", "Code"), None);
        assert_eq!(element("<Code></Code>", "Code"), None);
    }
}
