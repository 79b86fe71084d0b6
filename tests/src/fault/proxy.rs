//! The proxy itself: accepts, asks the plan, forwards, harms.

use super::body::{BodyError, Direction, Harm, Tapped};
use super::log::{Log, Record, Recorder};
use super::op::Request;
use super::plan::{Fault, Plan};
use super::stream::{Cut, CutStream};
use crate::servers::Endpoint;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

type Reply = http::Response<BoxBody<Bytes, BodyError>>;

/// Why a request gets no answer: its connection is cut.
#[derive(Debug, thiserror::Error)]
enum NoReply {
    #[error("cut by the fault plan")]
    Planned,
    #[error("the server did not answer: {0}")]
    Server(#[from] hyper_util::client::legacy::Error),
    #[error("the client stopped: {0}")]
    Client(#[from] hyper::Error),
    #[error("cannot pass this on: {0}")]
    Malformed(#[from] http::Error),
}

struct Shared {
    upstream: String,
    client: Client<HttpConnector, Tapped>,
    plan: Mutex<Arc<Plan>>,
    recorder: Recorder,
}

/// A proxy in front of one endpoint, on a thread of its own; it ends with the value.
pub struct FaultProxy {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl FaultProxy {
    /// Starts a proxy for `upstream` on a free port.
    #[must_use]
    pub fn start(upstream: &Endpoint, plan: Plan) -> Self {
        Self::start_at("127.0.0.1", upstream, plan)
    }

    /// The same on an address of this machine, where others see it.
    #[must_use]
    pub fn start_at(address: &str, upstream: &Endpoint, plan: Plan) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("fault-proxy")
            .enable_all()
            .build()
            .expect("a runtime starts");
        let listener = runtime
            .block_on(TcpListener::bind((address, 0)))
            .expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket"));
        let shared = Arc::new(Shared {
            upstream: upstream.authority().to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            plan: Mutex::new(Arc::new(plan)),
            recorder: Recorder::default(),
        });
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Self {
            endpoint: upstream.at(url),
            shared,
            runtime: Some(runtime),
        }
    }

    /// The server's endpoint, at the proxy's address.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Replaces the plan, and forgets its counts.
    pub fn set_plan(&self, plan: Plan) {
        *self
            .shared
            .plan
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> Log {
        self.shared.recorder.read()
    }

    /// Begins a new log.
    pub fn clear_log(&self) {
        self.shared.recorder.clear();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true); // merely slower without
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let cut = Cut::default();
            let io = TokioIo::new(CutStream::new(stream, cut.clone()));
            let service = service_fn(|request| handle(&shared, &cut, request));
            // It ends in an error whenever a connection is cut: that is the proxy's trade.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await;
        });
    }
}

async fn handle(
    shared: &Shared,
    cut: &Cut,
    incoming: http::Request<Incoming>,
) -> Result<Reply, NoReply> {
    let (head, body) = incoming.into_parts();
    let request = Request::of(&head);
    let plan = Arc::clone(&shared.plan.lock().unwrap_or_else(PoisonError::into_inner));
    let fault = plan.decide(&request);
    let record = shared
        .recorder
        .record(request, fault.as_ref().map(Fault::name));
    let result = respond(shared, cut, head, body, fault, &record).await;
    match &result {
        Ok(reply) => record.set_status(reply.status().as_u16()),
        Err(_) => cut.set(),
    }
    result
}

async fn respond(
    shared: &Shared,
    cut: &Cut,
    head: http::request::Parts,
    body: Incoming,
    fault: Option<Fault>,
    record: &Arc<Record>,
) -> Result<Reply, NoReply> {
    let tap = |body, harm| Tapped::new(body, harm, Arc::clone(record), Direction::ToServer);
    match fault {
        None => {
            let reply = forward(shared, head, tap(body, Harm::None)).await?;
            Ok(harmed(reply, record, |_| Harm::None))
        }
        Some(Fault::SlowDown { retry_after_s }) => {
            drain(tap(body, Harm::None)).await?;
            let mut reply = refusal(503, "SlowDown", "Please reduce your request rate.");
            if let Some(seconds) = retry_after_s {
                reply.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            Ok(reply)
        }
        Some(Fault::InternalError) => {
            drain(tap(body, Harm::None)).await?;
            Ok(refusal(
                500,
                "InternalError",
                "We encountered an internal error.",
            ))
        }
        Some(Fault::Refuse { status, code }) => {
            drain(tap(body, Harm::None)).await?;
            Ok(refusal(status, code, "Refused by the fault plan."))
        }
        Some(Fault::ResetRequest { after }) => {
            drain(tap(body, Harm::Truncate(after))).await?;
            Err(NoReply::Planned)
        }
        Some(Fault::FlipRequest { at }) => {
            let harm = flip_request(&head.headers, at);
            let reply = forward(shared, head, tap(body, harm)).await?;
            Ok(harmed(reply, record, |_| Harm::None))
        }
        Some(Fault::LoseReply) => {
            let reply = forward(shared, head, tap(body, Harm::None)).await?;
            // The server has done its work when its whole answer is there.
            reply.into_body().collect().await?;
            Err(NoReply::Planned)
        }
        Some(Fault::ErrorIn200 { forward: true }) => {
            let reply = forward(shared, head, tap(body, Harm::None)).await?;
            reply.into_body().collect().await?;
            Ok(refusal(
                200,
                "InternalError",
                "We encountered an internal error.",
            ))
        }
        Some(Fault::ErrorIn200 { forward: false }) => {
            drain(tap(body, Harm::None)).await?;
            Ok(refusal(
                200,
                "InternalError",
                "We encountered an internal error.",
            ))
        }
        Some(Fault::Misorder) => {
            misordered(forward(shared, head, tap(body, Harm::None)).await?).await
        }
        Some(Fault::HoldRequest(gate)) => {
            gate.pass().await;
            let reply = forward(shared, head, tap(body, Harm::None)).await?;
            Ok(harmed(reply, record, |_| Harm::None))
        }
        Some(Fault::HoldReply(gate)) => {
            let reply = forward(shared, head, tap(body, Harm::None)).await?;
            gate.pass().await;
            Ok(harmed(reply, record, |_| Harm::None))
        }
        Some(Fault::TruncateResponse { by }) => {
            let reply = forward(shared, head, tap(body, Harm::None)).await?;
            Ok(truncated(reply, record, by))
        }
        Some(
            fault @ (Fault::ResetResponse { .. }
            | Fault::ShortLongResponse { .. }
            | Fault::ShortResponse { .. }
            | Fault::FlipResponse { .. }
            | Fault::Throttle { .. }
            | Fault::HoldResponse { .. }),
        ) => {
            let reply = forward(shared, head, tap(body, Harm::None)).await?;
            Ok(harmed(reply, record, |length| {
                response_harm(fault, length, cut)
            }))
        }
    }
}

/// How a fault of the answer's body looks on a body of `length` bytes.
fn response_harm(fault: Fault, length: u64, cut: &Cut) -> Harm {
    let within = |place: u64| place.checked_rem(length).unwrap_or(0);
    match fault {
        _ if length == 0 => Harm::None,
        Fault::ResetResponse { after } => Harm::EndAfter(within(after), Some(cut.clone())),
        Fault::ShortLongResponse { after } if length > after => Harm::EndAfter(after, None),
        Fault::ShortResponse { after } => Harm::EndAfter(within(after), None),
        Fault::FlipResponse { at } => Harm::Flip(within(at)),
        Fault::Throttle { bytes_per_s } => Harm::Throttle(bytes_per_s.max(1)),
        Fault::HoldResponse { after, gate } => Harm::Hold(within(after), gate),
        _ => Harm::None,
    }
}

/// Where to flip in a request's body: behind the framing, if it has any.
fn flip_request(headers: &HeaderMap, at: u64) -> Harm {
    const SMALLEST_CHUNK: u64 = 8 << 10;
    match number(headers, "x-amz-decoded-content-length") {
        Some(0) => Harm::None,
        Some(length) => Harm::FlipChunked(at % length.min(SMALLEST_CHUNK)),
        None => match number(headers, CONTENT_LENGTH.as_str()) {
            None | Some(0) => Harm::None,
            Some(length) => Harm::Flip(at % length.min(SMALLEST_CHUNK)),
        },
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

async fn forward(
    shared: &Shared,
    mut head: http::request::Parts,
    body: Tapped,
) -> Result<http::Response<Incoming>, NoReply> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = http::Uri::builder()
        .scheme("http")
        .authority(shared.upstream.as_str())
        .path_and_query(path)
        .build()?;
    // Between two neighbours only; our server has answered an Expect already.
    head.headers.remove(CONNECTION);
    head.headers.remove(EXPECT);
    head.version = http::Version::HTTP_11;
    let mut reply = shared
        .client
        .request(http::Request::from_parts(head, body))
        .await?;
    reply.headers_mut().remove(CONNECTION);
    Ok(reply)
}

/// Reads a request's body to its end, or to where its harm ends it.
async fn drain(mut body: Tapped) -> Result<(), NoReply> {
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(_) | Err(BodyError::Planned) => {}
            Err(BodyError::Peer(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

fn harmed(
    reply: http::Response<Incoming>,
    record: &Arc<Record>,
    harm: impl FnOnce(u64) -> Harm,
) -> Reply {
    let length = number(reply.headers(), CONTENT_LENGTH.as_str()).unwrap_or(u64::MAX);
    let record = Arc::clone(record);
    reply.map(|body| Tapped::new(body, harm(length), record, Direction::ToClient).boxed())
}

fn truncated(mut reply: http::Response<Incoming>, record: &Arc<Record>, by: u64) -> Reply {
    let length = number(reply.headers(), CONTENT_LENGTH.as_str()).unwrap_or(0);
    let kept = length.saturating_sub(by);
    if length == 0 {
        return harmed(reply, record, |_| Harm::None);
    }
    reply.headers_mut().insert(CONTENT_LENGTH, kept.into());
    harmed(reply, record, |_| Harm::Truncate(kept))
}

/// A listing with its first and last entry exchanged; one with fewer than two stays as it is.
async fn misordered(reply: http::Response<Incoming>) -> Result<Reply, NoReply> {
    let (mut head, body) = reply.into_parts();
    let page = body.collect().await?.to_bytes();
    let page = String::from_utf8_lossy(&page);
    let swapped = swap_outer_contents(&page).unwrap_or_else(|| page.into_owned());
    head.headers.insert(CONTENT_LENGTH, swapped.len().into());
    Ok(http::Response::from_parts(head, full(swapped)))
}

fn swap_outer_contents(page: &str) -> Option<String> {
    const OPEN: &str = "<Contents>";
    const CLOSE: &str = "</Contents>";
    let first = page.find(OPEN)?..page.find(CLOSE)? + CLOSE.len();
    let last = page.rfind(OPEN)?..page.rfind(CLOSE)? + CLOSE.len();
    (first.end <= last.start).then(|| {
        [
            &page[..first.start],
            &page[last.clone()],
            &page[first.end..last.start],
            &page[first.clone()],
            &page[last.end..],
        ]
        .concat()
    })
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>{message}</Message><RequestId>fault-proxy</RequestId></Error>"
    );
    let mut reply = http::Response::new(full(body));
    *reply.status_mut() = StatusCode::from_u16(status).expect("a plan names valid statuses");
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    reply
}

fn full(text: String) -> BoxBody<Bytes, BodyError> {
    Full::from(text).map_err(|never| match never {}).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_entries_change_places() {
        let entry = |key| format!("<Contents><Key>{key}</Key></Contents>");
        let page = format!("<R>{}{}{}</R>", entry("a"), entry("b"), entry("c"));
        let swapped = format!("<R>{}{}{}</R>", entry("c"), entry("b"), entry("a"));
        assert_eq!(swap_outer_contents(&page), Some(swapped));
        assert_eq!(swap_outer_contents(&entry("a")), None);
        assert_eq!(swap_outer_contents("<R></R>"), None);
    }
}
