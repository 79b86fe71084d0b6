//! The server: takes connections, asks for the token, reads requests within bounds.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use skyhaul_state::service::Token;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Subject;
use super::api::{self, Answer};
use super::fault::{ErrorReply, Name, Problem};

/// Connections at the same time; who comes when there are so many is turned away.
const CONNECTIONS: usize = 64;

/// How long the TLS handshake, the head and the body of a request may take, each.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may last.
const LIFE: Duration = Duration::from_mins(10);

/// Bytes of a request's head at most, and lines of it.
const HEAD: usize = 16 << 10;
const LINES: usize = 64;

/// Bytes of a request's body at most: none has to have one.
const BODY: usize = 4 << 10;

/// After a failure to accept (no descriptors left): time for some to come free.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves whoever connects, until `stop`.
pub(super) async fn serve(
    subject: Arc<Subject>,
    token: Token,
    acceptor: TlsAcceptor,
    listener: TcpListener,
    stop: CancellationToken,
) {
    let token = Arc::new(token);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("the control API cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(%from, "turned away from the control API: too many connections");
            continue;
        };
        let (subject, token) = (Arc::clone(&subject), Arc::clone(&token));
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            let _permit = permit;
            let served = connection(subject, token, acceptor, stream);
            if let Ok(Err(error)) = tokio::time::timeout(LIFE, served).await {
                tracing::debug!(%from, "a connection to the control API ended: {error}");
            }
        });
    }
}

async fn connection(
    subject: Arc<Subject>,
    token: Arc<Token>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let _ = stream.set_nodelay(true);
    let stream = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await??;
    let answer = service_fn(|request| {
        let (subject, token) = (Arc::clone(&subject), Arc::clone(&token));
        async move { Ok::<_, Infallible>(respond(&subject, &token, request).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD)
        .max_headers(LINES);
    http.serve_connection(TokioIo::new(stream), answer).await?;
    Ok(())
}

async fn respond(
    subject: &Subject,
    token: &Token,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (status, kind, body, problem) = match take(subject, token, request).await {
        Ok((status, kind, body)) => (status, kind, body, None),
        Err(problem) => {
            let name = problem.name;
            let reply = ErrorReply { error: problem };
            let (status, kind, body) = api::json(name.status(), &reply);
            (status, kind, body, Some(name))
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if problem == Some(Name::Unauthorized) {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        // Who has no token holds no place of those who have.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn take(
    subject: &Subject,
    token: &Token,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    // Before anything else: a stranger does not learn what there is.
    let shown = request.headers().get(AUTHORIZATION);
    if !token.is_shown_by(shown.map(HeaderValue::as_bytes)) {
        let message = "this gateway's token is asked for, as `Authorization: Bearer TOKEN`";
        return Err(Name::Unauthorized.because(message));
    }
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(PATIENCE, Limited::new(body, BODY).collect());
    match body.await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Name::TooLarge.because(format!("a body has at most {BODY} bytes here")));
        }
        Ok(Err(_)) => return Err(Name::Invalid.because("the body broke off")),
        Err(_) => return Err(Name::Timeout.because("the body did not come in time")),
    }
    api::answer(subject, &head.method, head.uri.path(), head.uri.query())
}
