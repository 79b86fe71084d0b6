//! What a relay, and a stranger, can see and do: nothing that counts.
#![allow(clippy::unwrap_used)]

mod net;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use net::Net;
use skyhaul_gateway::wire::header::Cipher;
use skyhaul_gateway::{Compress, Node, RemoteStore};
use skyhaul_model::spec::Durability;
use skyhaul_model::{Side, TransferId};
use skyhaul_stores::local::{LocalOptions, LocalStore};
use skyhaul_stores::payload::Payload;
use skyhaul_stores::{PutRequest, Store};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// A stream of which all that passes is kept, and of which bytes can be changed as they arrive.
struct Tap<S> {
    stream: S,
    kept: Arc<Mutex<Vec<u8>>>,
    /// Which byte of what is read is flipped.
    flip: Option<usize>,
    read: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let new = &mut buffer.filled_mut()[before..];
        if let Some(at) = this.flip.and_then(|at| at.checked_sub(this.read))
            && let Some(byte) = new.get_mut(at)
        {
            *byte ^= 1;
        }
        this.read += new.len();
        this.kept.lock().unwrap().extend_from_slice(new);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Source, relay and destination over a directory. What reaches the relay is tapped.
struct Way {
    net: Net,
    source: Arc<Node>,
    relay: Arc<Node>,
    destination: Arc<Node>,
    directory: tempfile::TempDir,
    kept: Arc<Mutex<Vec<u8>>>,
    _wire: net::Wire,
}

impl Way {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = LocalOptions {
            durability: Durability::Off,
            follow_symlinks: false,
            transfer: Some(TransferId::generate()),
        };
        let store = LocalStore::open(directory.path(), Side::Destination, options).unwrap();
        let net = Net::new();
        let (source, relay) = (net.source("source"), net.relay("relay"));
        let destination = net.destination("destination", Arc::new(store));
        let wire = net.connect(&relay, &destination).await;
        Self {
            net,
            source,
            relay,
            destination,
            directory,
            kept: Arc::default(),
            _wire: wire,
        }
    }

    /// Connects the source to the relay, `flip` being the byte that is changed on its way there.
    async fn connect(&self, flip: Option<usize>) -> net::Wire {
        let tap = |stream| Tap {
            stream,
            kept: Arc::clone(&self.kept),
            flip,
            read: 0,
        };
        self.net
            .connect_through(&self.source, &self.relay, tap)
            .await
    }

    async fn remote(&self, cipher: Cipher, compress: Compress) -> RemoteStore {
        let way: &[&str] = &["relay", "destination"];
        self.net
            .remote(&self.source, &[way], cipher, compress)
            .await
    }

    async fn put(&self, store: &RemoteStore, key: &str, bytes: &[u8]) {
        let request = PutRequest {
            payload: Payload::from(Bytes::copy_from_slice(bytes)),
            ..PutRequest::default()
        };
        let receipt = store.put(key, request).await.unwrap();
        let committed = store.commit(vec![receipt.staged.unwrap()]).await;
        for result in committed {
            result.unwrap();
        }
        assert_eq!(
            std::fs::read(self.directory.path().join(key)).unwrap(),
            bytes
        );
    }

    fn saw(&self, text: &[u8]) -> bool {
        let kept = self.kept.lock().unwrap();
        kept.windows(text.len()).any(|some| some == text)
    }
}

const MARKER: &[u8] = b"a marker that is nowhere else";

#[tokio::test]
async fn a_relay_sees_objects_only_if_they_are_sent_in_clear() {
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305, Cipher::None] {
        let way = Way::new().await;
        let _wire = way.connect(None).await;
        let store = way.remote(cipher, Compress::None).await;
        // Larger than what goes into the first segment, which is always sealed.
        way.put(&store, "secret-name", &MARKER.repeat(20_000)).await;
        assert_eq!(way.saw(MARKER), cipher == Cipher::None, "{cipher:?}");
        assert!(!way.saw(b"secret-name"), "{cipher:?}");
    }
}

#[tokio::test]
async fn a_flipped_bit_is_noticed_wherever_it_is_and_the_bytes_are_sent_again() {
    // What passes on the way to the relay until all is written: about as much each time.
    let bytes = MARKER.repeat(10_000);
    let whole = {
        let way = Way::new().await;
        let _wire = way.connect(None).await;
        let store = way.remote(Cipher::Aes256Gcm, Compress::None).await;
        way.put(&store, "k", &bytes).await;
        way.kept.lock().unwrap().len()
    };
    for step in 0..40 {
        let at = 200 + (whole - 400) * step / 40;
        let way = Way::new().await;
        let _bad = way.connect(Some(at)).await;
        let _good = way.connect(None).await;
        let store = way.remote(Cipher::Aes256Gcm, Compress::None).await;
        way.put(&store, "k", &bytes).await;
    }
}

#[tokio::test]
async fn what_was_captured_does_nothing_a_second_time() {
    let way = Way::new().await;
    let _wire = way.connect(None).await;
    let store = way.remote(Cipher::Aes256Gcm, Compress::None).await;
    way.put(&store, "k", b"once").await;
    let captured = way.kept.lock().unwrap().clone();
    std::fs::remove_file(way.directory.path().join("k")).unwrap();
    // To the relay, and to the destination itself.
    for node in [&way.relay, &way.destination] {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        near.write_all(&captured).await.unwrap();
        near.shutdown().await.unwrap();
        assert!(node.member().accept(&mut far).await.is_err());
    }
    assert!(!way.directory.path().join("k").exists());
}

#[tokio::test]
async fn strangers_get_no_further_than_the_handshake() {
    let way = Way::new().await;
    let other = Net::new();
    let stranger = other.source("stranger");
    let (mut near, mut far) = tokio::io::duplex(4_096);
    let (connected, accepted) = tokio::join!(
        async move { stranger.member().connect(&mut near).await.is_err() },
        async move { way.relay.member().accept(&mut far).await.is_err() }
    );
    assert!(connected && accepted);
}

/// A member without the data secret that sends requests of its own making.
#[tokio::test]
async fn a_relay_asks_in_vain() {
    let way = Way::new().await;
    let _wire = way.connect(None).await;
    // It knows the membership secret, has a secret of its own for data, and is connected.
    let forger = way.net.forger("forger");
    let _forged = way.net.connect(&forger, &way.destination).await;
    let ways: &[&[&str]] = &[&["destination"]];
    let asked = way
        .net
        .try_remote(&forger, ways, std::time::Duration::from_secs(2));
    assert!(asked.await.is_err());
    assert_eq!(std::fs::read_dir(way.directory.path()).unwrap().count(), 0);
    // The others go on.
    let store = way.remote(Cipher::Aes256Gcm, Compress::None).await;
    way.put(&store, "k", b"bytes").await;
}

#[tokio::test]
async fn garbage_after_the_handshake_ends_the_connection_and_nothing_else() {
    let way = Way::new().await;
    let member = way.source.member().clone();
    for len in [0, 1, 2, 17, 600, 70_000] {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let (near_agreed, far_agreed) = tokio::join!(
            member.connect(&mut near),
            way.relay.member().accept(&mut far)
        );
        near_agreed.unwrap();
        let garbage: Vec<u8> = (0..len).map(|_| rand::random()).collect();
        near.write_all(&garbage).await.unwrap();
        near.shutdown().await.unwrap();
        way.relay
            .join(far_agreed.unwrap(), tokio::io::split(far))
            .await;
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
    }
    let _wire = way.connect(None).await;
    let store = way.remote(Cipher::Aes256Gcm, Compress::None).await;
    way.put(&store, "k", b"bytes").await;
}
