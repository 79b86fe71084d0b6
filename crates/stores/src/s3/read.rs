//! Describing and reading objects, pinned to one version.

use aws_sdk_s3::types::ChecksumMode;
use aws_smithy_types::body::SdkBody;
use futures::StreamExt as _;
use skyhaul_model::{Error, ErrorKind, ObjectInfo, Pin, Result};

use super::attributes::{attributes_of, encode_query, is_archived, timestamp};
use super::body::Incoming;
use super::bucket::Bucket;
use super::checksums::{quote, stored, unquote};
use super::errors::Failed;
use super::replies;
use super::retry::Call;
use crate::store::{ObjectReader, ReadRequest};

/// An object's description from the reply to a GET or HEAD.
macro_rules! info_of {
    ($bucket:expr, $key:expr, $reply:expr, $size:expr, $tier:expr) => {{
        let reply = $reply;
        if let Some(missing) = reply.missing_meta().filter(|count| *count > 0) {
            $bucket.warn_missing($key, missing);
        }
        let class = reply.storage_class().map(|class| class.as_str());
        let etag = reply.e_tag().map(unquote);
        ObjectInfo {
            size: $size,
            mtime: timestamp(reply.last_modified()),
            pin: Pin {
                etag,
                version_id: reply
                    .version_id()
                    .filter(|id| *id != "null")
                    .map(ToOwned::to_owned),
                file: None,
            },
            attributes: attributes_of!(reply),
            tag_count: count_of!(reply),
            checksum: stored!(reply),
            archived: is_archived(class, $tier, reply.restore()),
        }
    }};
}

macro_rules! count_of {
    ($reply:expr) => {
        $reply
            .tag_count()
            .and_then(|count| u32::try_from(count).ok())
    };
}

impl Bucket {
    /// HEAD; `None` if there is no such object.
    pub(super) async fn head(&self, key: &str, pin: &Pin) -> Result<Option<ObjectInfo>> {
        let reply = self
            .call(Call::object(key), || {
                self.client
                    .head_object()
                    .bucket(self.name())
                    .key(key)
                    .set_if_match(pin.etag.as_deref().map(quote))
                    .set_version_id(pin.version_id.clone())
                    .checksum_mode(ChecksumMode::Enabled)
                    .send()
            })
            .await;
        let reply = match reply.map_err(|failed| changed(failed, pin)) {
            Ok(reply) => reply,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = u64::try_from(reply.content_length().unwrap_or(0)).unwrap_or(0);
        let tier = reply.archive_status().map(|tier| tier.as_str().to_owned());
        Ok(Some(info_of!(self, key, &reply, size, tier.as_deref())))
    }

    /// HEAD and, if asked for, the tags.
    pub(super) async fn describe(
        &self,
        key: &str,
        pin: &Pin,
        tags: bool,
    ) -> Result<Option<ObjectInfo>> {
        let Some(mut info) = self.head(key, pin).await? else {
            return Ok(None);
        };
        if tags {
            self.add_tags(key, &mut info).await?;
        }
        Ok(Some(info))
    }

    /// GET of an object or a range of it.
    pub(super) async fn get(&self, key: &str, request: ReadRequest) -> Result<ObjectReader> {
        if let Some((_, 0)) = request.range {
            // HTTP has no empty ranges.
            let info = self
                .describe(key, &request.pin, request.tags)
                .await?
                .ok_or_else(|| {
                    Error::new(self.context.side, ErrorKind::NotFound, "no such object")
                        .object(self.context.uri(key))
                })?;
            return Ok(ObjectReader {
                info,
                body: futures::stream::empty().boxed(),
            });
        }
        let pin = &request.pin;
        let range = request
            .range
            .map(|(at, len)| format!("bytes={at}-{}", at + len - 1));
        let query = match &pin.version_id {
            Some(version) => format!("?versionId={}", encode_query(version)),
            None => String::new(),
        };
        let reply = self
            .run(Call::object(key), || {
                let mut get = self
                    .wire
                    .request(http::Method::GET, key, &query)
                    .header("x-amz-checksum-mode", "ENABLED");
                if let Some(range) = &range {
                    get = get.header("range", range);
                }
                if let Some(etag) = &pin.etag {
                    get = get.header("if-match", quote(etag));
                }
                self.wire
                    .send(&self.context, Some(key), get, SdkBody::empty())
            })
            .await
            .map_err(|failed| changed(failed, pin))?;
        let headers = reply.headers();
        let length = headers
            .get("content-length")
            .and_then(|value| value.parse().ok());
        let length: u64 = length.ok_or_else(|| {
            Error::new(
                self.context.side,
                ErrorKind::Service,
                "the service tells no length",
            )
            .object(self.context.uri(key))
        })?;
        let size = match request.range {
            None => length,
            Some(range) => self.total(key, range, length, headers.get("content-range"))?,
        };
        let mut info = replies::info(headers, size);
        if let Some(missing) = headers.get("x-amz-missing-meta") {
            self.warn_missing(key, missing);
        }
        if request.range.is_some() {
            // What comes with a range may be the checksum of a part.
            info.checksum = None;
        }
        if request.tags {
            self.add_tags(key, &mut info).await?;
        }
        let wanted = request.range.map_or(length, |(_, len)| len);
        let body = Incoming::new(
            reply.into_body(),
            wanted,
            self.stall,
            self.context.side,
            self.context.uri(key),
        );
        Ok(ObjectReader {
            info,
            body: body.boxed(),
        })
    }

    fn warn_missing(&self, key: &str, missing: impl std::fmt::Display) {
        tracing::warn!(
            object = self.context.uri(key),
            %missing,
            "metadata that no header can carry is not shown by the service"
        );
    }

    /// The object's size, from a reply that must be exactly the range asked for.
    fn total(
        &self,
        key: &str,
        (at, len): (u64, u64),
        length: u64,
        header: Option<&str>,
    ) -> Result<u64> {
        let total = match header.and_then(parse_range) {
            Some((first, last, total)) if first == at && last + 1 == at + len => Some(total),
            None if header.is_none() && at == 0 && length == len => Some(len),
            _ => None,
        };
        total.filter(|_| length == len).ok_or_else(|| {
            let got = header.unwrap_or("the whole object");
            let message = format!("asked for {len} bytes from {at}, the service sends {got}");
            Error::new(self.context.side, ErrorKind::Corrupt, message).object(self.context.uri(key))
        })
    }
}

/// `bytes FIRST-LAST/TOTAL`.
fn parse_range(header: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, total.parse().ok()?))
}

/// A read whose precondition failed: the object is another version now.
fn changed(failed: Failed, pin: &Pin) -> Error {
    let mut error = failed.error;
    if error.kind == ErrorKind::PreconditionFailed && pin.etag.is_some() {
        error.kind = ErrorKind::Changed;
        "the object changed since it was listed".clone_into(&mut error.message);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(parse_range("bytes 5-9/100"), Some((5, 9, 100)));
        assert_eq!(parse_range("bytes */100"), None);
        assert_eq!(parse_range("bytes 0-1/*"), None);
    }
}
