//! The connections of gateways: crowds of strangers, TLS, and notices that end them.
#![allow(clippy::unwrap_used)]

mod live;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use live::{Live, eventually};
use skyhaul_gateway::run;
use skyhaul_gateway::world::Tcp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What TLS records begin with.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// How long something may take.
const PATIENCE: Duration = Duration::from_mins(1);

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Where a gateway is connected to.
async fn address(live: &Live, name: &str) -> String {
    eventually("a gateway tells where it is", async || {
        let rows = live.state.gateways(&live.id).await.unwrap();
        rows.into_iter().find(|row| row.name == name)?.address
    })
    .await
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// How many lines contain this.
    fn count(&self, text: &str) -> usize {
        let log = self.0.lock().unwrap();
        let lines = String::from_utf8_lossy(&log);
        lines.lines().filter(|line| line.contains(text)).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() << 10
}

// One thread, whose log is that of all tasks.
#[tokio::test]
async fn a_thousand_idle_connections_keep_no_member_out_and_are_hung_up_on() {
    const IDLE: usize = 1_000;
    run::raise_descriptors();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);

    let live = Live::new(4, None).await;
    let _far = live.start_in(Tcp, "dst-1", (&[], 0), Some(any()));
    let at = address(&live, "dst-1").await;
    let before = resident();
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(&at).await.unwrap());
    }
    let near = live.start_in(Tcp, "src-1", (&["dst-1"], 4), None);
    live.ends_whole(near, PATIENCE).await;
    for mut stream in idle {
        let mut said = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
        let _ = closed.expect("an idle connection is kept");
        assert!(said.is_empty(), "a stranger is told something: {said:?}");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    let waited = log.count("refused: others wait to show who they are");
    let slow = log.count("refused: the peer did not complete the handshake in time");
    assert_eq!((waited + slow, log.count("refused")), (IDLE, IDLE));
    assert!(waited >= IDLE - 256, "{waited} made room for others");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_gateways_speak_nothing_else() {
    let live = Live::new(8, None).await;
    let tls = |config: &mut skyhaul_gateway::config::Config| config.socket_tls = true;
    let _far = live.start_with(Tcp, "dst-1", (&[], 0), Some(any()), tls);
    let at = address(&live, "dst-1").await;
    // A gateway without it: what it says is no TLS, and it is told so.
    let mut plain = TcpStream::connect(&at).await.unwrap();
    plain.write_all(b"SKYHAUL\x01").await.unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said).await;
    assert_eq!(said.first(), Some(&ALERT), "{said:?}");
    // What connects speaks TLS, too.
    let listener = TcpListener::bind(any()).await.unwrap();
    let strange = listener.local_addr().unwrap().to_string();
    let row = skyhaul_state::GatewayRow {
        name: "strange".to_owned(),
        address: Some(strange),
        ..skyhaul_state::GatewayRow::default()
    };
    live.state.announce(&live.id, &row).await.unwrap();
    let to_strange = live.start_with(Tcp, "src-2", (&["strange"], 1), None, tls);
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), HANDSHAKE);
    to_strange.orders.stop.cancel();
    drop(stream);

    let near = live.start_with(Tcp, "src-1", (&["dst-1"], 4), None, tls);
    live.ends_whole(near, PATIENCE).await;
}

/// An instance metadata service, until it is dropped: no notice for some looks, then one.
async fn metadata(looks: Arc<Mutex<u32>>) -> String {
    let listener = TcpListener::bind(any()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let looks = Arc::clone(&looks);
            let answer = service_fn(move |request: Request<Incoming>| {
                let looks = Arc::clone(&looks);
                async move { Ok::<_, std::convert::Infallible>(answer(&looks, &request)) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
        }
    });
    format!("http://{address}")
}

fn answer(looks: &Mutex<u32>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let reply = |status: u16, body: &'static str| {
        let ttl = "x-aws-ec2-metadata-token-ttl-seconds";
        let body = Full::new(Bytes::from_static(body.as_bytes()));
        let reply = Response::builder().status(status).header(ttl, "21600");
        reply.body(body).unwrap()
    };
    let token = request.headers().get("x-aws-ec2-metadata-token");
    match (request.method(), request.uri().path()) {
        (&Method::PUT, "/latest/api/token") => reply(200, "a-token"),
        (&Method::GET, _) if token.is_none_or(|token| token != "a-token") => reply(401, ""),
        (&Method::GET, "/latest/meta-data/spot/instance-action") => {
            let mut looks = looks.lock().unwrap();
            if *looks == 0 {
                reply(
                    200,
                    r#"{"action": "terminate", "time": "2026-11-28T08:22:00Z"}"#,
                )
            } else {
                *looks -= 1;
                reply(404, "")
            }
        }
        _ => reply(404, ""),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_has_a_gateway_drain() {
    let live = Live::new(1, None).await;
    let looks = Arc::new(Mutex::new(1));
    let service = metadata(Arc::clone(&looks)).await;
    let far = live.start_with(Tcp, "dst-1", (&[], 0), Some(any()), |config| {
        config.notices = Some(service);
    });
    let ended = tokio::time::timeout(PATIENCE, far.ended).await;
    ended.unwrap().unwrap().unwrap();
    assert!(far.orders.drain.is_cancelled() && !far.orders.stop.is_cancelled());
    assert_eq!(*looks.lock().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_notices_that_is_not_there_harms_nothing() {
    let live = Live::new(1, None).await;
    let nobody = TcpListener::bind(any()).await.unwrap();
    let at = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let with = |config: &mut skyhaul_gateway::config::Config| config.notices = Some(at.clone());
    let _far = live.start_with(Tcp, "dst-1", (&[], 0), Some(any()), with);
    let near = live.start_with(Tcp, "src-1", (&["dst-1"], 2), None, with);
    live.ends_whole(near, PATIENCE).await;
    let wrong = live.start_with(Tcp, "dst-2", (&[], 0), Some(any()), |config| {
        config.notices = Some("no address".to_owned());
    });
    let error = wrong.ended.await.unwrap().unwrap_err();
    assert_eq!(error.kind, skyhaul_model::ErrorKind::Invalid, "{error}");
}
