//! The server: reads calls, asks the backend, remembers what it answered.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use skyhaul_model::{Error, ErrorKind};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Answer, Call, MOST, NUMBER, PATH, Token};
use crate::TransferState;
use crate::operation::Operation;

/// Connections at the same time; more wait to be accepted.
const CONNECTIONS: usize = 1_024;

/// Answers that are remembered, in case they are lost.
const REMEMBERED: usize = 4_096;

/// Characters of a call's number at most.
const LONGEST_NUMBER: usize = 64;

/// A caller that sends no head for this long is cut off.
const HEAD: Duration = Duration::from_secs(30);

/// A caller that has not sent all of its call after this long is cut off.
const BODY: Duration = Duration::from_mins(1);

/// After a failure to accept (no descriptors left): time for some to come free.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What an operation gave, also for those who ask while it is under way.
type Given = Shared<BoxFuture<'static, Encoded>>;

/// Status and body of an answer.
type Encoded = (StatusCode, Bytes);

/// What a token permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// To tell of oneself under this name and to find the others: for relays, which are not trusted
    /// with more.
    Presence(String),
}

impl Scope {
    fn permits(&self, operation: &Operation) -> bool {
        match (self, operation) {
            (Self::All, _) | (Self::Presence(_), Operation::Gateways(_)) => true,
            (Self::Presence(name), Operation::Announce(_, row)) => row.name == *name,
            (Self::Presence(_), _) => false,
        }
    }
}

/// Serves one backend.
#[derive(Debug)]
pub struct Service {
    state: Arc<dyn TransferState>,
    tokens: Vec<(Token, Scope)>,
    answers: Mutex<Answers>,
}

/// The last answers, by their call's number.
#[derive(Default)]
struct Answers {
    given: HashMap<String, Given>,
    order: VecDeque<String>,
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answers({})", self.order.len())
    }
}

impl Answers {
    /// The answer of that number, or the one that `make` begins to find.
    fn once(&mut self, number: String, make: impl FnOnce() -> Given) -> Given {
        if let Some(given) = self.given.get(&number) {
            return given.clone();
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.given.remove(&oldest);
        }
        let given = make();
        self.order.push_back(number.clone());
        self.given.insert(number, given.clone());
        given
    }
}

impl Service {
    /// A service of `state` for whoever shows `token`.
    #[must_use]
    pub fn new(state: Arc<dyn TransferState>, token: Token) -> Arc<Self> {
        Self::scoped(state, vec![(token, Scope::All)])
    }

    /// A service of `state` for whoever shows one of these tokens, as far as that permits.
    #[must_use]
    pub fn scoped(state: Arc<dyn TransferState>, tokens: Vec<(Token, Scope)>) -> Arc<Self> {
        let answers = Mutex::default();
        Arc::new(Self {
            state,
            tokens,
            answers,
        })
    }

    /// What a caller may who shows this.
    fn scope<'a>(&'a self, shown: Option<&[u8]>) -> Option<&'a Scope> {
        // All are compared, so that time does not tell which.
        let of = |found, (token, scope): &'a (Token, Scope)| {
            if token.is_shown_by(shown) {
                Some(scope)
            } else {
                found
            }
        };
        self.tokens.iter().fold(None, of)
    }

    /// Serves all who connect until `stop`; then drops what is not answered.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let connections = tokio_util::task::TaskTracker::new();
        loop {
            let accepted = async {
                let permit = Arc::clone(&permits).acquire_owned().await.ok();
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (service, stop) = (Arc::clone(&self), stop.clone());
                    connections.spawn(async move {
                        let _permit = permit;
                        // Small requests and replies in turn: waiting to fill packets costs time.
                        let _ = stream.set_nodelay(true);
                        let served = service.serve_connection(stream);
                        stop.run_until_cancelled(served).await;
                    });
                }
                Err(error) => {
                    tracing::warn!("the state service cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
        connections.close();
        connections.wait().await;
    }

    /// Serves one connection, of whatever kind, to its end.
    pub async fn serve_connection<I>(self: Arc<Self>, stream: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let answer = service_fn(|request| {
            let service = Arc::clone(&self);
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
        let served = builder.serve_connection(TokioIo::new(stream), answer);
        if let Err(error) = served.await {
            tracing::debug!("a connection to the state service ended: {error}");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, body) = match self.call(request).await {
            Ok(encoded) => encoded,
            Err(error) => encode(&Answer::Error(error.into())),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    async fn call(&self, request: Request<Incoming>) -> Result<Encoded, Error> {
        let shown = request.headers().get(AUTHORIZATION);
        let scope = self.scope(shown.map(HeaderValue::as_bytes));
        let scope = scope.ok_or_else(Token::denied)?;
        if request.uri().path() != PATH || request.method() != Method::POST {
            let message = format!("this is a state service: calls are posted to {PATH}");
            return Err(Error::control(ErrorKind::Unsupported, message));
        }
        let number = request.headers().get(NUMBER);
        let number = number
            .and_then(|number| number.to_str().ok())
            .map(str::to_owned);
        let too_large = || Error::invalid("the call is too large");
        if request.body().size_hint().lower() > MOST as u64 {
            return Err(too_large());
        }
        let body = tokio::time::timeout(BODY, Limited::new(request.into_body(), MOST).collect());
        let body = match body.await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
            Ok(Err(error)) => return Err(Error::invalid("the call broke off").cause(error)),
            Err(_) => return Err(Error::control(ErrorKind::Timeout, "the call did not end")),
        };
        let call = serde_json::from_slice(&body)
            .map_err(|error| Error::invalid("not a call of this version").cause(error))?;
        Ok(match call {
            Call::Describe => encode(&Answer::Described {
                shards: self.state.shards(),
            }),
            Call::State(operation) if !scope.permits(&operation) => {
                let message = format!("this token does not permit `{}`", operation.name());
                return Err(Error::control(ErrorKind::AccessDenied, message));
            }
            Call::State(operation) if operation.writes() => {
                let number = number
                    .filter(|number| number.len() <= LONGEST_NUMBER)
                    .ok_or_else(|| Error::invalid("the call has no number"))?;
                self.once(number, *operation).await
            }
            Call::State(operation) => perform(Arc::clone(&self.state), *operation).await,
        })
    }

    /// Makes a call unless it was made before. It goes on when its caller is gone: the next who
    /// asks under this number gets what it gave.
    fn once(&self, number: String, operation: Operation) -> Given {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.once(number, || {
            let made = tokio::spawn(perform(Arc::clone(&self.state), operation));
            let made = made.map(|joined| {
                joined.unwrap_or_else(|error| {
                    let error = crate::fault::internal("a call of the state", error);
                    encode(&Answer::Error(error.into()))
                })
            });
            made.boxed().shared()
        })
    }
}

async fn perform(state: Arc<dyn TransferState>, operation: Operation) -> Encoded {
    encode(&match operation.perform(&*state).await {
        Ok(reply) => Answer::Reply(reply),
        Err(error) => Answer::Error(error.into()),
    })
}

fn encode(answer: &Answer) -> Encoded {
    let status = match answer {
        Answer::Error(fault) => super::status::status(fault),
        Answer::Described { .. } | Answer::Reply(_) => StatusCode::OK,
    };
    match serde_json::to_vec(answer) {
        Ok(body) => (status, body.into()),
        Err(error) => {
            tracing::error!("an answer of the state service cannot be written: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, Bytes::new())
        }
    }
}
