//! The store trait: what every backend offers to the engine. Its writer works across processes:
//! `open_upload` gives an opaque token, any process may `put_part` with it, any may `finish`.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skyhaul_model::capabilities::Capabilities;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{
    Algorithm, Attributes, Checksum, Error, ErrorKind, ObjectEntry, ObjectInfo, Pin, Result, Side,
};

use crate::payload::Payload;

/// What a side must allow before a transfer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Listing and reading.
    Read,
    /// Writing (and listing, where a sync needs it). Does not write anything.
    Write,
}

/// What to list. Bounds are full keys in the order of UTF-8 bytes: `after < key <= upto`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only keys that start with this.
    pub prefix: String,
    /// Only keys greater than this.
    pub after: Option<String>,
    /// Only keys up to and including this.
    pub upto: Option<String>,
    /// Most entries a page; the store may return fewer. 0 is the store's own maximum.
    pub page_size: usize,
    /// Local disk: also list directories that are no folder markers, as `name/` of size 0, so that
    /// a sync's destination side can tell that a directory is in the way.
    pub directories: bool,
}

/// One page of a listing, in ascending key order where the capability says so.
#[derive(Debug, Default)]
pub struct ListPage {
    /// The entries.
    pub entries: Vec<ObjectEntry>,
    /// Names under the prefix that the store has but cannot be objects (not UTF-8, sockets, skipped
    /// symbolic links, directories that cannot be read), each with its error. An unreadable name
    /// makes a listing incomplete: see [`ListPage::is_complete`].
    pub refused: Vec<skyhaul_model::Error>,
}

impl ListPage {
    /// Whether nothing was hidden from this page. Deletions need complete listings.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.refused.is_empty()
    }
}

/// A listing under way.
#[async_trait]
pub trait Lister: Send {
    /// The next page, or `None` after the last. A page may be empty without being the last.
    async fn next_page(&mut self) -> Result<Option<ListPage>>;
}

/// The listing of a store that makes none: this error, and nothing after it.
#[must_use]
pub fn no_listing(error: Error) -> Box<dyn Lister> {
    Box::new(NoListing(Some(error)))
}

struct NoListing(Option<Error>);

#[async_trait]
impl Lister for NoListing {
    async fn next_page(&mut self) -> Result<Option<ListPage>> {
        self.0.take().map_or(Ok(None), Err)
    }
}

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct ReadRequest {
    /// Offset and length in bytes; `None` is the whole object.
    pub range: Option<(u64, u64)>,
    /// Fail with `Changed` unless the object is still this version.
    pub pin: Pin,
    /// Fetch tags too, if the object has any (a second request on S3, pinned to the same version
    /// where the bucket keeps versions).
    pub tags: bool,
}

/// An object's head and its bytes. The stream ends with an error if it delivers fewer or more
/// bytes than asked for, or (local files) if the file changed while it was read.
pub struct ObjectReader {
    /// The head: attributes of the very version whose bytes follow.
    pub info: ObjectInfo,
    /// The bytes, in frames of at most about 1 MiB.
    pub body: BoxStream<'static, Result<Bytes>>,
}

/// What must be true at the destination for a write to happen; otherwise `PreconditionFailed`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Anything.
    #[default]
    None,
    /// No such object.
    Absent,
    /// The object with this `ETag` (S3) or identity (local).
    Is(Pin),
}

/// A whole object to write.
#[derive(Debug, Clone, Default)]
pub struct PutRequest {
    /// The bytes.
    pub payload: Payload,
    /// Headers, metadata, tags, storage class.
    pub attributes: Attributes,
    /// The modification time that the object should show.
    pub mtime: Option<Timestamp>,
    /// Checksum of the payload, to be verified by the store.
    pub checksum: Option<Checksum>,
    /// What must be true at the destination.
    pub condition: Condition,
}

/// What the store confirmed about a whole object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutReceipt {
    /// `ETag`, without quotes.
    pub etag: Option<String>,
    /// Version id.
    pub version: Option<String>,
    /// Whether the store verified the checksum that was sent.
    pub verified: bool,
    /// The full object's checksum as the store tells it, where it does.
    pub checksum: Option<Checksum>,
    /// Set by stores with staged writes: the object appears at `commit`.
    pub staged: Option<Staged>,
}

/// A written object that waits for its commit. Opaque to callers, usable by any process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged(pub String);

/// A multipart upload to open.
#[derive(Debug, Clone, Default)]
pub struct UploadRequest {
    /// Size of the whole object in bytes.
    pub size: u64,
    /// Part size in bytes.
    pub part_size: u64,
    /// Headers, metadata, tags, storage class.
    pub attributes: Attributes,
    /// The modification time that the object should show.
    pub mtime: Option<Timestamp>,
    /// Algorithm of the checksums that parts and completion will carry.
    pub algorithm: Option<Algorithm>,
}

/// An open multipart upload: opaque to callers, usable by any process. For S3 it holds the upload
/// id, for local disk the temporary file's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UploadToken(pub String);

