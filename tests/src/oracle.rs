//! The judge: an S3 client that shares no code with Skyhaul (boto3, `scripts/oracle.py`), by which
//! tests prepare buckets and read them back.

use crate::data::Body;
use crate::servers::Endpoint;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A refusal by the store, or a failure to reach it.
#[derive(Clone, Debug, Deserialize, thiserror::Error, PartialEq, Eq)]
#[error("{code}: {message}")]
pub struct OracleError {
    /// S3's error code (`NoSuchKey`), or the Python exception's name.
    pub code: String,
    /// What was said.
    pub message: String,
}

/// The helper process. One a test process; it ends when its stdin closes, that is with us.
struct Oracle {
    _child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Oracle {
    fn start() -> Self {
        let mut child = Command::new(crate::python())
            .arg(crate::root().join("scripts/oracle.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self {
            _child: child,
            stdin,
            stdout,
        }
    }

    fn ask(&mut self, request: &Value) -> Result<Value, OracleError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Answer {
            Ok(Value),
            Error(OracleError),
        }
        writeln!(self.stdin, "{request}").expect("the oracle listens");
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .expect("the oracle answers");
        match serde_json::from_str(&line).expect("the oracle's process is alive") {
            Answer::Ok(value) => Ok(value),
            Answer::Error(error) => Err(error),
        }
    }
}

fn ask<T: DeserializeOwned>(
    endpoint: &Endpoint,
    operation: &str,
    mut request: Value,
) -> Result<T, OracleError> {
    static ORACLE: OnceLock<Mutex<Oracle>> = OnceLock::new();
    request["op"] = operation.into();
    request["endpoint"] = json!(endpoint);
    let oracle = ORACLE.get_or_init(|| Mutex::new(Oracle::start()));
    let value = oracle
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .ask(&request)?;
    Ok(serde_json::from_value(value).expect("the oracle keeps to its protocol"))
}

/// An object to be stored: a generated body and what it carries.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ObjectSpec {
    key: String,
    seed: u64,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    part_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    metadata: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    #[serde(flatten)]
    headers: BTreeMap<&'static str, String>,
}

impl ObjectSpec {
    /// `size` bytes generated from `seed` under `key`, carrying nothing.
    #[must_use]
    pub fn new(key: impl Into<String>, seed: u64, size: u64) -> Self {
        Self {
            key: key.into(),
            seed,
            size,
            ..Self::default()
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The body, for comparing with what arrived.
    #[must_use]
    pub fn body(&self) -> Body {
        Body::new(self.seed, self.size)
    }

    /// Stores it as a multipart upload with parts of this many bytes.
    #[must_use]
    pub fn part_size(mut self, bytes: u64) -> Self {
        self.part_size = Some(bytes);
        self
    }

    /// Has the store keep this checksum (`CRC32C`, `CRC64NVME`, `SHA256` ...).
    #[must_use]
    pub fn checksum(mut self, algorithm: impl Into<String>) -> Self {
        self.checksum = Some(algorithm.into());
        self
    }

    /// Adds a pair of user metadata.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// Sets a header of [`HEADERS`], named as there.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        assert!(HEADERS.contains(&name), "unknown header {name}");
        self.headers.insert(name, value.into());
        self
    }
}

/// The headers that an object can carry, as this module names them.
pub const HEADERS: [&str; 7] = [
    "content_type",
    "content_encoding",
    "content_language",
    "content_disposition",
    "cache_control",
    "expires",
    "storage_class",
];

/// An object as read back: digest of the bytes and all that it carries, of one version.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[allow(missing_docs)] // S3's own names
pub struct Object {
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Of the bytes, lower-case hex.
    pub sha256: String,
    /// Without quotes.
    pub etag: String,
    /// Milliseconds since 1970; S3 gives whole seconds.
    pub last_modified_ms: i64,
    pub metadata: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub content_disposition: Option<String>,
    pub cache_control: Option<String>,
    pub expires: Option<String>,
    pub storage_class: Option<String>,
}

impl Object {
    /// The object without what a copy cannot keep: ETag (differs by part size) and store time.
    #[must_use]
    pub fn essence(&self) -> Self {
        Self {
            etag: String::new(),
            last_modified_ms: 0,
            ..self.clone()
        }
    }

    /// Whether the bytes are those of `body`.
    #[must_use]
    pub fn holds(&self, body: Body) -> bool {
        self.size == body.size && self.sha256 == body.sha256()
    }
}

/// A key as listed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Without quotes.
    pub etag: String,
}

/// An upload that is open.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenUpload {
    /// The key that it will have.
    pub key: String,
    /// The store's name for it.
    pub upload_id: String,
}

/// A part of an open upload.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub number: u32,
    /// Bytes.
    pub size: u64,
}

/// Size and SHA-256 of objects by key.
pub type Digests = BTreeMap<String, (u64, String)>;

/// A bucket seen by the oracle.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its name.
    pub name: String,
}

