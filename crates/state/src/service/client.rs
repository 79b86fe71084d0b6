//! The client: a [`TransferState`] whose rows are kept by a server.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use skyhaul_model::{Error, ErrorKind, Result};

use super::{Answer, Call, MOST, NUMBER, PATH, Token};
use crate::calls::Calls;
use crate::operation::{Operation, Reply};

/// How long a client tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For one reply.
    pub reply: Duration,
    /// Altogether, while the service cannot be reached or its replies are lost: as long as it may
    /// take to be started anew.
    pub outage: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            reply: Duration::from_secs(30),
            outage: Duration::from_mins(2),
        }
    }
}

/// The state behind a service.
pub struct RemoteState {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    authorization: HeaderValue,
    patience: Patience,
    shards: u32,
}

impl fmt::Debug for RemoteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteState")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

/// Why a call has no reply.
enum Failure {
    /// The service was not reached, or what it answered was lost: the same call may be made again.
    Lost(Error),
    /// It answered.
    Answered(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(error) | Failure::Answered(error) => error,
        }
    }
}

impl RemoteState {
    /// Connects to the service at `address` (`host:port`) and asks what it is.
    pub async fn connect(address: &str, token: &Token, patience: Patience) -> Result<Self> {
        let uri: Uri = format!("http://{address}{PATH}").parse().map_err(|error| {
            Error::invalid("not an address")
                .object(address)
                .cause(error)
        })?;
        let mut authorization = HeaderValue::from_str(&token.header())
            .map_err(|_| Error::invalid("the token does not fit a header"))?;
        authorization.set_sensitive(true);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(patience.reply));
        let mut state = Self {
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(connector),
            uri,
            authorization,
            patience,
            shards: 0,
        };
        match state.ask(&Call::Describe).await? {
            Answer::Described { shards } => state.shards = shards,
            _ => return Err(state.strange("it does not say what it is")),
        }
        Ok(state)
    }

    fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::control(kind, message).object(self.uri.to_string())
    }

    /// Makes a call until it is answered, under one number.
    async fn ask(&self, call: &Call) -> Result<Answer> {
        let body = serde_json::to_vec(call)
            .map_err(|error| crate::fault::internal("writing a call", error))?;
        let (body, number) = (Bytes::from(body), ulid::Ulid::generate().to_string());
        let delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(20))
            .with_max_delay(Duration::from_secs(2))
            .with_total_delay(Some(self.patience.outage))
            .without_max_times()
            .with_jitter();
        let answer = (|| self.send(&number, body.clone()))
            .retry(delays)
            .when(|failure| matches!(failure, Failure::Lost(_)))
            .notify(|failure, _| {
                if let Failure::Lost(error) = failure {
                    tracing::debug!("calling again: {error}");
                }
            })
            .await?;
        match answer {
            Answer::Error(fault) => Err(fault.into()),
            answer => Ok(answer),
        }
    }

    async fn send(&self, number: &str, body: Bytes) -> Result<Answer, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(NUMBER, number)
            .body(Full::new(body))
            .map_err(|error| Failure::Answered(crate::fault::internal("a call", error)))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                let message = "the state service cannot be reached";
                self.error(ErrorKind::Unreachable, message).cause(error)
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST).collect().await;
            let body = body.map_err(|error| {
                let message = "the answer of the state service broke off";
                self.error(ErrorKind::Unreachable, message).cause(error)
            })?;
            Ok::<_, Error>((status, body.to_bytes()))
        };
        let exchanged = tokio::time::timeout(self.patience.reply, exchange).await;
        let (status, body) = exchanged
            .unwrap_or_else(|_| {
                let message = "the state service does not answer";
                Err(self.error(ErrorKind::Timeout, message))
            })
            .map_err(Failure::Lost)?;
        serde_json::from_slice(&body).map_err(|error| {
            // Something on the way that does not reach it.
            if status.is_server_error() {
                let message = format!("instead of the state service something answers {status}");
                return Failure::Lost(self.error(ErrorKind::Unreachable, message));
            }
            Failure::Answered(self.strange(&format!("status {status}")).cause(error))
        })
    }
}

#[async_trait]
impl Calls for RemoteState {
    fn shards(&self) -> u32 {
        self.shards
    }

    async fn call(&self, operation: Operation) -> Result<Reply> {
        match self.ask(&Call::State(Box::new(operation))).await? {
            Answer::Reply(reply) => Ok(reply),
            _ => Err(self.strange("not a reply")),
        }
    }

    fn strange(&self, what: &str) -> Error {
        let message = format!("what answers is no state service of this version: {what}");
        self.error(ErrorKind::Invalid, message)
    }
}
