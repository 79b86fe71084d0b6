//! The state as a service against the suite, over connections that lose replies, and what is its
//! own: tokens, odd callers, a server that is started anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use skyhaul_model::{ErrorKind, HolderId, TransferId};
use skyhaul_state::service::{Patience, RemoteState, Scope, Service, Token};
use skyhaul_state::suite::{self, Coverage};
use skyhaul_state::{GatewayRow, SqliteState, Submitted, TransferChange, TransferState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

const PATIENCE: Patience = Patience {
    reply: Duration::from_secs(20),
    outage: Duration::from_secs(30),
};

/// A service that ends with this value.
struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Served {
    async fn start(database: &Path, token: &Token, address: &str) -> Self {
        let state = Arc::new(SqliteState::open(database).unwrap());
        let listener = TcpListener::bind(address).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let service = Service::new(state, token.clone());
        let task = Some(tokio::spawn(service.serve(listener, stop.clone())));
        Self {
            address,
            stop,
            task,
        }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        self.task.take().unwrap().await.unwrap();
    }
}

async fn connect(address: SocketAddr, token: &Token) -> Arc<dyn TransferState> {
    let connected = RemoteState::connect(&address.to_string(), token, PATIENCE).await;
    Arc::new(connected.unwrap())
}

/// Passes connections on and loses some of the replies, by the dice.
struct Lossy {
    address: SocketAddr,
    lost: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl Lossy {
    async fn start(to: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, lost) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let (dice, losing) = (
            Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
            Arc::clone(&lost),
        );
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (dice, lost) = (Arc::clone(&dice), Arc::clone(&losing));
                tokio::spawn(async move {
                    let far = TcpStream::connect(to).await.unwrap();
                    let (mut near_in, mut near_out) = near.into_split();
                    let (mut far_in, mut far_out) = far.into_split();
                    let forward = async {
                        let _ = tokio::io::copy(&mut near_in, &mut far_out).await;
                    };
                    let back = async {
                        let mut bytes = vec![0; 64 << 10];
                        while let Ok(count @ 1..) = far_in.read(&mut bytes).await {
                            if dice.lock().unwrap().random_ratio(1, 12) {
                                lost.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                            if near_out.write_all(&bytes[..count]).await.is_err() {
                                break;
                            }
                        }
                    };
                    tokio::select! {
                        () = forward => {}
                        () = back => {}
                    }
                });
            }
        });
        Self {
            address,
            lost,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

#[tokio::test]
async fn random_operations_do_what_the_model_does_though_replies_are_lost() {
    let (mut coverage, mut lost) = (Coverage::default(), 0);
    for seed in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let token = Token::generate();
        let served = Served::start(&dir.path().join("state.db"), &token, "127.0.0.1:0").await;
        let lossy = Lossy::start(served.address, seed).await;
        let run = suite::run(|| connect(lossy.address, &token), seed, 400).await;
        coverage.merge(run.unwrap_or_else(|violation| panic!("{violation}")));
        lost += lossy.lost.load(Ordering::Relaxed);
        served.stop().await;
    }
    println!("{lost} replies lost, {coverage:#?}");
    assert!(lost > 100 && coverage.repeated > 250 && coverage.reopened > 25);
    for (operation, result) in [
        ("claim", "ok"),
        ("change", "LeaseLost"),
        ("record", "Invalid"),
        ("renew", "LeaseLost"),
    ] {
        assert!(
            coverage.count(operation, result) > 0,
            "{operation} {result}"
        );
    }
}

#[tokio::test]
async fn holders_race_for_groups_through_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let token = Token::generate();
    let served = Served::start(&dir.path().join("state.db"), &token, "127.0.0.1:0").await;
    suite::race(|| connect(served.address, &token), 6)
        .await
        .unwrap();
    served.stop().await;
}

#[tokio::test]
async fn a_call_outlasts_a_server_that_is_started_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (database, token) = (dir.path().join("state.db"), Token::generate());
    let served = Served::start(&database, &token, "127.0.0.1:0").await;
    let address = served.address.to_string();
    let state = connect(served.address, &token).await;
    let (id, spec) = (TransferId::generate(), suite::plain_spec());
    let Submitted::Created(row) = state.submit(&id, &spec).await.unwrap() else {
        panic!("a new transfer was there before");
    };
    served.stop().await;
    // Nobody listens now: the call waits until somebody does.
    let change = TransferChange {
        error: Some(Some("why".to_owned())),
        ..TransferChange::default()
    };
    let (changed, served) = tokio::join!(
        state.change(&id, row.revision, change),
        Served::start(&database, &token, &address),
    );
    let changed = changed.unwrap();
    assert_eq!(changed.error.as_deref(), Some("why"));
    let clear = TransferChange {
        error: Some(None),
        ..TransferChange::default()
    };
    assert_eq!(
        state
            .change(&id, changed.revision, clear)
            .await
            .unwrap()
            .error,
        None
    );
    served.stop().await;
    let gone = RemoteState::connect(
        &address,
        &token,
        Patience {
            outage: Duration::ZERO,
            ..PATIENCE
        },
    );
    let error = gone.await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(error.retryable && error.to_string().contains(&address));
}

