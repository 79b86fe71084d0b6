//! What a store's writer promises, kept over the network: source, relay, destination.
#![allow(clippy::unwrap_used)]

mod net;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use net::{Net, Wire};
use skyhaul_gateway::wire::header::Cipher;
use skyhaul_gateway::{Compress, Node, Sealing};
use skyhaul_model::capabilities::Capabilities;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::spec::Durability;
use skyhaul_model::{Algorithm, Checksum, ObjectInfo, Pin, Result, Side, TransferId};
use skyhaul_stores::conformance::{Fixture, Quirks};
use skyhaul_stores::local::{LocalOptions, LocalStore};
use skyhaul_stores::several::{Member, Several};
use skyhaul_stores::{
    Access, Condition, CopyRequest, CopySource, DeleteOutcome, ListRequest, Lister, ObjectReader,
    OpenUpload, PartStream, PartWrite, PutReceipt, PutRequest, ReadRequest, Staged, Store,
    UploadRequest, UploadToken,
};

/// Writes over the network; lists and reads where the bytes are. Of several destinations all that is
/// read is compared, so that what one lacks is found.
#[derive(Debug)]
struct Pair {
    far: Arc<dyn Store>,
    near: Vec<LocalStore>,
}

impl Pair {
    fn first(&self) -> &LocalStore {
        &self.near[0]
    }
}

/// The bytes, or why there are none.
async fn bytes_of(store: &LocalStore, key: &str, request: ReadRequest) -> Result<Vec<u8>> {
    let reader = store.read(key, request).await?;
    let frames: Vec<bytes::Bytes> = reader.body.try_collect().await?;
    Ok(frames.concat())
}

#[async_trait]
impl Store for Pair {
    fn capabilities(&self) -> &Capabilities {
        self.far.capabilities()
    }
    fn side(&self) -> Side {
        self.far.side()
    }
    fn uri(&self, key: &str) -> String {
        self.far.uri(key)
    }
    async fn check(&self, access: Access, prefix: &str) -> Result<()> {
        self.far.check(access, prefix).await
    }
    fn list(&self, request: ListRequest) -> Box<dyn Lister> {
        self.first().list(request)
    }
    async fn stat(&self, key: &str, pin: &Pin, tags: bool) -> Result<Option<ObjectInfo>> {
        self.far.stat(key, pin, tags).await
    }
    async fn read(&self, key: &str, request: ReadRequest) -> Result<ObjectReader> {
        let first = bytes_of(self.first(), key, request.clone()).await;
        for other in &self.near[1..] {
            // Each has versions of its own.
            let request = ReadRequest {
                pin: Pin::default(),
                ..request.clone()
            };
            if let (Ok(first), Ok(other)) = (&first, bytes_of(other, key, request).await) {
                assert_eq!(*first, other, "{key} is not the same everywhere");
            }
        }
        self.first().read(key, request).await
    }
    async fn put(&self, key: &str, request: PutRequest) -> Result<PutReceipt> {
        self.far.put(key, request).await
    }
    fn writes_together(&self) -> bool {
        self.far.writes_together()
    }
    async fn put_many(&self, puts: Vec<(String, PutRequest)>) -> Vec<Result<PutReceipt>> {
        self.far.put_many(puts).await
    }
    async fn commit(&self, staged: Vec<Staged>) -> Vec<Result<PutReceipt>> {
        self.far.commit(staged).await
    }
    async fn open_upload(&self, key: &str, request: UploadRequest) -> Result<UploadToken> {
        self.far.open_upload(key, request).await
    }
    async fn put_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartWrite,
    ) -> Result<PartReceipt> {
        self.far.put_part(key, token, part).await
    }
    fn streams_parts(&self, algorithm: Option<Algorithm>) -> bool {
        self.far.streams_parts(algorithm)
    }
    async fn stream_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartStream,
    ) -> Result<PartReceipt> {
        self.far.stream_part(key, token, part).await
    }
    async fn finish_upload(
        &self,
        key: &str,
        token: &UploadToken,
        parts: &[PartReceipt],
        checksum: Option<&Checksum>,
        condition: &Condition,
    ) -> Result<PutReceipt> {
        self.far
            .finish_upload(key, token, parts, checksum, condition)
            .await
    }
    async fn list_parts(&self, key: &str, token: &UploadToken) -> Result<Vec<PartReceipt>> {
        self.far.list_parts(key, token).await
    }
    async fn abort_upload(&self, key: &str, token: &UploadToken) -> Result<()> {
        self.far.abort_upload(key, token).await
    }
    async fn uploads(&self, key: &str) -> Result<Vec<OpenUpload>> {
        self.far.uploads(key).await
    }
    async fn delete(&self, keys: &[String]) -> Vec<DeleteOutcome> {
        self.far.delete(keys).await
    }
    async fn copy(
        &self,
        key: &str,
        source: &CopySource,
        request: CopyRequest,
    ) -> Result<PutReceipt> {
        self.first().copy(key, source, request).await
    }
    async fn copy_part(
        &self,
        key: &str,
        token: &UploadToken,
        source: &CopySource,
        number: u32,
        range: (u64, u64),
    ) -> Result<PartReceipt> {
        self.first()
            .copy_part(key, token, source, number, range)
            .await
    }
}

/// All that must live as long as a fixture.
#[allow(dead_code)]
struct Keep(tempfile::TempDir, Vec<Wire>, Vec<Arc<Node>>);

