//! One bucket with everything that its calls share.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use aws_sdk_s3::Client;
use skyhaul_model::capabilities::Capabilities;
use skyhaul_model::spec::Encryption;

use super::context::Context;
use super::pace::Pace;
use super::stream::Trailers;
use super::wire::Wire;

/// Shared by the store, its listings and its readers.
#[derive(Debug)]
pub(super) struct Bucket {
    /// The SDK's client, configured for this bucket.
    pub(super) client: Client,
    /// The short way for GET and PUT.
    pub(super) wire: Wire,
    /// Names for messages.
    pub(super) context: Context,
    /// Limit on concurrent requests.
    pub(super) pace: Pace,
    /// Requests that were made again.
    pub(super) retries: AtomicU64,
    /// Encryption to ask for on writes.
    pub(super) encryption: Option<Encryption>,
    /// A body that stops for this long is given up.
    pub(super) stall: Duration,
    /// What the store can do.
    pub(super) capabilities: Capabilities,
    /// What names the service and the identity used there.
    pub(super) service: String,
    /// What is known about the tag count header: see [`super::tags`].
    pub(super) tag_header: AtomicU32,
    /// The service refused checksums on multipart uploads.
    pub(super) plain_uploads: AtomicBool,
    /// Whether checksums may follow the bytes.
    pub(super) trailers: Trailers,
}

impl Bucket {
    /// The bucket's name.
    pub(super) fn name(&self) -> &str {
        &self.context.bucket
    }
}
