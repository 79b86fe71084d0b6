//! What a store holds in the simulation: objects and uploads. It outlives every gateway.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, Result, Side};
use skyhaul_stores::{Condition, Payload, PutReceipt};

/// An object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) bytes: Bytes,
    pub(crate) etag: String,
    /// The upload it was completed from.
    upload: Option<String>,
}

#[derive(Debug, Default)]
struct Upload {
    key: String,
    parts: BTreeMap<u32, (Bytes, String)>,
}

#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    staged: BTreeMap<String, (String, Bytes)>,
    numbers: u64,
}

/// See the module documentation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bucket(Arc<Mutex<Contents>>);

fn error(kind: ErrorKind, what: &str) -> Error {
    Error::new(Side::Destination, kind, what)
}

fn whole(payload: &Payload) -> Bytes {
    payload.frames().concat().into()
}

/// The checksum that this store knows.
pub(crate) fn checksum(bytes: &Bytes) -> Checksum {
    Payload::from(bytes.clone()).checksum(Algorithm::Crc64Nvme)
}

fn verify(bytes: &Bytes, sent: Option<&Checksum>) -> Result<bool> {
    match sent {
        Some(sent) if *sent != checksum(bytes) => Err(error(ErrorKind::Corrupt, "bad checksum")),
        sent => Ok(sent.is_some()),
    }
}

impl Object {
    fn receipt(&self, verified: bool) -> PutReceipt {
        PutReceipt {
            etag: Some(self.etag.clone()),
            verified,
            checksum: Some(checksum(&self.bytes)),
            ..PutReceipt::default()
        }
    }
}

impl Contents {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn show(&mut self, key: &str, bytes: Bytes, upload: Option<&str>) -> Object {
        let object = Object {
            bytes,
            etag: format!("e{}", self.number()),
            upload: upload.map(str::to_owned),
        };
        self.objects.insert(key.to_owned(), object.clone());
        object
    }

    fn holds(&self, key: &str, condition: &Condition) -> Result<()> {
        let holds = match condition {
            Condition::None => true,
            Condition::Absent => !self.objects.contains_key(key),
            Condition::Is(pin) => {
                self.objects.get(key).map(|object| &object.etag) == pin.etag.as_ref()
            }
        };
        holds
            .then_some(())
            .ok_or_else(|| error(ErrorKind::PreconditionFailed, "the condition does not hold"))
    }
}

