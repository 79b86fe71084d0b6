//! What a store's writer promises, kept over the network: source, relay, destination.
#![allow(clippy::unwrap_used)]

mod net;

use std::sync::Arc;

use async_trait::async_trait;
use net::{Net, Wire};
use skyhaul_gateway::wire::header::Cipher;
use skyhaul_gateway::{Compress, Node, RemoteStore};
use skyhaul_model::capabilities::Capabilities;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::spec::Durability;
use skyhaul_model::{Algorithm, Checksum, ObjectInfo, Pin, Result, Side, TransferId};
use skyhaul_stores::conformance::{Fixture, Quirks};
use skyhaul_stores::local::{LocalOptions, LocalStore};
use skyhaul_stores::{
    Access, Condition, CopyRequest, CopySource, DeleteOutcome, ListRequest, Lister, ObjectReader,
    OpenUpload, PartStream, PartWrite, PutReceipt, PutRequest, ReadRequest, Staged, Store,
    UploadRequest, UploadToken,
};

/// Writes over the network; lists and reads where the bytes are.
#[derive(Debug)]
struct Pair {
    far: RemoteStore,
    near: LocalStore,
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
        self.near.list(request)
    }
    async fn stat(&self, key: &str, pin: &Pin, tags: bool) -> Result<Option<ObjectInfo>> {
        self.far.stat(key, pin, tags).await
    }
    async fn read(&self, key: &str, request: ReadRequest) -> Result<ObjectReader> {
        self.near.read(key, request).await
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
        self.near.copy(key, source, request).await
    }
    async fn copy_part(
        &self,
        key: &str,
        token: &UploadToken,
        source: &CopySource,
        number: u32,
        range: (u64, u64),
    ) -> Result<PartReceipt> {
        self.near.copy_part(key, token, source, number, range).await
    }
}

/// All that must live as long as a fixture.
#[allow(dead_code)]
struct Keep(tempfile::TempDir, Vec<Wire>, Vec<Arc<Node>>);

async fn over_a_relay(cipher: Cipher, compress: Compress) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let transfer = TransferId::generate();
    let open = || {
        let options = LocalOptions {
            durability: Durability::Off,
            follow_symlinks: false,
            transfer: Some(transfer.clone()),
        };
        LocalStore::open(directory.path(), Side::Destination, options).unwrap()
    };
    let net = Net::new();
    let (source, relay) = (net.source("source"), net.relay("relay"));
    let destination = net.destination("destination", Arc::new(open()));
    let wires = vec![
        net.connect(&source, &relay).await,
        net.connect(&relay, &destination).await,
    ];
    let pair = async || {
        let way: &[&str] = &["relay", "destination"];
        let far = net.remote(&source, &[way], cipher, compress).await;
        Arc::new(Pair { far, near: open() }) as Arc<dyn Store>
    };
    Fixture {
        store: pair().await,
        other: pair().await,
        container: String::new(),
        prefix: String::new(),
        quirks: Quirks::default(),
        keep: Some(Box::new(Keep(
            directory,
            wires,
            vec![source, relay, destination],
        ))),
    }
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
