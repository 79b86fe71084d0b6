//! Tags: fetched only where an object has some.
//!
//! S3 tells the count with the headers, but leaves the header out when the caller may not read
//! tags, and some services never send it. So the first objects without one are asked; once that
//! was allowed and found nothing, a missing header is believed to mean no tags.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use skyhaul_model::{Error, ErrorKind, ObjectInfo, Result};

use super::bucket::Bucket;
use super::retry::Call;

/// The header is known to be sent.
const COUNTED: u32 = u32::MAX;
/// The header is known not to be sent: every object is asked.
const UNCOUNTED: u32 = u32::MAX - 1;
/// So many objects are asked before a missing header is believed; AWS needs only the permission.
const PROBES: u32 = 16;

impl Bucket {
    /// Completes a description by the object's tags.
    pub(super) async fn add_tags(&self, key: &str, info: &mut ObjectInfo) -> Result<()> {
        let known = self.tag_header.load(Ordering::Relaxed);
        match info.tag_count {
            Some(0) => {
                info.attributes.tags = Some(BTreeMap::new());
                return Ok(());
            }
            Some(_) => self.tag_header.store(COUNTED, Ordering::Relaxed),
            None if known == COUNTED => {
                info.attributes.tags = Some(BTreeMap::new());
                return Ok(());
            }
            None => {}
        }
        let tags = self.tags(key, info.pin.version_id.as_deref()).await?;
        if info.tag_count.is_none() {
            let next = match known {
                COUNTED | UNCOUNTED => known,
                _ if !tags.is_empty() => UNCOUNTED,
                asked if self.context.aws || asked + 1 >= PROBES => COUNTED,
                asked => asked + 1,
            };
            self.tag_header.store(next, Ordering::Relaxed);
        }
        if info.pin.version_id.is_none() {
            self.confirm_version(key, info).await?;
        }
        info.tag_count = u32::try_from(tags.len()).ok();
        info.attributes.tags = Some(tags);
        Ok(())
    }

    /// Tags are asked for by key: without versions they are those of the object as it is now, which
    /// must still be the one described.
    async fn confirm_version(&self, key: &str, info: &ObjectInfo) -> Result<()> {
        match self.head(key, &info.pin).await? {
            Some(now) if now.pin == info.pin && now.mtime == info.mtime => Ok(()),
            _ => Err(Error::new(
                self.context.side,
                ErrorKind::Changed,
                "the object changed while its tags were read",
            )
            .object(self.context.uri(key))),
        }
    }

    async fn tags(&self, key: &str, version: Option<&str>) -> Result<BTreeMap<String, String>> {
        let reply = self
            .call(Call::object(key), || {
                self.client
                    .get_object_tagging()
                    .bucket(self.name())
                    .key(key)
                    .set_version_id(version.map(ToOwned::to_owned))
                    .send()
            })
            .await;
        match reply {
            Ok(reply) => Ok(reply
                .tag_set()
                .iter()
                .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
                .collect()),
            Err(failed) => match failed.error.kind {
                // A service without tags has none to lose.
                ErrorKind::Unsupported => {
                    self.tag_header.store(COUNTED, Ordering::Relaxed);
                    Ok(BTreeMap::new())
                }
                ErrorKind::NotFound if failed.error.message.contains("NoSuchTagSet") => {
                    Ok(BTreeMap::new())
                }
                ErrorKind::AccessDenied => {
                    let mut error = failed.error;
                    error.message = format!("reading the object's tags: {}", error.message);
                    Err(error.hint("allow s3:GetObjectTagging, or copy without tags: --tags off"))
                }
                _ => Err(failed.error),
            },
        }
    }
}