impl Bucket {
    /// A handle to a bucket that may or may not exist.
    #[must_use]
    pub fn named(endpoint: &Endpoint, name: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.clone(),
            name: name.into(),
        }
    }

    /// Makes a bucket whose name begins with `hint` and is nobody else's.
    #[must_use]
    pub fn create(endpoint: &Endpoint, hint: &str) -> Self {
        let bucket = Self::named(endpoint, crate::unique_name(hint));
        bucket.make();
        bucket
    }

    /// Makes it.
    pub fn make(&self) {
        self.expect::<()>("create_bucket", json!({}));
    }

    /// The same bucket through another address of its server.
    #[must_use]
    pub fn via(&self, endpoint: &Endpoint) -> Self {
        Self::named(endpoint, &self.name)
    }

    /// `s3://bucket/rest`.
    #[must_use]
    pub fn uri(&self, rest: &str) -> String {
        format!("s3://{}/{rest}", self.name)
    }

    /// Keeps old versions from now on.
    pub fn enable_versioning(&self) {
        self.expect::<()>("enable_versioning", json!({}));
    }

    /// Stores or overwrites objects, several at a time.
    pub fn put(&self, objects: &[ObjectSpec]) {
        self.try_put(objects)
            .unwrap_or_else(|error| panic!("put to {}: {error}", self.name));
    }

    /// Stores or overwrites objects; the first refusal is the answer.
    pub fn try_put(&self, objects: &[ObjectSpec]) -> Result<(), OracleError> {
        self.ask::<usize>("put", json!({ "objects": objects }))
            .map(drop)
    }

    /// Every object under `prefix`: bytes digested, headers, metadata, tags.
    #[must_use]
    pub fn snapshot(&self, prefix: &str) -> BTreeMap<String, Object> {
        let objects: Vec<Object> = self.expect("snapshot", json!({ "prefix": prefix }));
        objects
            .into_iter()
            .map(|object| (object.key.clone(), object))
            .collect()
    }

    /// Size and digest of every object under `prefix`.
    #[must_use]
    pub fn digests(&self, prefix: &str) -> Digests {
        self.try_digests(prefix)
            .unwrap_or_else(|error| panic!("digests of {}: {error}", self.name))
    }

    /// As [`Self::digests`], of a bucket that somebody still writes to: an object that is deleted
    /// between the listing and its reading is an error.
    pub fn try_digests(&self, prefix: &str) -> Result<Digests, OracleError> {
        let request = json!({ "prefix": prefix, "tags": false });
        let objects: Vec<Object> = self.ask("snapshot", request)?;
        Ok(objects
            .into_iter()
            .map(|object| (object.key, (object.size, object.sha256)))
            .collect())
    }

    /// As [`Self::snapshot`], without what a copy cannot keep: for comparing two buckets.
    #[must_use]
    pub fn essence(&self, prefix: &str) -> BTreeMap<String, Object> {
        self.snapshot(prefix)
            .into_iter()
            .map(|(key, object)| (key, object.essence()))
            .collect()
    }

    /// One object.
    pub fn get(&self, key: &str) -> Result<Object, OracleError> {
        self.ask("get", json!({ "key": key }))
    }

    /// The keys under `prefix`, in the listing's order.
    #[must_use]
    pub fn list(&self, prefix: &str) -> Vec<Listed> {
        self.expect("list_keys", json!({ "prefix": prefix }))
    }

    /// Deletes objects.
    pub fn delete(&self, keys: &[&str]) {
        self.expect::<usize>("delete", json!({ "keys": keys }));
    }

    /// The uploads that are open, in no particular order.
    #[must_use]
    pub fn uploads(&self) -> Vec<OpenUpload> {
        self.expect("list_uploads", json!({}))
    }

    /// Opens an upload of a stranger's, with one part of `body`, and leaves it so.
    #[must_use]
    pub fn open_upload(&self, key: &str, body: Body) -> OpenUpload {
        let request = json!({ "key": key, "seed": body.seed, "size": body.size });
        OpenUpload {
            key: key.to_owned(),
            upload_id: self.expect("open_upload", request),
        }
    }

    /// The parts that an open upload has.
    pub fn parts(&self, upload: &OpenUpload) -> Result<Vec<Part>, OracleError> {
        self.ask(
            "list_parts",
            json!({ "key": upload.key, "upload_id": upload.upload_id }),
        )
    }

    /// Aborts an upload.
    pub fn abort(&self, upload: &OpenUpload) -> Result<(), OracleError> {
        self.ask(
            "abort_upload",
            json!({ "key": upload.key, "upload_id": upload.upload_id }),
        )
    }

    fn ask<T: DeserializeOwned>(&self, op: &str, mut request: Value) -> Result<T, OracleError> {
        request["bucket"] = self.name.as_str().into();
        ask(&self.endpoint, op, request)
    }

    fn expect<T: DeserializeOwned>(&self, op: &str, request: Value) -> T {
        self.ask(op, request).unwrap_or_else(|error| {
            panic!("{op} in {} at {}: {error}", self.name, self.endpoint.url)
        })
    }
}