/// One part to write.
#[derive(Debug, Clone)]
pub struct PartWrite {
    /// Part number, from 1.
    pub number: u32,
    /// Offset of the part in the object, in bytes.
    pub offset: u64,
    /// The bytes.
    pub payload: Payload,
    /// Checksum of the payload, to be verified by the store.
    pub checksum: Option<Checksum>,
}

/// One part whose bytes come while it is written.
pub struct PartStream {
    /// Part number, from 1.
    pub number: u32,
    /// Offset of the part in the object, in bytes.
    pub offset: u64,
    /// Length in bytes. A body that is shorter or longer is an error, and no part is written.
    pub len: u64,
    /// The bytes. Its errors are what [`Store::stream_part`] fails with.
    pub body: BoxStream<'static, Result<Bytes>>,
    /// The checksum to compute on the way and to have verified by the store.
    pub algorithm: Option<Algorithm>,
}

/// A whole object whose bytes come while it is written.
pub struct PutStream {
    /// Length in bytes. A body that is shorter or longer is an error, and nothing is written.
    pub len: u64,
    /// The bytes. Its errors are what [`Store::stream_put`] fails with.
    pub body: BoxStream<'static, Result<Bytes>>,
    /// Headers, metadata, tags, storage class.
    pub attributes: Attributes,
    /// The modification time that the object should show.
    pub mtime: Option<Timestamp>,
    /// The checksum to compute on the way and to have verified by the store.
    pub algorithm: Algorithm,
    /// The checksum that the source keeps. Bytes with another are `Corrupt`, and nothing is written.
    pub kept: Option<Checksum>,
}

/// An upload that is open at the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenUpload {
    /// The object's key.
    pub key: String,
    /// What to abort it with.
    pub token: UploadToken,
    /// When it was begun, by the store's clock.
    pub initiated: Option<Timestamp>,
    /// At which of several stores it is; 0 where there is one.
    #[serde(default)]
    pub store: u32,
}

/// What became of one key of a delete call.
#[derive(Debug)]
pub struct DeleteOutcome {
    /// The key.
    pub key: String,
    /// Deleting what is absent succeeds.
    pub result: Result<()>,
}

/// Refuses (`PreconditionFailed`) what is there if it is not what a pin names.
pub(crate) fn check_is(side: Side, found: Option<&ObjectInfo>, pin: &Pin) -> Result<()> {
    match found {
        Some(found) if found.pin != *pin => Err(Error::new(
            side,
            ErrorKind::PreconditionFailed,
            "another version is there than expected",
        )),
        _ => Ok(()),
    }
}

