//! A proxy that loses replies after the server acted, refuses as a service that has too much to
//! do, and changes requests, by the dice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use skyhaul_tests::servers::Endpoint;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

type Upstream = Client<HttpConnector, Full<Bytes>>;
/// Changes a request of an operation.
type Edit = Arc<dyn Fn(&str, &mut Value) + Send + Sync>;

/// Which requests of an operation.
type Which = Arc<dyn Fn(&str, &Value) -> bool + Send + Sync>;

/// What goes wrong.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    /// A reply is lost once in so many requests; 0 is never.
    pub(crate) lose: u32,
    /// A request is refused for now once in so many; 0 is never.
    pub(crate) throttle: u32,
    /// Done to every request.
    pub(crate) edit: Option<Edit>,
    /// These wait until the gate is opened.
    pub(crate) hold: Option<(Which, Arc<Gate>)>,
}

/// Where requests wait.
pub(crate) struct Gate {
    closed: Semaphore,
    arrived: Semaphore,
}

impl Gate {
    pub(crate) fn closed() -> Arc<Self> {
        Arc::new(Self {
            closed: Semaphore::new(0),
            arrived: Semaphore::new(0),
        })
    }

    pub(crate) fn open(&self) {
        self.closed.close();
    }

    /// Waits until so many requests stand at the gate.
    pub(crate) async fn arrivals(&self, count: u32) {
        self.arrived.acquire_many(count).await.unwrap().forget();
    }

    async fn pass(&self) {
        self.arrived.add_permits(1);
        // Ends when the gate is opened.
        let _ = self.closed.acquire().await;
    }
}

pub(crate) struct Proxy {
    pub(crate) endpoint: Endpoint,
    pub(crate) lost: Arc<AtomicU64>,
    pub(crate) throttled: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

struct Way {
    to: String,
    client: Upstream,
    faults: Faults,
    dice: Mutex<StdRng>,
    lost: Arc<AtomicU64>,
    throttled: Arc<AtomicU64>,
}

/// The connection is closed without a reply.
#[derive(Debug, thiserror::Error)]
#[error("lost")]
struct Lost;

impl Proxy {
    pub(crate) async fn start(to: &Endpoint, seed: u64, faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (lost, throttled) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let way = Arc::new(Way {
            to: to.url.clone(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            faults,
            dice: Mutex::new(StdRng::seed_from_u64(seed)),
            lost: Arc::clone(&lost),
            throttled: Arc::clone(&throttled),
        });
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let way = Arc::clone(&way);
                let serve = service_fn(move |request| {
                    let way = Arc::clone(&way);
                    async move { way.pass(request).await }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
                // Ends with an error where a reply is lost.
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Self {
            endpoint: to.at(format!("http://{address}")),
            lost,
            throttled,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

impl Way {
    fn hit(&self, one_in: u32) -> bool {
        one_in > 0 && self.dice.lock().unwrap().random_ratio(1, one_in)
    }

    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Lost> {
        let (mut head, body) = request.into_parts();
        let target = head.headers["x-amz-target"].to_str().unwrap().to_owned();
        let operation = target.rsplit('.').next().unwrap();
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        if self.hit(self.faults.throttle) {
            self.throttled.fetch_add(1, Ordering::Relaxed);
            return Ok(slow_down(operation, &body));
        }
        if let Some((which, gate)) = &self.faults.hold
            && which(operation, &body)
        {
            gate.pass().await;
        }
        if let Some(edit) = &self.faults.edit {
            edit(operation, &mut body);
        }
        let body = Full::new(Bytes::from(body.to_string()));
        head.uri = format!("{}/", self.to).parse().unwrap();
        head.headers.remove(HOST);
        head.headers.remove(CONTENT_LENGTH);
        let reply = self.client.request(Request::from_parts(head, body)).await;
        let (head, body) = reply.map_err(|_| Lost)?.into_parts();
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
        if self.hit(self.faults.lose) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return Err(Lost);
        }
        Ok(Response::from_parts(head, Full::new(body)))
    }
}

/// How the service says that it has too much to do: of a batch, by giving it back.
fn slow_down(operation: &str, body: &Value) -> Response<Full<Bytes>> {
    let (status, reply) = if operation == "BatchWriteItem" {
        (200, json!({"UnprocessedItems": body["RequestItems"]}))
    } else {
        let kind = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
        (400, json!({"__type": kind, "message": "too many requests"}))
    };
    let reply = Full::new(Bytes::from(reply.to_string()));
    Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0")
        .body(reply)
        .unwrap()
}
