//! S3 and everything that speaks its protocol.
//!
//! Payloads travel unsigned with a checksum header (the signature covers the header, so nothing is
//! hashed twice), frames are never joined or copied, and one loop of ours retries every request.

mod attributes;
mod body;
mod bucket;
mod check;
mod checksums;
mod chunked;
mod client;
mod context;
mod copy;
mod credentials;
mod delete;
mod dialects;
mod errors;
mod kept;
mod keys;
mod list;
mod multipart;
mod pace;
mod page;
mod put;
mod read;
mod replies;
mod requests;
mod retry;
mod role;
mod signer;
mod standing;
mod stream;
mod tags;
mod uploads;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use skyhaul_model::capabilities::Capabilities;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::spec::{Connection, Encryption};
use skyhaul_model::{
    Algorithm, Checksum, Error, ErrorKind, Location, ObjectInfo, Pin, Result, Scheme, Side,
};

pub use checksums::{etag_md5, multipart_etag};
pub use credentials::Credentials;

use crate::store::{
    Access, Condition, CopyRequest, CopySource, DeleteOutcome, ListRequest, Lister, ObjectReader,
    OpenUpload, PartStream, PartWrite, PutReceipt, PutRequest, PutStream, ReadRequest, Staged,
    Store, UploadRequest, UploadToken,
};
use bucket::Bucket;
use client::Settings;
use context::Context;

/// Settings of one run, beside the connection.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Server-side encryption to ask for on writes.
    pub encryption: Option<Encryption>,
    /// Credentials to use instead of those that the SDK finds.
    pub credentials: Option<Credentials>,
    /// Most requests under way at once; throttling lowers it for a while.
    pub max_connections: usize,
    /// A body that stops for this long is given up, with a retryable error.
    pub stall: Duration,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            encryption: None,
            credentials: None,
            max_connections: 256,
            stall: Duration::from_mins(1),
        }
    }
}

/// One bucket.
#[derive(Debug, Clone)]
pub struct S3Store {
    bucket: Arc<Bucket>,
}

impl S3Store {
    /// Opens the bucket of `location`: loads configuration and credentials, and finds the bucket's
    /// region where none is given and the service is AWS. Whether the bucket exists is told by
    /// [`Store::check`].
    pub async fn open(
        location: &Location,
        connection: &Connection,
        side: Side,
        options: S3Options,
    ) -> Result<Self> {
        if location.scheme != Scheme::S3 {
            return Err(Error::control(
                ErrorKind::Internal,
                format!("{location} is not in S3"),
            ));
        }
        let name = &location.container;
        let settings =
            Settings::load(location, connection, side, options.credentials.clone()).await;
        let mut context = Context {
            side,
            bucket: name.clone(),
            endpoint: settings.endpoint.clone(),
            region: settings.region().to_owned(),
            aws: settings.is_aws(),
            anonymous: connection.no_sign_request,
            requester_pays: connection.requester_pays,
        };
        settings.check_credentials(&context).await?;
        let mut client = settings.client(name, settings.region());
        if context.aws && connection.region.is_none() {
            // A region from the environment is a default, the bucket's own is a fact.
            if let Some(region) = check::find_region(&client, name).await
                && region != settings.region()
            {
                client = settings.client(name, &region);
                context.region = region;
            }
        }
        let identity = match &options.credentials {
            Some(given) => Some(given.access_key_id.clone()),
            None => connection
                .role
                .as_ref()
                // Its session reaches this side only: the service cannot copy with it from the other.
                .map(|role| format!("{} of the {side}", role.arn))
                .or_else(|| connection.secret.clone())
                .or_else(|| connection.profile.clone())
                .or_else(|| std::env::var("AWS_PROFILE").ok()),
        };
        let bucket = Bucket {
            wire: settings.wire(&context, options.max_connections).await?,
            client,
            pace: pace::Pace::new(options.max_connections),
            retries: 0.into(),
            encryption: options.encryption,
            stall: options.stall,
            capabilities: Capabilities::s3(),
            service: client::service_name(&context, identity.as_deref()),
            tag_header: 0.into(),
            plain_uploads: false.into(),
            trailers: stream::Trailers::new(context.aws),
            context,
        };
        Ok(Self {
            bucket: Arc::new(bucket),
        })
    }