/// One container (a bucket, a directory tree) of one service.
///
/// All keys are full keys in the container. Implementations retry throttling and passing faults
/// themselves, with back-off and jitter; what they return is final for the call. Errors carry the
/// side that the store was opened for and name the object.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// What the store can do.
    fn capabilities(&self) -> &Capabilities;

    /// Which side of the transfer this is.
    fn side(&self) -> Side;

    /// A key as the user would write it (`s3://bucket/key`, `/dir/file`).
    fn uri(&self, key: &str) -> String;

    /// Whether the container exists and can be used; absent, denied, wrong region and unreachable
    /// are told apart. Local destination roots are created later, by the first write.
    async fn check(&self, access: Access, prefix: &str) -> Result<()>;

    /// Starts a listing.
    fn list(&self, request: ListRequest) -> Box<dyn Lister>;

    /// Describes an object; `None` if there is none. With `tags`, fetches tags if there are any.
    async fn stat(&self, key: &str, pin: &Pin, tags: bool) -> Result<Option<ObjectInfo>>;

    /// Reads an object or a range of it. `NotFound` if there is none.
    async fn read(&self, key: &str, request: ReadRequest) -> Result<ObjectReader>;

    /// Writes a whole object. A lost reply is resolved by looking at what is there.
    async fn put(&self, key: &str, request: PutRequest) -> Result<PutReceipt>;

    /// Whether several small objects are better written by one call, since each call takes a long
    /// way.
    fn writes_together(&self) -> bool {
        false
    }

    /// Writes several whole objects, each as [`Store::put`] does. One result for each, in order.
    async fn put_many(&self, puts: Vec<(String, PutRequest)>) -> Vec<Result<PutReceipt>> {
        let puts = puts.into_iter();
        let puts = puts.map(|(key, request)| async move { self.put(&key, request).await });
        futures::future::join_all(puts).await
    }

    /// Makes staged objects durable and visible, in the order given: bytes flushed, renamed,
    /// directories flushed. One result for each. Stores without staged writes are never asked.
    async fn commit(&self, staged: Vec<Staged>) -> Vec<Result<PutReceipt>>;

    /// Opens a multipart upload.
    async fn open_upload(&self, key: &str, request: UploadRequest) -> Result<UploadToken>;

    /// Writes a part; writing the same part again replaces it. `UploadGone` if the upload is gone.
    async fn put_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartWrite,
    ) -> Result<PartReceipt>;

    /// Whether parts with this checksum can be written while they are read. What a store answers
    /// may change as it gets to know its service.
    fn streams_parts(&self, _algorithm: Option<Algorithm>) -> bool {
        false
    }

    /// Writes a part while it is read, so that it is never held whole. Tried once: whatever fails
    /// on the destination's side, [`Store::put_part`] may still succeed.
    async fn stream_part(
        &self,
        key: &str,
        _token: &UploadToken,
        _part: PartStream,
    ) -> Result<PartReceipt> {
        let message = "this store writes no parts while they are read";
        Err(Error::new(self.side(), ErrorKind::Unsupported, message).object(self.uri(key)))
    }

    /// Whether whole objects with this checksum can be written while they are read. What a store
    /// answers may change as it gets to know its service.
    fn streams_objects(&self, _algorithm: Option<Algorithm>) -> bool {
        false
    }

    /// Writes a whole object while it is read, so that it is never held whole; whatever is there
    /// already is replaced, and only by all of it. The receipt holds the checksum. Tried once:
    /// whatever fails on the destination's side, [`Store::put`] may still succeed.
    async fn stream_put(&self, key: &str, _put: PutStream) -> Result<PutReceipt> {
        let message = "this store writes no objects while they are read";
        Err(Error::new(self.side(), ErrorKind::Unsupported, message).object(self.uri(key)))
    }

    /// Completes an upload from its parts' receipts in ascending order; `checksum` is the full
    /// object's. A lost reply, and a 200 that carries an error, are resolved by looking at the
    /// object. Durable and visible on return, on every store.
    async fn finish_upload(
        &self,
        key: &str,
        token: &UploadToken,
        parts: &[PartReceipt],
        checksum: Option<&Checksum>,
        condition: &Condition,
    ) -> Result<PutReceipt>;

    /// The parts that the store has of an open upload.
    async fn list_parts(&self, key: &str, token: &UploadToken) -> Result<Vec<PartReceipt>>;

    /// Removes an open upload and its parts; one that is gone already is no error.
    async fn abort_upload(&self, key: &str, token: &UploadToken) -> Result<()>;

    /// Open uploads of exactly this key.
    async fn uploads(&self, key: &str) -> Result<Vec<OpenUpload>>;

    /// Deletes up to `delete_batch` keys.
    async fn delete(&self, keys: &[String]) -> Vec<DeleteOutcome>;

    /// Deletes a key if it is what `pin` names; one that is gone is no error. Refused (`PreconditionFailed`) if it is
    /// another one by now. Between the look and the deletion a store that knows no such condition may be written.
    async fn delete_if(&self, key: &str, pin: &Pin) -> Result<()> {
        let found = self.stat(key, &Pin::default(), false).await?;
        check_is(self.side(), found.as_ref(), pin).map_err(|error| error.object(self.uri(key)))?;
        for outcome in self.delete(&[key.to_owned()]).await {
            outcome.result?;
        }
        Ok(())
    }

    /// Where the container is, whoever asks: different for two stores only if their containers of
    /// the same name are different ones. For the decision whether two sides overlap.
    fn place(&self) -> Option<String> {
        None
    }

    /// The region of AWS that the container is in; `None` if it is elsewhere.
    fn region(&self) -> Option<String> {
        None
    }

    /// What identifies the service that holds the container, for the decision whether it can copy
    /// by itself: equal for two stores if one may be named as the other's copy source. `None` if
    /// it never can.
    fn service(&self) -> Option<String> {
        None
    }

    /// Copies a whole object inside the service (at most `max_single` bytes), from container
    /// `source` pinned to `pin`, with the attributes given. `Changed` if it is another version.
    async fn copy(
        &self,
        key: &str,
        source: &CopySource,
        request: CopyRequest,
    ) -> Result<PutReceipt>;

    /// Copies a byte range (offset, length) inside the service as part `number` of an upload.
    async fn copy_part(
        &self,
        key: &str,
        token: &UploadToken,
        source: &CopySource,
        number: u32,
        range: (u64, u64),
    ) -> Result<PartReceipt>;

    /// Removes temporary files that an interrupted transfer left under the given keys' folders
    /// (local disk). Other stores have none.
    async fn sweep_temporaries(&self, _folders: &[String]) -> Result<u64> {
        Ok(0)
    }
}

/// The object that a service-side copy reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// Its bucket.
    pub container: String,
    /// Its key.
    pub key: String,
    /// The version to copy.
    pub pin: Pin,
    /// The account that the bucket must be of, 12 digits.
    pub bucket_owner: Option<String>,
}

/// How a whole object is copied inside the service.
#[derive(Debug, Clone, Default)]
pub struct CopyRequest {
    /// Headers, metadata, tags, storage class to write; `None` lets the service carry the source's
    /// headers, metadata and tags along.
    pub attributes: Option<Attributes>,
    /// Storage class to write where `attributes` is `None`.
    pub storage_class: Option<String>,
    /// What must be true at the destination.
    pub condition: Condition,
    /// Ask the service to compute this checksum for the copy.
    pub algorithm: Option<Algorithm>,
}
