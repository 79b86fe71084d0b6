//! Asking a gateway's control API, of whose certificate the fingerprint is known.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::ControlAddress;
use skyhaul_state::service::Token;
use tokio::net::TcpStream;

use crate::tls;

/// How long an answer may take, from the connection on.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of an answer at most.
const MOST: usize = 16 << 20;

/// Asks for the JSON of a path.
pub async fn get<T: DeserializeOwned>(at: &ControlAddress, token: &Token, path: &str) -> Result<T> {
    let (status, body) = ask(at, Some(token), &Method::GET, path).await?;
    if !status.is_success() {
        let message = format!("the control API answers {status} to {path}");
        return Err(Error::control(ErrorKind::Refused, message).object(at.address.clone()));
    }
    serde_json::from_slice(&body).map_err(|error| {
        let message = "the control API answers something else";
        Error::control(ErrorKind::Invalid, message)
            .object(at.address.clone())
            .cause(error)
    })
}

/// Makes a request, showing a token or none; gives status and body.
pub async fn ask(
    at: &ControlAddress,
    token: Option<&Token>,
    method: &Method,
    path: &str,
) -> Result<(StatusCode, Bytes)> {
    let asked = tokio::time::timeout(PATIENCE, exchange(at, token, method, path)).await;
    let unreachable = || {
        let message = "the gateway's control API cannot be reached";
        Error::control(ErrorKind::Unreachable, message).object(at.address.clone())
    };
    match asked {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(cause)) => Err(unreachable().cause(cause)),
        Err(_) => Err(unreachable()),
    }
}

async fn exchange(
    at: &ControlAddress,
    token: Option<&Token>,
    method: &Method,
    path: &str,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let connector = tls::connector(Some(&at.fingerprint))?;
    let stream = TcpStream::connect(&at.address).await?;
    stream.set_nodelay(true)?;
    let stream = connector
        .connect(ServerName::try_from("skyhaul-gateway")?, stream)
        .await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header(HOST, &at.address)
        .body(Empty::<Bytes>::new())?;
    if let Some(token) = token {
        let mut shown = HeaderValue::from_str(&token.header())?;
        shown.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, shown);
    }
    let answered = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST).collect().await?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(answered);
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        // However it ended: what was answered before that counts, and its lack is an error.
        _ = connection => answered.await,
    }
}
