//! What every call to one bucket knows: names, flags and addresses for messages.

use skyhaul_model::Side;

/// Who talks to which bucket, in the words that messages use.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// Which side of the transfer.
    pub(super) side: Side,
    /// The bucket.
    pub(super) bucket: String,
    /// Endpoint URL, unless it is AWS by default.
    pub(super) endpoint: Option<String>,
    /// The region that requests are signed for.
    pub(super) region: String,
    /// Whether the service is AWS itself.
    pub(super) aws: bool,
    /// Requests go unsigned.
    pub(super) anonymous: bool,
    /// The caller agreed to pay.
    pub(super) requester_pays: bool,
}

impl Context {
    /// A flag of this side: `--src-region` for `region`.
    pub(super) fn flag(&self, name: &str) -> String {
        match self.side {
            Side::Source => format!("--src-{name}"),
            Side::Destination => format!("--dst-{name}"),
            Side::Relay | Side::Control => format!("--{name}"),
        }
    }

    /// A key as the user would write it.
    pub(super) fn uri(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    /// Where requests go, for messages.
    pub(super) fn service(&self) -> &str {
        self.endpoint.as_deref().unwrap_or("AWS S3")
    }
}
