//! Which address this machine has for those outside its network, told by a service that sees it.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Uri;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use skyhaul_model::{Error, ErrorKind, Result};

/// AWS's own: it answers with the address that asks, and a line break.
const TELLS: &str = "https://checkip.amazonaws.com/";

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of its answer at most.
const MOST: usize = 128;

/// Asks for the address. `Unreachable` if nobody tells.
pub async fn outside() -> Result<IpAddr> {
    tokio::time::timeout(PATIENCE, ask())
        .await
        .map_err(unknown)?
}

fn unknown(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let message = "the address that this machine has outside cannot be asked for";
    Error::control(ErrorKind::Unreachable, message)
        .object(TELLS)
        .cause(cause)
        .hint("say it: --address IP")
}

async fn ask() -> Result<IpAddr> {
    let crypto = aws_lc_rs::default_provider();
    let connector = HttpsConnectorBuilder::new().with_provider_and_native_roots(crypto);
    let connector = connector.map_err(unknown)?.https_only().enable_http1();
    let client: Client<_, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build(connector.build());
    let reply = client.get(Uri::from_static(TELLS)).await.map_err(unknown)?;
    let body = Limited::new(reply.into_body(), MOST).collect().await;
    parse(&body.map_err(unknown)?.to_bytes())
}

fn parse(told: &[u8]) -> Result<IpAddr> {
    let text = String::from_utf8_lossy(told);
    text.trim().parse().map_err(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_and_nothing_else() {
        assert_eq!(
            parse(b"203.0.113.7\n").unwrap(),
            IpAddr::from([203, 0, 113, 7])
        );
        for told in ["", "<html>", "203.0.113.7, 10.0.0.1"] {
            let refused = parse(told.as_bytes()).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Unreachable, "{told}");
        }
    }
}