fn fixture_of(far: [Arc<dyn Store>; 2], near: impl Fn() -> Vec<LocalStore>, keep: Keep) -> Fixture {
    let pair = |far| Arc::new(Pair { far, near: near() }) as Arc<dyn Store>;
    let [store, other] = far.map(pair);
    Fixture {
        store,
        other,
        container: String::new(),
        prefix: String::new(),
        quirks: Quirks::default(),
        keep: Some(Box::new(keep)),
    }
}

/// Opens a folder, as any process of one transfer would.
fn opener(transfer: TransferId) -> impl Fn(&Path) -> LocalStore {
    move |root| {
        let options = LocalOptions {
            durability: Durability::Off,
            follow_symlinks: false,
            transfer: Some(transfer.clone()),
        };
        LocalStore::open(root, Side::Destination, options).unwrap()
    }
}

async fn over_a_relay(cipher: Cipher, compress: Compress) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    let open = opener(TransferId::generate());
    let net = Net::new();
    let (source, relay) = (net.source("source"), net.relay("relay"));
    let destination = net.destination("destination", Arc::new(open(&root)));
    let wires = vec![
        net.connect(&source, &relay).await,
        net.connect(&relay, &destination).await,
    ];
    let far = async || {
        let way: &[&str] = &["relay", "destination"];
        Arc::new(net.remote(&source, &[way], cipher, compress).await) as Arc<dyn Store>
    };
    let far = [far().await, far().await];
    let keep = Keep(directory, wires, vec![source, relay, destination]);
    fixture_of(far, || vec![open(&root)], keep)
}

/// The folders of three destinations, as `renamed` says.
fn folders() -> (tempfile::TempDir, PathBuf, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    let folders: Vec<_> = (0..3).map(|number| root.join(number.to_string())).collect();
    for folder in &folders {
        std::fs::create_dir(folder).unwrap();
    }
    (directory, root, folders)
}

/// Three destinations, two of them at one gateway: behind one relay, or in a chain, where the first
/// passes on to the second what it writes itself.
async fn to_several(cipher: Cipher, chain: bool) -> Fixture {
    let (directory, root, folders) = folders();
    let open = opener(TransferId::generate());
    let net = Net::new();
    let (source, relay) = (net.source("source"), net.relay("relay"));
    let stores = || vec![Arc::new(open(&root)) as Arc<dyn Store>; 3];
    let near = net.destination_of("near", stores());
    let far = net.destination_of("far", stores());
    let wires = vec![
        net.connect(&source, &relay).await,
        net.connect(&relay, &near).await,
        net.connect(if chain { &near } else { &relay }, &far).await,
    ];
    let sealing = Sealing {
        cipher,
        compress: Compress::Lz4,
    };
    let several = async || {
        let mut ways: [&[&str]; 2] = [&["relay", "near"], &["relay", "far"]];
        if chain {
            ways[1] = &["relay", "near", "far"];
        }
        let places: [(&[&[&str]], u32); 2] = [(&ways[..1], 2), (&ways[1..], 1)];
        Arc::new(net.broadcast(&source, &places, sealing).await) as Arc<dyn Store>
    };
    let all = [several().await, several().await];
    let keep = Keep(directory, wires, vec![source, relay, near, far]);
    fixture_of(
        all,
        || folders.iter().map(|root| open(root)).collect(),
        keep,
    )
}

/// Three destinations that this process writes to itself.
fn without_gateways() -> std::future::Ready<Fixture> {
    let (directory, root, folders) = folders();
    let open = opener(TransferId::generate());
    let several = || {
        let member = |number| Member {
            store: Arc::new(open(&root)),
            rename: net::renamed(number),
        };
        Arc::new(Several::new((0..3).map(member).collect())) as Arc<dyn Store>
    };
    let keep = Keep(directory, Vec::new(), Vec::new());
    let near = || folders.iter().map(|root| open(root)).collect();
    std::future::ready(fixture_of([several(), several()], near, keep))
}

mod aes_and_lz4 {
    async fn fixture() -> skyhaul_stores::conformance::Fixture {
        super::over_a_relay(super::Cipher::Aes256Gcm, super::Compress::Lz4).await
    }
    skyhaul_stores::conformance_tests!(fixture);
}

mod chacha_and_zstd {
    async fn fixture() -> skyhaul_stores::conformance::Fixture {
        super::over_a_relay(super::Cipher::ChaCha20Poly1305, super::Compress::Zstd).await
    }
    skyhaul_stores::conformance_tests!(fixture);
}

mod in_clear {
    async fn fixture() -> skyhaul_stores::conformance::Fixture {
        super::over_a_relay(super::Cipher::None, super::Compress::None).await
    }
    skyhaul_stores::conformance_tests!(fixture);
}

mod several_over_a_relay {
    async fn fixture() -> skyhaul_stores::conformance::Fixture {
        super::to_several(super::Cipher::Aes256Gcm, false).await
    }
    skyhaul_stores::conformance_tests!(fixture);
}

mod several_in_a_chain_in_clear {
    async fn fixture() -> skyhaul_stores::conformance::Fixture {
        super::to_several(super::Cipher::None, true).await
    }
    skyhaul_stores::conformance_tests!(fixture);
}

mod several_without_gateways {
    fn fixture() -> std::future::Ready<skyhaul_stores::conformance::Fixture> {
        super::without_gateways()
    }
    skyhaul_stores::conformance_tests!(fixture);
}