impl Bucket {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap()
    }

    pub(crate) fn object(&self, key: &str) -> Option<Object> {
        self.contents().objects.get(key).cloned()
    }

    pub(crate) fn objects(&self) -> BTreeMap<String, Bytes> {
        let contents = self.contents();
        let objects = contents.objects.iter();
        objects
            .map(|(key, object)| (key.clone(), object.bytes.clone()))
            .collect()
    }

    pub(crate) fn open_uploads(&self) -> usize {
        self.contents().uploads.len()
    }

    pub(crate) fn put(
        &self,
        key: &str,
        payload: &Payload,
        sent: Option<&Checksum>,
        condition: &Condition,
    ) -> Result<PutReceipt> {
        let bytes = whole(payload);
        let mut contents = self.contents();
        contents.holds(key, condition)?;
        let verified = verify(&bytes, sent)?;
        Ok(contents.show(key, bytes, None).receipt(verified))
    }

    /// Keeps bytes until they are committed; by what.
    pub(crate) fn stage(&self, key: &str, payload: &Payload) -> String {
        let bytes = whole(payload);
        let mut contents = self.contents();
        let token = format!("s{}", contents.number());
        contents
            .staged
            .insert(token.clone(), (key.to_owned(), bytes));
        token
    }

    /// Makes staged bytes visible; doing it again changes nothing.
    pub(crate) fn commit(&self, token: &str) -> Result<PutReceipt> {
        let mut contents = self.contents();
        let known = contents.staged.get(token).cloned();
        let (key, bytes) = known.ok_or_else(|| error(ErrorKind::NotFound, "nothing is staged"))?;
        if let Some(object) = contents.objects.get(&key)
            && object.upload.as_deref() == Some(token)
        {
            return Ok(object.receipt(false));
        }
        Ok(contents.show(&key, bytes, Some(token)).receipt(false))
    }

    pub(crate) fn open(&self, key: &str) -> String {
        let mut contents = self.contents();
        let token = format!("u{}", contents.number());
        let upload = Upload {
            key: key.to_owned(),
            ..Upload::default()
        };
        contents.uploads.insert(token.clone(), upload);
        token
    }

    pub(crate) fn put_part(
        &self,
        token: &str,
        number: u32,
        payload: &Payload,
        sent: Option<&Checksum>,
    ) -> Result<PartReceipt> {
        let bytes = whole(payload);
        let mut contents = self.contents();
        let etag = format!("p{}", contents.number());
        let upload = contents.uploads.get_mut(token);
        let upload = upload.ok_or_else(|| error(ErrorKind::UploadGone, "no such upload"))?;
        let verified = verify(&bytes, sent)?;
        let receipt = PartReceipt {
            number,
            size: bytes.len() as u64,
            etag: Some(etag.clone()),
            checksum: Some(checksum(&bytes)),
            verified,
        };
        upload.parts.insert(number, (bytes, etag));
        Ok(receipt)
    }

    pub(crate) fn parts(&self, token: &str) -> Result<Vec<PartReceipt>> {
        let contents = self.contents();
        let upload = contents.uploads.get(token);
        let upload = upload.ok_or_else(|| error(ErrorKind::UploadGone, "no such upload"))?;
        let receipt = |(number, (bytes, etag)): (&u32, &(Bytes, String))| PartReceipt {
            number: *number,
            size: bytes.len() as u64,
            etag: Some(etag.clone()),
            checksum: Some(checksum(bytes)),
            verified: true,
        };
        Ok(upload.parts.iter().map(receipt).collect())
    }

    pub(crate) fn finish(
        &self,
        key: &str,
        token: &str,
        named: &[PartReceipt],
        sent: Option<&Checksum>,
        condition: &Condition,
    ) -> Result<PutReceipt> {
        let mut contents = self.contents();
        if let Some(object) = contents.objects.get(key)
            && object.upload.as_deref() == Some(token)
        {
            return Ok(object.receipt(true));
        }
        let upload = contents.uploads.get(token);
        let upload = upload.ok_or_else(|| error(ErrorKind::UploadGone, "no such upload"))?;
        // As S3 says it (`InvalidPart`): a part that was written again has another tag.
        let invalid = || error(ErrorKind::UploadGone, "these are not the parts");
        let mut bytes = Vec::new();
        for (part, expected) in named.iter().zip(1..) {
            let (kept, etag) = upload.parts.get(&part.number).ok_or_else(invalid)?;
            if part.number != expected || part.etag.as_ref() != Some(etag) {
                return Err(invalid());
            }
            bytes.extend_from_slice(kept);
        }
        let bytes = Bytes::from(bytes);
        contents.holds(key, condition)?;
        let verified = verify(&bytes, sent)?;
        contents.uploads.remove(token);
        Ok(contents.show(key, bytes, Some(token)).receipt(verified))
    }

    pub(crate) fn abort(&self, token: &str) {
        self.contents().uploads.remove(token);
    }

    /// Open uploads of a key.
    pub(crate) fn uploads(&self, key: &str) -> Vec<String> {
        let contents = self.contents();
        let uploads = contents.uploads.iter();
        let of_key = uploads.filter(|(_, upload)| upload.key == key);
        of_key.map(|(token, _)| token.clone()).collect()
    }

    /// Puts what is there from the beginning.
    pub(crate) fn fill(&self, key: &str, bytes: Bytes) {
        self.contents().show(key, bytes, None);
    }
}