/// Sends bytes as they are; what comes back until the connection ends.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn strangers_and_odd_calls_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let token = Token::parse(TOKEN).unwrap();
    let served = Served::start(&dir.path().join("state.db"), &token, "127.0.0.1:0").await;
    let address = served.address;
    let denied = RemoteState::connect(&address.to_string(), &Token::generate(), PATIENCE).await;
    let error = denied.unwrap_err();
    assert_eq!(error.kind, ErrorKind::AccessDenied, "{error}");
    assert!(!error.to_string().contains(TOKEN));

    let post = |headers: &str, body: &str| {
        format!(
            "POST /state/v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
             {headers}\r\n{body}",
            body.len()
        )
    };
    let authorized = format!("Authorization: Bearer {TOKEN}\r\n");
    let purge = format!("{{\"state\":{{\"purge\":\"{}\"}}}}", TransferId::generate());
    for (request, status, says) in [
        (post("", &purge), 401, "token"),
        (post("Authorization: Bearer x\r\n", &purge), 401, "token"),
        (post(&authorized, &purge), 400, "number"),
        (
            post(&authorized, "{\"state\":{\"drop\":1}}"),
            400,
            "not a call",
        ),
        (post(&authorized, "{"), 400, "not a call"),
        (
            post(&authorized, "").replace("/state/v1", "/"),
            501,
            "posted to",
        ),
        (
            post(&authorized, "").replace("POST", "GET"),
            501,
            "posted to",
        ),
        ("\u{0}\u{1}\r\n\r\n".to_owned(), 400, ""),
    ] {
        let answer = raw(address, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
        assert!(answer.contains(says), "{request}: {answer}");
    }
    // More than is taken: refused, whatever is announced and whatever comes.
    let large = post(&authorized, "").replace("Content-Length: 0", "Content-Length: 99999999999");
    let answer = raw(address, &format!("{large}{}", " ".repeat(1 << 20))).await;
    assert!(
        answer.contains("too large") || answer.is_empty(),
        "{answer}"
    );
    assert!(
        connect(address, &token)
            .await
            .transfers()
            .await
            .unwrap()
            .is_empty()
    );
    served.stop().await;
}

#[tokio::test]
async fn what_is_no_state_service_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let other = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4_096];
            let _ = stream.read(&mut request).await;
            let page = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
            let _ = stream.write_all(page.as_bytes()).await;
        }
    });
    let error = RemoteState::connect(&address, &Token::generate(), PATIENCE).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("no state service"), "{error}");
    for wrong in ["", "a b", "host:port:x"] {
        let error = RemoteState::connect(wrong, &Token::generate(), PATIENCE).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::Invalid, "{wrong}");
    }
    other.abort();
}

#[tokio::test]
async fn a_lost_claim_is_not_claimed_twice() {
    // The very request twice, as a client sends it whose reply was lost.
    let dir = tempfile::tempdir().unwrap();
    let token = Token::parse(TOKEN).unwrap();
    let served = Served::start(&dir.path().join("state.db"), &token, "127.0.0.1:0").await;
    let state = connect(served.address, &token).await;
    let (id, holder) = (TransferId::generate(), HolderId::generate());
    state.submit(&id, &suite::plain_spec()).await.unwrap();
    let row = state.ranges(&id).await.unwrap().remove(0);
    let row = state.lease_range(&id, row.id, &holder, None).await.unwrap();
    let group = skyhaul_state::NewGroup {
        chunks: 1,
        bytes: 1,
        segment: "manifest/x".to_owned(),
    };
    let publication = skyhaul_state::Publication {
        cursor: Some("a".to_owned()),
        groups: vec![group.clone(), group],
        first: Vec::new(),
        segments: Vec::new(),
        counts: skyhaul_state::ListCounts::default(),
        done: false,
    };
    let lease = row.lease.unwrap();
    state
        .publish(&id, row.id, &lease, publication)
        .await
        .unwrap();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<http_body_util::Full<bytes::Bytes>>();
    let body = format!("{{\"state\":{{\"claim\":[\"{id}\",0,\"{holder}\",null]}}}}");
    let mut answers = Vec::new();
    for number in ["one", "one", "two"] {
        let request = hyper::Request::post(format!("http://{}/state/v1", served.address))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("x-skyhaul-call", number)
            .body(body.clone().into())
            .unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap();
        answers.push(body.to_bytes());
    }
    assert_eq!(answers[0], answers[1]);
    assert_ne!(answers[1], answers[2]);
    served.stop().await;
}

#[tokio::test]
async fn a_relays_token_only_lets_it_tell_of_itself_and_find_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let state: Arc<dyn TransferState> =
        Arc::new(SqliteState::open(folder.path().join("db")).unwrap());
    let (all, presence) = (Token::generate(), Token::generate());
    let tokens = vec![
        (all.clone(), Scope::All),
        (presence.clone(), Scope::Presence("relay-1".to_owned())),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let service = Service::scoped(state, tokens).serve(listener, stop.clone());
    let _served = AbortOnDropHandle::new(tokio::spawn(service));
    let (owner, relay) = (
        connect(address, &all).await,
        connect(address, &presence).await,
    );
    let id = TransferId::generate();
    owner.submit(&id, &suite::plain_spec()).await.unwrap();
    let row = GatewayRow {
        name: "relay-1".to_owned(),
        beat: 1,
        ..GatewayRow::default()
    };
    relay.announce(&id, &row).await.unwrap();
    assert_eq!(relay.gateways(&id).await.unwrap(), [row]);
    let holder = HolderId::generate();
    let other = GatewayRow {
        name: "dst-1".to_owned(),
        ..GatewayRow::default()
    };
    for error in [
        relay.announce(&id, &other).await.unwrap_err(),
        relay.transfer(&id).await.map(drop).unwrap_err(),
        relay
            .claim(&id, 0, &holder, None)
            .await
            .map(drop)
            .unwrap_err(),
        relay.purge(&id).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::AccessDenied, "{error}");
    }
    owner.transfer(&id).await.unwrap();
}