    /// How many requests were made again since the store was opened.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.bucket.retries.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Store for S3Store {
    fn capabilities(&self) -> &Capabilities {
        &self.bucket.capabilities
    }

    fn side(&self) -> Side {
        self.bucket.context.side
    }

    fn uri(&self, key: &str) -> String {
        self.bucket.context.uri(key)
    }

    async fn check(&self, access: Access, prefix: &str) -> Result<()> {
        self.bucket.check(access, prefix).await
    }

    fn list(&self, request: ListRequest) -> Box<dyn Lister> {
        Box::new(list::S3Lister::new(Arc::clone(&self.bucket), request))
    }

    async fn stat(&self, key: &str, pin: &Pin, tags: bool) -> Result<Option<ObjectInfo>> {
        self.bucket.describe(key, pin, tags).await
    }

    async fn read(&self, key: &str, request: ReadRequest) -> Result<ObjectReader> {
        self.bucket.get(key, request).await
    }

    async fn put(&self, key: &str, request: PutRequest) -> Result<PutReceipt> {
        self.bucket.put(key, request).await
    }

    async fn commit(&self, staged: Vec<Staged>) -> Vec<Result<PutReceipt>> {
        let fail = |_| {
            Err(Error::control(
                ErrorKind::Internal,
                "S3 has no staged writes",
            ))
        };
        staged.into_iter().map(fail).collect()
    }

    async fn open_upload(&self, key: &str, request: UploadRequest) -> Result<UploadToken> {
        self.bucket.create_upload(key, &request).await
    }

    async fn put_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartWrite,
    ) -> Result<PartReceipt> {
        self.bucket.upload_part(key, token, part).await
    }

    fn streams_parts(&self, algorithm: Option<Algorithm>) -> bool {
        self.bucket.streams_parts(algorithm)
    }

    async fn stream_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartStream,
    ) -> Result<PartReceipt> {
        self.bucket.stream_part(key, token, part).await
    }

    fn streams_objects(&self, algorithm: Option<Algorithm>) -> bool {
        self.bucket.streams_objects(algorithm)
    }

    async fn stream_put(&self, key: &str, put: PutStream) -> Result<PutReceipt> {
        self.bucket.stream_put(key, put).await
    }

    async fn finish_upload(
        &self,
        key: &str,
        token: &UploadToken,
        parts: &[PartReceipt],
        checksum: Option<&Checksum>,
        condition: &Condition,
    ) -> Result<PutReceipt> {
        self.bucket
            .complete_upload(key, token, parts, checksum, condition)
            .await
    }

    async fn list_parts(&self, key: &str, token: &UploadToken) -> Result<Vec<PartReceipt>> {
        self.bucket.parts(key, token).await
    }

    async fn abort_upload(&self, key: &str, token: &UploadToken) -> Result<()> {
        self.bucket.abort(key, token).await
    }

    async fn uploads(&self, key: &str) -> Result<Vec<OpenUpload>> {
        self.bucket.open_uploads(key).await
    }

    async fn delete(&self, keys: &[String]) -> Vec<DeleteOutcome> {
        self.bucket.delete(keys).await
    }

    async fn delete_if(&self, key: &str, pin: &Pin) -> Result<()> {
        self.bucket.delete_if(key, pin).await
    }

    fn place(&self) -> Option<String> {
        Some(client::place(&self.bucket.context))
    }

    fn region(&self) -> Option<String> {
        let context = &self.bucket.context;
        context.aws.then(|| context.region.clone())
    }

    fn service(&self) -> Option<String> {
        Some(self.bucket.service.clone())
    }

    async fn copy(
        &self,
        key: &str,
        source: &CopySource,
        request: CopyRequest,
    ) -> Result<PutReceipt> {
        self.bucket.copy_object(key, source, &request).await
    }

    async fn copy_part(
        &self,
        key: &str,
        token: &UploadToken,
        source: &CopySource,
        number: u32,
        range: (u64, u64),
    ) -> Result<PartReceipt> {
        self.bucket
            .copy_range(key, token, source, number, range)
            .await
    }
}
